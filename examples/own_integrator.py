"""An integrator of one's own: Ralston's method, which is only a table."""

from dataclasses import dataclass

from controlnet import ClosedLoop
from controlnet.controllers import PI
from controlnet.integrators import RK4, AbstractRungeKutta
from controlnet.plants import Pendulum


@dataclass(frozen=True)
class Ralston(AbstractRungeKutta):
    """Ralston's method, order 2: of all with two stages, the one with the smallest bound of the error."""

    def tableau(self):
        return [0, 2 / 3], [[0, 0], [2 / 3, 0]], [1 / 4, 3 / 4]


def angle(integrator, steps):
    """Give the angle of a controlled pendulum after two seconds."""
    loop = ClosedLoop(Pendulum(), PI(k_p=2.0, k_i=1.0), integrator=integrator)
    return loop.simulate([1.0], dt=2 / steps, steps=steps).final["y"][0, 0]


if __name__ == "__main__":
    exact = angle(RK4(), 1000)
    errors = [abs(angle(Ralston(), steps) - exact) for steps in (100, 200)]
    print(f"error {errors[0]:.1e}; with steps half as long {errors[0] / errors[1]:.1f} times smaller")
