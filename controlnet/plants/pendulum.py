"""A damped pendulum driven at its pivot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._kernel import kernel
from ..base import AbstractPlant, Array, Linear
from ..errors import InputError


class PendulumParams(NamedTuple):
    """What the kernels know."""

    omega2: float
    damping: float


@kernel
def _dynamics(t: float, x: Array, u: Array, w: Array, p: PendulumParams, dx: Array) -> None:
    for b in range(x.shape[1]):
        dx[0, b] = x[1, b]
        dx[1, b] = -p.omega2 * np.sin(x[0, b]) - p.damping * x[1, b] + u[0, b] + w[0, b]


@kernel
def _output(t: float, x: Array, u: Array, w: Array, p: PendulumParams, y: Array) -> None:
    for b in range(x.shape[1]):
        y[0, b] = x[0, b]


@dataclass(frozen=True)
class Pendulum(AbstractPlant):
    """Pendulum d2(theta)/dt2 = -(g / l) sin(theta) - damping d(theta)/dt + u + w.

    State (angle [rad], rate [rad/s]), output the angle, control u and disturbance w are torques / (m l^2) [1/s^2].

    Parameters
    ----------
    length : float
        Length l > 0 [m].
    damping : float
        Damping >= 0 [1/s].
    gravity : float
        Gravitational acceleration g [m/s^2].
    """

    length: float = 1.0
    damping: float = 0.5
    gravity: float = 9.81
    nstates = 2
    ninputs = noutputs = nexogenous = 1
    dynamics = staticmethod(_dynamics)
    output = staticmethod(_output)

    def __post_init__(self) -> None:
        bounds = {"length": self.length > 0, "damping": self.damping >= 0, "gravity": True}
        for name, allowed in bounds.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and allowed):
                expected = {"length": "> 0", "damping": ">= 0"}.get(name, "that is finite")
                raise InputError(f"Pendulum.{name}: expected a number {expected}, got {value!r}")

    @property
    def state_names(self) -> tuple[str, ...]:
        """Angle and rate."""
        return "angle", "rate"

    def linearize(self, x: Array, u: Array, inputs: Array) -> Linear:
        A = np.zeros((len(x), 2, 2))
        A[:, 0, 1], A[:, 1, 0], A[:, 1, 1] = 1, -self.gravity / self.length * np.cos(x[:, 0]), -self.damping
        B, C = np.zeros((len(x), 2, 1)), np.zeros((len(x), 1, 2))
        B[:, 1], C[:, :, 0] = 1, 1
        return Linear(A, B, C, np.zeros((len(x), 1, 1)), np.zeros(len(x)))

    def params(self, batch: int) -> PendulumParams:
        return PendulumParams(self.gravity / self.length, float(self.damping))
