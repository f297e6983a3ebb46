"""Searches for settings with a small error on the validation samples; the test samples have no say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._files import named_errors, put
from ..errors import ConfigError, ControlNetError, LearningDivergedError, OtherSamplesError, StorageError
from ..experiments.config import as_toml, to_store
from ._trials import Journal, Trial, claim_search, optuna
from .engines import Engine, engine
from .samples import Samples
from .search import Search
from .tasks import Outcome, Task, finished, identity

OBJECTIVES = ("validation_error_percent", "validation_loss")
"""What is made small: the first of these that a run has."""
BEST = "best.toml"


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Parameters
    ----------
    search : Search
        What was searched.
    trials : tuple of Trial
        All that finished or failed.
    best : Trial
        That with the smallest value, the first of them.
    run : Path
        Folder of its run.
    file : Path
        The experiment with its settings.
    """

    search: Search
    trials: tuple[Trial, ...]
    best: Trial
    run: Path
    file: Path

    @property
    def failed(self) -> tuple[Trial, ...]:
        """The trials that diverged, or whose settings contradict each other."""
        return tuple(trial for trial in self.trials if trial.value is None)

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain data.

        Returns
        -------
        dict
            As JSON would hold it.
        """
        settings, best = self.search.base.settings, self.best
        return {
            "experiment": settings.experiment,
            "method": settings.method,
            "seed": settings.seed,
            "search": {path: str(each) for path, each in self.search.space.items()},
            "objective": best.objective,
            "trials": len(self.trials),
            "finished": len(self.trials) - len(self.failed),
            "failed": len(self.failed),
            "best": {"number": best.number, "value": best.value, "settings": best.settings, "run": str(self.run)},
            "file": str(self.file),
            "history": [
                {"number": trial.number, "value": trial.value, "settings": trial.settings, "error": trial.error}
                for trial in self.trials
            ],
        }


def tune(
    search: Search,
    folder: Path,
    trials: int,
    *,
    together: int = 1,
    on_trial: Callable[[Trial], None] | None = None,
    **where: Any,
) -> Tuned:
    """Search until there are so many trials in all; those that the folder keeps count.

    Parameters
    ----------
    search : Search
        What to search.
    folder : Path
        Keeps the trials, a run each, and the best settings.
    trials : int
        How many.
    together : int
        How many trials are chosen at a time, and learned side by side. The result depends on it.
    on_trial : callable, optional
        Is told of every trial as it ends, in the order of their numbers.
    **where : workers, scheduler, data_dir
        As for `engine`. The result does not depend on it.

    Returns
    -------
    Tuned
        What was found.

    Raises
    ------
    InputError
        If Optuna is not installed.
    ConfigError
        If the scheduler cannot be used, or the settings of all trials contradict each other.
    StorageError
        If the folder is unusable, or holds another search or one on other samples.
    LearningDivergedError
        If all trials failed, at least one as it learned.
    ControlNetError
        If one could not be made for another reason than its settings, such as missing data.
    """
    optuna()  # before there is a folder
    with claim_search(folder):
        journal = Journal(folder, search.about() | ({"together": together} if together > 1 else {}), together)
        found = journal.trials
        if (known := _best(found)) is not None:
            _require_run(search, folder, known, Samples(where.get("data_dir")))
        for trial in _made(search, folder, journal, trials, together, where):
            found.append(trial)
            if _best(found) is trial:
                _write_best(search, folder, found)
            if on_trial is not None:
                on_trial(trial)
        best = _best(found)
        if best is None:
            contradictory = all(isinstance(_task(search, folder, trial.point, ()), str) for trial in found)
            error = ConfigError if contradictory else LearningDivergedError
            raise error(f"none of {len(found)} trials came to its end; the last: {found[-1].error}")
        file = _write_best(search, folder, found)
        return Tuned(search, tuple(found), best, _run_folder(search, folder, best), file)


def _require_run(search: Search, folder: Path, best: Trial, samples: Samples) -> None:
    """Refuse to go on without the best run so far, or with other samples: errors on these would not compare."""
    stored = to_store(search.plan(best.point))
    run = folder / identity(stored)
    try:
        summary = finished(run, stored, samples)
    except OtherSamplesError:
        words = f"{folder} holds a search on other samples than those that are here"
        raise OtherSamplesError(f"{words}: choose another folder, or name theirs with --data-dir") from None
    if summary is None:
        raise StorageError(f"{run} lacks the run of trial {best.number}, the best so far: choose another folder")


def _made(
    search: Search, folder: Path, journal: Journal, trials: int, together: int, where: Mapping[str, Any]
) -> Iterator[Trial]:
    """Make the trials that are missing."""
    if len(journal.trials) >= trials:
        return
    with engine(together, **where) as do:
        while (left := trials - len(journal.trials)) > 0:
            yield from _round(search, folder, journal, left, do)


def _round(search: Search, folder: Path, journal: Journal, most: int, do: Engine) -> Iterator[Trial]:
    """Make the trials of a round; that one diverges, or that its settings contradict each other, is a result too."""
    drawn = journal.draw(search.space, search.base.settings.seed)[:most]
    failed = [trial for trial in journal.trials if trial.error]
    tasks = [_task(search, folder, each.params, failed) for each in drawn]
    named = {task.identity: task for task in tasks if isinstance(task, Task)}
    outcomes: dict[str, Outcome] = {}
    with closing(do(list(named.values()))) as learning:
        for each, task in zip(drawn, tasks, strict=True):
            if isinstance(task, str):
                yield journal.keep(each, None, error=task)
                continue
            while task.identity not in outcomes:
                outcome = next(learning)
                outcomes[outcome.task.identity] = outcome
            yield _kept(journal, each, outcomes[task.identity])


def _task(search: Search, folder: Path, point: Mapping[str, Any], failed: Iterable[Trial]) -> Task | str:
    """Give what is to be done at a point, or why that fails."""
    for trial in failed:
        if trial.point == point and trial.error is not None:
            return trial.error
    try:
        stored = to_store(search.plan(point))
    except ConfigError as error:
        return str(error)
    name = identity(stored)
    return Task(name, stored, folder / name)


def _kept(journal: Journal, drawn: Any, outcome: Outcome) -> Trial:
    if outcome.summary is None:
        assert outcome.error is not None
        if not outcome.error.diverged:
            raise ControlNetError(outcome.error.message)
        return journal.keep(drawn, None, error=outcome.error.message)
    try:
        objective, value = _judged(outcome.summary)
    except LearningDivergedError as error:
        return journal.keep(drawn, None, error=str(error))
    return journal.keep(drawn, value, objective=objective)


def _judged(summary: Mapping[str, Any]) -> tuple[str, float]:
    for name in OBJECTIVES:
        value = summary.get(name)
        if value is not None and math.isfinite(value):
            return name, float(value)
    raise LearningDivergedError("the error on the validation samples is not finite")


def _best(trials: Iterable[Trial]) -> Trial | None:
    finished = (trial for trial in trials if trial.value is not None)
    return min(finished, key=lambda trial: trial.value or 0.0, default=None)


def _run_folder(search: Search, folder: Path, trial: Trial) -> Path:
    return folder / identity(to_store(search.plan(trial.point)))


def _write_best(search: Search, folder: Path, trials: list[Trial]) -> Path:
    best = _best(trials)
    assert best is not None
    words = f"# Trial {best.number} of {len(trials)}: {best.objective} {best.value:.6g}\n"
    with named_errors("write to", folder):
        return put(folder / BEST, (words + as_toml(search.plan(best.point))).encode())
