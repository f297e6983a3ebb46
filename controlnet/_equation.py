"""The equation whose root is the steady state of a loop: F(u) = a e(y(u)) - b u = 0, with dF/du = -M."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .base import Array
from .rest import Rests

if TYPE_CHECKING:
    from .loop import ClosedLoop


class Point(NamedTuple):
    """Controls, F, G and M there, or what stands for them, the residual, and state and output of the plant."""

    u: Array
    F: Array
    gain: Array
    matrix: Array
    residual: Array
    x: Array
    y: Array
    stable_plant: Array

    def part(self, chosen: Array) -> Point:
        """Give a copy of some samples, by their numbers or as marked."""
        return Point(*(values[chosen] for values in self))

    def put(self, chosen: Array, fresh: Point) -> None:
        """Overwrite some samples."""
        for values, new in zip(self, fresh, strict=True):
            values[chosen] = new


class Equation:
    """F(u) = 0 for the samples from `first` on, of which any part can be evaluated; M = a E G + b I with E = dg/dy."""

    explicit = True
    """Whether points hold M itself."""

    def __init__(self, loop: ClosedLoop, reference: Array, rests: Rests, first: int) -> None:
        self.reference, self.rests, self.first, self.comparator = reference, rests, first, loop.comparator
        self.a, self.b = (loop.plant.dtype.type(number) for number in loop.controller.steady_relation())

    @property
    def rows(self) -> int:
        """Number of rows of a point's matrix."""
        return int(self.reference.shape[1])

    def output(self, u: Array, part: Array) -> Array:
        """Give y alone."""
        return self.rests.output(u, self.first + part)

    def error(self, u: Array, y: Array, part: Array) -> tuple[Array, Array]:
        """Give F and the residual, infinite where something is not finite."""
        F = self.a * self.comparator.compare(self.reference[part], y) - self.b * u
        residual = np.abs(F).max(axis=1) / (abs(self.a) or 1)
        return F, np.where(np.isfinite(residual), residual, np.inf)

    def straight(self, u: Array, y: Array, part: Array) -> tuple[Array, Array]:
        """Give F in first order from the output that u asks for, and that output."""
        asked = self.comparator.output_for(self.reference[part], self.b / self.a * u)
        missing = self.comparator.differentiate(asked, (asked - y)[:, :, np.newaxis])[:, :, 0]
        return self.error(u, asked, part)[0] + self.a * missing, asked

    def matrix(self, y: Array, gain: Array) -> Array:
        """Give M with E at some output."""
        return shifted(self.a * self.comparator.differentiate(y, gain), self.b)

    def at(self, u: Array, part: Array, exact: bool = False) -> Point:
        """Give everything."""
        rest = self.rests.at(u, self.first + part, exact)
        F, residual = self.error(u, rest.y, part)
        matrix = self.matrix(rest.y, rest.gain)
        finite = np.isfinite(matrix).all(axis=(1, 2))
        return Point(u, F, rest.gain, matrix, np.where(finite, residual, np.inf), rest.x, rest.y, rest.stable)

    def implicit_step(self, point: Point, shift: Array) -> Array:
        """Give (M + shift I)^{-1} F; there is a shift for each sample."""
        return solved(shifted(point.matrix.copy(), shift[:, np.newaxis]), point.F)


def shifted(matrix: Array, shift: Array) -> Array:
    """Add a number to the diagonals, in place.

    Parameters
    ----------
    matrix : array (batch, n, n)
        The matrices.
    shift : array
        A number, or a column of one for each sample.

    Returns
    -------
    array (batch, n, n)
        The same.
    """
    diagonal = np.arange(matrix.shape[1])
    matrix[:, diagonal, diagonal] += shift
    return matrix


def applied(matrix: Array, vector: Array) -> Array:
    """Give M v for every sample.

    Parameters
    ----------
    matrix : array (batch, n, m)
        M.
    vector : array (batch, m)
        v.

    Returns
    -------
    array (batch, n)
        The products.
    """
    return np.asarray((matrix @ vector[:, :, np.newaxis])[:, :, 0])


def solved(matrix: Array, vector: Array) -> Array:
    """Solve M x = v for every sample, in the sense of least squares if some M is singular.

    Parameters
    ----------
    matrix : array (batch, n, n)
        M.
    vector : array (batch, n)
        v.

    Returns
    -------
    array (batch, n)
        The solutions.
    """
    try:
        return np.asarray(np.linalg.solve(matrix, vector[:, :, np.newaxis])[:, :, 0])
    except np.linalg.LinAlgError:
        return applied(np.linalg.pinv(matrix), vector)
