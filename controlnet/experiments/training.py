"""Trains a network by the law of a method, epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .._blocks import one_blas_thread
from ..adaptation import Backprop
from ..analysis import angles_by_layer
from ..base import Array
from ..data import Dataset, Split
from ..errors import ConfigError, LearningDivergedError
from ..objective import Lesson
from .methods import make_loop, make_network, make_objective, make_optimizer
from .settings import Settings

PURPOSES = ("split", "init", "shuffle", "noise")


def seeds(seed: int) -> dict[str, np.random.SeedSequence]:
    """Give an independent source of randomness for each purpose.

    Parameters
    ----------
    seed : int
        The seed of the run.

    Returns
    -------
    dict of SeedSequence
        By purpose; the order of `PURPOSES` must never change.
    """
    return dict(zip(PURPOSES, np.random.SeedSequence(seed).spawn(len(PURPOSES)), strict=True))


class Epoch(NamedTuple):
    """What one epoch brought; `simulated` samples were judged by `Convergence`, none if the law simulates nothing."""

    epoch: int
    train_loss: float
    validation_error_percent: float
    test_error_percent: float
    converged_percent: float | None
    diverged_percent: float | None
    simulated: int
    converged: int
    diverged: int
    seconds: float


class Watcher:
    """Is told how a training goes; this one does not care."""

    def on_start(self, method: str, epochs: int, batches: int) -> None:
        """Hear that a training begins.

        Parameters
        ----------
        method : str
            The method.
        epochs, batches : int
            Number of epochs, and of minibatches in each.
        """

    def on_batch(self, epoch: int, loss: float) -> None:
        """Hear of a minibatch.

        Parameters
        ----------
        epoch : int
            The running epoch, from 1.
        loss : float
            Its mean loss so far.
        """

    def on_epoch(self, epoch: Epoch) -> None:
        """Hear of a finished epoch.

        Parameters
        ----------
        epoch : Epoch
            What it brought.
        """


@dataclass
class _Tally:
    """Sums over the minibatches of one epoch."""

    loss: float = 0.0
    samples: int = 0
    judged: int = 0
    converged: int = 0
    diverged: int = 0

    def add(self, lesson: Lesson, proposal: Any) -> None:
        n = len(lesson.inputs)
        self.loss += n * lesson.objective.loss.value(lesson.output, lesson.labels)
        self.samples += n
        if proposal.converged is not None:
            self.judged += n
            self.converged += int(proposal.converged.sum())
            self.diverged += int(proposal.diverged.sum())

    def percent(self, count: int) -> float | None:
        return 100 * count / self.judged if self.judged else None


class Trainer:
    """A network in training; iterate over `epochs`.

    Parameters
    ----------
    settings : Settings
        The experiment.
    dataset : Dataset
        What to learn.
    threads : int, optional
        Number of threads; all cores if not given. The result does not depend on it.
    watcher : Watcher, optional
        Is told of every minibatch and epoch.
    """

    def __init__(
        self, settings: Settings, dataset: Dataset, threads: int | None = None, watcher: Watcher | None = None
    ) -> None:
        self.settings, self.dataset, self.threads = settings, dataset, threads
        self.watcher = watcher or Watcher()
        if settings.train.batch_size > len(dataset.train.labels):
            raise ConfigError(
                f"train.batch_size: expected at most the {len(dataset.train.labels)} training samples, "
                f"got {settings.train.batch_size}"
            )
        source = seeds(settings.seed)
        plant = make_network(settings, dataset.train.inputs.shape[1], dataset.classes, source["init"])
        self.loop = make_loop(settings, plant)
        self.objective = make_objective(settings.objective)
        self.optimizer = make_optimizer(settings)
        self.memory: dict[str, Array] = {}
        self._shuffle = np.random.default_rng(source["shuffle"])

    @property
    def plant(self) -> Any:
        """The network as it is now."""
        return self.loop.plant

    def epochs(self) -> Iterator[Epoch]:
        """Train, one epoch an iteration.

        Yields
        ------
        Epoch
            Losses and errors after the epoch.

        Raises
        ------
        DivergedError, LearningDivergedError
            If a simulation or the learning diverges.
        """
        train = self.settings.train
        batches = -(-len(self.dataset.train.labels) // train.batch_size)
        self.watcher.on_start(self.settings.method, train.epochs, batches)
        for number in range(1, train.epochs + 1):
            start = time.perf_counter()
            tally = _Tally()
            with one_blas_thread():
                for lesson in self.lessons():
                    self.learn(lesson, tally)
                    self.watcher.on_batch(number, tally.loss / tally.samples)
                validation = self.error_percent(self.dataset.validation)
                test = self.error_percent(self.dataset.test)
            yield Epoch(
                number,
                tally.loss / tally.samples,
                validation,
                test,
                tally.percent(tally.converged),
                tally.percent(tally.diverged),
                tally.judged,
                tally.converged,
                tally.diverged,
                time.perf_counter() - start,
            )

    def lessons(self) -> Iterator[Lesson]:
        """Give the shuffled minibatches of one epoch.

        Yields
        ------
        Lesson
            A minibatch; the last may be smaller.
        """
        train, simulation = self.dataset.train, self.settings.simulation
        order = self._shuffle.permutation(len(train.labels))
        for first in range(0, len(order), self.settings.train.batch_size):
            part = order[first : first + self.settings.train.batch_size]
            inputs = train.inputs[part].astype(self.plant.dtype, copy=False)
            yield Lesson(
                self.plant, inputs, train.labels[part], self.objective, simulation.dt, simulation.steps, self.threads
            )

    def learn(self, lesson: Lesson, tally: _Tally) -> None:
        """Apply what the law wants after one minibatch.

        Parameters
        ----------
        lesson : Lesson
            The minibatch.
        tally : _Tally
            Sums of the epoch, added to.
        """
        # What overflows is reported below, in words.
        with np.errstate(over="ignore", invalid="ignore"):
            proposal = self.loop.law.propose(self.loop, lesson)
            tally.add(lesson, proposal)
            new, self.memory = self.optimizer.apply(self.plant.parameters, proposal.change, self.memory)
        if not (math.isfinite(tally.loss) and all(np.isfinite(array).all() for array in new.values())):
            raise LearningDivergedError(
                f"{self.settings.method}: the training diverged (loss or weights are not finite): "
                "take a smaller optimizer.learning_rate"
            )
        self.loop = replace(self.loop, plant=self.plant.with_parameters(new))

    def diagnostics(self) -> dict[str, Array]:
        """Look at the trained network once more.

        Returns
        -------
        dict of arrays
            ``test_confusion``, the number of test samples by class and prediction, and for all laws but BP
            ``angle_to_bp``, degrees between what law and BP want for the weights of each layer, on one minibatch.
        """
        test, n = self.dataset.test, self.dataset.classes
        pairs = n * test.labels + self.plant.predict(test.inputs).argmax(axis=1)
        found = {"test_confusion": np.bincount(pairs, minlength=n * n).reshape(n, n)}
        if not isinstance(self.loop.law, Backprop):
            lesson = next(self.lessons())
            with one_blas_thread():
                wanted, bp = (law.propose(self.loop, lesson).change for law in (self.loop.law, Backprop()))
            angles = angles_by_layer(wanted, bp)
            found["angle_to_bp"] = np.array([angles[f"W{i}"] for i in range(len(self.plant.weights))])
        return found

    def error_percent(self, split: Split) -> float:
        """Give the share of wrongly classified samples of a split.

        Parameters
        ----------
        split : Split
            Inputs and labels.

        Returns
        -------
        float
            Per cent.
        """
        parts = range(0, len(split.labels), 1000)
        wrong = sum(
            int((self.plant.predict(split.inputs[i : i + 1000]).argmax(axis=1) != split.labels[i : i + 1000]).sum())
            for i in parts
        )
        return 100 * wrong / len(split.labels)
