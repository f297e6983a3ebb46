"""Comparators: what forms the error signal from reference and output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import softmax

from ._kernel import kernel
from .base import Array, Kernel


@kernel
def _difference(r: Array, y: Array, e: Array) -> None:
    for i in range(e.shape[0]):
        for b in range(e.shape[1]):
            e[i, b] = r[i, b] - y[i, b]


@kernel
def _softmax_difference(r: Array, y: Array, e: Array) -> None:
    n, one = y.shape[0], y.dtype.type(1)
    for b in range(y.shape[1]):
        largest = y[0, b]
        for i in range(n):
            largest = y[i, b] if y[i, b] > largest else largest
        total = one - one
        for i in range(n):
            e[i, b] = np.exp(y[i, b] - largest)
            total += e[i, b]
        for i in range(n):
            e[i, b] = r[i, b] - e[i, b] / total


class AbstractComparator(ABC):
    """The comparator of the loop: e = r - g(y), with a kernel ``error(r, y, e)`` for a block.

    `plain` says whether g(y) = y, which lets networks with many outputs come to rest sooner; a subclass of one that is
    plain has to say if it is not.
    """

    error: ClassVar[Kernel]
    plain: ClassVar[bool] = False

    @abstractmethod
    def compare(self, reference: Array, y: Array) -> Array:
        """Give the error with NumPy.

        Parameters
        ----------
        reference, y : array (batch, noutputs)
            Reference and output.

        Returns
        -------
        array (batch, noutputs)
            The error e.
        """

    @abstractmethod
    def sensitivity(self, y: Array) -> Array:
        """Give dg/dy.

        Parameters
        ----------
        y : array (batch, noutputs)
            Output.

        Returns
        -------
        array (batch, noutputs, noutputs)
            The derivative of what is subtracted from the reference.
        """

    def differentiate(self, y: Array, change: Array) -> Array:
        """Give how g(y) moves with the output: dg/dy times derivatives of y.

        Parameters
        ----------
        y : array (batch, noutputs)
            Output.
        change : array (batch, noutputs, n)
            Its derivatives in something.

        Returns
        -------
        array (batch, noutputs, n)
            Those of g(y).
        """
        return self.sensitivity(y) @ change

    def output_for(self, reference: Array, error: Array) -> Array:
        """Give an output at which the error is the one given: where it is known, steady states are found in few steps.

        Parameters
        ----------
        reference, error : array (batch, noutputs)
            Reference and error.

        Returns
        -------
        array (batch, noutputs)
            The output y; NaN where there is none, or none is known.
        """
        return np.full_like(reference, np.nan)


@dataclass(frozen=True)
class Difference(AbstractComparator):
    """e = r - y."""

    error = staticmethod(_difference)
    plain = True

    def compare(self, reference: Array, y: Array) -> Array:
        return reference - y

    def sensitivity(self, y: Array) -> Array:
        return np.broadcast_to(np.eye(y.shape[1], dtype=y.dtype), (len(y), y.shape[1], y.shape[1]))

    def differentiate(self, y: Array, change: Array) -> Array:
        return change

    def output_for(self, reference: Array, error: Array) -> Array:
        return reference - error


@dataclass(frozen=True)
class SoftmaxDifference(AbstractComparator):
    """e = r - softmax(y), the negative gradient of the cross-entropy (Meulemans et al. 2022)."""

    error = staticmethod(_softmax_difference)

    def compare(self, reference: Array, y: Array) -> Array:
        return reference - softmax(y, axis=1)

    def sensitivity(self, y: Array) -> Array:
        s = softmax(y, axis=1)
        return s[:, :, np.newaxis] * (np.eye(y.shape[1], dtype=y.dtype) - s[:, np.newaxis])

    def output_for(self, reference: Array, error: Array) -> Array:
        return np.log(reference - error)


COMPARATORS: dict[str, type[Difference] | type[SoftmaxDifference]] = {
    "difference": Difference,
    "softmax-difference": SoftmaxDifference,
}
