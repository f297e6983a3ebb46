"""Deep Feedback Control: the forward weights learn from what the controller does to the neurons.

Meulemans et al. 2021, arXiv 2106.07887: dW_i/dt ~ (phi(v_i) - phi(v_ff_i)) r_{i-1}^T, with three ways to take the
time integral.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from .._kernel import kernel
from ..activations import activate, rate
from ..base import AbstractLaw, Array, Block, Kernel, Parameters, Proposal
from ..errors import InputError
from ..layered import (
    ACTIVATION,
    BASAL,
    BIASES,
    FIRST,
    RATE,
    WEIGHTS,
    WIDTH,
    WIDTH_BELOW,
    LayeredParams,
    signal,
    split,
    voltage,
)
from ..objective import Strong
from ..wires import finish_nothing, keep_parameters
from .convergence import Convergence, judged

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson
    from ..response import Response

WINDOW = 16
"""Steps that are stacked for one matrix product."""


class DFCMemory(NamedTuple):
    """What the continuous law accumulates for one block.

    `deltas` and `rates` hold the last steps side by side; the input does not change in time, so for
    the first layer the differences are summed first.
    """

    weight: Array
    theta: Array
    deltas: Array
    rates: Array
    first_deltas: Array
    basal_rates: Array
    product: Array
    filled: Array
    by_voltage: float


@kernel
def _write_difference(i: int, b: Block, l: DFCMemory) -> None:
    """Write phi(v) - phi(v_ff), or v - v_ff, of layer i into `basal_rates`."""
    p = b.p
    first, n = p.layers[i, FIRST], p.layers[i, WIDTH]
    difference, basal = l.basal_rates[first : first + n], signal(BASAL, i, p)
    if l.by_voltage > 0:
        teaching, taught = voltage(i, b.x, p), basal
    else:
        activate(p.layers[i, ACTIVATION], basal, difference)
        teaching, taught = signal(RATE, i, p), difference
    for j in range(n):
        for s in range(teaching.shape[1]):
            difference[j, s] = l.weight[s] * (teaching[j, s] - taught[j, s])


@kernel
def adapt(k: int, dt: float, b: Block, l: DFCMemory) -> None:
    """Stack the differences and rates of one step.

    Parameters
    ----------
    k : int
        Index of the step.
    dt : float
        Step size.
    b : Block
        The wires.
    l : DFCMemory
        Written.
    """
    p = b.p
    batch, n = b.y.shape[1], p.layers[0, WIDTH]
    for i in range(p.layers.shape[0]):
        _write_difference(i, b, l)
    for j in range(n):
        for s in range(batch):
            l.first_deltas[j, s] += l.basal_rates[j, s]
    start, rates = l.filled[0] * batch, p.signals[p.signals.shape[0] // 4 * RATE :]
    for j in range(n, l.deltas.shape[0]):
        for s in range(batch):
            l.deltas[j, start + s] = l.basal_rates[j, s]
    for j in range(l.rates.shape[0]):
        for s in range(batch):
            l.rates[j, start + s] = rates[j, s]
    l.filled[0] += 1
    if l.filled[0] * batch == l.deltas.shape[1]:
        _flush(p, l)


@kernel
def _flush(p: LayeredParams, l: DFCMemory) -> None:
    """Add the outer products of the stacked steps, one matrix product a layer."""
    for i in range(1, p.layers.shape[0]):
        first, n, m = p.layers[i, FIRST], p.layers[i, WIDTH], p.layers[i, WIDTH_BELOW]
        deltas, rates = l.deltas[first : first + n], l.rates[first - m : first]
        product = l.product[: n * m].reshape((n, m))
        np.dot(deltas, rates.T, product)
        _accumulate(i, product, deltas, p, l)
    l.filled[0] = 0
    for j in range(l.deltas.shape[0]):
        for s in range(l.deltas.shape[1]):
            l.deltas[j, s] = 0


@kernel
def _accumulate(i: int, product: Array, deltas: Array, p: LayeredParams, l: DFCMemory) -> None:
    start, bias, m = p.layers[i, WEIGHTS], p.layers[i, BIASES], product.shape[1]
    for j in range(product.shape[0]):
        for c in range(m):
            l.theta[start + j * m + c] += product[j, c]
        for s in range(deltas.shape[1]):
            l.theta[bias + j] += deltas[j, s]


@kernel
def finish(b: Block, l: DFCMemory) -> None:
    """Add what is still stacked, and the first layer.

    Parameters
    ----------
    b : Block
        The wires.
    l : DFCMemory
        Written.
    """
    p = b.p
    if l.filled[0] > 0:
        _flush(p, l)
    n, m = p.layers[0, WIDTH], p.layers[0, WIDTH_BELOW]
    product = l.product[: n * m].reshape((n, m))
    np.dot(l.first_deltas, b.w.T, product)
    _accumulate(0, product, l.first_deltas, p, l)


@dataclass(frozen=True)
class DFC(AbstractLaw):
    """DFC's rule for the forward weights, a mean over batch and time; the direction to move in.

    - ``update="continuous"`` (DFC): 2 / (B T) times the sum over the T time points of (phi(v) - phi(v_ff)) r_{i-1}^T,
      taken while the loop runs.
    - ``update="steady-state"`` (DFC-SS): 2 / B (phi(a + dv) - phi(a)) r_{i-1}^T at the last step, with
      dv = v - v_ff and a = W_i r_{i-1} + b_i.
      Under noise that step is as noisy as any other.
    - ``update="analytic"`` (DFC-SSA): the same at the linearised steady state u = (J Q + alpha I)^{-1} (r* - r_L),
      without a simulation.

    The public code doubles and negates the voltage-difference rule at the steady state; here it is what continuous
    updates converge to.

    Parameters
    ----------
    update : {"continuous", "steady-state", "analytic"}
        When the rule is applied.
    rule : {"nonlinear-difference", "voltage-difference"}
        phi(v) - phi(v_ff), or v - v_ff.
    converged_only : bool
        Leave out samples whose controller has not converged, as `Convergence` judges; they still count in B.  If there
        are any, the batch is simulated twice.
    """

    update: Literal["continuous", "steady-state", "analytic"] = "continuous"
    rule: Literal["nonlinear-difference", "voltage-difference"] = "nonlinear-difference"
    converged_only: bool = False

    def __post_init__(self) -> None:
        choices = {
            "update": ("continuous", "steady-state", "analytic"),
            "rule": ("nonlinear-difference", "voltage-difference"),
        }
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise InputError(f"DFC.{name}: expected one of {', '.join(allowed)}, got {value!r}")

    @property
    def adapt(self) -> Kernel:  # type: ignore[override]
        """The kernel called after every step."""
        return adapt if self.update == "continuous" else keep_parameters

    @property
    def finish(self) -> Kernel:  # type: ignore[override]
        """The kernel called at the end."""
        return finish if self.update == "continuous" else finish_nothing

    def accumulators(self, plant: Any, batch: int) -> DFCMemory | tuple[()]:
        if self.update != "continuous":
            return ()
        if "W0" not in plant.parameters:
            raise InputError(f"DFC: expected a layered network as plant, got {type(plant).__name__}")
        p, dtype = plant.params(1), plant.dtype
        neurons = plant.nneurons
        return DFCMemory(
            weight=np.ones(batch, dtype),
            theta=np.zeros(p.theta.size, dtype),
            deltas=np.zeros((neurons, WINDOW * batch), dtype),
            rates=np.zeros((neurons - plant.noutputs, WINDOW * batch), dtype),
            first_deltas=np.zeros((plant.sizes[1], batch), dtype),
            basal_rates=np.zeros((neurons, batch), dtype),
            product=np.zeros(max(w.size for w in plant.weights), dtype),
            filled=np.zeros(1, np.int64),
            by_voltage=dtype.type(self.rule == "voltage-difference"),
        )

    def collect(self, plant: Any, accumulators: list[Any], samples: int, steps: int) -> Parameters:
        if self.update != "continuous":
            return {}
        total = sum(memory.theta for memory in accumulators)
        scaled = total * plant.dtype.type(2 / (samples * (steps + 1)))
        return split(scaled, plant.params(1).layers, "Wb")

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        if self.update == "analytic":
            if isinstance(lesson.objective, Strong):
                raise InputError(
                    "DFC.update: analytic updates linearise at the feed-forward output, which strong "
                    "feedback leaves far behind: expected continuous or steady-state"
                )
            u = analytic_control(loop, lesson)
            return Proposal(self._at(loop.plant, lesson, *_state_under(u, lesson)), control=u)
        response = self._simulate(loop, lesson, None)
        weight = None
        if self.converged_only:
            weight = Convergence.of(loop, lesson, response).converged.astype(loop.plant.dtype)
        if self.update == "steady-state":
            change = self._at(loop.plant, lesson, *_final_state(response), weight)
        elif weight is None or weight.all():
            change = response.change
        else:
            change = self._simulate(loop, lesson, weight).change
        return judged(loop, lesson, response, change)

    def _simulate(self, loop: ClosedLoop, lesson: Lesson, weight: Array | None) -> Response:
        record = () if self.update == "continuous" else ("v", "v_basal", "r")
        return lesson.simulate(loop, record=record, record_every=lesson.steps, weight=weight)

    def _at(
        self, plant: Any, lesson: Lesson, rates: list[Array], shift: list[Array], weight: Array | None = None
    ) -> Parameters:
        """Give the change at a steady state with rates r and voltage differences dv."""
        change: Parameters = {}
        below, scale = np.asarray(lesson.inputs, plant.dtype), plant.dtype.type(2 / len(lesson.inputs))
        for i, (r, dv) in enumerate(zip(rates, shift, strict=True)):
            delta = dv
            if self.rule == "nonlinear-difference":
                a = below @ plant.weights[i].T + plant.biases[i]
                delta = rate(plant.activations[i], a + dv) - rate(plant.activations[i], a)
            if weight is not None:
                delta = delta * weight[:, np.newaxis]
            change |= {f"W{i}": scale * (delta.T @ below), f"b{i}": scale * delta.sum(axis=0)}
            below = r
        return change


def _final_state(response: Response) -> tuple[list[Array], list[Array]]:
    """Give rates and voltage differences at the last step."""
    v, basal, r = ([layer[-1] for layer in getattr(response, name)] for name in ("v", "v_basal", "r"))
    return r, [soma - input_ for soma, input_ in zip(v, basal, strict=True)]


def analytic_control(loop: ClosedLoop, lesson: Lesson) -> Array:
    """Give the control of the linearised steady state, u = (E J Q + alpha I)^{-1} e.

    J and e are those of the feed-forward state (Meulemans et al. 2021); E is the comparator's sensitivity, the
    identity for e = r* - r_L.

    Parameters
    ----------
    loop : ClosedLoop
        Network and controller; alpha is the controller's leak divided by its integral gain.
    lesson : Lesson
        Inputs and reference.

    Returns
    -------
    array (batch, n_L)
        The control u.

    Raises
    ------
    InputError
        If E J Q + alpha I is singular.
    """
    plant: Any = loop.plant
    a, b = loop.controller.steady_relation()
    y = lesson.output
    gain = loop.comparator.sensitivity(y) @ plant.jacobian(lesson.voltages) @ plant.stacked_feedback()
    error = loop.comparator.compare(lesson.reference, y)
    number = plant.dtype.type
    matrix = number(a) * gain + number(b) * np.eye(plant.noutputs, dtype=plant.dtype)
    return np.asarray(solve_loop(matrix, number(a) * error[:, :, np.newaxis])[:, :, 0], plant.dtype)


def solve_loop(matrix: Array, right: Array) -> Array:
    """Solve (E J Q + alpha I) s = right for every sample.

    Parameters
    ----------
    matrix : array (batch, n_L, n_L)
        The linearised loop, or its transpose.
    right : array (batch, n_L, 1)
        Right side.

    Returns
    -------
    array (batch, n_L, 1)
        The solution.

    Raises
    ------
    InputError
        If a matrix is singular, rounding aside.
    """
    try:
        if (np.linalg.cond(matrix) > 0.1 / np.finfo(matrix.dtype).eps).any():
            raise np.linalg.LinAlgError
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        message = "the loop's matrix E J Q + alpha I is singular: take a leak > 0 or other feedback weights"
        raise InputError(message) from None


def _state_under(u: Array, lesson: Lesson) -> tuple[list[Array], list[Array]]:
    """Give rates and voltage differences at rest under a constant control."""
    plant = lesson.plant
    shift = [u @ q.T for q in plant.feedback]
    return plant.rates(plant.voltages(lesson.inputs, shift)), shift
