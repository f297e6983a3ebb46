"""Makes the runs that a table lacks, and keeps the short form of each."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..storage import read_run
from ..studies.samples import Samples
from ..studies.tasks import Failure, Task
from .kinds import kind, kind_of
from .records import Record, read_records, record_of, write_record
from .tables import Job

RUNS = "runs"
"""Folder of the whole runs, beside the records; it may be removed at any time."""


def make(
    wanted: Sequence[Job], folder: Path, *, note: str = "", **where: Any
) -> Generator[tuple[Job, Failure | None], None, None]:
    """Do runs, and keep the short form of each as soon as it is finished.

    Parameters
    ----------
    wanted : sequence of Job
        What a table lacks.
    folder : Path
        Where the records are; whole runs go to ``runs/IDENTITY`` below.
    note : str
        Kept with each run.
    **where
        As `run_tasks` takes it: `workers`, `scheduler`, `data_dir`.

    Yields
    ------
    tuple
        Each job as it ends, and why it failed, if it did.
    """
    from ..studies.engines import run_tasks

    todo = {job.identity: job for job in wanted}
    tasks = [Task(name, job.stored, folder / RUNS / name) for name, job in todo.items()]
    for outcome in run_tasks(tasks, **where):
        if outcome.error is None:
            take(outcome.task.folder, folder, note)
        yield todo[outcome.task.identity], outcome.error


def check_samples(
    wanted: Iterable[Mapping[str, Any]], records: Iterable[Record], folder: Path, data_dir: Path | None
) -> None:
    """Refuse to add runs to those that learned other samples than those that are here.

    Parameters
    ----------
    wanted : iterable of mapping
        Settings of the runs to add, as stored.
    records : iterable of Record
        What there is.
    folder : Path
        Where, for the error.
    data_dir : Path, optional
        Folder with the datasets' files.

    Raises
    ------
    OtherSamplesError
        If one of them did. Of each dataset the newest is looked at.
    """
    kinds, samples = set(map(kind, wanted)), Samples(data_dir)
    told = [record for record in records if record.machine.get("samples") and kind_of(record) in kinds]
    newest = {json.dumps(record.settings["data"]): record for record in sorted(told, key=lambda each: each.time)}
    for record in newest.values():
        holder = f"{folder} holds a run of {record.experiment}"
        samples.check(record.settings, record.machine["samples"], holder)


def take(run: Path, folder: Path, note: str = "") -> Path:
    """Keep the short form of a run.

    Parameters
    ----------
    run : Path
        Its file or folder.
    folder : Path
        Where the records are.
    note : str
        What a reader must know.

    Returns
    -------
    Path
        The record.

    Raises
    ------
    StorageError
        If the run cannot be read, or no epoch of it is complete.
    """
    return write_record(folder, record_of(read_run(run), note))


def take_other(run: Path, folder: Path, note: str = "", data_dir: Path | None = None) -> Path:
    """Keep the short form of a run that was made otherwise, if it and what is kept already learned the samples here.

    Parameters
    ----------
    run : Path
        Its file or folder.
    folder : Path
        Where the records are.
    note : str
        What a reader must know.
    data_dir : Path, optional
        Folder with the datasets' files; samples that are not here are not looked at.

    Returns
    -------
    Path
        The record.

    Raises
    ------
    StorageError
        If the run cannot be read, or no epoch of it is complete.
    OtherSamplesError
        If it, or another run of this kind, learned other samples.
    """
    record = record_of(read_run(run), note)
    Samples(data_dir).check(record.settings, record.machine.get("samples"), f"{run} holds a run")
    check_samples([record.settings], read_records(folder), folder, data_dir)
    return write_record(folder, record)
