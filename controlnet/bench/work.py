"""The work that is timed: one minibatch of each kind, on random data."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..adaptation import DFC, Backprop, FeedbackLearning, LinearFeedbackLearning, SinglePhase
from ..base import AbstractLaw, Proposal
from ..comparator import SoftmaxDifference
from ..controllers import PI
from ..data import Dataset, Split
from ..experiments import resolve
from ..experiments._tally import Tally
from ..experiments.training import Trainer
from ..integrators import FilteredNoise, Sequential, WhiteNoise
from ..loop import ClosedLoop
from ..objective import CrossEntropy, Lesson, Nudged, OwnOutput, Strong
from ..plants import DeepNetwork

Work: TypeAlias = Callable[[], Any]
"""Does the work once; what it was given lies ready."""


class Size(NamedTuple):
    """How much work it is.

    Parameters
    ----------
    dtype : str
        ``float64`` or ``float32``.
    batch : int
        Number of samples.
    steps : int
        Number of simulated steps.
    widths : tuple of int
        Widths of the network from the input to the output.
    threads : int or None
        Number of threads; None for all cores.
    """

    dtype: str = "float64"
    batch: int = 32
    steps: int = 500
    widths: tuple[int, ...] = (784, 256, 256, 256, 10)
    threads: int | None = None


class Task(NamedTuple):
    """A loop and what it learns.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    lesson : callable
        Makes the lesson; a new one each time, since a lesson remembers its feed-forward pass.
    """

    loop: ClosedLoop
    lesson: Callable[[], Lesson]

    def propose(self) -> Proposal:
        """Find what the law wants to change.

        Returns
        -------
        Proposal
            The change.
        """
        return self.loop.law.propose(self.loop, self.lesson())


def _task(loop: ClosedLoop, size: Size, objective: Any, dt: float, **options: Any) -> Task:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(size.batch, size.widths[0])).astype(size.dtype)
    labels = rng.integers(0, size.widths[-1], size.batch)
    return Task(loop, lambda: Lesson(loop.plant, inputs, labels, objective, dt, size.steps, size.threads, **options))


def _network(size: Size, **dynamics: Any) -> DeepNetwork:
    return DeepNetwork.initialize(size.widths, seed=0, dtype=size.dtype, **dynamics)


def weak(size: Size, law: AbstractLaw, extend: float | None = None) -> Task:
    """Give a task under weak feedback.

    Parameters
    ----------
    size : Size
        How much work.
    law : AbstractLaw
        What learns.
    extend : float, optional
        Relative error with which settled samples may be extended.

    Returns
    -------
    Task
        The task.
    """
    loop = ClosedLoop(_network(size), PI(k_p=2.0, leak=1.5e-3), law=law)
    return _task(loop, size, Nudged(CrossEntropy(), 0.1), 0.02, extend=extend)


def strong(size: Size, law: AbstractLaw, noise: Any = None) -> Task:
    """Give a task of Strong-DFC as published for MNIST.

    Parameters
    ----------
    size : Size
        How much work.
    law : AbstractLaw
        What learns.
    noise : FilteredNoise, optional
        Noise in the neurons.

    Returns
    -------
    Task
        The task.
    """
    network, controller = _network(size, tau_v=0.0093), PI(k_p=2.0, leak=7.6e-6)
    parts = (controller, Sequential(noise=noise), law, SoftmaxDifference())
    return _task(ClosedLoop(network, *parts), size, Strong(CrossEntropy(0.99)), 0.001)


def asleep(size: Size, noise: Any, law: Any) -> Task:
    """Give a task of two-phase feedback learning as published for MNIST.

    Parameters
    ----------
    size : Size
        How much work.
    noise : WhiteNoise
        Noise in the neurons.
    law : FeedbackLearning or LinearFeedbackLearning
        In the simulated loop, or in the linearised one.

    Returns
    -------
    Task
        The task.
    """
    network, controller = _network(size, tau_v=0.006, tau_apical=0.14), PI(k_p=0.07, leak=0.4)
    loop = ClosedLoop(network, controller, Sequential(noise=noise), law)
    return _task(loop, size, OwnOutput(CrossEntropy()), 0.00114)


FILTERED = FilteredNoise(sigma=0.0043, sigma_output=0.0297, tau=0.07)
WHITE = WhiteNoise(sigma=0.035)


def dfc(size: Size) -> Work:
    """Prepare continuous DFC.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return weak(size, DFC()).propose


def dfc_extended(size: Size) -> Work:
    """Prepare continuous DFC whose settled samples are extended in closed form.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return weak(size, DFC(), extend=1e-6).propose


def dfc_last_step(size: Size) -> Work:
    """Prepare DFC-SS as published: the last step of a simulation.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return weak(size, DFC("last-step")).propose


def dfc_steady_state(size: Size) -> Work:
    """Prepare DFC-SS at the steady state that root finding gives.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return weak(size, DFC("steady-state")).propose


def analytic(size: Size) -> Work:
    """Prepare DFC-SSA, the update at the linearised steady state.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return weak(size, DFC("analytic")).propose


def backprop(size: Size) -> Work:
    """Prepare BP on the same lesson.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return weak(size, Backprop()).propose


def single_phase(size: Size) -> Work:
    """Prepare noisy single-phase Strong-DFC.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return strong(size, SinglePhase(), FILTERED).propose


def strong_last_step(size: Size) -> Work:
    """Prepare Strong-DFC from the last step of a simulation.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return strong(size, DFC("last-step")).propose


def strong_steady_state(size: Size) -> Work:
    """Prepare Strong-DFC at the steady state that root finding gives.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return strong(size, DFC("steady-state")).propose


def feedback_step(size: Size) -> Work:
    """Prepare a step of two-phase feedback learning.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return asleep(size, WHITE, FeedbackLearning()).propose


def linear_feedback_step(size: Size) -> Work:
    """Prepare the same in the linearised loop.

    Parameters
    ----------
    size : Size
        How much work.

    Returns
    -------
    callable
        The work.
    """
    return asleep(size, WHITE, LinearFeedbackLearning()).propose


def bp_minibatch(size: Size, weight_decay: float = 0.0) -> Work:
    """Prepare BP as a training runs it: lesson, gradient, Adam, checks, new network.

    Parameters
    ----------
    size : Size
        How much work.
    weight_decay : float
        Adam's.

    Returns
    -------
    callable
        The work, on another minibatch each time.
    """
    rng, (first, *hidden, classes) = np.random.default_rng(1), size.widths
    train, rest = (Split(rng.normal(size=(n, first)), rng.integers(0, classes, n)) for n in (10 * size.batch, 1))
    overrides = (
        f"network={{hidden={hidden}, dtype='{size.dtype}'}}",
        f"optimizer={{kind='adam', learning_rate=1e-3, beta1=0.9, beta2=0.999, weight_decay={weight_decay}}}",
        f"train={{batch_size={size.batch}, compare_with=[]}}",
    )
    settings = resolve("digits", method="bp", overrides=overrides).settings
    trainer, tally = Trainer(settings, Dataset("random", train, rest, rest, classes), size.threads), Tally()
    parts = cycle(trainer.minibatches())
    return lambda: trainer.learn(trainer.forward, next(parts), tally)
