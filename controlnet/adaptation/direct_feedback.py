"""Direct feedback alignment: the output's error reaches every layer through its feedback weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..activations import slope
from ..base import AbstractLaw, Parameters, Proposal

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


@dataclass(frozen=True)
class DFA(AbstractLaw):
    """DFA: Delta W_i = -1/B (phi'(a_i) * (g Q_i^T))^T r_{i-1}, the output layer as in BP (Nokland 2016); no simulation.

    g is the gradient of each sample's loss in its output.  The feedback weights may be random or learned.

    Parameters
    ----------
    derivative : bool
        Whether the factor phi' is there; the public code of Meulemans et al. 2022 leaves it out.
    """

    derivative: bool = True

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        plant: Any = loop.plant
        plant.stacked_feedback()
        change: Parameters = {}
        gradient = lesson.output_gradient / plant.dtype.type(-len(lesson.inputs))
        below = lesson.inputs.astype(plant.dtype, copy=False)
        for i, (v, r) in enumerate(zip(lesson.voltages, lesson.rates, strict=True)):
            delta = gradient
            if i < len(plant.weights) - 1:
                delta = gradient @ plant.feedback[i].T
                delta = delta * slope(plant.activations[i], v) if self.derivative else delta
            change |= {f"W{i}": delta.T @ below, f"b{i}": delta.sum(axis=0)}
            below = r
        return Proposal(change)
