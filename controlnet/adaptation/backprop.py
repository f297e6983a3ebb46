"""Error backpropagation, the peer of every other law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..activations import slope
from ..base import AbstractLaw, Parameters, Proposal

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


@dataclass(frozen=True)
class Backprop(AbstractLaw):
    """BP: minus the gradient of the mean loss (Rumelhart, Hinton, Williams 1986); needs no simulation."""

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        plant: Any = loop.plant
        voltages = lesson.voltages
        below = [lesson.inputs.astype(plant.dtype, copy=False), *plant.rates(voltages)[:-1]]
        change: Parameters = {}
        delta = lesson.output_gradient / plant.dtype.type(-len(lesson.inputs))
        for i in range(len(voltages) - 1, -1, -1):
            change |= {f"W{i}": delta.T @ below[i], f"b{i}": delta.sum(axis=0)}
            if i > 0:
                delta = (delta @ plant.weights[i]) * slope(plant.activations[i - 1], voltages[i - 1])
        return Proposal(change)
