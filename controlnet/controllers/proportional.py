"""Proportional control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._check import require_finite
from .._kernel import kernel
from ..base import AbstractController, Array


class ProportionalParams(NamedTuple):
    """What the kernels know."""

    k_p: float


@kernel
def _command(t: float, z: Array, e: Array, q: ProportionalParams, u: Array) -> None:
    for i in range(u.shape[0]):
        for b in range(u.shape[1]):
            u[i, b] = q.k_p * e[i, b]


@dataclass(frozen=True)
class Proportional(AbstractController):
    """Proportional controller u = k_p e.

    Parameters
    ----------
    k_p : float
        Gain.
    """

    k_p: float = 1.0
    command = staticmethod(_command)
    linear = True

    def __post_init__(self) -> None:
        require_finite("Proportional", k_p=self.k_p)

    def params(self, dtype: np.dtype[Any]) -> ProportionalParams:
        return ProportionalParams(dtype.type(self.k_p))

    def steady_relation(self) -> tuple[float, float]:
        return self.k_p, 1.0
