"""Error backpropagation, the peer of every other law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..activations import slope_of_rate
from ..base import AbstractLaw, Proposal
from ..layered import mean_outer

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


@dataclass(frozen=True)
class Backprop(AbstractLaw):
    """BP: minus the gradient of the mean loss (Rumelhart, Hinton, Williams 1986); needs no simulation."""

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        plant: Any = loop.plant
        below = lesson.below()
        deltas = [-lesson.output_gradient]
        for i in range(len(below) - 1, 0, -1):
            delta = deltas[0] @ plant.weights[i]
            delta *= slope_of_rate(plant.activations[i - 1], below[i])
            deltas.insert(0, delta)
        return Proposal(mean_outer(deltas, below, lesson.threads))
