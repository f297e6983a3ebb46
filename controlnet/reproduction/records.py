"""What is kept of a finished run in a few kilobytes of JSON: settings, history, result, machine."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from .._files import named_errors, put
from ..errors import StorageError
from ..provenance import parts_of
from ..storage import Run
from ..studies.tasks import identity
from .kinds import filled

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
MACHINE = ("time", "python", "packages", "source", "samples", "official", "platform", "cpu", "cores", "git")


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

    @property
    def time(self) -> str:
        """When the run began, ISO 8601; empty if nothing says so."""
        return str(self.machine.get("time") or "")

    def after(self, epochs: int) -> Record:
        """Give this run as it was after fewer epochs: nothing in it depends on how many were still to come.

        Parameters
        ----------
        epochs : int
            After how many.

        Returns
        -------
        Record
            With the numbers of the history, which have six digits, and a note; itself if it has no more epochs.
        """
        if self.epochs <= epochs:
            return self
        history = {name: column[:epochs] for name, column in self.history.items()}
        times = [value for value in history.get("seconds", ()) if value is not None]
        result = {name: column[-1] for name, column in history.items()}
        return replace(
            self,
            epochs=epochs,
            result=result | {"epochs": epochs, "seconds": sum(times) if len(times) == epochs else None},
            history=history,
            settings=self.settings | {"train": self.settings["train"] | {"epochs": epochs}},
            note="; ".join(filter(None, (self.note, f"epoch {epochs} of {self.epochs}"))),
        )


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
        If no epoch is complete, or it is no run of an experiment.
    """
    epochs, where = len(run.history), run.summary.get("run", "the run")
    if not epochs:
        raise StorageError(f"{where}: no epoch is complete, nothing to keep")
    for name, type_ in (("experiment", str), ("method", str), ("train", dict)):
        if not isinstance(run.settings.get(name), type_):
            raise StorageError(f"{where}: its settings do not name {name}: expected a run of an experiment")
    train = run.settings["train"] | {"epochs": epochs, "compare_with": []}
    settings = {key: value for key, value in run.settings.items() if key not in ("peers", "diagnostics")}
    known = [name for name in HISTORY if any(row.get(name) is not None for row in run.history)]
    for name in known:
        for value in (row.get(name) for row in run.history):
            if not isinstance(value, int | float | None):
                raise StorageError(f"{where}: history.{name}: expected numbers, got {value!r:.40}")
    record = Record(
        experiment=run.settings["experiment"],
        method=run.settings["method"],
        seed=run.seed,
        epochs=epochs,
        result={name: value for name, value in run.summary.items() if name not in ("run", "peers")},
        history={name: [_short(row.get(name)) for row in run.history] for name in known},
        settings=settings | {"train": train},
        machine=_machine(run.provenance),
        note=note,
    )
    if wrong := _fault(record):
        raise StorageError(f"{where}: {wrong}: expected a run of an experiment")
    return record


def _machine(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Give versions and machine, of every part if the run was interrupted."""
    machine = {name: provenance.get(name) for name in MACHINE}
    parts = [{name: part.get(name) for name in ("after_epoch", "changed", *MACHINE)} for part in parts_of(provenance)]
    return machine | ({"continued": parts} if parts else {})


def _short(value: Any) -> float | None:
    # JSON knows no numbers that are not finite.
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def write_record(folder: Path, record: Record) -> Path:
    """Write a record, in place of an older one of the same run alone: what else is there is left as it is.

    Parameters
    ----------
    folder : Path
        Where all records are.
    record : Record
        The run; without a note it gets that of the older record.

    Returns
    -------
    Path
        ``folder/EXPERIMENT/seedS-Nepochs.json``, or ``seedS-Nepochs-2.json`` and so on where that is another run's.
        Of an experiment that is a file EXPERIMENT is the name without folders.

    Raises
    ------
    StorageError
        If it cannot be written or could not be read back, or what is there cannot be read.
    """
    place = folder / _place(record.experiment)
    with named_errors("write to", place):
        place.mkdir(parents=True, exist_ok=True)
        target, older = _target(place, record)
        if older is not None:
            record = replace(record, note=record.note or older.note)
        lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in msgspec.to_builtins(record).items())
        content = ("{\n" + ",\n".join(lines) + "\n}\n").encode()
        try:
            # One file that cannot be read would take the whole table with it.
            _decoded(content)
        except StorageError as error:
            raise StorageError(f"{target}: cannot keep this run: {error}") from None
        return put(target, content)


def _place(experiment: str) -> Path:
    """Give the folder of an experiment's records, which never leads out of that of all records."""
    names = [Path(experiment).stem] if experiment.endswith(".toml") else experiment.split("/")
    safe = [re.sub(r"[^\w .+-]", "_", name) for name in names if name not in ("", ".", "..")]
    return Path(*safe or ["unnamed"])


def _target(place: Path, record: Record) -> tuple[Path, Record | None]:
    """Give the file of a run, and the older record of it; else the first free file."""
    for number in count(1):
        suffix = f"-{number}" if number > 1 else ""
        target = place / f"seed{record.seed}-{record.epochs}epochs{suffix}.json"
        if not target.exists():
            break
        if _is_same(older := read_record(target), record):
            return target, older
    return target, None


def _is_same(one: Record, other: Record) -> bool:
    """Say whether two records are of the same run: of the same settings, and with the same history but for times."""
    full = [filled(record.settings) or record.settings for record in (one, other)]
    plain = [json.dumps({**each, "experiment": "", "peers": {}}, sort_keys=True) for each in full]
    common = (one.history.keys() & other.history.keys()) - {"seconds"}
    same = bool(common) and all(one.history[name] == other.history[name] for name in common)
    return same and plain[0] == plain[1]


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
        If a file is none, or the folder is a file, or it or one below cannot be read.
    """
    if folder.is_file():
        raise StorageError(f"{folder} is a file: expected the folder of the records: name another one")
    with named_errors("read", folder):
        files = [Path(place) / name for place, _, names in os.walk(folder, onerror=_refused) for name in names]
    return [read_record(file) for file in sorted(files) if file.match("seed*-*epochs*.json")]


def _refused(error: OSError) -> None:
    """Go on only past a folder that is not there: what cannot be read may hold records."""
    if not isinstance(error, FileNotFoundError):
        raise error


def read_record(file: Path) -> Record:
    """Read a record.

    Parameters
    ----------
    file : Path
        The file.

    Returns
    -------
    Record
        The run.

    Raises
    ------
    StorageError
        If it is none.
    """
    with named_errors("read", file):
        content = file.read_bytes()
    try:
        return _decoded(content)
    except StorageError as error:
        raise StorageError(f"{file}: not the record of a run ({error}): remove it or restore it") from None


def _decoded(content: bytes) -> Record:
    try:
        record = msgspec.json.decode(content, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StorageError(str(error)) from None
    if wrong := _fault(record):
        raise StorageError(wrong)
    return record


def _fault(record: Record) -> str:
    """Say what is wrong with the numbers of a record; nothing if nothing is."""
    if record.epochs < 1:
        return f"epochs: expected 1 or more, got {record.epochs}"
    for name in ("seed", "method"):
        told = record.settings.get(name, own := getattr(record, name))
        if own != told:
            return f"{name}: expected {told!r:.40} as in settings, got {own!r:.40}"
    for name in HISTORY:
        value = record.result.get(name)
        # Not a number compares as false; True is no number either.
        if value is not None and not (type(value) in (int, float) and abs(value) <= sys.float_info.max):
            return f"result.{name}: expected a number, got {value!r:.40}"
    for name, column in record.history.items():
        if len(column) != record.epochs:
            return f"history.{name}: expected {record.epochs} numbers, got {len(column)}"
    return ""
