"""All rows measured, as plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from .._parallel import default_threads
from ..provenance import describe_machine
from .measure import FULL, QUICK, Figure, measure
from .rows import chosen


def report(
    names: Sequence[str] = (),
    *,
    threads: int | None = None,
    quick: bool = False,
    on_row: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure rows of the table on this machine.

    Parameters
    ----------
    names : sequence of str
        Their names; all if there are none.
    threads : int, optional
        Number of threads of work and floor; all cores if not given.
    quick : bool
        Fewer rows and rounds, memory only where it has a bound.
    on_row : callable, optional
        ``on_row(name, number, rows)`` is called before each row.

    Returns
    -------
    dict
        Plain values for JSON: `about`, and ``rows``, a list of `as_dict`.

    Raises
    ------
    InputError
        If there is no such row.
    """
    rows, threads = chosen(names, quick), threads or default_threads()
    before, figures = about(threads, quick), []
    for number, row in enumerate(rows, 1):
        if on_row is not None:
            on_row(row.name, number, len(rows))
        figures.append(as_dict(measure(row, threads, quick=quick)))
    return before | {"rows": figures}


def about(threads: int, quick: bool) -> dict[str, Any]:
    """Describe what is measured with.

    Parameters
    ----------
    threads : int
        Number of threads.
    quick : bool
        Whether rounds are saved.

    Returns
    -------
    dict
        ``machine``, ``versions``, ``threads``, ``quick``, the least number of ``rounds``, and ``load``, the mean number
        of busy cores in the last minute, or None where the system does not tell.
    """
    machine = describe_machine()
    versions = {"python": machine.pop("python"), **machine.pop("packages")}
    rounds = (QUICK if quick else FULL).least
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    what = {"machine": machine, "versions": versions, "threads": threads}
    return what | {"quick": quick, "rounds": rounds, "load": load}


def as_dict(figure: Figure) -> dict[str, Any]:
    """Give a figure as plain values.

    Parameters
    ----------
    figure : Figure
        What was measured.

    Returns
    -------
    dict
        ``against`` is "floor", the name of the peer or None; ``ratio`` the time over that of the floor or peer, which
        ``bound`` limits, or in seconds the time itself where there is neither; ``met`` whether every bound is kept,
        None if there is none.
    """
    row = figure.row
    return {
        "name": row.name,
        "title": row.title,
        "seconds": figure.seconds,
        "against": "floor" if row.products is not None else row.peer,
        "floor_seconds": figure.reference_seconds if row.products is not None else None,
        "peer_seconds": figure.reference_seconds if row.peer is not None else None,
        "ratio": figure.ratio,
        "bound": row.bound,
        "met": figure.met,
        "peak_mb": figure.peak_mb,
        "bound_mb": row.most_mb,
        "found_percent": figure.found_percent,
        "bound_found_percent": row.least_found or None,
        "limited_by": row.limited_by,
    }
