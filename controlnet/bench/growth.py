"""How time and memory grow with steps, samples and parameters, each over three decades."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._parallel import one_blas_thread
from ..pictures.files import write as write_picture
from ..pictures.look import empty_figure, tidy
from ..pictures.table import Table
from .measure import Effort, alternate
from .memory import peak_memory
from .work import Size, dfc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL = (64, 32, 32, 10)
LOWEST, HIGHEST = 0.8, 1.1
"""Bounds of the exponent: below, something of fixed size rules; above, the work grows faster than what is asked for."""
MOST_MB = 5.0
"""Most that memory may grow with the number of steps."""
EFFORT, QUICK = Effort(3, 20, 0.5), Effort(1, 5, 0.1)


def _of_parameters(count: int) -> tuple[int, ...]:
    """Give a network 20-n-n-10 of about so many weights and biases."""
    n = round((math.sqrt(32**2 + 4 * (count - 10)) - 32) / 2)
    return (20, n, n, 10)


def _count(widths: Sequence[int]) -> int:
    return sum(n * (m + 1) for m, n in zip(widths[:-1], widths[1:], strict=True))


SERIES: dict[str, list[tuple[int, Size]]] = {
    "steps": [(n, Size(steps=n, batch=32, widths=SMALL)) for n in (10, 30, 100, 300, 1000, 3000, 10000)],
    "samples": [(n, Size(steps=20, batch=n, widths=SMALL)) for n in (16, 64, 256, 1024, 2048, 4096, 8192, 16384)],
    "parameters": [
        (_count(widths), Size(steps=50, batch=32, widths=widths))
        for widths in map(_of_parameters, (1000, 3000, 10000, 30000, 100000, 300000, 1000000))
    ],
}
"""Number and size of each point, by what grows."""


class Series(NamedTuple):
    """Seconds against what grows.

    Parameters
    ----------
    name : str
        What grows.
    numbers : tuple of int
        How much of it.
    seconds : tuple of float
        Median time of continuous DFC.
    """

    name: str
    numbers: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Exponent of the power law at the large end."""
        return exponent(self.numbers, self.seconds)

    @property
    def met(self) -> bool:
        """Whether the exponent is within its bounds."""
        return LOWEST <= self.exponent <= HIGHEST


class Growth(NamedTuple):
    """What was measured.

    Parameters
    ----------
    series : list of Series
        Time against steps, samples and parameters.
    memory_mb : dict
        Peak memory above program and data by number of steps; empty where the system does not tell.
    """

    series: list[Series]
    memory_mb: dict[int, float]

    @property
    def grown_mb(self) -> float | None:
        """What the most steps take above the fewest."""
        values = list(self.memory_mb.values())
        return values[-1] - values[0] if values else None

    def as_dict(self) -> dict[str, Any]:
        """Give plain values.

        Returns
        -------
        dict
            A list of ``series`` and the ``memory``.
        """
        grown = self.grown_mb
        return {
            "series": [each._asdict() | {"exponent": each.exponent, "met": each.met} for each in self.series],
            "bounds": [LOWEST, HIGHEST],
            "memory": {
                "mb_by_steps": self.memory_mb,
                "grown_mb": grown,
                "bound_mb": MOST_MB,
                "met": None if grown is None else grown <= MOST_MB,
            },
        }


def exponent(numbers: Sequence[float], seconds: Sequence[float]) -> float:
    """Fit a power law to the last decade.

    Parameters
    ----------
    numbers : sequence of float
        What grows, in rising order.
    seconds : sequence of float
        Times.

    Returns
    -------
    float
        Slope of log(seconds) over log(numbers).
    """
    return _fit(numbers, seconds)[0]


def _fit(numbers: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Give exponent and logarithm of the factor of the power law in the last decade."""
    x, y = np.log10(numbers), np.log10(seconds)
    last = x >= x[-1] - 1.01  # numbers are rounded
    slope, offset = np.polyfit(x[last], y[last], 1)
    return float(slope), float(offset)


def grow(threads: int | None = None, *, quick: bool = False, on_series: Callable[[str], None] | None = None) -> Growth:
    """Measure all series.

    Parameters
    ----------
    threads : int, optional
        Number of threads; all cores if not given.
    quick : bool
        Fewer rounds.
    on_series : callable, optional
        Is told what grows next.

    Returns
    -------
    Growth
        What came out.
    """
    measured = []
    for name, points in SERIES.items():
        if on_series is not None:
            on_series(name)
        with one_blas_thread():
            works = [dfc(size._replace(threads=threads)) for _, size in points]
            seconds = [alternate([work], QUICK if quick else EFFORT)[0] for work in works]
        measured.append(Series(name, tuple(number for number, _ in points), tuple(seconds)))
    if on_series is not None:
        on_series("memory")
    ends = [SERIES["steps"][i] for i in (0, len(SERIES["steps"]) // 2, -1)]
    peaks = {number: peak_memory(dfc, size._replace(threads=threads)) for number, size in ends}
    return Growth(measured, {number: peak.above_mb for number, peak in peaks.items() if peak is not None})


def write(growth: Growth, folder: Path) -> list[Path]:
    """Write ``growth.csv``, ``growth.svg`` and ``growth.png``.

    Parameters
    ----------
    growth : Growth
        What was measured.
    folder : Path
        Where; it exists.

    Returns
    -------
    list of Path
        The files.
    """
    table = Table(("quantity", "of", "number", "value"))
    for each in growth.series:
        for number, seconds in zip(each.numbers, each.seconds, strict=True):
            table.add(quantity="seconds", of=each.name, number=number, value=seconds)
    for steps, megabytes in growth.memory_mb.items():
        table.add(quantity="megabytes", of="steps", number=steps, value=megabytes)
    return write_picture(folder, "growth", draw(growth), table, ("svg", "png"))


def draw(growth: Growth) -> Figure:
    """Draw all series, with the power law of the last decade.

    Parameters
    ----------
    growth : Growth
        What was measured.

    Returns
    -------
    Figure
        A Matplotlib figure that belongs to no window.
    """
    figure = empty_figure(10, 3.1, "continuous DFC: growth of time, fitted to the last decade, and of memory")
    axes = figure.subplots(1, len(growth.series) + 1)
    for axis, each in zip(axes, growth.series, strict=False):
        axis.loglog(each.numbers, each.seconds, "o", markersize=4)
        slope, offset = _fit(each.numbers, each.seconds)
        ends = np.array((each.numbers[-1] / 10, each.numbers[-1]))
        axis.loglog(ends, 10**offset * ends**slope, linewidth=1.2)
        axis.set_title(f"exponent {slope:.2f}", fontsize=10)
        axis.set_xlabel(each.name)
    axes[0].set_ylabel("seconds")
    peaks = list(growth.memory_mb.values())
    axes[-1].semilogx(list(growth.memory_mb), peaks, "o-", markersize=4, linewidth=1.2)
    axes[-1].set_ylim(0, 1.5 * max(peaks, default=1))
    axes[-1].set_xlabel("steps")
    axes[-1].set_title("peak memory, MB", fontsize=10)
    tidy(axes)
    return figure
