"""Leaky integral control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._check import require_at_least_zero, require_finite
from .._kernel import kernel
from ..base import AbstractController, Array, copy


class IntegralParams(NamedTuple):
    """What the kernels know."""

    k_i: float
    leak: float


@kernel
def _rate(t: float, z: Array, e: Array, u: Array, q: IntegralParams, dz: Array) -> None:
    for i in range(dz.shape[0]):
        for b in range(dz.shape[1]):
            dz[i, b] = q.k_i * e[i, b] - q.leak * z[i, b]


@kernel
def _command(t: float, z: Array, e: Array, q: IntegralParams, u: Array) -> None:
    copy(z, u)


@dataclass(frozen=True)
class Integral(AbstractController):
    """Leaky integral controller du/dt = k_i e - alpha u.

    Parameters
    ----------
    k_i : float
        Gain, 1 / unit of time.
    leak : float
        Leak alpha >= 0, 1 / unit of time.
    """

    k_i: float = 1.0
    leak: float = 0.0
    rate = staticmethod(_rate)
    command = staticmethod(_command)
    linear = True
    feedthrough = False

    def __post_init__(self) -> None:
        require_finite("Integral", k_i=self.k_i)
        require_at_least_zero("Integral", leak=self.leak)

    def nstates(self, noutputs: int) -> int:
        return noutputs

    def params(self, dtype: np.dtype[Any]) -> IntegralParams:
        return IntegralParams(dtype.type(self.k_i), dtype.type(self.leak))

    def steady_relation(self) -> tuple[float, float]:
        return self.k_i, self.leak
