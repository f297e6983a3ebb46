"""A plant of one's own: the Van der Pol oscillator, held at a point by the PID controller."""

from dataclasses import dataclass
from typing import NamedTuple

from controlnet import ClosedLoop, kernel
from controlnet.base import AbstractPlant
from controlnet.controllers import PID
from controlnet.integrators import RK4


class Params(NamedTuple):
    """What the kernels know."""

    mu: float


@kernel
def dynamics(t, x, u, w, p, dx):
    """Write dx/dt; rows are states, columns are samples."""
    for b in range(x.shape[1]):
        dx[0, b] = x[1, b]
        dx[1, b] = p.mu * (1 - x[0, b] ** 2) * x[1, b] - x[0, b] + u[0, b]


@kernel
def output(t, x, u, w, p, y):
    """Write the position."""
    for b in range(x.shape[1]):
        y[0, b] = x[0, b]


@dataclass(frozen=True)
class VanDerPol(AbstractPlant):
    """Oscillator d2x/dt2 = mu (1 - x^2) dx/dt - x + u; without control it runs into a limit cycle."""

    mu: float = 1.0
    nstates, ninputs, noutputs = 2, 1, 1
    dynamics, output = staticmethod(dynamics), staticmethod(output)

    def params(self, batch):
        return Params(float(self.mu))


if __name__ == "__main__":
    loop = ClosedLoop(VanDerPol(), PID(k_p=8, k_i=4, k_d=4, derivative_filter=0.05), integrator=RK4())
    response = loop.simulate([1.0], initial_state=[-2.0, 0.0], dt=0.01, duration=20.0)
    print(f"position {response.y[-1, 0, 0]:.4f} under control {response.u[-1, 0, 0]:.4f}")
