"""What the pictures have in common: colours that colour-blind readers can tell apart, and quiet axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"
"""Of the palette of Okabe and Ito (2008), but for the grey."""


def empty_figure(width: float, height: float, title: str) -> Figure:
    """Give a figure that belongs to no window.

    Parameters
    ----------
    width, height : float
        Size in inches.
    title : str
        What it shows.

    Returns
    -------
    Figure
        Without axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure


def tidy(axes: Iterable[Axes]) -> None:
    """Give axes a light grid and no frame at the top and right.

    Parameters
    ----------
    axes : iterable of Axes
        The axes.
    """
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)


def legend_below(figure: Figure, handles: list[Any], columns: int = 3) -> None:
    """Put one legend for all axes below them.

    Parameters
    ----------
    figure : Figure
        The figure.
    handles : list of Artist
        Lines with labels.
    columns : int
        Number of columns.
    """
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
