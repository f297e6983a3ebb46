"""Single-phase learning: forward and feedback weights learn from one noisy simulation (Meulemans et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..base import AbstractLaw, Parameters, Proposal
from ..errors import InputError
from ._rules import RuleMemory, adapt, finish, rule_memory, summed
from .convergence import judged
from .dfc import DFC
from .feedback import FeedbackLearning

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


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

    adapt = staticmethod(adapt)
    finish = staticmethod(finish)

    def __post_init__(self) -> None:
        if self.forward.update != "continuous" or self.forward.converged_only:
            raise InputError("SinglePhase.forward: expected continuous updates of all samples")

    def accumulators(self, plant: Any, batch: int) -> RuleMemory:
        forward = self.forward.accumulators(plant, batch).forward
        return rule_memory(plant, batch, forward, self.feedback.accumulators(plant, batch).feedback)

    def gather(self, memories: Iterable[Any]) -> list[Any]:
        return summed(memories)

    def collect(self, plant: Any, accumulators: list[Any], samples: int, steps: int) -> Parameters:
        forward, feedback = (law.collect(plant, accumulators, samples, steps) for law in (self.forward, self.feedback))
        return forward | feedback

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        self.feedback.require(loop, lesson)
        response = lesson.simulate(loop)
        return judged(loop, lesson, response, self.feedback.scaled(loop, response.change))
