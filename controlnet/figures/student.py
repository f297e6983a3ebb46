"""The student in training: by DFC, DFC-SS or DFC-SSA, with feedback weights that learn too or are fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._check import all_finite
from ..adaptation import DFC, SGD
from ..base import Array
from ..controllers import PI
from ..data.student_teacher import SIZES, Task, make_task
from ..errors import DivergedError
from ..loop import ClosedLoop
from ..objective import Lesson, MeanSquaredError, Nudged
from ..plants import DeepNetwork
from .sleep import Learner, Sleep, minibatches

CONTROLLER = PI(k_p=1.5, leak=0.0015)
NUDGE = 0.05
FORWARD_RATE = 0.05 / 128
"""Published learning rate of W in units of 1 / NUDGE, for losses that are a mean over the minibatch of 128."""
SLEEP_RATE = 0.5
"""Learning rate of Q, five times that of the published pre-training; then it keeps up with W at this speed."""
SLEEPS = 3
"""Updates of Q for each of W, as published."""
LAWS = {"DFC": "continuous", "DFC-SS": "steady-state", "DFC-SSA": "analytic"}
FEEDBACK = {
    "trained": "random",
    "fixed product": "weight-product",
    "fixed random": "random",
}
"""How feedback weights start, by kind; the trained ones start from the same random ones as those that stay."""


class Plan(NamedTuple):
    """How long the student learns, and how fast.

    `speed` is by how much the learning rate of W exceeds the published one, so that speed times `updates` tells how far
    the student comes; 12,000 is the published schedule of 300 epochs.  The sleep before the training has `first_sleeps`
    updates.
    """

    samples: int
    batch: int
    updates: int
    speed: float
    first_sleeps: int
    dt: float
    looks: int
    test_samples: int


FULL = Plan(5000, 128, 480, 25.0, 600, 0.005, 24, 128)
QUICK = Plan(640, 32, 60, 150.0, 200, 0.02, 5, 32)
DURATION = 5.0
"""Simulated time of a forward update."""


class Moment(NamedTuple):
    """The student after some updates; whether a simulation diverged, which ends the training."""

    updates: int
    network: Any
    diverged: bool


@dataclass(frozen=True, eq=False)
class Classroom:
    """Task, first students and sources of randomness, which all kinds of training share.

    Parameters
    ----------
    plan : Plan
        The schedule.
    threads : int or None
        Number of threads.
    seed : int
        Seed of everything.
    """

    plan: Plan
    threads: int | None
    seed: int

    def _source(self, purpose: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed, spawn_key=(purpose,))

    def task(self) -> Task:
        """Draw teacher and samples.

        Returns
        -------
        Task
            The same at every call.
        """
        return make_task(SIZES, self.plan.samples, self.plan.test_samples, self._source(0))

    def student(self, feedback: str) -> DeepNetwork:
        """Draw the student.

        Parameters
        ----------
        feedback : str
            A key of `FEEDBACK`.

        Returns
        -------
        DeepNetwork
            With the same forward weights at every call; trained feedback has slept already.
        """
        network = DeepNetwork.initialize(SIZES, feedback=FEEDBACK[feedback], seed=self._source(1))
        if feedback == "trained":
            plan, inputs = self.plan, self.task().inputs
            learner = Learner(Sleep(), SLEEP_RATE, self._source(2), self.threads)
            for part in minibatches(plan.samples, plan.batch, plan.first_sleeps, self._source(3)):
                network = learner.update(network, inputs[part])
        return network

    def lesson(self, network: Any, inputs: Array, targets: Array) -> Lesson:
        """Give what a network learns from some samples.

        Parameters
        ----------
        network : DeepNetwork
            The network.
        inputs, targets : array
            The samples.

        Returns
        -------
        Lesson
            With the published nudging.
        """
        steps = round(DURATION / self.plan.dt)
        return Lesson(network, inputs, targets, Nudged(MeanSquaredError(), NUDGE), self.plan.dt, steps, self.threads)

    def course(self, student: DeepNetwork, law: DFC, sleeping: bool) -> Iterator[Moment]:
        """Train a student.

        Parameters
        ----------
        student : DeepNetwork
            The student at the start.
        law : DFC
            How W and b learn.
        sleeping : bool
            Whether Q learns too, before every update of W.

        Yields
        ------
        Moment
            At the start, `looks` times in equal distances, and where the training breaks off.
        """
        plan, task, network = self.plan, self.task(), student
        learner = Learner(Sleep(), SLEEP_RATE, self._source(4), self.threads)
        optimizer = SGD(learning_rate=FORWARD_RATE / NUDGE * plan.speed)
        naps = minibatches(plan.samples, plan.batch, SLEEPS * plan.updates, self._source(5))
        yield Moment(0, network, False)
        for k, part in enumerate(minibatches(plan.samples, plan.batch, plan.updates, self._source(6)), 1):
            for _ in range(SLEEPS * sleeping):
                network = learner.update(network, task.inputs[next(naps)])
            lesson = self.lesson(network, task.inputs[part], task.targets[part])
            loop = ClosedLoop(network, CONTROLLER, law=law)
            try:
                change = law.propose(loop, lesson).change
            except DivergedError:
                yield Moment(k, network, True)
                return
            new, _ = optimizer.apply(network.parameters, change, {})
            if not all(map(all_finite, new.values())):
                yield Moment(k, network, True)
                return
            network = network.with_parameters(new)
            if k % (plan.updates // plan.looks) == 0:
                yield Moment(k, network, False)
