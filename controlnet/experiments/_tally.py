"""What is counted while an epoch runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..adaptation import amount_of_control
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
