"""What is counted while an epoch runs, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..adaptation import amount_of_control
from ..data import Split
from ..losses import AbstractLoss
from ..objective import Lesson


@dataclass
class Tally:
    """Sums over the minibatches of one epoch."""

    loss: float = 0.0
    samples: int = 0
    judged: int = 0
    converged: int = 0
    diverged: int = 0
    control: float = 0.0
    controlled: int = 0
    extendable: int = 0
    steps: int = 0
    error: float = 0.0

    def add(self, lesson: Lesson, proposal: Any) -> None:
        n = len(lesson.inputs)
        self.loss += n * lesson.loss
        self.samples += n
        if proposal.control is not None:
            self.control += float(amount_of_control(lesson.plant, proposal.control, lesson.voltages).sum())
            self.controlled += n
        if proposal.converged is not None:
            self.judged += n
            self.converged += int(proposal.converged.sum())
            self.diverged += int(proposal.diverged.sum())
        if proposal.simulated_steps is not None:
            self.extendable += n
            self.steps += int(proposal.simulated_steps.sum())
            self.error = max(self.error, float(proposal.extension_error.max()))

    def percent(self, count: int) -> float | None:
        return 100 * count / self.judged if self.judged else None


class Score(NamedTuple):
    """How good a network is: mean loss, and share of wrongly classified samples; None for target vectors."""

    loss: float
    error_percent: float | None


def judge(plant: Any, loss: AbstractLoss, split: Split) -> Score:
    """Judge the feed-forward output of a network on a split, in one pass of a thousand samples at a time."""
    total, wrong, targets = 0.0, 0, split.targets
    # What overflows has diverged, which is said in words.
    with np.errstate(over="ignore", invalid="ignore"):
        for part in (slice(i, i + 1000) for i in range(0, len(targets), 1000)):
            output = plant.predict(split.inputs[part])
            total += len(output) * loss.value(output, targets[part])
            if split.by_class:
                wrong += int((output.argmax(axis=1) != targets[part]).sum())
    return Score(total / len(targets), 100 * wrong / len(targets) if split.by_class else None)
