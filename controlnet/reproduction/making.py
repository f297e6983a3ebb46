"""Makes the runs that a table lacks, and keeps the short form of each."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from ..storage import read_run
from ..studies.tasks import Failure, Task
from .records import record_of, write_record
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
