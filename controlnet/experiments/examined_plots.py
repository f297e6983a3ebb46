"""Draws what was seen of a run: eigenvalues, conditions and alignment over training, the loop's frequency response."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base import Array
from ..pictures.files import write
from ..pictures.look import empty_figure, tidy
from .examining import Examined

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FREQUENCIES = np.logspace(-3, 3, 61)
PANELS = {
    "conditions (share, relative deviation)": ("condition_one", "condition_two", "null_space_ratio"),
    "angle of the update [degrees]": ("angle_to_bp", "angle_to_gn", "angle_to_mn"),
    "angle of Q [degrees]": ("feedback_angle_to_transpose", "feedback_angle_to_pseudoinverse"),
    "spectral abscissa [1/tau_u]": ("abscissa", "abscissa_worst", "loop_abscissa_worst"),
}


def draw_all(examined: Examined, folder: Path) -> list[Path]:
    """Write every plot that there is something for, as SVG and PNG.

    Parameters
    ----------
    examined : Examined
        What `examine` gave.
    folder : Path
        Where; it exists.

    Returns
    -------
    list of Path
        The files.
    """
    return [file for name, figure in _figures(examined) for file in write(folder, name, figure, formats=("svg", "png"))]


def _figures(examined: Examined) -> Iterator[tuple[str, Figure]]:
    seen = {epoch: look for epoch, look in examined.looks.items() if look.steady is not None}
    if any(np.isfinite(look.separated).any() for look in seen.values()):
        yield "eigenvalues", _eigenvalues(examined)
    if any(look.steady is not None and look.steady.converged.any() for look in seen.values()):
        yield "bode", _bode(examined)
    if len(examined.recorded.get("epoch", ())) > 1:
        yield "training", _training(examined.recorded)


def _figure(columns: int, title: str) -> tuple[Figure, list[Axes]]:
    figure = empty_figure(3.6 * columns, 3.2, title)
    axes = list(np.ravel(figure.subplots(1, columns)))
    tidy(axes)
    return figure, axes


def _eigenvalues(examined: Examined) -> Figure:
    """Draw the clouds in the complex plane: the controller alone, and the whole loop."""
    figure, axes = _figure(2, f"{examined.settings.experiment}, {examined.settings.method}: eigenvalues of the loop")
    for (epoch, look), marker in zip(examined.looks.items(), "o^", strict=False):
        clouds = [look.separated, look.whole.eigenvalues if look.whole is not None else np.empty(0)]
        for axis, cloud in zip(axes, clouds, strict=True):
            points = cloud[np.isfinite(cloud)]
            axis.plot(points.real, points.imag, marker, markersize=3, alpha=0.5, label=f"epoch {epoch}")
    for axis, title in zip(axes, ("network at rest: -(a E J Q + b I)", "network in motion: whole loop"), strict=True):
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set(title=title, xlabel="real part [1/tau_u]", ylabel="imaginary part [1/tau_u]")
        axis.title.set_fontsize(9)
    axes[0].legend(fontsize=8)
    return figure


def _bode(examined: Examined) -> Figure:
    """Draw the largest and smallest singular value of the loop transfer function and of the sensitivity."""
    figure, axes = _figure(2, f"{examined.settings.experiment}, {examined.settings.method}: frequency response")
    for (epoch, look), color in zip(examined.looks.items(), ("C0", "C1"), strict=False):
        if look.steady is None or not look.steady.converged.any():
            continue
        sample = int(np.flatnonzero(look.steady.converged)[0])
        system = examined.loops[epoch].linearize(look.steady, sample, "open-loop", minimal=True)
        L = np.moveaxis(system(1j * FREQUENCIES, squeeze=False), 2, 0)
        S = np.linalg.inv(np.eye(L.shape[1]) + L)
        for axis, response in zip(axes, (L, S), strict=True):
            values = np.linalg.svd(response, compute_uv=False)
            axis.loglog(FREQUENCIES, values[:, 0], color=color, label=f"epoch {epoch}, largest")
            axis.loglog(FREQUENCIES, values[:, -1], color=color, linestyle="--", label=f"epoch {epoch}, smallest")
    for axis, title in zip(axes, ("loop transfer function, cut at e", "sensitivity r -> e"), strict=True):
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set(title=title, xlabel="frequency [rad/tau_u]", ylabel="singular value")
        axis.title.set_fontsize(9)
    axes[0].legend(fontsize=7)
    return figure


def _training(recorded: dict[str, Array]) -> Figure:
    panels = {title: [name for name in names if name in recorded] for title, names in PANELS.items()}
    panels = {title: names for title, names in panels.items() if names}
    figure, axes = _figure(len(panels), "over training")
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        for name in names:
            axis.plot(recorded["epoch"], recorded[name], "o-", markersize=3, label=name.replace("_", " "))
        axis.set(xlabel="epoch", ylabel=title)
        axis.locator_params(axis="x", integer=True)
        axis.legend(fontsize=7)
    return figure
