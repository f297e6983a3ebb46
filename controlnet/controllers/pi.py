"""Proportional-integral control with a leak: the controller of Deep Feedback Control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from .._check import require_at_least_zero, require_finite
from .._kernel import kernel
from ..base import AbstractController, Array
from ..errors import InputError


class PIParams(NamedTuple):
    """What the kernels know; the leak acts on ``leak_control * u + leak_integral * z``."""

    k_p: float
    k_i: float
    leak_control: float
    leak_integral: float


@kernel
def _rate(t: float, z: Array, e: Array, u: Array, q: PIParams, dz: Array) -> None:
    for i in range(dz.shape[0]):
        for b in range(dz.shape[1]):
            dz[i, b] = q.k_i * e[i, b] - (q.leak_control * u[i, b] + q.leak_integral * z[i, b])


@kernel
def _command(t: float, z: Array, e: Array, q: PIParams, u: Array) -> None:
    for i in range(u.shape[0]):
        for b in range(u.shape[1]):
            u[i, b] = z[i, b] + q.k_p * e[i, b]


@dataclass(frozen=True)
class PI(AbstractController):
    """Leaky PI controller u = z + k_p e.

    With ``leak_on="control"``, dz/dt = k_i e - alpha u: what the public DFC code does, with e = alpha u / k_i at rest.
    With ``leak_on="integral"``, dz/dt = k_i e - alpha z: what the paper writes
    (Meulemans et al. 2021, with z = k_i u_int and tau_u = 1).

    Parameters
    ----------
    k_p : float
        Proportional gain.
    k_i : float
        Integral gain, 1 / unit of time.
    leak : float
        Leak alpha >= 0, 1 / unit of time.
    leak_on : {"control", "integral"}
        What leaks: the full control u or its integral part z.
    """

    k_p: float = 0.0
    k_i: float = 1.0
    leak: float = 0.0
    leak_on: Literal["control", "integral"] = "control"
    rate = staticmethod(_rate)
    command = staticmethod(_command)
    linear = True

    def __post_init__(self) -> None:
        require_finite("PI", k_p=self.k_p, k_i=self.k_i)
        require_at_least_zero("PI", leak=self.leak)
        if self.leak_on not in ("control", "integral"):
            raise InputError(f'PI.leak_on: expected "control" or "integral", got {self.leak_on!r}')

    @property
    def feedthrough(self) -> bool:  # type: ignore[override]
        """Whether u depends on e without delay."""
        return self.k_p != 0

    def nstates(self, noutputs: int) -> int:
        return noutputs

    def params(self, dtype: np.dtype[Any]) -> PIParams:
        leak_control, leak_integral = (self.leak, 0.0) if self.leak_on == "control" else (0.0, self.leak)
        numbers = (self.k_p, self.k_i, leak_control, leak_integral)
        return PIParams(*(dtype.type(number) for number in numbers))

    def steady_relation(self) -> tuple[float, float]:
        if not self.k_i and not self.leak:
            return self.k_p, 1.0
        if self.leak_on == "control":
            return self.k_i, self.leak
        return self.k_i + self.leak * self.k_p, self.leak
