"""Figure 3: when DFC makes minimum-norm updates, and when its loop is stable, while a student learns from a teacher.

All numbers are of the same test samples.  The abscissa is that of -(J Q + alpha I) at the feed-forward state, which
every sample has; samples without a stable steady state are counted, those of the simulation that have not settled too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..adaptation import DFC, Backprop, MinimumNorm
from ..analysis import angle, condition_two, spectral_abscissa, stability
from ..base import AbstractLaw, Parameters
from ..errors import DivergedError
from ..loop import ClosedLoop
from ..objective import Lesson
from ..pictures.look import BLUE, GREY, ORANGE, RED, empty_figure, legend_below, tidy
from ..pictures.table import Table
from .student import CONTROLLER, DURATION, FEEDBACK, FULL, LAWS, QUICK, Classroom, Moment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    "student law feedback updates progress loss condition_two_mean condition_two_min abscissa_median abscissa_max "
    "loop_abscissa_max samples without_steady_state unstable unsettled diverged angle_to_mn angle_to_bp"
).split()
STUDENTS = 2
"""Students, each with a teacher and random weights of its own: how stable fixed feedback is depends on the draw."""
LOOKS: dict[str, Any] = {
    "trained": (BLUE, "-", "o"),
    "fixed product": (ORANGE, "--", "s"),
    "fixed random": (RED, "-.", "^"),
}
"""Colour, line and marker by feedback."""


def compute(quick: bool, threads: int | None, seed: int) -> Table:
    """Train all students and look at them.

    Parameters
    ----------
    quick : bool
        Whether to take the short schedule.
    threads : int or None
        Number of threads.
    seed : int
        The seed.

    Returns
    -------
    Table
        One row for each student, law, kind of feedback, and look.
    """
    table = Table(COLUMNS)
    for student in range(STUDENTS):
        for row in _taught(Classroom(QUICK if quick else FULL, threads, seed + student)):
            table.add(student=student, **row)
    return table


def _taught(room: Classroom) -> Iterator[dict[str, Any]]:
    """Train one student in every way."""
    task, students = room.task(), {feedback: room.student(feedback) for feedback in FEEDBACK}
    for name, update in LAWS.items():
        law = DFC(update)  # type: ignore[arg-type]
        for feedback, student in students.items():
            for moment in room.course(student, law, feedback == "trained"):
                lesson = room.lesson(moment.network, task.test_inputs, task.test_targets)
                place = {"law": name, "feedback": feedback, "updates": moment.updates}
                yield place | {"progress": moment.updates * room.plan.speed} | look(law, lesson, moment)


def look(law: DFC, lesson: Lesson, moment: Moment) -> dict[str, float]:
    """Measure one student.

    Parameters
    ----------
    law : DFC
        How it learns.
    lesson : Lesson
        Test samples.
    moment : Moment
        Where it stands.

    Returns
    -------
    dict of float
        Numbers by column.
    """
    network = moment.network
    loop = ClosedLoop(network, CONTROLLER, law=law)
    J, Q = network.jacobian(lesson.voltages), network.stacked_feedback()
    inside = condition_two(J, Q)
    separated = spectral_abscissa(-(J @ Q + CONTROLLER.leak * np.eye(network.noutputs)))
    steady = lesson.steady_state(loop)
    found = stability(loop, steady, threads=lesson.threads)
    whole = found.max_real_eigenvalue[steady.converged]
    return {
        "loss": lesson.loss,
        "condition_two_mean": inside.mean(),
        "condition_two_min": inside.min(),
        "abscissa_median": np.median(separated),
        "abscissa_max": separated.max(),
        "loop_abscissa_max": whole.max() if len(whole) else np.nan,
        "samples": len(steady.u),
        "without_steady_state": int((~steady.converged).sum()),
        "unstable": int((steady.converged & ~found.stable).sum()),
    } | _wanted(loop, lesson, moment.diverged)


def _wanted(loop: ClosedLoop, lesson: Lesson, diverged: bool) -> dict[str, float]:
    """Give the angles of the update, and how many samples of its simulation, if any, have not settled."""
    law: Any = loop.law
    try:
        proposal = law.propose(loop, lesson)
    except DivergedError:
        return {"unsettled": np.nan, "diverged": 1, "angle_to_mn": np.nan, "angle_to_bp": np.nan}
    simulated = law.update == "continuous"

    def away(other: AbstractLaw) -> float:
        wanted: Parameters = other.propose(loop, lesson).change
        return angle(proposal.change, wanted)

    return {
        "unsettled": int((~proposal.converged).sum()) if simulated else np.nan,
        "diverged": int(diverged) or (int(proposal.diverged.sum() > 0) if simulated else 0),
        "angle_to_mn": away(MinimumNorm(rule="nonlinear-difference")),
        "angle_to_bp": away(Backprop()),
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
        One column of panels a law.
    """
    from matplotlib.lines import Line2D

    figure = empty_figure(10, 9.5, f"{STUDENTS} students (15-10-10-5, tanh) learn by DFC, each from its own teacher")
    axes = figure.subplots(5, len(LAWS), sharex=True, sharey="row")
    rows: list[tuple[str, Callable[[Axes, dict[str, Any], Any], None]]] = [
        ("test loss\n(mean squared error)", _loss),
        (r"condition 2: $\|PQ\|\,/\,\|Q\|$" "\n(1: Q in the row space of J)", _inside),
        (r"max Re $\lambda$ of $-(JQ+\alpha I)$" "\n" r"($1/\tau_u$; stable below 0)", _abscissa),
        ("samples without a\nstable steady state (%)", _counts),
        ("angle of the update (°)", _angles),
    ]
    for column, law in enumerate(LAWS):
        axes[0, column].set_title(law, fontsize=10)
        for axis, (label, panel) in zip(axes[:, column], rows, strict=True):
            for feedback, style in LOOKS.items():
                for student in range(STUDENTS):
                    panel(axis, table.select(student=student, law=law, feedback=feedback), style)
            if column == 0:
                axis.set_ylabel(label, fontsize=8)
        axes[-1, column].set_xlabel(
            "learning rate × updates of W\n(in published updates; 12,000: 300 epochs)", fontsize=8
        )
    for axis in axes[2]:
        axis.axhline(0, color=GREY, linewidth=0.8)
    axes[0, 0].set_ylim(bottom=0)
    axes[1, 0].set_ylim(0.3, 1.02)
    axes[3, 0].set_ylim(-5, 110)
    axes[4, 0].set_ylim(0, 95)
    tidy(axes.ravel())
    lines = [
        Line2D([], [], color=c, linestyle=s, marker=m, markersize=4, label=f"Q {name}")
        for name, (c, s, m) in LOOKS.items()
    ]
    notes = [
        Line2D([], [], color=GREY, linewidth=0.8, label="thin: the worst sample; angle to BP"),
        Line2D([], [], color=GREY, linewidth=1.6, label="thick: mean or median; angle to MN"),
        Line2D([], [], color=GREY, linestyle=":", label=f"dotted: simulation not settled at {DURATION:g} τᵤ"),
    ]
    legend_below(figure, [*lines, *notes])
    return figure


def _loss(axis: Axes, data: dict[str, Any], style: Any) -> None:
    axis.plot(data["progress"], data["loss"], color=style[0], linestyle=style[1], linewidth=1.6)


def _pair(axis: Axes, data: dict[str, Any], thick: str, thin: str, style: Any) -> None:
    colour, line, marker = style
    many = max(1, len(data["progress"]) // 8)
    axis.plot(data["progress"], data[thick], color=colour, linestyle=line, marker=marker, markersize=4, markevery=many)
    axis.plot(data["progress"], data[thin], color=colour, linestyle=line, linewidth=0.8)


def _inside(axis: Axes, data: dict[str, Any], style: Any) -> None:
    _pair(axis, data, "condition_two_mean", "condition_two_min", style)


def _abscissa(axis: Axes, data: dict[str, Any], style: Any) -> None:
    _pair(axis, data, "abscissa_median", "abscissa_max", style)


def _angles(axis: Axes, data: dict[str, Any], style: Any) -> None:
    _pair(axis, data, "angle_to_mn", "angle_to_bp", style)


def _counts(axis: Axes, data: dict[str, Any], style: Any) -> None:
    share = 100 / data["samples"]
    unstable = share * (data["without_steady_state"] + data["unstable"])
    axis.plot(data["progress"], unstable, color=style[0], linestyle=style[1], marker=style[2], markersize=4)
    axis.plot(data["progress"], share * data["unsettled"], color=style[0], linestyle=":", linewidth=1.2)
    stopped = data["diverged"] > 0
    axis.plot(data["progress"][stopped], 100 * np.ones(stopped.sum()), "x", color=style[0], markersize=7)
