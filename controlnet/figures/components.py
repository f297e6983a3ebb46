"""Figure 2: feedback weights before and after learning, among those for which condition 2 and stability hold.

A network 5-2-2 and one input, so that there is one J; Q is a point in eight dimensions, and the row space of J,
{J^T M}, has four of them.  All points are scaled to unit norm; the principal components are those of the cloud of
stable Q in the row space and of J^T (J J^T + gamma I)^-1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..analysis import damped_inverse, null_space_ratio, spectral_abscissa
from ..base import Array
from ..pictures.look import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, empty_figure, legend_below, tidy
from ..pictures.table import Table
from ..plants import DeepNetwork
from .sleep import Learner, Sleep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = (5, 2, 2)
BATCH, SLEEP_RATE = 32, 1.0
DAMPINGS = np.logspace(-5, 2, 50)
COLUMNS = ("kind", "start", "updates", "gamma", "pc1", "pc2", "outside", "abscissa")


def compute(quick: bool, threads: int | None, seed: int) -> Table:
    """Draw stable feedback weights in the row space, and learn others from random starts.

    Parameters
    ----------
    quick : bool
        Whether there are fewer of them, learning for a shorter time.
    threads : int or None
        Number of threads.
    seed : int
        The seed.

    Returns
    -------
    Table
        A row for each Q: its kind, principal components, the share |(I - P) Q| / |Q| outside the row space, and the
        largest real part of the eigenvalues of -JQ.
    """
    points, starts, updates, looks = (300, 4, 320, 16) if quick else (2000, 8, 960, 32)
    for_network, for_cloud, for_starts, for_noise = np.random.SeedSequence(seed).spawn(4)
    rng = np.random.default_rng(for_cloud)
    network = DeepNetwork.initialize(SIZES, feedback="random", seed=for_network)
    x = np.repeat(rng.normal(size=(1, SIZES[0])), BATCH, axis=0)
    J = network.jacobian(network.voltages(x[:1]))[0]
    cloud = stable_cloud(J, points, rng)
    shapes = [damped_inverse(J[np.newaxis], gamma)[0] for gamma in DAMPINGS]
    axes = principal_axes(np.stack([unit(Q).ravel() for Q in (*cloud, *shapes)]))
    table = Table(COLUMNS)

    def add(kind: str, Q: Array, start: float = np.nan, updates: float = np.nan, gamma: float = np.nan) -> None:
        pc1, pc2 = axes @ unit(Q).ravel()
        table.add(
            kind=kind,
            start=start,
            updates=updates,
            gamma=gamma,
            pc1=pc1,
            pc2=pc2,
            outside=null_space_ratio(J[np.newaxis], Q[np.newaxis])[0],
            abscissa=spectral_abscissa(-(J @ Q)[np.newaxis])[0],
        )

    for Q in cloud:
        add("stable in row space", Q)
    for gamma, Q in zip(DAMPINGS, shapes, strict=True):
        add("damped", Q, gamma=gamma)
    add("pseudoinverse", np.linalg.pinv(J), gamma=0.0)
    add("transpose", J.T)
    for number, (drawn, noise) in enumerate(zip(for_starts.spawn(starts), for_noise.spawn(starts), strict=True)):
        fresh = DeepNetwork.initialize(SIZES, feedback="random", seed=drawn).feedback
        assert fresh is not None
        learning = network.with_parameters({f"Q{i}": Q for i, Q in enumerate(fresh)})
        learner = Learner(Sleep(), SLEEP_RATE, noise, threads)
        add("learning", learning.stacked_feedback(), start=number, updates=0)
        for k in range(1, updates + 1):
            learning = learner.update(learning, x)
            if k % (updates // looks) == 0:
                add("learning", learning.stacked_feedback(), start=number, updates=k)
    return table


def stable_cloud(J: Array, points: int, rng: np.random.Generator) -> list[Array]:
    """Draw Q = J^T M with normal M, and keep those with which all eigenvalues of JQ have a positive real part.

    Parameters
    ----------
    J : array (n_L, n)
        Jacobian of the output.
    points : int
        How many.
    rng : Generator
        Source of the numbers.

    Returns
    -------
    list of array (n, n_L)
        The weights.
    """
    found: list[Array] = []
    while len(found) < points:
        Q = J.T @ rng.normal(size=(len(J), len(J)))
        if spectral_abscissa(-(J @ Q)[np.newaxis])[0] < 0:
            found.append(Q)
    return found


def unit(Q: Array) -> Array:
    """Scale feedback weights to unit norm, which leaves condition 2 and the signs of eigenvalues as they are.

    Parameters
    ----------
    Q : array
        The weights, not zero.

    Returns
    -------
    array
        The scaled weights.
    """
    return np.asarray(Q / np.linalg.norm(Q))


def principal_axes(points: Array) -> Array:
    """Give the two directions in which points differ most.

    Parameters
    ----------
    points : array (number, n)
        The points.

    Returns
    -------
    array (2, n)
        Unit vectors; the largest entry of each is positive.
    """
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][:2]
    return np.asarray(axes * np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, np.newaxis])


def picture(table: Table) -> Figure:
    """Draw the figure.

    Parameters
    ----------
    table : Table
        What `compute` gave.

    Returns
    -------
    Figure
        The two principal components; and the share outside the row space against the first.
    """
    figure = empty_figure(9, 5, "feedback weights Q (5-2-2, tanh, one input), scaled to unit norm")
    axes = figure.subplots(1, 2)
    looks = {
        "stable in row space": (dict(color="#A6CEE3", marker=".", linestyle="", markersize=3), "stable $Q = J^T M$"),
        "damped": (dict(color=ORANGE, marker="", linewidth=3), r"$J^T(JJ^T+\gamma I)^{-1}$"),
        "pseudoinverse": (dict(color=GREEN, marker="X", linestyle="", markersize=6), r"$J^+$"),
        "transpose": (dict(color=RED, marker="D", linestyle="", markersize=5), r"$J^T$"),
    }
    handles = []
    for axis, height in zip(axes, ("pc2", "outside"), strict=True):
        for kind, (style, label) in looks.items():
            data = table.select(kind=kind)
            line = axis.plot(data["pc1"], data[height], zorder=4 if kind != "stable in row space" else 1, **style)[0]
            line.set_label(label)
            handles.append(line)
        for start in sorted(set(table.select(kind="learning")["start"])):
            data = table.select(kind="learning", start=start)
            path = axis.plot(
                data["pc1"], data[height], color=GREY, linewidth=0.8, zorder=2, label="$Q$ while it learns"
            )
            before = axis.plot(data["pc1"][0], data[height][0], "o", color="white", markersize=5, mec=PURPLE, zorder=5)[
                0
            ]
            after = axis.plot(data["pc1"][-1], data[height][-1], "o", color=BLUE, markersize=4, zorder=5)[0]
        before.set_label("$Q$ before")
        after.set_label("$Q$ after")
        handles += [*path, before, after]
        axis.set_xlabel("PC 1 (dimensionless)", fontsize=8)
    axes[0].set_ylabel("PC 2 (dimensionless)", fontsize=8)
    axes[0].set_aspect("equal", "datalim")
    axes[1].set_ylabel(r"share outside the row space of $J$: $\|(I-P)Q\|\,/\,\|Q\|$", fontsize=8)
    tidy(axes)
    legend_below(figure, handles[: len(handles) // 2], 7)
    return figure
