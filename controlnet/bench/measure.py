"""Times a row and its floor or peer in alternation, so that a machine that changes its pace changes it for both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from .._parallel import one_blas_thread
from ..errors import InputError
from .floor import floor, seconds_of
from .memory import peak_memory
from .rows import ROWS, Row
from .work import Size, Work


class Effort(NamedTuple):
    """How often everything is timed.

    Parameters
    ----------
    least, most : int
        Bounds of the number of rounds.
    seconds : float
        Rounds go on for so long, within these bounds.
    """

    least: int
    most: int
    seconds: float


FULL, QUICK = Effort(10, 200, 3.0), Effort(3, 50, 0.5)


@dataclass(frozen=True)
class Figure:
    """What was measured of a row.

    Parameters
    ----------
    row : Row
        The row.
    seconds : float
        Median time of its work.
    reference_seconds : float or None
        Median time of its floor or peer.
    peak_mb : float or None
        Peak memory above program and data, in MB.
    found_percent : float or None
        Share of the samples whose steady state was found.
    """

    row: Row
    seconds: float
    reference_seconds: float | None = None
    peak_mb: float | None = None
    found_percent: float | None = None

    @property
    def ratio(self) -> float | None:
        """Time of the work over that of its floor or peer."""
        return None if self.reference_seconds is None else self.seconds / self.reference_seconds

    @property
    def met(self) -> bool | None:
        """Whether every bound of the row is kept; None if it has none."""
        row, verdicts = self.row, []
        if row.bound is not None:
            verdicts.append((self.seconds if self.ratio is None else self.ratio) <= row.bound)
        if row.most_mb is not None and self.peak_mb is not None:
            verdicts.append(self.peak_mb <= row.most_mb)
        if row.least_found and self.found_percent is not None:
            verdicts.append(self.found_percent >= row.least_found)
        return all(verdicts) if verdicts else None


def measure(row: Row, threads: int, *, quick: bool = False) -> Figure:
    """Measure a row.

    Parameters
    ----------
    row : Row
        What.
    threads : int
        Number of threads of work and floor.
    quick : bool
        Fewer rounds, and memory only where it has a bound.

    Returns
    -------
    Figure
        What came out.
    """
    if row.starts:
        work = row.build(row.size)
        return Figure(row, median(seconds_of(work) for _ in range(row.starts)))
    with one_blas_thread():
        pair = works(row, threads)
        found = _found_percent(pair[0]()) if row.least_found is not None else None
        seconds, reference = alternate(pair, QUICK if quick else FULL)
    memory = peak_memory(row.build, _size(row, threads)) if row.most_mb is not None or not quick else None
    return Figure(row, seconds, reference, memory and memory.above_mb, found)


def works(row: Row, threads: int) -> tuple[Work, Work]:
    """Prepare a row and what it is compared with.

    Parameters
    ----------
    row : Row
        A row that has a floor or a peer.
    threads : int
        Number of threads.

    Returns
    -------
    tuple of callable
        The work, and its floor or peer; to be called with BLAS on one thread.
    """
    if row.products is None and row.peer is None:
        raise InputError(f"{row.name}: has neither a floor nor a peer")
    work, size = row.build(_size(row, threads)), _size(row, threads)
    if row.products is not None:
        return work, floor(row.products, size)
    peer = ROWS[row.peer or row.name]
    return work, peer.build(_size(peer, threads))


def _size(row: Row, threads: int) -> Size:
    return row.size._replace(threads=threads)


def _found_percent(outcome: Any) -> float:
    return 100 * float(np.mean(outcome.converged))


def alternate(works: Sequence[Work], effort: Effort) -> list[float]:
    """Time works in turn, after each has run once.

    Parameters
    ----------
    works : sequence of callable
        The works.
    effort : Effort
        How often.

    Returns
    -------
    list of float
        Median seconds of each.
    """
    for work in works:
        work()
    rounds: list[list[float]] = []
    start = time.perf_counter()
    while len(rounds) < effort.least or (len(rounds) < effort.most and time.perf_counter() - start < effort.seconds):
        rounds.append([seconds_of(work) for work in works])
    return [median(times) for times in zip(*rounds, strict=True)]
