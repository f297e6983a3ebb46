"""Deep Feedback Control: the forward weights learn from what the controller does to the neurons.

Meulemans et al. 2021, arXiv 2106.07887: dW_i/dt ~ (phi(v_i) - phi(v_ff_i)) r_{i-1}^T, with four ways to take the
time integral.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._check import require_above_zero
from ..activations import rate
from ..base import AbstractLaw, Array, Parameters, Proposal
from ..errors import InputError
from ..layered import mean_outer, split
from ..objective import Strong
from ._analytic_control import analytic_control
from ._feedback_rule import feedback_memory
from ._forward_rule import forward_memory
from ._rules import RuleMemory, adapt, finish, require_network, rule_memory, summed
from .convergence import Convergence, judged

STEADY_TOLERANCE = {"float64": 1e-8, "float32": 1e-5}
"""Largest residual of a steady state, by precision; a share of the first error where that is below 1."""
ROUNDING = 8
"""Units in the last place of the reference that a residual cannot do without."""

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson
    from ..response import Response


@dataclass(frozen=True)
class DFC(AbstractLaw):
    """DFC's rule for the forward weights, a mean over batch and time; the direction to move in.

    - ``update="continuous"`` (DFC): 2 / (B T) times the sum over the T time points of (phi(v) - phi(v_ff)) r_{i-1}^T,
      taken while the loop runs.
    - ``update="steady-state"`` (DFC-SS): 2 / B (phi(a + dv) - phi(a)) r_{i-1}^T at the steady state, with
      dv = v - v_ff and a = W_i r_{i-1} + b_i.  It is found by root finding, without a simulation; samples without a
      stable one are left out, and reported as not converged.
    - ``update="last-step"``: the same at the last step of a simulation, as the papers take the steady state.
      Under noise that step is as noisy as any other.
    - ``update="analytic"`` (DFC-SSA): the same at the linearised steady state u = (J Q + alpha I)^{-1} (r* - r_L),
      without a simulation.

    The public code doubles and negates the voltage-difference rule at the steady state; here it is what continuous
    updates converge to.

    Parameters
    ----------
    update : {"continuous", "steady-state", "last-step", "analytic"}
        When the rule is applied.
    rule : {"nonlinear-difference", "voltage-difference"}
        phi(v) - phi(v_ff), or v - v_ff.
    converged_only : bool
        Leave out samples whose controller has not converged, as `Convergence` judges; they still count in B.  If there
        are any, continuous updates simulate the batch twice.  Steady states by root finding are left out anyway if
        there is none; the analytic update takes all samples.
    tolerance : float or None
        Largest residual of a steady state found by root finding, a share of the first error where that is below 1, so
        that weak nudging is followed as closely; 1e-8, or 1e-5 for float32, if not given.
    """

    update: Literal["continuous", "steady-state", "last-step", "analytic"] = "continuous"
    rule: Literal["nonlinear-difference", "voltage-difference"] = "nonlinear-difference"
    converged_only: bool = False
    tolerance: float | None = None

    extendable = True
    adapt = staticmethod(adapt)
    finish = staticmethod(finish)

    def __post_init__(self) -> None:
        choices = {
            "update": ("continuous", "steady-state", "last-step", "analytic"),
            "rule": ("nonlinear-difference", "voltage-difference"),
        }
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise InputError(f"DFC.{name}: expected one of {', '.join(allowed)}, got {value!r}")
        if self.tolerance is not None:
            require_above_zero("DFC", tolerance=self.tolerance)

    def accumulators(self, plant: Any, batch: int) -> RuleMemory:
        require_network("DFC", plant)
        learns = self.update == "continuous"
        forward = forward_memory(plant, batch, self.rule == "voltage-difference", learns)
        return rule_memory(plant, batch, forward, feedback_memory(plant, batch, 0))

    def gather(self, memories: Iterable[Any]) -> list[Any]:
        return summed(memories)

    def collect(self, plant: Any, accumulators: list[Any], samples: int, steps: int) -> Parameters:
        if self.update != "continuous":
            return {}
        total = accumulators[0].forward.theta
        scaled = total * plant.dtype.type(2 / (samples * (steps + 1)))
        return split(scaled, plant.params(1).layers, "Wb")

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        if self.update == "analytic":
            return self._analytic(loop, lesson)
        if self.update == "steady-state":
            return self._steady(loop, lesson)
        response = self._simulate(loop, lesson, None)
        weight = None
        if self.converged_only:
            weight = Convergence.of(loop, lesson, response).converged.astype(loop.plant.dtype)
        if self.update == "last-step":
            change = self._last_step(lesson, response, weight)
        elif weight is None or weight.all():
            change = response.change
        else:
            change = self._simulate(loop, lesson, weight).change
        return judged(loop, lesson, response, change)

    def _analytic(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        if isinstance(lesson.objective, Strong):
            raise InputError(
                "DFC.update: analytic updates linearise at the feed-forward output, which strong "
                "feedback leaves far behind: expected continuous or steady-state"
            )
        u = analytic_control(loop, lesson)
        return Proposal(self._at_rest(lesson, u), control=u)

    def _steady(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        steady = lesson.steady_state(loop, self._tolerances(loop, lesson))
        u = np.where(steady.converged[:, np.newaxis], steady.u, 0)
        weight = None if steady.converged.all() else steady.converged.astype(u.dtype)
        return Proposal(self._at_rest(lesson, u, weight), steady.converged, np.zeros_like(steady.converged), u)

    def _tolerances(self, loop: ClosedLoop, lesson: Lesson) -> Array:
        first = np.abs(loop.comparator.compare(lesson.reference, lesson.output)).max(axis=1)
        rounding = ROUNDING * np.finfo(first.dtype).eps * np.maximum(1, np.abs(lesson.reference).max(axis=1))
        tolerance = self.tolerance or STEADY_TOLERANCE[loop.plant.dtype.name]
        return np.asarray(np.maximum(tolerance * np.minimum(1, first), rounding))

    def _simulate(self, loop: ClosedLoop, lesson: Lesson, weight: Array | None) -> Response:
        if self.update == "continuous":
            return lesson.simulate(loop, weight=weight)
        record = ("v", "v_basal", "r")
        return lesson.simulate(loop, record=record, record_every=lesson.steps, weight=weight, extend=None)

    def _at_rest(self, lesson: Lesson, u: Array, weight: Array | None = None) -> Parameters:
        """Give the change at rest under a constant control."""
        plant = lesson.plant
        basal, apical, rates = (plant.by_layer(signal.T) for signal in lesson.rests.states(u))
        deltas = apical
        if self.rule == "nonlinear-difference":
            deltas = [r - rate(name, a) for name, r, a in zip(plant.activations, rates, basal, strict=True)]
        return _change(lesson, deltas, rates, weight)

    def _last_step(self, lesson: Lesson, response: Response, weight: Array | None) -> Parameters:
        """Give the change from the last step of a simulation."""
        plant = lesson.plant
        v, basal, rates = ([layer[-1] for layer in getattr(response, name)] for name in ("v", "v_basal", "r"))
        deltas = [soma - input_ for soma, input_ in zip(v, basal, strict=True)]
        if self.rule == "nonlinear-difference":
            for i, (name, r) in enumerate(zip(plant.activations, lesson.below(rates), strict=True)):
                a = r @ plant.weights[i].T + plant.biases[i]
                deltas[i] = rate(name, a + deltas[i]) - rate(name, a)
        return _change(lesson, deltas, rates, weight)


def _change(lesson: Lesson, deltas: list[Array], rates: list[Array], weight: Array | None) -> Parameters:
    """Give twice the mean over samples of delta_i r_{i-1}^T."""
    factor = np.full((1, 1), 2, deltas[0].dtype) if weight is None else 2 * weight[:, np.newaxis]
    return mean_outer([delta * factor for delta in deltas], lesson.below(rates), lesson.threads)
