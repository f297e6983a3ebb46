"""Learning of the feedback weights alone: into the row space of J, towards J^T (J J^T + gamma I)^-1.

In a linear network all samples have the same J, so that one Q can be right for all; in a tanh network it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..analysis import condition_two, damped_inverse, feedback_angle
from ..base import Array
from ..pictures.look import BLUE, GREEN, ORANGE, RED, empty_figure, tidy
from ..pictures.table import Table
from ..plants import DeepNetwork
from .sleep import Learner, Sleep, minibatches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = (20, 10, 5)
PHASE = Sleep(tau_v=0.005, k_p=0.3, leak=0.5, dt=0.001, steps=300, decay=0.01)
"""Published constants of the figures on feedback learning, with the larger of their middle leaks."""
QUICK_PHASE = PHASE._replace(steps=100)
SAMPLES, TEST_SAMPLES = 1024, 64
DAMPINGS = np.logspace(-3, 3, 61)
COLUMNS = (
    "network updates condition_two_mean condition_two_min condition_two_max "
    "angle_to_transpose angle_to_pseudoinverse angle_to_damped gamma"
).split()


def compute(quick: bool, threads: int | None, seed: int) -> Table:
    """Let the feedback weights of a linear and of a tanh network learn.

    Parameters
    ----------
    quick : bool
        Whether to simulate a shorter time, with smaller minibatches and fewer updates.
    threads : int or None
        Number of threads.
    seed : int
        The seed.

    Returns
    -------
    Table
        One row for each network and look; means over samples that were not learned from.
    """
    batch, updates, rate, looks = (32, 240, 1.0, 20) if quick else (128, 1000, 0.5, 40)
    table = Table(COLUMNS)
    for activation in ("linear", "tanh"):
        for_network, for_inputs, for_noise, for_shuffle = np.random.SeedSequence(seed).spawn(4)
        network = DeepNetwork.initialize(SIZES, activation=activation, feedback="random", seed=for_network)
        x = np.random.default_rng(for_inputs).uniform(-1, 1, (SAMPLES + TEST_SAMPLES, SIZES[0]))
        J = network.jacobian(network.voltages(x[SAMPLES:]))
        learner = Learner(QUICK_PHASE if quick else PHASE, rate, for_noise, threads)
        table.add(network=activation, updates=0, **look(network.stacked_feedback(), J))
        for k, part in enumerate(minibatches(SAMPLES, batch, updates, for_shuffle), 1):
            network = learner.update(network, x[part])
            if k % (updates // looks) == 0:
                table.add(network=activation, updates=k, **look(network.stacked_feedback(), J))
    return table


def look(Q: Array, J: Array) -> dict[str, float]:
    """Measure feedback weights.

    Parameters
    ----------
    Q : array (n, n_L)
        The weights.
    J : array (batch, n_L, n)
        Jacobians of the samples.

    Returns
    -------
    dict of float
        Condition 2, and mean angles; that to J^T (J J^T + gamma I)^-1 for the gamma with which it is smallest.
    """
    inside = condition_two(J, Q)
    away = [feedback_angle(Q, damped_inverse(J, gamma)).mean() for gamma in DAMPINGS]
    best = int(np.argmin(away))
    return {
        "condition_two_mean": inside.mean(),
        "condition_two_min": inside.min(),
        "condition_two_max": inside.max(),
        "angle_to_transpose": feedback_angle(Q, J.swapaxes(1, 2)).mean(),
        "angle_to_pseudoinverse": feedback_angle(Q, damped_inverse(J)).mean(),
        "angle_to_damped": away[best],
        "gamma": DAMPINGS[best],
    }


def picture(table: Table) -> Figure:
    """Draw the figure.

    Parameters
    ----------
    table : Table
        What `compute` gave.

    Returns
    -------
    Figure
        Condition 2 above, angles below; a column a network.
    """
    networks = table.kinds("network")
    figure = empty_figure(8, 5.5, "feedback weights that learn alone (20-10-5)")
    axes = figure.subplots(2, len(networks), sharex=True, sharey="row")
    angles = {
        "angle_to_transpose": (RED, "--", r"$J^T$"),
        "angle_to_pseudoinverse": (GREEN, "-.", r"$J^+$"),
        "angle_to_damped": (ORANGE, "-", r"$J^T(JJ^T+\gamma I)^{-1}$, best $\gamma$"),
    }
    for (above, below), name in zip(axes.T, networks, strict=True):
        data = table.select(network=name)
        at = data["updates"]
        above.set_title(name, fontsize=10)
        above.plot(at, data["condition_two_mean"], color=BLUE, label="mean of samples")
        least, most = data["condition_two_min"], data["condition_two_max"]
        above.fill_between(at, least, most, color=BLUE, alpha=0.25, linewidth=0, label="all samples")
        for column, (colour, line, label) in angles.items():
            below.plot(at, data[column], color=colour, linestyle=line, label=label)
        below.set_xlabel("updates of Q", fontsize=8)
    above.legend(fontsize=8, frameon=False, loc="lower right")
    below.legend(fontsize=8, frameon=False)
    axes[0, 0].set_ylabel(r"condition 2: $\|PQ\|\,/\,\|Q\|$", fontsize=8)
    axes[0, 0].set_ylim(0, 1.03)
    axes[1, 0].set_ylabel("mean angle of Q to ... (°)", fontsize=8)
    axes[1, 0].set_ylim(0, 95)
    tidy(axes.ravel())
    return figure
