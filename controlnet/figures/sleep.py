"""Learning of the feedback weights alone: the network under noise and control, with its own output as reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..adaptation import SGD, FeedbackLearning
from ..base import Array
from ..controllers import PI
from ..integrators import Sequential, WhiteNoise
from ..loop import ClosedLoop
from ..objective import Lesson, MeanSquaredError, OwnOutput


class Sleep(NamedTuple):
    """Constants of the sleep phase; times in units of the controller's time constant.

    The values are those of the public code for its student and teacher (Meulemans et al. 2021, figure 3).
    """

    tau_v: float = 0.01
    tau_apical: float = 0.3
    k_p: float = 0.1
    leak: float = 0.25
    sigma: float = 0.01
    dt: float = 0.002
    steps: int = 50
    decay: float = 0.025


class Learner:
    """Applies the feedback weights' rule, minibatch by minibatch.

    Parameters
    ----------
    phase : Sleep
        Constants of the phase.
    learning_rate : float
        That of gradient descent; one update forgets this times `phase.decay` of the weights.
    seed : SeedSequence
        Source of the noise.
    threads : int, optional
        Number of threads; all cores if not given.
    """

    def __init__(
        self, phase: Sleep, learning_rate: float, seed: np.random.SeedSequence, threads: int | None = None
    ) -> None:
        self.phase, self.threads, self._seed = phase, threads, seed
        self._optimizer = SGD(learning_rate=learning_rate, weight_decay=phase.decay)
        self._controller = PI(k_p=phase.k_p, leak=phase.leak)
        self._integrator = Sequential(noise=WhiteNoise(sigma=phase.sigma))

    def update(self, network: Any, inputs: Array) -> Any:
        """Give the network after one update.

        Parameters
        ----------
        network : DeepNetwork
            The network.
        inputs : array (batch, n_0)
            The minibatch.

        Returns
        -------
        DeepNetwork
            The same with new feedback weights.
        """
        phase = self.phase
        asleep = replace(network, tau_v=phase.tau_v, tau_apical=phase.tau_apical)
        loop = ClosedLoop(asleep, self._controller, integrator=self._integrator, law=FeedbackLearning())
        grid = (phase.dt, phase.steps, self.threads, self._seed.spawn(1)[0])
        lesson = Lesson(asleep, inputs, np.zeros((len(inputs), network.noutputs)), OwnOutput(MeanSquaredError()), *grid)
        new, _ = self._optimizer.apply(network.parameters, loop.law.propose(loop, lesson).change, {})
        return network.with_parameters(new)


def minibatches(samples: int, size: int, number: int, seed: np.random.SeedSequence) -> Iterator[Array]:
    """Give shuffled minibatches, as many epochs long as it takes.

    Parameters
    ----------
    samples : int
        Number of samples.
    size : int
        Those of a minibatch; what is left of an epoch is dropped.
    number : int
        How many minibatches.
    seed : SeedSequence
        Source of the shuffles.

    Yields
    ------
    array of int
        Indices of samples.
    """
    rng, whole = np.random.default_rng(seed), samples // size
    for k in range(number):
        if k % whole == 0:
            order = rng.permutation(samples)
        yield order[k % whole * size : (k % whole + 1) * size]
