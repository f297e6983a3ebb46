"""The papers' scheme: first the controller, then the plant under the held control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._kernel import kernel
from ..base import AbstractIntegrator, AbstractPlant, Array, Block, Kernel, System, copy
from ..errors import InputError
from .noise import AbstractNoise, disturb, silence, transpose_disturb


@kernel
def _settle(system: System, t: float, s: Array, b: Block) -> None:
    system.error(b.r, b.y, b.e)


@kernel
def _step_with_new_control(system: System, k: int, t: float, dt: float, b: Block) -> None:
    system.control_step(system, t, dt, b)
    system.command(t, b.z, b.e, b.q, b.u)
    copy(b.u, b.applied)


@kernel
def _step_with_old_control(system: System, k: int, t: float, dt: float, b: Block) -> None:
    system.control_step(system, t, dt, b)
    copy(b.u, b.applied)
    system.command(t, b.z, b.e, b.q, b.u)


@dataclass(frozen=True)
class Sequential(AbstractIntegrator):
    """First the controller's own step on the last error, then the plant's own step; first order.

    The loop is a sampled one: u[0] = 0, and the error of step t acts on the plant from step t + 1 on, so
    that a plant with feedthrough makes no algebraic loop.  This is the scheme of the public DFC implementations
    (Meulemans et al. 2021).

    Parameters
    ----------
    control : {"new", "old"}
        Which control reaches the plant within a step: the one just computed, or the one of the
        step before.
    noise : WhiteNoise, FilteredNoise or None
        Noise that the plant takes up in its own step: a network through its apical compartments.
    """

    control: Literal["new", "old"] = "new"
    noise: Any = None
    settle = staticmethod(_settle)
    disturb = staticmethod(disturb)
    transpose_disturb = staticmethod(transpose_disturb)
    holds_control = True

    def __post_init__(self) -> None:
        if self.control not in ("new", "old"):
            raise InputError(f'Sequential.control: expected "new" or "old", got {self.control!r}')
        if not isinstance(self.noise, AbstractNoise | None):
            raise InputError(f"Sequential.noise: expected WhiteNoise, FilteredNoise or None, got {self.noise!r}")

    def disturbance(self, plant: AbstractPlant, part: slice, seed: np.random.SeedSequence, block: int) -> Any:
        if not plant.noise_layers:
            return ()
        if self.noise is None:
            return silence(plant, part.stop - part.start)
        return self.noise.memory(plant.noise_layers, plant.dtype, part, seed, block)

    @property
    def delay(self) -> int:  # type: ignore[override]
        """Number of steps by which the control reaches the plant late."""
        return int(self.control == "old")

    @property
    def step(self) -> Kernel:  # type: ignore[override]
        """The kernel of one step."""
        return _step_with_new_control if self.control == "new" else _step_with_old_control
