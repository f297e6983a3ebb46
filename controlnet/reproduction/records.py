"""What is kept of a finished run in a few kilobytes of JSON: settings, history, result, machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from .._folder import named_errors, put
from ..errors import StorageError
from ..provenance import parts_of
from ..storage import Run
from ..studies.tasks import identity

HISTORY = (
    "train_loss",
    "validation_error_percent",
    "test_error_percent",
    "validation_loss",
    "test_loss",
    "amount_of_control",
    "converged_percent",
    "seconds",
)
"""Columns of a run's history that are kept, to six digits."""
MACHINE = ("time", "python", "packages", "source", "platform", "cpu", "cores", "git")


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, eq=False):
    """A finished run in short.

    Parameters
    ----------
    experiment, method : str
        What was run.
    seed, epochs : int
        The seed, and how many epochs there were.
    result : dict
        The summary of the last epoch.
    history : dict of lists
        A number an epoch; None where there is nothing to say.
    settings : dict
        The resolved settings.
    machine : dict
        Versions and machine.
    note : str
        What a reader must know, such as other data than the official ones.
    """

    experiment: str
    method: str
    seed: int
    epochs: int
    result: dict[str, Any]
    history: dict[str, list[float | None]]
    settings: dict[str, Any]
    machine: dict[str, Any]
    note: str = ""

    @property
    def identity(self) -> str:
        """Name that follows from the settings, as `tasks.identity` gives it."""
        return identity(self.settings)


def record_of(run: Run, note: str = "") -> Record:
    """Give the short form of a run.

    Parameters
    ----------
    run : Run
        The run; of one that was cut short the epochs that it has, as if they had been all that was asked for: no
        setting depends on how many are still to come.
    note : str
        What a reader must know.

    Returns
    -------
    Record
        Without weights and diagnostics, and without paths of the machine.

    Raises
    ------
    StorageError
        If no epoch is complete.
    """
    epochs = len(run.history)
    if not epochs:
        raise StorageError(f"{run.summary.get('run', 'the run')}: no epoch is complete, nothing to keep")
    train = run.settings.get("train", {}) | {"epochs": epochs, "compare_with": []}
    settings = {key: value for key, value in run.settings.items() if key not in ("peers", "diagnostics")}
    known = [name for name in HISTORY if any(row.get(name) is not None for row in run.history)]
    return Record(
        experiment=str(run.settings["experiment"]),
        method=str(run.settings["method"]),
        seed=run.seed,
        epochs=epochs,
        result={name: value for name, value in run.summary.items() if name not in ("run", "peers")},
        history={name: [_short(row.get(name)) for row in run.history] for name in known},
        settings=settings | {"train": train},
        machine=_machine(run.provenance),
        note=note,
    )


def _machine(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Give versions and machine, of every part if the run was interrupted."""
    machine = {name: provenance.get(name) for name in MACHINE}
    parts = [{name: part.get(name) for name in ("after_epoch", "changed", *MACHINE)} for part in parts_of(provenance)]
    return machine | ({"continued": parts} if parts else {})


def _short(value: Any) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def write_record(folder: Path, record: Record) -> Path:
    """Write a record, in place of an older one of the same run.

    Parameters
    ----------
    folder : Path
        Where all records are.
    record : Record
        The run.

    Returns
    -------
    Path
        ``folder/EXPERIMENT/seedS-Nepochs.json``.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    target = folder / record.experiment.removesuffix(".toml") / f"seed{record.seed}-{record.epochs}epochs.json"
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in msgspec.to_builtins(record).items())
    with named_errors("write to", target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        return put(target, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_records(folder: Path) -> list[Record]:
    """Read all records below a folder.

    Parameters
    ----------
    folder : Path
        Where they are.

    Returns
    -------
    list of Record
        In the order of their names; none if there is no such folder.

    Raises
    ------
    StorageError
        If a file is none.
    """
    return list(_read(sorted(folder.rglob("seed*-*epochs.json"))))


def _read(files: Iterable[Path]) -> Iterable[Record]:
    for file in files:
        with named_errors("read", file):
            content = file.read_bytes()
        try:
            yield msgspec.json.decode(content, type=Record)
        except msgspec.MsgspecError as error:
            raise StorageError(f"{file}: not the record of a run ({error}): remove it or restore it") from None
