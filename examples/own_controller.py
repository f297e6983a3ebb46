"""A controller of one's own: a sliding mode brings a pendulum up against a disturbance."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from controlnet import ClosedLoop, kernel
from controlnet.base import AbstractController
from controlnet.integrators import RK4
from controlnet.plants import Pendulum


class Params(NamedTuple):
    """What the kernels know."""

    gain: float
    width: float
    tau: float


@kernel
def rate(t, z, e, u, q, dz):
    """Let z follow the error, so that (e - z) / tau is its filtered derivative."""
    for b in range(e.shape[1]):
        dz[0, b] = (e[0, b] - z[0, b]) / q.tau


@kernel
def command(t, z, e, q, u):
    """Switch with the side of the line e + de/dt = 0, smoothly within a boundary layer."""
    for b in range(e.shape[1]):
        u[0, b] = q.gain * math.tanh((e[0, b] + (e[0, b] - z[0, b]) / q.tau) / q.width)


@dataclass(frozen=True)
class SlidingMode(AbstractController):
    """Controller u = gain tanh((e + de/dt) / width) of one output; rejects disturbances smaller than the gain."""

    gain: float = 15.0
    width: float = 0.1
    tau: float = 0.01
    rate, command = staticmethod(rate), staticmethod(command)

    def nstates(self, noutputs):
        return noutputs

    def params(self, dtype):
        return Params(dtype.type(self.gain), dtype.type(self.width), dtype.type(self.tau))


if __name__ == "__main__":
    loop = ClosedLoop(Pendulum(), SlidingMode(), integrator=RK4())
    response = loop.simulate([math.pi], inputs=[2.0], dt=0.005, duration=8.0)
    print(f"angle {response.y[-1, 0, 0]:.2f} rad, under a disturbance of 2 / s^2")
