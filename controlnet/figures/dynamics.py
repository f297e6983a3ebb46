"""Figure 1D: a PI controller steers the output of a small network to the reference, and the hidden layers with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..controllers import PI
from ..data.student_teacher import make_task
from ..loop import ClosedLoop
from ..objective import Lesson, MeanSquaredError, Nudged
from ..pictures.look import BLUE, GREY, ORANGE, empty_figure, tidy
from ..pictures.table import Table
from ..plants import DeepNetwork
from .sleep import Learner, Sleep, minibatches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = (15, 10, 10, 2)
CONTROLLER = PI(k_p=1.0, leak=0.0015)
NUDGE = 0.05
SAMPLES, BATCH, SLEEP_RATE = 1024, 32, 0.5
DT, STEPS, EVERY = 0.005, 2000, 10
"""Published step size and number of steps; every tenth is kept."""


def compute(quick: bool, threads: int | None, seed: int) -> Table:
    """Let the feedback weights learn, then simulate one sample.

    Parameters
    ----------
    quick : bool
        Whether the feedback weights learn for a shorter time.
    threads : int or None
        Number of threads.
    seed : int
        The seed.

    Returns
    -------
    Table
        One row a time: control, output and reference, the steady state of both, all outputs relative to the
        feed-forward output; and the norm of v - v_ff of the hidden layers.
    """
    for_task, for_network, for_noise, for_shuffle = np.random.SeedSequence(seed).spawn(4)
    task = make_task(SIZES, SAMPLES, 1, for_task)
    network = DeepNetwork.initialize(SIZES, feedback="random", seed=for_network)
    learner = Learner(Sleep(), SLEEP_RATE, for_noise, threads)
    for part in minibatches(SAMPLES, BATCH, 200 if quick else 600, for_shuffle):
        network = learner.update(network, task.inputs[part])
    objective = Nudged(MeanSquaredError(), NUDGE)
    lesson = Lesson(network, task.test_inputs, task.test_targets, objective, DT, STEPS, threads)
    loop = ClosedLoop(network, CONTROLLER)
    response = lesson.simulate(loop, record=("y", "u", "v", "v_basal"), record_every=EVERY)
    steady, start = lesson.steady_state(loop), lesson.output[0]
    n = network.noutputs
    signals = {f"u{i}": response.u[:, 0, i] for i in range(n)}
    signals |= {f"u{i}_steady": np.full(len(response.t), steady.u[0, i]) for i in range(n)}
    signals |= {f"y{i}": response.y[:, 0, i] - start[i] for i in range(n)}
    signals |= {f"y{i}_steady": np.full(len(response.t), steady.y[0, i] - start[i]) for i in range(n)}
    signals |= {f"r{i}": np.full(len(response.t), lesson.reference[0, i] - start[i]) for i in range(n)}
    for i in range(len(SIZES) - 2):
        signals[f"moved{i + 1}"] = np.linalg.norm(response.v[i][:, 0] - response.v_basal[i][:, 0], axis=1)
    signals |= {"converged": np.full(len(response.t), float(steady.converged[0]))}
    return Table(("t", *signals), list(zip(response.t, *signals.values(), strict=True)))


def picture(table: Table) -> Figure:
    """Draw the figure.

    Parameters
    ----------
    table : Table
        What `compute` gave.

    Returns
    -------
    Figure
        Control, output and hidden layers over time.
    """
    data = table.select()
    figure = empty_figure(10, 3.2, "one sample under PI control (15-10-10-2, tanh, learned feedback weights)")
    control, output, hidden = figure.subplots(1, 3)
    rest = "steady state" if data["converged"].all() else "where the search for a steady state ended"
    for i, (colour, line) in enumerate(((BLUE, "-"), (ORANGE, "--"))):
        control.plot(data["t"], data[f"u{i}"], color=colour, linestyle=line, label=f"$u_{i + 1}$")
        control.plot(data["t"], data[f"u{i}_steady"], color=colour, linestyle=":", linewidth=1)
        output.plot(data["t"], data[f"y{i}"], color=colour, linestyle=line, label=f"$r_{{L,{i + 1}}}$")
        output.plot(data["t"], data[f"r{i}"], color=colour, linestyle=":", linewidth=1)
        hidden.plot(data["t"], data[f"moved{i + 1}"], color=colour, linestyle=line, label=f"layer {i + 1}")
    control.plot([], [], color=GREY, linestyle=":", linewidth=1, label=rest)
    output.plot([], [], color=GREY, linestyle=":", linewidth=1, label="reference $r^*$")
    labels = ("control $u$", r"output $r_L - r_L^{\mathrm{ff}}$", r"$\|v_i - v_i^{\mathrm{ff}}\|$, hidden layers")
    axes = (control, output, hidden)
    for axis, label in zip(axes, labels, strict=True):
        axis.set_ylabel(f"{label} (dimensionless)", fontsize=8)
        axis.set_xlabel(r"time ($\tau_u$)", fontsize=8)
        axis.margins(x=0)
        axis.legend(fontsize=8, frameon=False)
    tidy(axes)
    return figure
