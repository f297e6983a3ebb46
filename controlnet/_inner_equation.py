"""Steady states of networks with more outputs than neurons below them, by matrices of those neurons' size.

With a linear output layer, feedback weights Q_L = q I and e = r* - y the gain is G = q I + W_L K with K = dr_{L-1}/du.
Then M = m I + a W_L K with m = a q + b, so that

    (m I + a W_L K)^{-1} F = (F - a W_L S^{-1} K F) / m,   S = m I + a K W_L,

and the eigenvalues of M are m and those of S: what would take n_L tangents and n_L^3 operations takes n_{L-1}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._equation import Equation, Point, shifted, solved
from .base import Array

if TYPE_CHECKING:
    from .loop import ClosedLoop
    from .plants._network_inner import Inner


def inner_loop(loop: ClosedLoop) -> tuple[Inner, Array] | None:
    """Give the network below a wide output layer, and m.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.

    Returns
    -------
    tuple or None
        (inner network, m); None if the loop has no such layer, another comparator, or m <= 0.
    """
    plant: Any = loop.plant
    inner: Inner | None = plant.inner if loop.comparator.plain else None
    if inner is None:
        return None
    a, b = loop.controller.steady_relation()
    m = a * inner.identity + b
    return (inner, plant.dtype.type(m)) if m > 0 else None


class InnerEquation(Equation):
    """The same equation, whose points hold S as matrix and the rates as gain."""

    explicit = False

    def __init__(self, loop: ClosedLoop, reference: Array, rests: Any, first: int, inner: Inner, m: Array) -> None:
        super().__init__(loop, reference, rests, first)
        self.inner, self.m = inner, m

    @property
    def rows(self) -> int:
        return self.inner.net.noutputs

    def at(self, u: Array, part: Array, exact: bool = False) -> Point:
        rests: Any = self.rests
        x, y = rests.state(u, self.first + part)
        rates = rests.rates(u, self.first + part)
        F, residual = self.error(u, y, part)
        matrix = shifted(self.a * self.inner.gain(rates, exact), self.m)
        finite = np.isfinite(matrix).all(axis=(1, 2))
        stable = np.ones(len(u), bool)
        return Point(u, F, rates.T.copy(), matrix, np.where(finite, residual, np.inf), x, y, stable)

    def implicit_step(self, point: Point, shift: Array) -> Array:
        matrix, m = shifted(point.matrix.copy(), shift[:, np.newaxis]), self.m + shift[:, np.newaxis]
        moved = solved(matrix, self.inner.follow(point.gain.T, point.F))
        return self.inner.completed(moved, point.F, self.a, m)
