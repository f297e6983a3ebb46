"""Learning of the feedback weights from the correlation of noise and control (anti-Hebbian).

dQ_i/dt = -s_i v_fb_i u^T - beta Q_i: under noise the weights approach the shape J^T (J J^T + gamma I)^-1 (Meulemans et
al. 2021, section 4; 2022, section 3).  The decay beta is the optimiser's weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._check import require_above_zero, require_at_least_zero
from .._kernel import kernel
from ..base import AbstractLaw, Array, Block, Parameters, Proposal
from ..errors import InputError
from ..layered import APICAL, RATE
from .dfc import WINDOW

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson

SMALLEST_SIGMA = 0.01
"""Floor of the noise's strength in the scale 1 / sigma^2 of the rule, as in the public code."""


class FeedbackMemory(NamedTuple):
    """What the law accumulates for one block; `apicals` runs one step ahead of `controls`.

    `tau` = 0 takes the control as it is, else its high-pass part.
    """

    total: Array
    product: Array
    apicals: Array
    controls: Array
    low: Array
    filled: Array
    tau: float


@kernel
def adapt(k: int, dt: float, b: Block, l: FeedbackMemory) -> None:
    """Stack the control of one step beside the apical voltages of the step before.

    Parameters
    ----------
    k : int
        Index of the step.
    dt : float
        Step size.
    b : Block
        The wires.
    l : FeedbackMemory
        Written.
    """
    batch, start = b.u.shape[1], l.filled[0] * b.u.shape[1]
    share = dt / l.tau if l.tau > 0 else dt
    for j in range(b.u.shape[0]):
        for s in range(batch):
            l.controls[j, start + s] = b.u[j, s]
            if l.tau > 0:
                l.low[j, s] = b.u[j, s] if k == 0 else l.low[j, s] + share * (b.u[j, s] - l.low[j, s])
                l.controls[j, start + s] -= l.low[j, s]
    l.filled[0] += 1
    if l.filled[0] * batch == l.controls.shape[1]:
        _flush(l)
    n = b.p.signals.shape[0] // 4
    apical, start = b.p.signals[APICAL * n : RATE * n], l.filled[0] * batch
    for j in range(n):
        for s in range(batch):
            l.apicals[j, start + s] = apical[j, s]


@kernel
def _flush(l: FeedbackMemory) -> None:
    """Add the outer products of the stacked steps."""
    np.dot(l.apicals, l.controls.T, l.product)
    for j in range(l.total.shape[0]):
        for c in range(l.total.shape[1]):
            l.total[j, c] += l.product[j, c]
    l.filled[0] = 0


@kernel
def finish(b: Block, l: FeedbackMemory) -> None:
    """Add what is still stacked.

    Parameters
    ----------
    b : Block
        The wires.
    l : FeedbackMemory
        Written.
    """
    for j in range(l.controls.shape[0]):
        for s in range(l.filled[0] * b.u.shape[1], l.controls.shape[1]):
            l.controls[j, s] = 0
    if l.filled[0] > 0:
        _flush(l)


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

    def accumulators(self, plant: Any, batch: int) -> FeedbackMemory:
        if "Q0" not in plant.parameters:
            raise InputError(f"FeedbackLearning: {type(plant).__name__} has no feedback weights Q to learn")
        n, m, dtype = plant.nneurons, plant.ninputs, plant.dtype
        return FeedbackMemory(
            total=np.zeros((n, m), dtype),
            product=np.zeros((n, m), dtype),
            apicals=np.zeros((n, WINDOW * batch), dtype),
            controls=np.zeros((m, WINDOW * batch), dtype),
            low=np.zeros((m, batch), dtype),
            filled=np.zeros(1, np.int64),
            tau=dtype.type(self.high_pass or 0),
        )

    def collect(self, plant: Any, accumulators: list[Any], samples: int, steps: int) -> Parameters:
        total = sum(memory.total for memory in accumulators) * plant.dtype.type(-1 / (samples * steps))
        parts = np.split(total, np.cumsum(plant.sizes[1:-1]))
        return {f"Q{i}": part for i, part in enumerate(parts) if self.output_layer or i < len(parts) - 1}

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        self.require(loop, lesson)
        return Proposal(self.scaled(loop, super().propose(loop, lesson).change))

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
