"""Proportional-integral-derivative control with a derivative filter and anti-windup."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._check import require_finite
from .._kernel import kernel
from ..base import AbstractController, Array, Block, System
from ..errors import InputError


class PIDParams(NamedTuple):
    """What the kernels know; rates are 1 / time constant."""

    k_p: float
    k_i: float
    k_d: float
    filter_rate: float
    tracking_rate: float
    lower: float
    upper: float


@kernel
def _clip(value: float, q: PIDParams) -> float:
    value = q.lower if value < q.lower else value
    return q.upper if value > q.upper else value


@kernel
def _unlimited(i: int, b: int, z: Array, e: Array, q: PIDParams) -> float:
    value = q.k_p * e[i, b]
    if q.k_i != 0:
        value += z[i, b]
    if q.k_d != 0:
        value += q.k_d * q.filter_rate * (e[i, b] - z[z.shape[0] - e.shape[0] + i, b])
    return value


@kernel
def _rate(t: float, z: Array, e: Array, u: Array, q: PIDParams, dz: Array) -> None:
    filters = z.shape[0] - e.shape[0]
    for i in range(e.shape[0]):
        for b in range(e.shape[1]):
            if q.k_i != 0:
                raw = _unlimited(i, b, z, e, q)
                dz[i, b] = q.k_i * e[i, b] + q.tracking_rate * (_clip(raw, q) - raw)
            if q.k_d != 0:
                dz[filters + i, b] = q.filter_rate * (e[i, b] - z[filters + i, b])


@kernel
def _control_step(system: System, t: float, dt: float, b: Block) -> None:
    """Step the filter by implicit Euler, which is stable at any dt and makes the derivative (e - z) / (tau_d + dt)."""
    z, e, q = b.z, b.e, b.q
    gain, filters = dt * q.filter_rate / (1 + dt * q.filter_rate), z.shape[0] - e.shape[0]
    for i in range(e.shape[0]):
        for s in range(e.shape[1]):
            if q.k_i != 0:
                raw = _unlimited(i, s, z, e, q)
                z[i, s] += dt * (q.k_i * e[i, s] + q.tracking_rate * (_clip(raw, q) - raw))
            if q.k_d != 0:
                z[filters + i, s] += gain * (e[i, s] - z[filters + i, s])


@kernel
def _command(t: float, z: Array, e: Array, q: PIDParams, u: Array) -> None:
    for i in range(u.shape[0]):
        for b in range(u.shape[1]):
            u[i, b] = _clip(_unlimited(i, b, z, e, q), q)


@dataclass(frozen=True)
class PID(AbstractController):
    """PID controller, U(s) = (k_p + k_i / s + k_d s / (1 + tau_d s)) E(s), limited to [lower, upper].

    While the limit holds, the integral part follows it by back-calculation
    (Astrom, Hagglund, *Advanced PID Control*, 2006, section 3.5).  The state z holds the integral part, then the
    filtered error; of a gain that is zero there is none.

    Parameters
    ----------
    k_p, k_i, k_d : float
        Gains; 1, 1 / unit of time, unit of time.
    derivative_filter : float
        Time constant tau_d > 0 of the filter of the derivative.
    lower, upper : float
        Limits of the control, infinite for none.
    tracking_time : float
        Time constant > 0 with which the integral part follows the limit.
    """

    k_p: float = 1.0
    k_i: float = 0.0
    k_d: float = 0.0
    derivative_filter: float = 0.01
    lower: float = -math.inf
    upper: float = math.inf
    tracking_time: float = 1.0
    rate = staticmethod(_rate)
    command = staticmethod(_command)
    control_step = staticmethod(_control_step)

    def __post_init__(self) -> None:
        require_finite("PID", k_p=self.k_p, k_i=self.k_i, k_d=self.k_d)
        for name in ("derivative_filter", "tracking_time"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"PID.{name}: expected a number > 0, got {value!r}")
        if not self.lower < self.upper:
            raise InputError(f"PID.lower: expected a number below upper = {self.upper!r}, got {self.lower!r}")

    @property
    def shortest_time(self) -> float:  # type: ignore[override]
        """Time constant of the derivative's filter, if there is a derivative."""
        return self.derivative_filter if self.k_d else 0.0

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether u has no limits."""
        return math.isinf(self.lower) and math.isinf(self.upper)

    def nstates(self, noutputs: int) -> int:
        return (bool(self.k_i) + bool(self.k_d)) * noutputs

    def params(self, dtype: np.dtype[Any]) -> PIDParams:
        rates = (1 / self.derivative_filter, 1 / self.tracking_time)
        numbers = (self.k_p, self.k_i, self.k_d, *rates, self.lower, self.upper)
        return PIDParams(*(dtype.type(number) for number in numbers))

    def steady_relation(self) -> tuple[float, float]:
        if not self.linear:
            raise InputError(
                "PID: a limited control has no linear relation at rest; give no limits to use `equilibrium`"
            )
        return (self.k_i, 0.0) if self.k_i else (self.k_p, 1.0)
