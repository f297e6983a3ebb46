"""What is to be learned: losses, the reference of the controller that follows from them, and a lesson."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ._forward import feed_forward
from .base import Array
from .errors import DimensionError, InputError

if TYPE_CHECKING:
    from .equilibrium import Equilibrium
    from .loop import ClosedLoop
    from .response import Response


class AbstractLoss(ABC):
    """A loss of outputs and labels; labels are classes (integers) or target vectors."""

    @abstractmethod
    def targets(self, labels: Array, noutputs: int) -> Array:
        """Give the target vectors of the labels.

        Parameters
        ----------
        labels : array (batch,) of int or (batch, noutputs) of float
            Classes or target vectors.
        noutputs : int
            Number of outputs.

        Returns
        -------
        array (batch, noutputs)
            The outputs (or class probabilities) that are wanted.
        """

    @abstractmethod
    def evaluate(self, y: Array, labels: Array) -> tuple[float, Array]:
        """Give the mean loss of a batch and the gradient of each sample's loss.

        Parameters
        ----------
        y : array (batch, noutputs)
            Outputs.
        labels : array (batch,) of int or (batch, noutputs) of float
            Classes or target vectors.

        Returns
        -------
        tuple of float and array (batch, noutputs)
            The loss, and batch times its gradient in y.
        """

    def value(self, y: Array, labels: Array) -> float:
        """Give the mean loss of a batch.

        Parameters
        ----------
        y, labels : array
            As in `evaluate`.

        Returns
        -------
        float
            The loss.
        """
        return self.evaluate(y, labels)[0]

    def gradient(self, y: Array, labels: Array) -> Array:
        """Give the gradient of each sample's loss in its output.

        Parameters
        ----------
        y, labels : array
            As in `evaluate`.

        Returns
        -------
        array (batch, noutputs)
            batch times the gradient of `value`.
        """
        return self.evaluate(y, labels)[1]


@dataclass(frozen=True)
class MeanSquaredError(AbstractLoss):
    """Squared error, mean over batch and outputs.

    Parameters
    ----------
    target_value : float
        Wanted output of the right class in (0, 1], where labels are classes; the others share the rest equally.
    """

    target_value: float = 1.0

    def __post_init__(self) -> None:
        _check_target_value(self)

    def targets(self, labels: Array, noutputs: int) -> Array:
        return _one_hot(labels, noutputs, self.target_value)

    def evaluate(self, y: Array, labels: Array) -> tuple[float, Array]:
        difference = y - self.targets(labels, y.shape[1])
        return float(np.mean(difference**2)), np.asarray(2 / y.shape[1] * difference, y.dtype)


@dataclass(frozen=True)
class CrossEntropy(AbstractLoss):
    """Cross-entropy of softmax(y), mean over the batch.

    Parameters
    ----------
    target_value : float
        Probability of the right class in (0, 1]; the others share the rest equally.
    """

    target_value: float = 1.0

    def __post_init__(self) -> None:
        _check_target_value(self)

    def targets(self, labels: Array, noutputs: int) -> Array:
        return _one_hot(labels, noutputs, self.target_value)

    def evaluate(self, y: Array, labels: Array) -> tuple[float, Array]:
        targets = self.targets(labels, y.shape[1])
        shifted = y - y.max(axis=1, keepdims=True)
        powers = np.exp(shifted)
        total = powers.sum(axis=1, keepdims=True)
        loss = -np.sum(targets * (shifted - np.log(total))) / len(y)
        return float(loss), np.asarray(powers / total - targets, y.dtype)


def _check_target_value(loss: MeanSquaredError | CrossEntropy) -> None:
    if not 0 < loss.target_value <= 1:
        raise InputError(f"{type(loss).__name__}.target_value: expected a number in (0, 1], got {loss.target_value!r}")


LOSSES: dict[str, type[MeanSquaredError | CrossEntropy]] = {"mse": MeanSquaredError, "cross-entropy": CrossEntropy}


def _one_hot(labels: Array, noutputs: int, value: float) -> Array:
    labels = np.asarray(labels)
    if labels.ndim == 1 and labels.dtype.kind not in "iu":
        raise InputError(f"labels: expected classes (integers) or target vectors, got numbers of type {labels.dtype}")
    if labels.ndim == 2:
        if labels.shape[1] != noutputs:
            raise DimensionError(f"labels: expected {noutputs} columns, got shape {labels.shape}")
        return labels
    if labels.size and not 0 <= labels.min() <= labels.max() < noutputs:
        raise InputError(f"labels: expected classes 0 to {noutputs - 1}, got {labels.min()} to {labels.max()}")
    targets = np.full((len(labels), noutputs), (1 - value) / max(noutputs - 1, 1))
    targets[np.arange(len(labels)), labels] = value
    return targets


class AbstractObjective(ABC):
    """A loss, and the reference of the controller that follows from it."""

    loss: AbstractLoss

    @abstractmethod
    def reference(self, y: Array, labels: Array) -> Array:
        """Give the reference of the controller.

        Parameters
        ----------
        y, labels : array
            Feed-forward output and labels, as in `AbstractLoss.evaluate`.

        Returns
        -------
        array (batch, noutputs)
            The reference r*.
        """


@dataclass(frozen=True)
class Nudged(AbstractObjective):
    """Weak feedback: the reference is the feed-forward output moved a little down the loss.

    r* = r_L - lambda dL/dr_L, per sample (Meulemans et al. 2021).

    Parameters
    ----------
    loss : AbstractLoss
        The loss L.
    stepsize : float
        The nudging strength lambda > 0.
    """

    loss: AbstractLoss
    stepsize: float = 0.1

    def __post_init__(self) -> None:
        if not self.stepsize > 0:
            raise InputError(f"Nudged.stepsize: expected a number > 0, got {self.stepsize!r}")

    def reference(self, y: Array, labels: Array) -> Array:
        return y - y.dtype.type(self.stepsize) * self.loss.gradient(y, labels)


@dataclass(frozen=True)
class Strong(AbstractObjective):
    """Strong feedback: the reference is the label itself (Meulemans et al. 2022).

    Parameters
    ----------
    loss : AbstractLoss
        Gives the target vectors; for classes a `CrossEntropy` with a target value below 1.
    """

    loss: AbstractLoss

    def reference(self, y: Array, labels: Array) -> Array:
        return self.loss.targets(labels, y.shape[1]).astype(y.dtype)


@dataclass(frozen=True)
class OwnOutput(AbstractObjective):
    """The reference is the feed-forward output itself, so that only noise moves the controller (Meulemans et al. 2021).

    The sleep phase of two-phase feedback learning under weak feedback.

    Parameters
    ----------
    loss : AbstractLoss
        The loss that is reported.
    """

    loss: AbstractLoss

    def reference(self, y: Array, labels: Array) -> Array:
        return y


@dataclass(frozen=True, eq=False)
class Lesson:
    """One batch to learn from, and how long the loop is simulated for it.

    Parameters
    ----------
    plant : DeepNetwork
        The network that learns.
    inputs : array (batch, n_0)
        Input patterns.
    labels : array (batch,) of int or (batch, n_L) of float
        Classes or target vectors.
    objective : Nudged, Strong or OwnOutput
        Loss and reference.
    dt : float
        Step size.
    steps : int
        Number of steps.
    threads : int, optional
        Number of threads; all cores if not given.
    seed : int or SeedSequence
        Source of the noise, if the loop has any.
    guess : array (batch, n_L), optional
        Control from which the search for a steady state starts; not a number where there is none.
    """

    plant: Any
    inputs: Array
    labels: Array
    objective: AbstractObjective
    dt: float = 0.02
    steps: int = 500
    threads: int | None = None
    seed: int | np.random.SeedSequence = 0
    guess: Array | None = None

    def __post_init__(self) -> None:
        inputs, labels = np.shape(self.inputs), np.shape(self.labels)
        if len(inputs) != 2 or inputs[:1] != labels[:1]:
            raise DimensionError(f"Lesson: expected inputs (batch, n_0) and as many labels, got {inputs} and {labels}")

    def require(self, plant: Any) -> None:
        """Raise unless this lesson is for a plant as it is now.

        Parameters
        ----------
        plant : DeepNetwork
            The plant of the loop that learns.

        Raises
        ------
        InputError
            If the lesson was made for another plant, or before it changed.
        """
        if plant is not self.plant:
            raise InputError("lesson: made for another plant, or before this one changed; make a new Lesson")

    def simulate(self, loop: ClosedLoop, **options: Any) -> Response:
        """Simulate a loop on this lesson.

        Parameters
        ----------
        loop : ClosedLoop
            The loop.
        **options
            Further arguments of `ClosedLoop.simulate`; nothing is recorded if they do not say so.

        Returns
        -------
        Response
            What came out.
        """
        grid = {"dt": self.dt, "steps": self.steps, "threads": self.threads, "seed": self.seed}
        return loop.simulate(self.reference, inputs=self.inputs, **{"record": (), **grid, **options})

    @cached_property
    def _rest(self) -> tuple[list[Array], list[Array]]:
        return feed_forward(self.plant, self.inputs, threads=self.threads)

    @property
    def voltages(self) -> list[Array]:
        """Feed-forward voltages of all layers."""
        return self._rest[0]

    @property
    def rates(self) -> list[Array]:
        """Feed-forward rates of all layers."""
        return self._rest[1]

    def steady_state(self, loop: ClosedLoop, tolerance: float | None = None) -> Equilibrium:
        """Find the steady state of a loop on this lesson.

        Parameters
        ----------
        loop : ClosedLoop
            The loop.
        tolerance : float, optional
            Largest residual that counts as zero.

        Returns
        -------
        Equilibrium
            What was found.
        """
        options: dict[str, Any] = {"guess": self.guess, "tolerance": tolerance, "threads": self.threads}
        return loop.equilibrium(self.reference, rests=self.rests, **options)

    @cached_property
    def rests(self) -> Any:
        """The network's rests under constant controls."""
        return self.plant.rests(self.inputs, self.voltages[0])

    @property
    def output(self) -> Array:
        """Feed-forward output (batch, n_L)."""
        return self.voltages[-1]

    @cached_property
    def reference(self) -> Array:
        """Reference of the controller (batch, n_L)."""
        return self.objective.reference(self.output, self.labels)

    @cached_property
    def _evaluated(self) -> tuple[float, Array]:
        return self.objective.loss.evaluate(self.output, self.labels)

    @property
    def loss(self) -> float:
        """Mean loss of the feed-forward output."""
        return self._evaluated[0]

    @property
    def output_gradient(self) -> Array:
        """Gradient of each sample's loss in its feed-forward output (batch, n_L)."""
        return self._evaluated[1]
