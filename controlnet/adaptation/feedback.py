"""Learning of the feedback weights from the correlation of noise and control (anti-Hebbian).

dQ_i/dt = -s_i v_fb_i u^T - beta Q_i: under noise the weights approach the shape J^T (J J^T + gamma I)^-1 (Meulemans et
al. 2021, section 4; 2022, section 3).  The decay beta is the optimiser's weight decay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._check import require_above_zero, require_at_least_zero
from ..base import AbstractLaw, Parameters, Proposal
from ..errors import InputError
from ._feedback_rule import feedback_memory
from ._forward_rule import forward_memory
from ._narrow import narrowed, widened
from ._rules import RuleMemory, adapt, finish, require_network, rule_memory, summed

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson

SMALLEST_SIGMA = 0.01
"""Floor of the noise's strength in the scale 1 / sigma^2 of the rule, as in the public code."""


@dataclass(frozen=True)
class FeedbackLearning(AbstractLaw):
    """Anti-Hebbian rule for the feedback weights, a mean over batch and time; the direction to move in.

    Delta Q_i = -s_i / ((T - 1) B) times the sum over the T - 1 steps of v_fb_i[t] u[t + 1]^T, from v_fb[0] = 0, with
    s_i = (1 + tau_v / tau_noise)^(L - i) / max(sigma_i, 0.01)^2 and sigma_i that of the integrator's noise.  Two-phase
    learning ("sleep") calls it with the network's own output as reference, or with the labels if feedback is strong.

    The factor s_i comes in with `propose`; the change of a `Response` is the mean alone.

    Parameters
    ----------
    layer_scaling : float
        The ratio tau_v / tau_noise in s_i; 0 for the same scale in all layers.
    high_pass : float or None
        Time constant of the low-pass part that is taken off u (single-phase learning, Meulemans et al. 2022); None to
        take u as it is.
    output_layer : bool
        Whether the weights to the output layer learn too.
    """

    layer_scaling: float = 0.0
    high_pass: float | None = None
    output_layer: bool = True

    adapt = staticmethod(adapt)
    finish = staticmethod(finish)

    def __post_init__(self) -> None:
        require_at_least_zero("FeedbackLearning", layer_scaling=self.layer_scaling)
        if self.high_pass is not None:
            require_above_zero("FeedbackLearning", high_pass=self.high_pass)

    def accumulators(self, plant: Any, batch: int) -> RuleMemory:
        require_network("FeedbackLearning", plant, "Q0")
        forward = forward_memory(plant, batch, False, learns=False)
        neurons = plant.nneurons - (0 if self.output_layer else plant.noutputs)
        return rule_memory(plant, batch, forward, feedback_memory(plant, batch, neurons, self.high_pass))

    def gather(self, memories: Iterable[Any]) -> list[Any]:
        return summed(memories)

    def collect(self, plant: Any, accumulators: list[Any], samples: int, steps: int) -> Parameters:
        total = accumulators[0].feedback.total * plant.dtype.type(-1 / (samples * steps))
        return {f"Q{i}": part for i, part in enumerate(plant.by_layer(total, axis=0)) if len(part)}

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        self.require(loop, lesson)
        narrow = None if self.output_layer else narrowed(loop, lesson)
        if narrow is None:
            change = lesson.simulate(loop).change
        else:
            change = widened(loop.plant, narrow[1].simulate(narrow[0]).change)
        return Proposal(self.scaled(loop, change))

    def require(self, loop: ClosedLoop, lesson: Lesson) -> None:
        """Raise unless there is noise to learn from and the filter can follow.

        Parameters
        ----------
        loop : ClosedLoop
            The loop that learns.
        lesson : Lesson
            The time grid.

        Raises
        ------
        InputError
            Naming what is missing.
        """
        if loop.integrator.noise is None:
            raise InputError("FeedbackLearning: feedback weights learn from noise: give the integrator some")
        if self.high_pass is not None and self.high_pass < lesson.dt:
            raise InputError(
                f"FeedbackLearning.high_pass: expected at least dt = {lesson.dt:g}, got {self.high_pass:g}"
            )

    def scaled(self, loop: ClosedLoop, change: Parameters) -> Parameters:
        """Multiply the changes of the feedback weights by s_i.

        Parameters
        ----------
        loop : ClosedLoop
            The loop whose noise drove the learning.
        change : dict of arrays
            ``Q0, Q1, ...``, and any other parameters, which stay as they are.

        Returns
        -------
        dict of arrays
            The scaled change.
        """
        plant: Any = loop.plant
        last, (hidden, output) = len(plant.weights) - 1, loop.integrator.noise.strengths
        scaled = dict(change)
        for i in range(last + 1):
            sigma = max(output if i == last else hidden, SMALLEST_SIGMA)
            if f"Q{i}" in change:
                scale = (1 + self.layer_scaling) ** (last - i) / sigma**2
                scaled[f"Q{i}"] = change[f"Q{i}"] * plant.dtype.type(scale)
        return scaled
