"""Learning of the feedback weights in the linearised loop: noise of the same distribution, a fraction of the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._parallel import block_size, on_threads
from .._random import seed_sequence, stream
from ..base import AbstractLaw, Array, Block, Proposal
from ..errors import DivergedError, InputError
from ..layered import RATE
from ._linear_loop import bind
from ._linear_memory import linear_memory
from ._rules import RuleMemory, require_network
from .feedback import FeedbackLearning

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson

LIMIT = 1e12
"""Largest deviation of output and control that does not count as divergence."""


@dataclass(frozen=True)
class LinearFeedbackLearning(AbstractLaw):
    """The rule of `FeedbackLearning` in the loop linearised at the feed-forward state of each sample.

    Phi alone is replaced by its tangent, so that the loop differs by a share of the order of the apical voltages.  What
    the rule wants is a random number of the same distribution as in that loop: noise along the rows of J_i, which
    moves the output, is stepped, and the rest drawn as its sum with the control.  Made for weak feedback, whose noise
    is small, and for few outputs: J (n_L, neurons) is formed for every sample.

    Recorded noise is that along the rows of J_i, n_L numbers a layer: with J_i = L_i A_i^T, L_i lower triangular and
    the columns of A_i orthonormal, A_i^T times that of the neurons.  The rest is drawn all the same.

    Parameters
    ----------
    rule : FeedbackLearning
        The rule; it takes the control as it is.
    """

    rule: FeedbackLearning = field(default_factory=FeedbackLearning)

    def __post_init__(self) -> None:
        if self.rule.high_pass is not None:
            raise InputError("LinearFeedbackLearning.rule: expected one without high_pass")

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        self.rule.require(loop, lesson)
        plant: Any = loop.plant
        integrator: Any = loop.integrator
        _require_linear(loop)
        loop.check_step(lesson.dt)
        batch, size = len(lesson.output), block_size(len(lesson.output), plant.dtype)
        integrator.noise.check(_noise_layers(plant), batch, lesson.steps, lesson.dt)
        sleep, number = bind(loop.system, integrator.transpose_disturb, loop.compiled), plant.dtype.type
        grid = (lesson.steps, number(lesson.dt), integrator.delay, number(LIMIT))

        def learn(part: slice) -> tuple[RuleMemory, int, int]:
            samples, index = part.stop - part.start, part.start // size
            block, memory = _wires(loop, lesson, part, index), self.rule.accumulators(plant, samples)
            chain = linear_memory(plant, samples, lesson.steps, _stream_across(seed_sequence(lesson.seed), index))
            step, sample = sleep(*grid, block, memory.feedback, chain)
            return memory, step, part.start + sample if sample >= 0 else -1

        results = on_threads(learn, batch, lesson.threads, size)
        if diverged := [(step, sample) for _, step, sample in results if sample >= 0]:
            step, sample = min(diverged)
            raise DivergedError(step, step * lesson.dt, sample)
        gathered = self.rule.gather(memory for memory, _, _ in results)
        return Proposal(self.rule.scaled(loop, self.rule.collect(plant, gathered, batch, lesson.steps)))


def _require_linear(loop: ClosedLoop) -> None:
    """Raise unless small deviations of the loop obey the equations that are stepped here."""
    require_network("LinearFeedbackLearning", loop.plant, "Q0")
    if not loop.comparator.plain:
        got = type(loop.comparator).__name__
        raise InputError(f"LinearFeedbackLearning: expected e = r - y, got {got}: simulate the loop instead")


def _noise_layers(plant: Any) -> tuple[int, ...]:
    """Give the numbers of noise a step by layer: as many as the output sees."""
    return (plant.noutputs,) * len(plant.weights)


def _stream_across(seed: np.random.SeedSequence, index: int) -> Array:
    """Give the stream of what is drawn beside the steps of a block; its steps have that of the block."""
    return stream(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index)), 0)


def _wires(loop: ClosedLoop, lesson: Lesson, part: slice, index: int) -> Block:
    """Give the wires of one block: output, reference and error as deviations from the feed-forward output."""
    plant: Any = loop.plant
    dtype, batch, m = plant.dtype, part.stop - part.start, plant.noutputs
    error = loop.comparator.compare(lesson.reference[part], lesson.output[part])
    p = plant.params(batch)
    rates = p.signals[RATE * plant.nneurons :]
    np.concatenate([layer[part].T for layer in lesson.rates], out=rates)
    z = np.zeros((loop.controller.nstates(m), batch), dtype)

    def wire(n: int = m) -> np.ndarray:
        return np.zeros((n, batch), dtype)

    return Block(
        s=z,
        x=z[:0],
        z=z,
        u=wire(),
        applied=wire(),
        y=wire(),
        e=wire(),
        r=np.ascontiguousarray(error.T, dtype),
        w=wire(0),
        mean_u=wire(0),
        mean_e=wire(0),
        work=np.zeros((loop.integrator.stages, *z.shape), dtype),
        scheme=loop.integrator.params(dtype),
        noise=loop.integrator.noise.memory(_noise_layers(plant), dtype, part, seed_sequence(lesson.seed), index),
        p=p,
        q=loop.controller.params(dtype),
        law=(),
    )
