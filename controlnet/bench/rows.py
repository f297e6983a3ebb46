"""The table: what is timed, against what, and how fast it should be.

A new row is one entry below; its work is a function of `controlnet.bench.work`, which a process that measures memory
finds by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from ..errors import InputError
from . import floor, start, work
from .floor import Products
from .work import Size, Work


@dataclass(frozen=True)
class Row:
    """One line of the table; its figure is the time of its work over that of its floor or peer, else the time itself.

    Parameters
    ----------
    name : str
        A short name.
    title : str
        What it is.
    build : callable
        ``build(size)`` prepares the work.
    size : Size
        How much work.
    products : callable or None
        The matrix products that make its floor.
    peer : str or None
        Name of the row that it is compared with instead.
    bound : float or None
        The figure should be at most this; None for a row that only informs.
    most_mb : float or None
        Bound of the peak memory above program and data, in MB.
    least_found : float or None
        Per cent of the samples whose steady state should be found; None if it seeks none.
    limited_by : str
        What takes the time.
    starts : int
        Number of processes that are started to time it, if it times those.
    quick : bool
        Whether it is in a quick run.
    """

    name: str
    title: str
    build: Callable[[Size], Work]
    size: Size = field(default_factory=Size)
    products: Products | None = None
    peer: str | None = None
    bound: float | None = None
    most_mb: float | None = None
    least_found: float | None = None
    limited_by: str = ""
    starts: int = 0
    quick: bool = True


def _learning(weights: str) -> Products:
    return partial(floor.forward_and_feedback, learned=weights)


ROWS = {
    row.name: row
    for row in (
        Row(
            "dfc",
            "continuous DFC, batch 32, 500 steps, float64",
            work.dfc,
            products=_learning("W"),
            bound=1.4,
            limited_by="two activations of every neuron and step, passes over voltages and windows",
        ),
        Row(
            "dfc-float32",
            "continuous DFC, batch 32, 500 steps, float32",
            work.dfc,
            Size("float32"),
            products=_learning("W"),
            bound=1.6,
            limited_by="the same as in float64; products are twice as fast, passes are not",
        ),
        Row(
            "dfc-extended",
            "the same, settled samples extended to 1e-6, float64",
            work.dfc_extended,
            products=_learning("W"),
            bound=1.0,
            limited_by="the steps until the fast motions have died down, a quarter of all",
        ),
        Row(
            "dfc-extended-float32",
            "the same, settled samples extended, float32",
            work.dfc_extended,
            Size("float32"),
            products=_learning("W"),
            bound=1.0,
            limited_by="the same, and the linearisation of every sample",
        ),
        Row(
            "single-phase",
            "noisy single-phase Strong-DFC, batch 128, 500 steps, float32",
            work.single_phase,
            Size("float32", batch=128),
            products=_learning("WQ"),
            bound=2.5,
            most_mb=300,
            limited_by="random numbers, and two activations of every neuron and step",
        ),
        Row(
            "single-phase-float64",
            "noisy single-phase Strong-DFC, batch 128, 500 steps, float64",
            work.single_phase,
            Size(batch=128),
            products=_learning("WQ"),
            quick=False,
        ),
        Row(
            "feedback-step",
            "two-phase feedback learning, batch 32, 44 steps, float64",
            work.feedback_step,
            Size(steps=44),
            products=_learning("Q"),
            bound=2.0,
            limited_by="what a minibatch costs once: copies of the weights, the first layer",
        ),
        Row(
            "feedback-step-float32",
            "two-phase feedback learning, batch 128, 44 steps, float32",
            work.feedback_step,
            Size("float32", batch=128, steps=44),
            products=_learning("Q"),
            quick=False,
        ),
        Row(
            "linear-feedback-step",
            "the same in the linearised loop, batch 128, 44 steps, float32",
            work.linear_feedback_step,
            Size("float32", batch=128, steps=44),
            peer="feedback-step-float32",
            bound=0.45,
            limited_by="the Jacobian of every sample",
        ),
        Row(
            "dfc-ss-simulated",
            "DFC-SS from the last of 500 steps, batch 32, float64",
            work.dfc_last_step,
            products=_learning(""),
            quick=False,
        ),
        Row(
            "dfc-ss",
            "DFC-SS by root finding to 1e-8, batch 32, float64",
            work.dfc_steady_state,
            peer="dfc-ss-simulated",
            bound=1 / 50,
            least_found=0,
            limited_by="the feed-forward pass, the products of the update and those of a few iterations",
        ),
        Row(
            "strong-ss-simulated",
            "Strong-DFC from the last of 500 steps, batch 128, float64",
            work.strong_last_step,
            Size(batch=128),
            products=_learning(""),
            quick=False,
        ),
        Row(
            "strong-ss",
            "Strong-DFC by root finding to 1e-8, batch 128, float64",
            work.strong_steady_state,
            Size(batch=128),
            peer="strong-ss-simulated",
            bound=1 / 8,
            least_found=99.9,
            limited_by="three Jacobians of every sample, one of them exact, and a forward pass for each iteration",
        ),
        Row(
            "dfc-ssa",
            "DFC-SSA update, batch 128, float32",
            work.analytic,
            Size("float32", batch=128),
            peer="bp",
            bound=3.0,
            limited_by="the Jacobian of every sample, and a system of n_L equations for each",
        ),
        Row(
            "bp",
            "BP update, batch 128, float32",
            work.backprop,
            Size("float32", batch=128),
            products=floor.backprop,
        ),
        Row(
            "bp-minibatch",
            "BP minibatch with Adam, batch 128, float32",
            work.bp_minibatch,
            Size("float32", batch=128),
            products=floor.backprop,
        ),
        Row(
            "start-cold",
            "first `controlnet run` of an installation until it trains (once)",
            start.cold,
            bound=15.0,
            limited_by="the compiler",
            starts=1,
            quick=False,
        ),
        Row(
            "start-warm",
            "a later `controlnet run` until it trains (median of 3)",
            start.warm,
            bound=1.5,
            limited_by="imports of NumPy, SciPy and Numba, and reading compiled loops",
            starts=3,
            quick=False,
        ),
    )
}


def chosen(names: Sequence[str], quick: bool) -> list[Row]:
    """Give the rows of these names.

    Parameters
    ----------
    names : sequence of str
        The names; empty for all.
    quick : bool
        Whether rows that are not in a quick run are left out, unless they are asked for by name.

    Returns
    -------
    list of Row
        In the order of the table.

    Raises
    ------
    InputError
        Naming the choices, if there is no such row.
    """
    if unknown := [name for name in names if name not in ROWS]:
        raise InputError(f"rows: expected names among {', '.join(ROWS)}, got {unknown[0]!r}")
    return [row for row in ROWS.values() if (row.name in names if names else row.quick or not quick)]
