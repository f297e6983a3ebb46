"""Reads the files of experiments, each laid over the one that it names as its base."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..data import DATASETS
from ..data.files import is_file_name
from ..errors import ConfigError
from ._explain import suggestion

Table = dict[str, Any]


@cache
def catalogue_files() -> dict[str, Path]:
    """Give the files of the experiments that come with the package.

    Returns
    -------
    dict of Path
        File by name.
    """
    folder = Path(str(resources.files(__package__))) / "catalogue"
    files = sorted(folder.rglob("*.toml"), key=lambda file: (len(file.parts), file))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def read_experiment(experiment: str, above: tuple[str, ...] = ()) -> tuple[str, Table]:
    """Give name and settings of an experiment, laid over those of the experiment that it names as its ``base``.

    Parameters
    ----------
    experiment : str
        Name of the catalogue, or path of a TOML file.
    above : tuple of str
        The experiments of which it is the base.

    Returns
    -------
    tuple of str and dict
        The name, and the tables as they are written, not checked yet.

    Raises
    ------
    ConfigError
        If there is no such experiment, or its file cannot be read.
    """
    path = Path(experiment)
    if path.suffix == ".toml":
        name, text = str(path), _text(path)
    else:
        files = catalogue_files()
        if experiment not in files:
            short = ", ".join(name for name in files if "/" not in name)
            where = f"{above[-1]}: base" if above else "experiment"
            raise ConfigError(
                f"{where}: expected a TOML file or an experiment of `controlnet list`, such as {short}, "
                f"got {experiment!r}{_hint(experiment, files)}"
            )
        name, text = experiment, _text(files[experiment])
    if name in above:
        raise ConfigError(f"base: {' -> '.join((*above, name))} leads back to itself")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits and lists as deep are not called errors of TOML.
        reason = error if isinstance(error, tomllib.TOMLDecodeError) else "a number too long, or tables too deep"
        raise ConfigError(f"{name}: not valid TOML: {reason}") from None
    if not isinstance(title := table.pop("title", ""), str):
        raise ConfigError(f"title: expected a string, got {title!r}")
    if "experiment" in table:
        raise ConfigError("experiment: unknown setting; the name of an experiment is that of its file")
    if (base := table.pop("base", None)) is None:
        return name, table
    if not isinstance(base, str):
        raise ConfigError(f"base: expected the name or file of an experiment, got {base!r}")
    if base.endswith(".toml"):
        base = str(path.parent / base)
    return name, merged(read_experiment(base, (*above, name))[1], table)


def _hint(name: str, files: Mapping[str, Path]) -> str:
    """Say what a name that is no experiment may have been meant as."""
    if name in DATASETS or is_file_name(name):
        return f"; for a dataset, add --set data.name={name} to an experiment"
    return suggestion(name, files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot read the experiment: {reason}") from None


def merged(base: Table, over: Mapping[str, Any], *, afresh: bool = False) -> Table:
    """Lay one table over another; a table of another kind, or with `afresh` of any kind named, stands alone.

    Parameters
    ----------
    base, over : mapping
        The tables; both are left as they are.
    afresh : bool
        Whether a table that names its kind stands alone even if it is the same kind.

    Returns
    -------
    dict
        What `over` says, and what `base` says beside.
    """
    result = dict(base)
    for key, value in over.items():
        below: Any = result.get(key)
        nested = isinstance(below, dict) and isinstance(value, dict)
        if nested and "kind" in value and (afresh or value["kind"] != below.get("kind")):
            nested = False
        result[key] = merged(below, value, afresh=afresh) if nested else value
    return result
