"""A controller of one's own: proportional control that never exceeds a largest torque."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from controlnet import ClosedLoop, kernel
from controlnet.base import AbstractController
from controlnet.plants import Pendulum


class Params(NamedTuple):
    """What the kernels know."""

    slope: float
    largest: float


@kernel
def _command(t, z, e, q, u):
    for i in range(u.shape[0]):
        for b in range(u.shape[1]):
            u[i, b] = q.largest * np.tanh(q.slope * e[i, b] / q.largest)


@dataclass(frozen=True)
class Saturating(AbstractController):
    """Controller u = largest tanh(slope e / largest)."""

    slope: float = 20.0
    largest: float = 8.0
    command = staticmethod(_command)

    def params(self, dtype):
        return Params(dtype.type(self.slope), dtype.type(self.largest))


if __name__ == "__main__":
    response = ClosedLoop(Pendulum(), Saturating()).simulate([1.0], dt=0.01, duration=10.0)
    print(f"angle {response.y[-1, 0, 0]:.3f} of 1 rad, largest control {abs(response.u).max():.2f}")
