"""Reproduces a paper's table: which runs it needs, and what has come out so far beside the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from ..errors import InputError
from ..experiments.config import resolve, to_store
from ..studies.tasks import identity
from .kinds import kind, kind_of, published
from .published import PaperTable, Published
from .records import Record

FAST = "-fast"
"""How the names of experiments end that save time: by root finding, linearised feedback phases, single precision."""
UNOFFICIAL = "not the official samples"
"""Note of runs that learned other samples than are published under the name of their dataset."""
BP = "bp"
"""The row from which differences are taken."""


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
        smallest.  NaN where the record does not tell.
    at_best : bool
        Whether the paper reports the latter.
    paper : Published
        What it reports.
    epochs, planned : int
        After how many epochs, and how many the published settings say.
    fast : bool
        Whether root finding, a linearised feedback phase or single precision took the place of what the paper did.
    seconds : float or None
        Mean time of a run.
    notes : tuple of str
        What a reader must know.
    bp, paper_bp : float
        Mean of BP in the same column, ours and the paper's; NaN where there is none, or ours has neither the published
        number of epochs nor that of this cell.
    """

    row: str
    column: str
    values: tuple[float, ...]
    chosen: tuple[float, ...]
    at_best: bool
    paper: Published
    epochs: int
    planned: int
    fast: bool
    seconds: float | None
    notes: tuple[str, ...]
    bp: float = math.nan
    paper_bp: float = math.nan

    @property
    def ours(self) -> tuple[float, ...]:
        """What the paper's numbers are held against."""
        return tuple(value for value in self.chosen if not math.isnan(value)) if self.at_best else self.values

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN if there is no run."""
        return fmean(self.ours) if self.ours else math.nan

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds, of a sample; None for fewer than two."""
        return stdev(self.ours) if len(self.ours) > 1 else None

    @property
    def deviation(self) -> float:
        """Distance of the means in the paper's standard deviations; above zero where ours is worse."""
        return (self.mean - self.paper.mean) / self.paper.std

    @property
    def to_bp(self) -> float:
        """Distance from BP; above zero where BP is better."""
        return self.mean - self.bp

    @property
    def paper_to_bp(self) -> float:
        """The same in the paper."""
        return self.paper.mean - self.paper_bp

    def as_dict(self) -> dict[str, Any]:
        """Give plain values.

        Returns
        -------
        dict
            As JSON holds them.
        """
        found = bool(self.ours)
        return {
            "row": self.row,
            "column": self.column,
            "mean": self.mean if found else None,
            "std": self.std,
            "values": list(self.ours),
            "at_last_epoch": list(self.values),
            "at_best_validation": [None if math.isnan(value) else value for value in self.chosen],
            "paper_mean": self.paper.mean,
            "paper_std": self.paper.std,
            "deviation": self.deviation if found else None,
            "to_bp": None if math.isnan(self.to_bp) else self.to_bp,
            "paper_to_bp": None if math.isnan(self.paper_to_bp) else self.paper_to_bp,
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
    return experiment + FAST if fast and published(experiment + FAST) is not None else experiment


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
        The rest, one of those that are the same run under two names.  A record of more epochs tells of fewer too.
    """
    longest: dict[tuple[str, int], int] = {}
    for record in records:
        run = kind_of(record), record.seed
        longest[run] = max(record.epochs, longest.get(run, 0))
    rest: dict[tuple[str, int], Job] = {}
    for job in wanted:
        run = kind(job.stored), job.seed
        if longest.get(run, 0) < int(job.stored["train"]["epochs"]):
            rest.setdefault(run, job)
    return list(rest.values())


def fits(table: PaperTable, record: Record) -> bool:
    """Say whether a table has a cell for a run.

    Parameters
    ----------
    table : PaperTable
        The table.
    record : Record
        The run.

    Returns
    -------
    bool
        Whether it has the settings of one of the table's experiments, or of its fast variant.
    """
    experiments = [table.experiment(row, column) for row in table.rows for column in table.columns]
    return any(kind_of(record) in _kinds(experiment) for experiment in experiments)


def _kinds(experiment: str) -> dict[str, bool]:
    """Give the kinds of run that count for an experiment, and whether each is its fast variant."""
    variants = ((experiment + FAST, True), (experiment, False))
    return {kind(stored): fast for name, fast in variants if (stored := published(name)) is not None}


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
        the published settings before the fast ones.  A run of more epochs than published counts as it was after
        those, one of just as many before it.  Of each seed one run counts, of several alike the newest.
    """
    found = {}
    for column in columns:
        bp = _cell(table, BP, column, records)
        for row in rows:
            cell = _cell(table, row, column, records)
            # BP that was cut short is no measure for what was not.
            comparable = bp.epochs in (cell.epochs, bp.planned)
            found[row, column] = replace(cell, bp=bp.mean if comparable else math.nan, paper_bp=bp.paper.mean)
    return found


def _cell(table: PaperTable, row: str, column: str, records: Sequence[Record]) -> Cell:
    experiment, quantity = table.experiment(row, column), table.columns[column].quantity
    stored = published(experiment)
    planned = int(stored["train"]["epochs"]) if stored else 0
    kinds = _kinds(experiment)
    groups: dict[tuple[int, bool], list[Record]] = {}
    fitting = [record for record in records if kind_of(record) in kinds]
    # Of each seed the last one counts.
    for record in sorted(fitting, key=lambda each: (each.epochs <= planned, each.time)):
        run = record.after(planned)
        if run.result.get(quantity) is not None:
            groups.setdefault((run.epochs, not kinds[kind_of(record)]), []).append(run)
    (epochs, exact), runs = max(groups.items(), default=((0, True), []), key=lambda item: item[0])
    best = sorted({run.seed: run for run in runs}.values(), key=lambda run: run.seed)
    seconds = [run.result["seconds"] for run in best if run.result.get("seconds") is not None]
    return Cell(
        row=row,
        column=column,
        values=tuple(float(run.result[quantity]) for run in best),
        chosen=tuple(_at_best(run, quantity) for run in best),
        at_best=table.columns[column].at_best,
        paper=table.rows[row].values[column],
        epochs=epochs,
        planned=planned,
        fast=not exact,
        seconds=fmean(seconds) if seconds else None,
        notes=(*_notes(best), *_disputes(runs, quantity), *_left_out(groups, best)),
    )


def _notes(runs: Sequence[Record]) -> list[str]:
    """Give what is said of runs, once each."""
    unofficial = any(run.machine.get("official") is False for run in runs)
    return [*sorted({run.note for run in runs if run.note}), *([UNOFFICIAL] if unofficial else [])]


def _left_out(groups: Mapping[tuple[int, bool], Iterable[Record]], best: Iterable[Record]) -> list[str]:
    """Name the seeds of which there are runs, but only shorter ones or fast ones than those that count."""
    counted, there = {run.seed for run in best}, {run.seed for runs in groups.values() for run in runs}
    rest = ", ".join(str(seed) for seed in sorted(there - counted))
    return [f"without the shorter or fast runs of seed {rest}"] if rest else []


def _disputes(runs: Iterable[Record], quantity: str) -> list[str]:
    """Name the seeds of which there are runs with different results, such as those of other data."""
    results: dict[int, list[float]] = {}
    for run in runs:
        results.setdefault(run.seed, []).append(run.result[quantity])
    # Numbers of a history have six digits.
    apart = [seed for seed, each in results.items() if not math.isclose(min(each), max(each), rel_tol=1e-5)]
    return [f"one of {len(results[seed])} runs of seed {seed}" for seed in sorted(apart)]


def _at_best(record: Record, quantity: str) -> float:
    """Give a quantity after the epoch that the validation samples would choose."""
    criteria = ("validation_error_percent", "validation_loss")
    for criterion in (quantity,) if quantity == "train_loss" else criteria:
        judged = [math.inf if value is None else value for value in record.history.get(criterion, ())]
        if min(judged, default=math.inf) < math.inf:
            value = dict(enumerate(record.history.get(quantity, ()))).get(judged.index(min(judged)))
            return math.nan if value is None else value
    return math.nan
