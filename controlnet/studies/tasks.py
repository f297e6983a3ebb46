"""One run as a task: known by its settings, done once, wherever it is done."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ContinuationError, FolderInUseError, OtherSamplesError, StorageError, UnreadableError
from ..experiments.config import from_stored
from ..experiments.running import train_in
from ..experiments.watching import Remarks
from ..storage import RUN_FILE, Run, claim_folder, read_run, set_aside
from .samples import Samples

PAUSE = 0.5
"""Seconds between two looks at a folder that another process holds."""
DIVERGED = ("DivergedError", "LearningDivergedError")


class Task(NamedTuple):
    """What is to be run: its name, its settings as `to_store` gave them, and the folder of its ``run.h5``."""

    identity: str
    stored: Mapping[str, Any]
    folder: Path


class Failure(NamedTuple):
    """An error as plain text, which travels between processes and versions: the name of its type, and its line."""

    type: str
    message: str

    def __str__(self) -> str:
        return self.message

    @property
    def diverged(self) -> bool:
        """Whether the loop or the training ran away, so that other settings may help and another attempt will not."""
        return self.type in DIVERGED


class Outcome(NamedTuple):
    """What came of a task: the summary of its run, or what went wrong."""

    task: Task
    summary: dict[str, Any] | None = None
    error: Failure | None = None


def identity(stored: Mapping[str, Any]) -> str:
    """Give a name that follows from resolved settings alone: the same settings, the same run.

    Parameters
    ----------
    stored : mapping
        What `to_store` gave; what the experiment is called does not count.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    named = [stored, *stored.get("peers", {}).values()]
    plain = [{key: value for key, value in table.items() if key not in ("experiment", "peers")} for table in named]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def finished(folder: Path, stored: Mapping[str, Any], samples: Samples | None = None) -> dict[str, Any] | None:
    """Give the summary of a run that is there already.

    Parameters
    ----------
    folder : Path
        Where it would be.
    stored : mapping
        Its settings, as `to_store` gave them.
    samples : Samples, optional
        What the run should have learned.

    Returns
    -------
    dict or None
        The summary; None if there is no whole run of these settings.

    Raises
    ------
    OtherSamplesError
        If there is one that learned other samples.
    UnreadableError
        If there may be one.
    """
    run = _kept(folder, stored)
    if run is None or not run.complete:
        return None
    if samples is not None:
        samples.check(run.settings, run.provenance.get("samples"), f"{folder} holds a run")
    return run.summary


def _kept(folder: Path, stored: Mapping[str, Any], clear: bool = False) -> Run | None:
    """Give the run of these settings that a folder holds; if it holds something else, that may be put aside."""
    if not (folder / RUN_FILE).exists():
        return None
    try:
        run = read_run(folder)
        if identity(run.settings) == identity(stored):
            return run
    except UnreadableError:
        # It may be whole, and is not to be replaced.
        raise
    except (StorageError, AttributeError):
        # A file of somebody else's may hold anything as settings.
        pass
    if clear:
        _begin_again(folder, f"{folder / RUN_FILE} is no whole run of these settings")
    return None


def _begin_again(folder: Path, reason: str) -> None:
    """Put aside what a folder holds, and tell so."""
    print(f"{reason}: it is kept as {set_aside(folder).name} and begun again", file=sys.stderr, flush=True)


def perform(
    stored: Mapping[str, Any],
    folder: Path,
    *,
    data_dir: Path | None = None,
    threads: int | None = 1,
) -> dict[str, Any]:
    """Do a task, unless it is done; what an earlier attempt left unfinished is gone on with.

    A folder that another process holds is waited for, because that process may be doing the same task. Nothing
    waits for the dead: the system lets go of what they held.

    Parameters
    ----------
    stored : mapping
        Settings, as `to_store` gave them.
    folder : Path
        Where ``run.h5`` goes.
    data_dir : Path, optional
        Folder with the dataset's files.
    threads : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    dict
        The summary, a few numbers.

    Raises
    ------
    OtherSamplesError
        If an earlier attempt learned other samples; it is left as it is.
    UnreadableError
        If the system refuses to read an earlier attempt, or another version wrote it; it is left as it is.
    ControlNetError
        If data or folder are unusable or the training diverges.
    """
    plan, samples = from_stored(stored), Samples(data_dir)

    def train(before: Run | None) -> dict[str, Any]:
        return train_in(folder, plan, before, watcher=Remarks(), data_dir=data_dir, threads=threads)

    while (summary := finished(folder, stored, samples)) is None:
        try:
            with claim_folder(folder, replace=True):
                # Once more, as another process may have done the task until now.
                if (summary := finished(folder, stored, samples)) is not None:
                    break
                try:
                    return train(_kept(folder, stored, clear=True))
                except OtherSamplesError:
                    raise
                except ContinuationError as error:
                    _begin_again(folder, str(error).rpartition(": `")[0])
                    return train(None)
        except FolderInUseError:
            time.sleep(PAUSE)
    return summary


def attempt(task: Task, data_dir: Path | None = None, threads: int | None = 1) -> Outcome:
    """Do a task and give what came of it, errors too.

    Parameters
    ----------
    task : Task
        The task.
    data_dir : Path, optional
        Folder with the dataset's files.
    threads : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    Outcome
        The summary, or the error. One task that fails takes no other with it, whatever the reason.
    """
    try:
        return Outcome(task, summary=perform(task.stored, task.folder, data_dir=data_dir, threads=threads))
    except Exception as error:
        return Outcome(task, error=Failure(type(error).__name__, " ".join(str(error).split()) or repr(error)))
