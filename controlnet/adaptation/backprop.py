"""Error backpropagation, the peer of every other law."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._parallel import cut, in_parallel
from ..activations import slope_of_rate
from ..base import AbstractLaw, Array, Proposal

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


@dataclass(frozen=True)
class Backprop(AbstractLaw):
    """BP: minus the gradient of the mean loss (Rumelhart, Hinton, Williams 1986); needs no simulation."""

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        plant: Any = loop.plant
        batch, rates, costs = len(lesson.inputs), lesson.rates, [len(lesson.inputs) * W.size for W in plant.weights]
        below = [lesson.inputs.astype(plant.dtype, copy=False), *rates[:-1]]
        change = {f"W{i}": np.empty_like(W) for i, W in enumerate(plant.weights)}

        def layers() -> Iterator[tuple[int, Array, slice]]:
            delta = lesson.output_gradient / plant.dtype.type(-batch)
            for i in range(len(rates) - 1, -1, -1):
                change[f"b{i}"] = delta.sum(axis=0)
                yield from ((i, delta.T, rows) for rows in cut(delta.shape[1], costs[i]))
                if i > 0:
                    delta = delta @ plant.weights[i]
                    delta *= slope_of_rate(plant.activations[i - 1], rates[i - 1])

        def multiply(item: tuple[int, Array, slice]) -> None:
            i, delta, rows = item
            np.matmul(delta[rows], below[i], out=change[f"W{i}"][rows])

        in_parallel(multiply, layers(), sum(costs), lesson.threads)
        return Proposal(change)
