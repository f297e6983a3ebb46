"""Trains a network by the law of a method, epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._check import all_finite
from .._parallel import one_blas_thread
from ..adaptation import Backprop
from ..analysis import angles_by_layer
from ..base import Array
from ..data import Dataset, Split
from ..errors import DivergedError, InputError, LearningDivergedError
from ..objective import Lesson
from ._checks import refuse_unfitting
from ._tally import Score, Tally, judge
from .chance import Shuffles, seeds
from .methods import METHODS, simulates
from .phases import Optimizers, Phase, feedback_phase, forward_phase, make_network, sleeps
from .probe import Probe
from .progress import Progress, schedule
from .settings import Settings
from .watching import Epoch, Watcher


class Trainer:
    """A network in training; iterate over `epochs`, or over `stages` to keep the `progress` after each.

    Parameters
    ----------
    settings : Settings
        The experiment.
    dataset : Dataset
        What to learn: classes, or target vectors under the loss ``mse``.
    threads : int, optional
        Number of threads; all cores if not given. The result does not depend on it.
    watcher : Watcher, optional
        Is told of every minibatch and epoch.
    compiled : bool
        False to run the kernels as plain Python.

    Raises
    ------
    ConfigError
        If the settings do not fit the dataset.
    """

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        threads: int | None = None,
        watcher: Watcher | None = None,
        compiled: bool = True,
    ) -> None:
        self.settings, self.dataset, self.threads, self.compiled = settings, dataset, threads, compiled
        self.watcher = watcher or Watcher()
        refuse_unfitting(settings, dataset)
        source = seeds(settings.seed)
        self.plant: Any = make_network(settings, dataset.train.inputs.shape[1], dataset.outputs, source["init"])
        self._inputs = dataset.train.inputs.astype(self.plant.dtype, copy=False)
        self.forward = forward_phase(settings)
        self.sleep, self.pretraining = (feedback_phase(settings, name) for name in ("feedback", "pretraining"))
        self.forward.check(self.plant)
        if self.sleep is not None and sleeps(settings):
            self.sleep.check(self.plant)
        self.optimizers = Optimizers(settings)
        self.schedule = schedule(settings)
        self.batches = -(-len(dataset.train.targets) // settings.train.batch_size)
        self._noise = source["noise"]
        self._epochs, self._pretrained, self._seconds = 0, 0, 0.0
        self._set_out(0, 0, 0.0)
        self._controls: Array | None = None
        if settings.law.warm_start and METHODS[settings.method].steady and not simulates(settings):
            self._controls = np.full((len(dataset.train.targets), dataset.outputs), np.nan, self.plant.dtype)

    @property
    def loop(self) -> Any:
        """The loop in which the forward weights learn, around the network as it is now."""
        return self.forward.loop(self.plant, self.compiled)

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
        return (epoch for epoch in self.stages() if epoch is not None)

    def stages(self) -> Iterator[Epoch | None]:
        """Train, a pass of pre-training or an epoch an iteration.

        Yields
        ------
        Epoch or None
            Losses and errors after the epoch; None after a pass of pre-training.

        Raises
        ------
        DivergedError, LearningDivergedError
            If a simulation or the learning diverges.
        """
        own, epochs = self.schedule, self.settings.train.epochs
        before, after = ([self.sleep] * number if self.sleep else [] for number in (own.before, own.after))
        passes = own.pretraining - self._pretrained + (epochs - self._epochs) * own.an_epoch
        self.watcher.on_start(self.settings.method, epochs, passes * self.batches)
        while self.pretraining and self._pretrained < own.pretraining:
            start = time.perf_counter()
            self._pass(self.pretraining, 0)
            self._pretrained += 1
            self._seconds += time.perf_counter() - start
            yield None
        while self._epochs < epochs:
            start, number = time.perf_counter() - self._seconds, self._epochs + 1
            for phase in before:
                self._pass(phase, number)
            tally = self._pass(self.forward, number)
            for phase in after:
                self._pass(phase, number)
            epoch = self._epoch(number, tally, start)
            self._epochs, self._seconds = number, 0.0
            yield epoch

    def progress(self) -> Progress:
        """Give how far this training has come, between two `stages`.

        Returns
        -------
        Progress
            Its arrays are those of the training itself, which go on changing.
        """
        learned = self.plant.parameters, self.optimizers.memories, self._controls
        return Progress(self._epochs, self._pretrained, self._seconds, *learned)

    def go_on(self, progress: Progress) -> None:
        """Take the place of another training of the same settings and data; `epochs` then gives those that follow.

        Parameters
        ----------
        progress : Progress
            How far that one came; the arrays of the optimisers and the controls are used on and overwritten.
        """
        self.plant = self.plant.with_parameters(progress.weights)
        self.optimizers.memories |= progress.memories
        self._controls = progress.controls
        self._set_out(progress.epochs, progress.pretraining, progress.seconds)

    def _set_out(self, epochs: int, pretraining: int, seconds: float) -> None:
        """Bring counters and shuffles to where they are after so many epochs and passes of pre-training."""
        self._epochs, self._pretrained, self._seconds = epochs, pretraining, seconds
        passes = self.schedule.shuffled(epochs, pretraining)
        self._shuffles = Shuffles(self.settings.seed, len(self.dataset.train.targets), passes)
        self._lessons = sum(passes.values()) * self.batches

    def _epoch(self, number: int, tally: Tally, start: float) -> Epoch:
        with one_blas_thread():
            validation = self.evaluate(self.dataset.validation)
            test = self.evaluate(self.dataset.test)
        if not math.isfinite(validation.loss + test.loss):
            raise self._diverged(self.forward, "W0")
        return Epoch(
            epoch=number,
            train_loss=tally.loss / tally.samples,
            validation_loss=validation.loss,
            test_loss=test.loss,
            amount_of_control=tally.control / tally.controlled if tally.controlled else None,
            validation_error_percent=validation.error_percent,
            test_error_percent=test.error_percent,
            converged_percent=tally.percent(tally.converged),
            diverged_percent=tally.percent(tally.diverged),
            simulated=tally.judged,
            converged=tally.converged,
            diverged=tally.diverged,
            simulated_steps=tally.steps / tally.extendable if tally.extendable else None,
            extension_error=tally.error if tally.extendable else None,
            seconds=time.perf_counter() - start,
        )

    def _pass(self, phase: Phase, epoch: int) -> Tally:
        """Let a phase learn from every minibatch once."""
        tally, forward = Tally(), phase is self.forward
        with one_blas_thread():
            for part in self.minibatches("forward" if forward else "feedback"):
                self.learn(phase, part, tally)
                self.watcher.on_batch(epoch, tally.loss / tally.samples if forward else None)
        return tally

    def minibatches(self, shuffle: str = "forward") -> Iterator[Array]:
        """Give the shuffled minibatches of one pass through the training data.

        Parameters
        ----------
        shuffle : {"forward", "feedback"}
            Which shuffles to take.

        Yields
        ------
        array of int
            Indices of samples; the last minibatch may be smaller.
        """
        order, size = self._shuffles.order(shuffle), self.settings.train.batch_size
        for first in range(0, len(order), size):
            yield order[first : first + size]

    def lesson(self, phase: Phase, loop: Any, part: Array) -> Lesson:
        """Give what a phase learns from some samples.

        Parameters
        ----------
        phase : Phase
            What learns.
        loop : ClosedLoop
            Its loop.
        part : array of int
            Indices of samples.

        Returns
        -------
        Lesson
            Inputs, targets, objective and time grid, with noise of its own.
        """
        source = self._noise
        seed = np.random.SeedSequence(source.entropy, spawn_key=(*source.spawn_key, self._lessons))
        self._lessons += 1
        grid = (phase.dt, phase.steps, self.threads, seed)
        guess = None if self._controls is None or phase is not self.forward else self._controls[part]
        targets = self.dataset.train.targets[part]
        return Lesson(loop.plant, self._inputs[part], targets, phase.objective, *grid, guess, phase.extend)

    def learn(self, phase: Phase, part: Array, tally: Tally) -> None:
        """Apply what a phase's law wants after one minibatch.

        Parameters
        ----------
        phase : Phase
            What learns.
        part : array of int
            Indices of samples.
        tally : Tally
            Sums of the pass, added to.
        """
        loop = phase.loop(self.plant, self.compiled)
        lesson = self.lesson(phase, loop, part)
        # What overflows is reported below, in words.
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                proposal = loop.law.propose(loop, lesson)
            except DivergedError as error:
                raise error if phase is self.forward else error.during("the learning of the feedback weights") from None
            tally.add(lesson, proposal)
            if self._controls is not None and phase is self.forward and proposal.control is not None:
                self._controls[part] = proposal.control
            new = self.optimizers.apply(phase, self.plant.parameters, proposal.change)
        try:
            self.plant = self.plant.with_parameters(new)
        except InputError:
            # The network looks for what is not finite anyway.
            bad = [name for name, array in new.items() if not all_finite(array)]
            if not bad:
                raise
            raise self._diverged(phase, bad[0]) from None
        if not math.isfinite(tally.loss):
            raise self._diverged(phase, "W0")

    def _diverged(self, phase: Phase, parameter: str) -> LearningDivergedError:
        return LearningDivergedError(
            f"{self.settings.method}: the training diverged (loss or weights are not finite): "
            f"take a smaller {self.optimizers.table(phase, parameter)}.learning_rate"
        )

    def diagnostics(self) -> dict[str, Array]:
        """Look at the trained network once more.

        Returns
        -------
        dict of arrays
            For classes ``test_confusion``, the number of test samples by class and prediction, and for all laws but
            BP ``angle_to_bp``, degrees between what law and BP want for the weights of each layer, on one minibatch; it
            is left out, and told, if the loop diverges there.
        """
        test, n, found = self.dataset.test, self.dataset.outputs, {}
        if self.dataset.by_class:
            pairs = n * test.targets + self.plant.predict(test.inputs).argmax(axis=1)
            found["test_confusion"] = np.bincount(pairs, minlength=n * n).reshape(n, n)
        if self.settings.method != "bp":
            try:
                found["angle_to_bp"] = self._angle_to_bp()
            except DivergedError as error:
                self.watcher.on_remark(f"{self.settings.method}: no angle_to_bp: {error}")
        return found

    def _angle_to_bp(self) -> Array:
        loop = self.loop
        lesson = self.lesson(self.forward, loop, next(self.minibatches()))
        with one_blas_thread():
            wanted, bp = (law.propose(loop, lesson).change for law in (loop.law, Backprop()))
        angles = angles_by_layer(wanted, bp)
        return np.array([angles[f"W{i}"] for i in range(len(self.plant.weights))])

    def probe(self, samples: int | None = None) -> Probe:
        """Give what looks at the network on the first training samples.

        Parameters
        ----------
        samples : int, optional
            How many; as the settings say if not given.

        Returns
        -------
        Probe
            Looks as often as it is asked, and changes nothing.
        """
        first = slice(samples or self.settings.diagnostics.samples)
        given = self._inputs[first], self.dataset.train.targets[first]
        return Probe(self.settings, self.forward, *given, self.threads)

    def evaluate(self, split: Split) -> Score:
        """Judge the feed-forward output on a split, without control.

        Parameters
        ----------
        split : Split
            Inputs and targets.

        Returns
        -------
        Score
            Loss and error, of one pass.
        """
        return judge(self.plant, self.forward.objective.loss, split)
