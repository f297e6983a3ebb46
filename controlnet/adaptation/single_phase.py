"""Single-phase learning: forward and feedback weights learn from one noisy simulation (Meulemans et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .._kernel import kernel
from ..base import AbstractLaw, Block, Parameters, Proposal
from ..errors import InputError
from .convergence import judged
from .dfc import DFC, DFCMemory
from .dfc import adapt as adapt_forward
from .dfc import finish as finish_forward
from .feedback import FeedbackLearning, FeedbackMemory
from .feedback import adapt as adapt_feedback
from .feedback import finish as finish_feedback

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


class SinglePhaseMemory(NamedTuple):
    """What both rules accumulate for one block."""

    forward: DFCMemory
    feedback: FeedbackMemory


@kernel
def _adapt(k: int, dt: float, b: Block, l: SinglePhaseMemory) -> None:
    adapt_forward(k, dt, b, l.forward)
    adapt_feedback(k, dt, b, l.feedback)


@kernel
def _finish(b: Block, l: SinglePhaseMemory) -> None:
    finish_forward(b, l.forward)
    finish_feedback(b, l.feedback)


@dataclass(frozen=True)
class SinglePhase(AbstractLaw):
    """Both rules at every step of one noisy simulation: W and b by DFC's rule, Q by that of the feedback.

    The forward rule sees the noisy trajectory as it is, the feedback rule the high-pass part of the control.  With
    strong feedback (`Strong`, `SoftmaxDifference`) this is single-phase Strong-DFC.

    Parameters
    ----------
    forward : DFC
        The continuous rule for W and b, of all samples.
    feedback : FeedbackLearning
        The rule for Q.
    """

    forward: DFC = field(default_factory=DFC)
    feedback: FeedbackLearning = field(default_factory=lambda: FeedbackLearning(high_pass=0.5))

    adapt = staticmethod(_adapt)
    finish = staticmethod(_finish)

    def __post_init__(self) -> None:
        if self.forward.update != "continuous" or self.forward.converged_only:
            raise InputError("SinglePhase.forward: expected continuous updates of all samples")

    def accumulators(self, plant: Any, batch: int) -> SinglePhaseMemory:
        forward: Any = self.forward.accumulators(plant, batch)
        return SinglePhaseMemory(forward, self.feedback.accumulators(plant, batch))

    def collect(self, plant: Any, accumulators: list[Any], samples: int, steps: int) -> Parameters:
        parts = [self.forward.collect(plant, [memory.forward for memory in accumulators], samples, steps)]
        parts += [self.feedback.collect(plant, [memory.feedback for memory in accumulators], samples, steps)]
        return parts[0] | parts[1]

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        self.feedback.require(loop, lesson)
        response = lesson.simulate(loop)
        return judged(loop, lesson, response, self.feedback.scaled(loop, response.change))
