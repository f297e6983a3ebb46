"""Explicit Runge-Kutta methods on the joint state of plant and controller: one kernel, the methods are data."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._kernel import kernel
from ..base import AbstractIntegrator, Array, Block, System, copy
from .joint import close, slope


class Tableau(NamedTuple):
    """Butcher tableau: stage i at t + nodes[i] dt from the slopes before it, then the weighted sum of all."""

    nodes: Array
    matrix: Array
    weights: Array


@kernel
def _add_slopes(weights: Array, n: int, dt: float, work: Array, out: Array) -> None:
    """Add dt times the weighted sum of the first n slopes."""
    for m in range(n):
        factor = dt * weights[m]
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] += factor * work[m, i, j]


@kernel
def _runge_kutta_step(system: System, k: int, t: float, dt: float, b: Block) -> None:
    nodes, matrix, weights = b.scheme
    n = len(weights)
    for i in range(n):
        stage = b.work[n] if i > 0 else b.s
        if i > 0:
            copy(b.s, stage)
            _add_slopes(matrix[i], i, dt, b.work, stage)
            system.settle(system, t + nodes[i] * dt, stage, b)
        slope(system, t + nodes[i] * dt, stage, b, b.work[i])
    _add_slopes(weights, n, dt, b.work, b.s)


class AbstractRungeKutta(AbstractIntegrator):
    """An explicit Runge-Kutta method (Hairer, Norsett, Wanner, *Solving Ordinary Differential Equations I*, II.1)."""

    step = staticmethod(_runge_kutta_step)
    settle = staticmethod(close)

    @abstractmethod
    def tableau(self) -> tuple[list[float], list[list[float]], list[float]]:
        """Give the nodes, the matrix and the weights.

        Returns
        -------
        tuple of lists
            The Butcher tableau; the matrix is square and strictly lower triangular.
        """

    @property
    def stages(self) -> int:  # type: ignore[override]
        """Number of slopes, and one stage."""
        return len(self.tableau()[2]) + 1

    def params(self, dtype: np.dtype[Any]) -> Tableau:
        return Tableau(*(np.array(part, dtype) for part in self.tableau()))


@dataclass(frozen=True)
class Euler(AbstractRungeKutta):
    """Explicit Euler, order 1: s(t + dt) = s + dt f(t, s)."""

    def tableau(self) -> tuple[list[float], list[list[float]], list[float]]:
        return [0], [[0]], [1]


@dataclass(frozen=True)
class Heun(AbstractRungeKutta):
    """Heun's method, order 2: the mean of the slopes at both ends of the step."""

    def tableau(self) -> tuple[list[float], list[list[float]], list[float]]:
        return [0, 1], [[0, 0], [1, 0]], [1 / 2, 1 / 2]


@dataclass(frozen=True)
class RK4(AbstractRungeKutta):
    """The classical Runge-Kutta method, order 4."""

    def tableau(self) -> tuple[list[float], list[list[float]], list[float]]:
        matrix: list[list[float]] = [[0, 0, 0, 0], [1 / 2, 0, 0, 0], [0, 1 / 2, 0, 0], [0, 0, 1, 0]]
        return [0, 1 / 2, 1 / 2, 1], matrix, [1 / 6, 1 / 3, 1 / 3, 1 / 6]
