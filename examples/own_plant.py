"""A plant of one's own: the Van der Pol oscillator, held at a point by the PID controller."""

from dataclasses import dataclass
from typing import NamedTuple

from controlnet import ClosedLoop, controllers, integrators, kernel
from controlnet.base import AbstractPlant


class Params(NamedTuple):
    """What the kernels know."""

    mu: float


@kernel
def _dynamics(t, x, u, w, p, dx):  # rows are states, columns are samples
    for b in range(x.shape[1]):
        dx[0, b] = x[1, b]
        dx[1, b] = p.mu * (1 - x[0, b] ** 2) * x[1, b] - x[0, b] + u[0, b]


@kernel
def _output(t, x, u, w, p, y):
    for b in range(x.shape[1]):
        y[0, b] = x[0, b]


@dataclass(frozen=True)
class VanDerPol(AbstractPlant):
    """Oscillator d2x/dt2 = mu (1 - x^2) dx/dt - x + u; without control it runs into a limit cycle."""

    mu: float = 1.0
    nstates, ninputs, noutputs = 2, 1, 1
    dynamics, output = staticmethod(_dynamics), staticmethod(_output)

    def params(self, batch):
        return Params(float(self.mu))


if __name__ == "__main__":
    pid = controllers.PID(k_p=8, k_i=4, k_d=4, derivative_filter=0.05)
    loop = ClosedLoop(VanDerPol(), pid, integrator=integrators.RK4())
    response = loop.simulate([1.0], initial_state=[-2.0, 0.0], dt=0.01, duration=20.0)
    print(f"position {response.y[-1, 0, 0]:.4f} under control {response.u[-1, 0, 0]:.4f}")
