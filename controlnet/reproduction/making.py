"""Makes the runs that a table lacks, and keeps the short form of each as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..storage import read_run
from ..studies.tasks import Failure, Task
from .records import read_records, record_of, write_record
from .tables import Job, missing

RUNS = "runs"
"""Folder of the whole runs, beside the records; it may be removed at any time."""


def make(
    wanted: Sequence[Job],
    folder: Path,
    *,
    workers: int = 1,
    data_dir: Path | None = None,
    note: str = "",
    told: Callable[[str], None] = print,
) -> list[Failure]:
    """Do the runs of which there is no record yet.

    Parameters
    ----------
    wanted : sequence of Job
        What a table needs.
    folder : Path
        Where the records are; whole runs go to ``runs/IDENTITY`` below.
    workers : int
        Number of runs at the same time.
    data_dir : Path, optional
        Folder with the datasets' files.
    note : str
        Kept with each run.
    told : callable
        Is told of every run that is finished or failed.

    Returns
    -------
    list of Failure
        Why runs failed.
    """
    from ..studies.engines import run_tasks

    todo = {job.identity: job for job in missing(wanted, read_records(folder))}
    tasks = [Task(name, job.stored, folder / RUNS / name) for name, job in todo.items()]
    if todo:
        told(f"{len(todo)} runs are missing, {workers} at a time")
    failed: list[Failure] = []
    for done, outcome in enumerate(run_tasks(tasks, workers=workers, data_dir=data_dir), 1):
        job = todo[outcome.task.identity]
        label = f"{done}/{len(todo)} {job.experiment}, seed {job.seed}"
        if outcome.error is not None:
            failed.append(outcome.error)
            told(f"{label}: {outcome.error}")
            continue
        take(outcome.task.folder, folder, note)
        told(label)
    return failed


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
