"""Losses: how far outputs are from what the labels want."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from .base import Array
from .errors import DimensionError, InputError


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
        loss = -np.vdot(targets, shifted - np.log(total)) / len(y)
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
    right = labels[:, np.newaxis] == np.arange(noutputs)
    if np.count_nonzero(right) != len(labels):
        raise InputError(f"labels: expected classes 0 to {noutputs - 1}, got {labels.min()} to {labels.max()}")
    return np.where(right, value, (1 - value) / max(noutputs - 1, 1))
