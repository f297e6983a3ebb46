"""One run is one folder with one file, ``run.h5``, that is replaced as a whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import _columns, _hdf5
from ._files import named_errors
from ._folder import RUN_FILE, claim_folder, replace_file, set_aside
from .errors import InputError, StorageError

__all__ = ["RUN_FILE", "Run", "claim_folder", "read_run", "set_aside", "write_run"]

TEXTS = frozenset({"settings", "seed", "summary", "provenance"})
GROUPS = frozenset({"history", "missing", "weights", "diagnostics", "continuation"})


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that is kept of one run.

    Parameters
    ----------
    settings : dict
        The settings, as JSON would hold them.
    seed : int
        The seed, 0 or more.
    summary : dict
        Results in a few numbers, as JSON would hold them.
    history : list of dict
        One row of numbers, texts or None per epoch; all rows have the same keys.
    weights, diagnostics : dict of str to ndarray
        Arrays of numbers by name.
    provenance : dict
        Versions, machine and command line, as `describe_machine` tells them.
    complete : bool
        Whether the run came to its end.
    continuation : dict of str to ndarray
        Arrays of numbers by name: what it takes to go on with a run that is not complete.

    Notes
    -----
    JSON knows no NaN: numbers that are not finite come back as None from settings, summary and provenance.
    They stay what they are in history, weights, diagnostics and continuation.
    """

    settings: dict[str, Any]
    seed: int
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[_columns.Row] = field(default_factory=list)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    diagnostics: dict[str, NDArray[Any]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    complete: bool = False
    continuation: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse settings, results or a seed of another kind."""
        for name in ("settings", "summary", "provenance"):
            if not isinstance(getattr(self, name), dict):
                raise InputError(f"{name} of a run must be a dict, got {getattr(self, name)!r:.40}")
        if type(self.seed) is not int or self.seed < 0:
            raise InputError(f"seed of a run must be an int of 0 or more, got {self.seed!r:.40}")


def write_run(folder: Path, run: Run) -> Path:
    """Write a run, in place of the one that the folder may hold.

    Parameters
    ----------
    folder : Path
        The existing folder, best held with `claim_folder`.
    run : Run
        What to write.

    Returns
    -------
    Path
        The file. After a failure, or a crash at any moment, the file that was there before is untouched.

    Raises
    ------
    InputError
        When the run holds something that cannot be kept.
    StorageError
        When the folder cannot be written to.
    """
    image = _hdf5.dump(_to_tree(run), complete=run.complete)
    return replace_file(folder, image)


def read_run(path: Path) -> Run:
    """Read a run; the file may come from anybody.

    Parameters
    ----------
    path : Path
        The file, or the folder that holds it.

    Returns
    -------
    Run
        What was written.

    Raises
    ------
    StorageError
        When there is no run, or its file is damaged, of another schema, or not one that `write_run` made.
    """
    with named_errors("read", path):
        file = path / RUN_FILE if path.is_dir() else path
        if not file.is_file():
            raise StorageError(f"no run at {path}: expected a file {RUN_FILE}: name the folder of a run")
        with file.open("rb") as stream:
            signature = stream.read(len(_hdf5.SIGNATURE))
    if signature != _hdf5.SIGNATURE:
        raise StorageError(f"{file} is no run file: expected HDF5, got something else: name the folder of a run")
    tree, complete = _hdf5.load(file, GROUPS, TEXTS)
    try:
        return _from_tree(tree, complete)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise StorageError(f"{file} lacks a part of a run ({error!r}): do not trust this file") from error


def _to_tree(run: Run) -> _hdf5.Tree:
    tree = {name: _columns.from_json(name, getattr(run, name)) for name in sorted(TEXTS)}
    columns, missing = _columns.from_rows(run.history)
    parts = {"history": columns, "missing": missing}
    parts |= {name: getattr(run, name) for name in ("weights", "diagnostics", "continuation")}
    for group, arrays in parts.items():
        for name, array in arrays.items():
            tree[f"{group}/{name}"] = _columns.checked(group, name, array)
    return tree


def _from_tree(tree: _hdf5.Tree, complete: bool) -> Run:
    parts: dict[str, dict[str, NDArray[Any]]] = {group: {} for group in GROUPS}
    for path, array in tree.items():
        group, _, name = path.partition("/")
        if name:
            parts[group][name] = _columns.checked(group, name, array)
    texts = {name: _columns.to_json(tree[name]) for name in TEXTS}
    return Run(
        **texts,
        history=_columns.to_rows(parts["history"], parts["missing"]),
        weights=parts["weights"],
        diagnostics=parts["diagnostics"],
        complete=complete,
        continuation=parts["continuation"],
    )
