"""How time and memory grow with steps, samples and parameters, each over three decades."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._parallel import BLOCK, one_blas_thread
from ..pictures.files import write as write_picture
from ..pictures.look import empty_figure, tidy
from ..pictures.table import Table
from .measure import Effort, alternate
from .memory import peak_memory
from .work import Size, dfc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL = (64, 32, 32, 10)
LOWEST, HIGHEST = 0.8, 1.1
"""Bounds of the exponent: below, something of fixed size rules; above, the work grows faster than what is asked for."""
MOST_MB = 5.0
"""Most that memory may grow with the number of steps."""
SIGNALS, OWN_MB = 72, 2.0
"""Numbers that a minibatch of continuous DFC holds at most for each neuron and sample; what Python takes meanwhile."""
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


def most_memory_mb(size: Size) -> float:
    """Give what a minibatch in double precision may take: 8 (P (4 + B / 16) + 72 N B) bytes and 2 MB.

    Parameters
    ----------
    size : Size
        P weights and biases of N neurons, B samples; the number of steps does not count.

    Returns
    -------
    float
        Memory above program and weights in MB.
    """
    parameters, neurons = _count(size.widths), sum(size.widths[1:])
    return OWN_MB + 8 * (parameters * (4 + size.batch / BLOCK) + SIGNALS * neurons * size.batch) / 2**20


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
    network_mb : dict
        The same by number of parameters, and the most that it may be.
    """

    series: list[Series]
    memory_mb: dict[int, float]
    network_mb: dict[int, tuple[float, float]]

    @property
    def grown_mb(self) -> float | None:
        """What the most steps take above the fewest."""
        values = list(self.memory_mb.values())
        return values[-1] - values[0] if values else None

    @property
    def within(self) -> bool | None:
        """Whether memory keeps within its bound for every number of parameters; None if nothing was measured."""
        return all(peak <= most for peak, most in self.network_mb.values()) if self.network_mb else None

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
                "mb_by_parameters": {number: peak for number, (peak, _) in self.network_mb.items()},
                "bound_mb_by_parameters": {number: most for number, (_, most) in self.network_mb.items()},
                "met_by_parameters": self.within,
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
    by_steps = _peaks([SERIES["steps"][i] for i in (0, len(SERIES["steps"]) // 2, -1)], threads)
    by_parameters = _peaks(SERIES["parameters"][::2], threads)
    most = {number: most_memory_mb(size) for number, size in SERIES["parameters"]}
    return Growth(measured, by_steps, {number: (peak, most[number]) for number, peak in by_parameters.items()})


def _peaks(points: Sequence[tuple[int, Size]], threads: int | None) -> dict[int, float]:
    """Give the peak memory above program and data of each point; nothing where the system does not tell."""
    peaks = {number: peak_memory(dfc, size._replace(threads=threads)) for number, size in points}
    return {number: peak.above_mb for number, peak in peaks.items() if peak is not None}


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
    for parameters, pair in growth.network_mb.items():
        for quantity, value in zip(("megabytes", "most megabytes"), pair, strict=True):
            table.add(quantity=quantity, of="parameters", number=parameters, value=value)
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
    figure = empty_figure(12, 3.1, "continuous DFC: growth of time, fitted to the last decade, and of memory")
    axes = figure.subplots(1, len(growth.series) + 2)
    for axis, each in zip(axes, growth.series, strict=False):
        axis.loglog(each.numbers, each.seconds, "o", markersize=4)
        slope, offset = _fit(each.numbers, each.seconds)
        ends = np.array((each.numbers[-1] / 10, each.numbers[-1]))
        axis.loglog(ends, 10**offset * ends**slope, linewidth=1.2)
        axis.set_title(f"exponent {slope:.2f}", fontsize=10)
        axis.set_xlabel(each.name)
    axes[0].set_ylabel("seconds")
    peaks = list(growth.memory_mb.values())
    axes[-2].semilogx(list(growth.memory_mb), peaks, "o-", markersize=4, linewidth=1.2)
    axes[-2].set_ylim(0, 1.5 * max(peaks, default=1))
    axes[-2].set_xlabel("steps")
    axes[-2].set_ylabel("MB")
    axes[-2].set_title("peak memory", fontsize=10)
    _draw_network(axes[-1], growth.network_mb)
    tidy(axes)
    return figure


def _draw_network(axis: Axes, network_mb: dict[int, tuple[float, float]]) -> None:
    """Draw memory against parameters, beside the most that it may be."""
    numbers, pairs = list(network_mb), np.array(list(network_mb.values())).reshape(-1, 2)
    axis.loglog(numbers, pairs[:, 0], "o", markersize=4)
    axis.loglog(numbers, pairs[:, 1], linewidth=1.2)
    axis.set_xlabel("parameters")
    axis.set_title("memory and bound", fontsize=10)
