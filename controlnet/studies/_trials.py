"""The trials of a search and its next point: the only file that knows Optuna.

Points are drawn in rounds, all of one before any of it is learned.  The journal holds finished trials alone, and the
sampler of every trial has a seed of its own.  So a trial follows from the seed, its number and the rounds before,
whether the search was interrupted in between or not, and wherever the trials of a round are learned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._files import held, named_errors, put
from ..errors import InputError, StorageError
from .comparing import flatten
from .search_space import Choice, Space, meant

JOURNAL = "trials.log"
LOCK = ".tune.lock"
STUDY = "controlnet"


class Trial(NamedTuple):
    """A finished trial.

    Parameters
    ----------
    number : int
        From 1.
    point : dict
        What was tried, by path, as `search_space.written` takes it.
    value : float or None
        What is to be small; None if the trial failed.
    error : str or None
        The line with which it failed.
    objective : str or None
        What the value is of.
    """

    number: int
    point: dict[str, Any]
    value: float | None
    error: str | None
    objective: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """What was tried, by path, as settings hold it."""
        return {path: meant(value) for path, value in self.point.items()}


@contextmanager
def claim_search(folder: Path) -> Iterator[None]:
    """Hold the folder of a search for one process; it is created with its parents.

    Parameters
    ----------
    folder : Path
        The folder.

    Yields
    ------
    None
        While it is held.

    Raises
    ------
    StorageError
        When it is in use, cannot be written to, or holds other files but no search.
    """
    with held(folder, LOCK, "search"):
        with named_errors("use", folder):
            names = {entry.name for entry in folder.iterdir()} - {LOCK}
        if names and JOURNAL not in names:
            raise StorageError(f"{folder} holds other files, such as '{min(names)}', and no search: choose another")
        yield


class Journal:
    """The trials that a folder keeps.

    Parameters
    ----------
    folder : Path
        The folder, held with `claim_search`.
    about : mapping
        What the search is, as JSON would hold it; that of the folder must be the same.
    together : int
        Number of trials in a round.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], together: int) -> None:
        self._optuna, self._together = optuna(), together
        self._file = folder / JOURNAL
        with self._readable():
            _mend(self._file)
            self._kept = self._open()
            there = self._kept.user_attrs.get("about")
            if there is None and not self._kept.trials:
                self._kept.set_user_attr("about", dict(about))
            else:
                _refuse_other(folder, there, about)
            # Points are drawn in memory, so that an interrupted trial leaves nothing behind.
            self._drawn = self._optuna.create_study(study_name=STUDY)
            kept = self._kept.trials
            self._drawn.add_trials(kept[: len(kept) - len(kept) % together])

    def _open(self) -> Any:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        file = str(self._file)
        storage = JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))
        return self._optuna.create_study(storage=storage, study_name=STUDY, load_if_exists=True)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn whatever a damaged file leads to into one line."""
        try:
            with named_errors("use", self._file):
                yield
        except (ValueError, KeyError, TypeError, AssertionError, AttributeError, RecursionError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{self._file} is damaged ({error!r:.60}): choose another folder") from error

    @property
    def trials(self) -> list[Trial]:
        """The finished trials, the first first."""
        with self._readable():
            return [_trial(each) for each in self._kept.trials]

    def draw(self, space: Space, seed: int) -> list[Any]:
        """Give the points of the next round; of one that is not whole, those that are left.

        Parameters
        ----------
        space : dict
            Range or choice by path.
        seed : int
            Seed of the search.

        Returns
        -------
        list of optuna.trial.Trial
            Open until they are given to `keep`, in this order; the point of each is ``params``.
        """
        first, kept = len(self._drawn.trials), self._kept.trials
        drawn = [self._ask(space, seed, number) for number in range(first, first + self._together)]
        for again, there in zip(drawn, kept[first:], strict=False):
            self._drawn.tell(again, there.value, state=there.state)
        return drawn[len(kept) - first :]

    def _ask(self, space: Space, seed: int, number: int) -> Any:
        (own,) = np.random.SeedSequence([seed, number]).generate_state(1)
        # Points of the same round keep away from each other.
        self._drawn.sampler = self._optuna.samplers.TPESampler(seed=int(own), constant_liar=self._together > 1)
        return self._drawn.ask({path: self._distribution(each) for path, each in space.items()})

    def keep(self, drawn: Any, value: float | None, *, error: str | None = None, objective: str | None = None) -> Trial:
        """Keep a trial for good.

        Parameters
        ----------
        drawn : optuna.trial.Trial
            What `draw` gave.
        value : float or None
            What is to be small; None if the trial failed.
        error : str, optional
            The line with which it failed.
        objective : str, optional
            What the value is of.

        Returns
        -------
        Trial
            The same, finished.
        """
        drawn.set_user_attr("objective", objective)
        drawn.set_user_attr("error", error)
        # The sampler takes pruned trials for bad ones; of failed ones it would learn nothing.
        states = self._optuna.trial.TrialState
        state = states.PRUNED if value is None else states.COMPLETE
        finished = self._drawn.tell(drawn, value, state=state)
        with named_errors("write to", self._file):
            self._kept.add_trial(finished)
        return _trial(finished)

    def _distribution(self, each: Any) -> Any:
        distributions = self._optuna.distributions
        if isinstance(each, Choice):
            return distributions.CategoricalDistribution(each.choices)
        whole = isinstance(each.low, int)
        kind = distributions.IntDistribution if whole else distributions.FloatDistribution
        return kind(each.low, each.high, log=each.log)


def optuna() -> Any:
    """Give Optuna, silenced.

    Returns
    -------
    module
        ``optuna``.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("tuning needs Optuna: install controlnet[tune]") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _mend(file: Path) -> None:
    """Take away what a crash left: half a line, and Optuna's lock; the folder is held, so nobody else needs it."""
    if file.exists():
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            put(file, content[:whole])
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)


def _trial(each: Any) -> Trial:
    attributes = each.user_attrs
    return Trial(each.number + 1, dict(each.params), each.value, attributes.get("error"), attributes.get("objective"))


def _refuse_other(folder: Path, there: Any, here: Mapping[str, Any]) -> None:
    then, now = flatten(there), flatten(json.loads(json.dumps(here)))
    for path in {**now, **then}:
        if then.get(path) != now.get(path):
            kind, _, name = path.partition(".")
            name = f"the search of {name}" if kind == "search" else name or kind
            words = f"{name} is {_word(then.get(path))} there and {_word(now.get(path))} here"
            raise StorageError(f"{folder} holds another search: {words}: choose another folder")


def _word(value: Any) -> str:
    return "not set" if value is None else f"{value}"
