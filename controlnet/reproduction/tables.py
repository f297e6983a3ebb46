"""Reproduces a paper's table: which runs it needs, and what has come out so far beside the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import Any

from ..errors import ConfigError, InputError
from ..experiments.config import from_stored, resolve, to_store
from ..studies.tasks import identity
from .published import PaperTable, Published
from .records import Record

FAST = "-fast"
"""How the names of experiments end that take steady states by root finding, most in single precision."""


@dataclass(frozen=True)
class Job:
    """One run that a table needs.

    Parameters
    ----------
    experiment : str
        Name in the catalogue.
    seed : int
        The seed.
    stored : dict
        The resolved settings.
    """

    experiment: str
    seed: int
    stored: dict[str, Any]

    @property
    def identity(self) -> str:
        """Name that follows from the settings."""
        return identity(self.stored)


@dataclass(frozen=True)
class Cell:
    """What has come out of one experiment.

    Parameters
    ----------
    row, column : str
        Where it belongs.
    values : tuple of float
        The quantity of the column after the last epoch, of each seed.
    chosen : tuple of float
        The same after the epoch with the smallest error (or loss) on the validation samples; of a training loss the
        smallest.
    paper : Published
        What the paper reports.
    epochs, planned : int
        Number of epochs, and that of the published settings.
    fast : bool
        Whether steady states were found by root finding, most in single precision, where the paper simulates in double.
    seconds : float or None
        Mean time of a run.
    notes : tuple of str
        What a reader must know.
    """

    row: str
    column: str
    values: tuple[float, ...]
    chosen: tuple[float, ...]
    paper: Published
    epochs: int
    planned: int
    fast: bool
    seconds: float | None
    notes: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN if there is no run."""
        return fmean(self.values) if self.values else float("nan")

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds, of a sample; None for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def deviation(self) -> float:
        """Distance of the means in the paper's standard deviations; above zero where ours is worse."""
        return (self.mean - self.paper.mean) / self.paper.std

    def as_dict(self) -> dict[str, Any]:
        """Give plain values.

        Returns
        -------
        dict
            As JSON holds them.
        """
        found = bool(self.values)
        return {
            "row": self.row,
            "column": self.column,
            "mean": self.mean if found else None,
            "std": self.std,
            "values": list(self.values),
            "at_best_validation": list(self.chosen),
            "paper_mean": self.paper.mean,
            "paper_std": self.paper.std,
            "deviation": self.deviation if found else None,
            "epochs": self.epochs,
            "planned_epochs": self.planned,
            "fast": self.fast,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def chosen_names(asked: Sequence[str], known: Iterable[str], what: str) -> list[str]:
    """Give the rows or columns that were asked for.

    Parameters
    ----------
    asked : sequence of str
        Names; all if empty.
    known : iterable of str
        Those that there are.
    what : str
        What they are, for the error.

    Returns
    -------
    list of str
        In the table's order.

    Raises
    ------
    InputError
        If one is not known.
    """
    names = list(known)
    for name in asked:
        if name not in names:
            raise InputError(f"--{what}: expected some of {', '.join(names)}, got {name!r}")
    return [name for name in names if name in asked or not asked]


def jobs(
    table: PaperTable,
    rows: Sequence[str],
    columns: Sequence[str],
    seeds: int,
    epochs: int | None = None,
    fast: bool = False,
) -> list[Job]:
    """List the runs that a table needs.

    Parameters
    ----------
    table : PaperTable
        The table.
    rows, columns : sequence of str
        Which of it.
    seeds : int
        Seeds 0 to so many.
    epochs : int, optional
        Number of epochs; as published if not given.
    fast : bool
        Whether to take the fast variants where there are some.

    Returns
    -------
    list of Job
        One seed of every cell, then the next.
    """
    found = []
    for seed in range(seeds):
        for column in columns:
            for row in rows:
                name = _variant(table.experiment(row, column), fast)
                found.append(Job(name, seed, to_store(resolve(name, seed=seed, epochs=epochs))))
    return found


def _variant(experiment: str, fast: bool) -> str:
    if not fast or _settings(experiment + FAST) is None:
        return experiment
    return experiment + FAST


@cache
def _settings(experiment: str) -> dict[str, Any] | None:
    """Give the published settings of an experiment; None if there is no such."""
    try:
        return to_store(resolve(experiment))
    except ConfigError:
        return None


def missing(wanted: Iterable[Job], records: Iterable[Record]) -> list[Job]:
    """Give the runs of which there is no record yet.

    Parameters
    ----------
    wanted : iterable of Job
        What a table needs.
    records : iterable of Record
        What there is.

    Returns
    -------
    list of Job
        The rest, one of those that are the same run under two names.
    """
    known = {(_kind_of(record), record.seed, record.epochs) for record in records}
    rest = [job for job in wanted if (_kind(job.stored), job.seed, job.stored["train"]["epochs"]) not in known]
    return list({job.identity: job for job in reversed(rest)}.values())[::-1]


def _kind(stored: dict[str, Any]) -> str:
    """Name the settings apart from seed, length and what only watches; defaults of later versions are filled in."""
    try:
        full = to_store(from_stored({key: value for key, value in stored.items() if key != "diagnostics"}))
    except ConfigError:
        return "unknown"
    train = full["train"] | {"epochs": 1, "compare_with": []}
    return identity(full | {"seed": 0, "train": train, "diagnostics": {}, "peers": {}})


@cache
def _kind_of(record: Record) -> str:
    return _kind(record.settings)


def cells(
    table: PaperTable, rows: Sequence[str], columns: Sequence[str], records: Sequence[Record]
) -> dict[tuple[str, str], Cell]:
    """Give what has come out so far.

    Parameters
    ----------
    table : PaperTable
        The table.
    rows, columns : sequence of str
        Which of it.
    records : sequence of Record
        All that there are; those of other settings than the catalogue's are left out.

    Returns
    -------
    dict of Cell
        By row and column.  Of one experiment the runs with the most epochs count, and at the same number those with
        the published settings before the fast ones.
    """
    return {(row, column): _cell(table, row, column, records) for row in rows for column in columns}


def _cell(table: PaperTable, row: str, column: str, records: Sequence[Record]) -> Cell:
    experiment, quantity = table.experiment(row, column), table.columns[column].quantity
    published = _settings(experiment)
    planned = int(published["train"]["epochs"]) if published else 0
    groups: dict[tuple[int, bool], list[Record]] = {}
    for fast in (False, True):
        stored = _settings(experiment + FAST * fast)
        kind = _kind(stored) if stored else None
        for record in records:
            if _kind_of(record) == kind:
                groups.setdefault((min(record.epochs, planned), not fast), []).append(record)
    (epochs, exact), best = max(groups.items(), default=((0, True), []), key=lambda item: item[0])
    best = sorted((each for each in best if each.result.get(quantity) is not None), key=lambda each: each.seed)
    seconds = [record.result["seconds"] for record in best if record.result.get("seconds") is not None]
    return Cell(
        row=row,
        column=column,
        values=tuple(float(record.result[quantity]) for record in best),
        chosen=tuple(_at_best(record, quantity) for record in best),
        paper=table.rows[row].values[column],
        epochs=epochs,
        planned=planned,
        fast=not exact,
        seconds=fmean(seconds) if seconds else None,
        notes=tuple(sorted({record.note for record in best if record.note})),
    )


def _at_best(record: Record, quantity: str) -> float:
    """Give a quantity after the epoch that the validation samples would choose."""
    known = record.history.get
    criterion = (quantity == "train_loss" and known(quantity)) or known("validation_error_percent")
    judged = [math.inf if value is None else value for value in criterion or known("validation_loss") or ()]
    values = known(quantity) or ()
    value = values[judged.index(min(judged))] if judged and len(values) == len(judged) else None
    return math.nan if value is None else value
