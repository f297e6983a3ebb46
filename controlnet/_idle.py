"""The kernels of what a part does not have: each stands in for one that is not there and does nothing.

Which arguments they get stands at the base classes that bind them.
"""

from __future__ import annotations

from typing import Any

from ._kernel import kernel
from .wires import Array, Block, System


@kernel
def set_no_input(w: Array, p: Any) -> None:
    """Take no notice of the input."""


@kernel
def set_no_control(x: Array, u: Array, p: Any) -> None:
    """Take no notice of the control."""


@kernel
def stay(system: System, k: int, t: float, dt: float, b: Block) -> None:
    """Leave the plant where it is: the integrator has stepped it."""


@kernel
def observe_nothing(b: Block, out: Array) -> None:
    """Write nothing: the plant has no observables."""


@kernel
def rate_of_nothing(t: float, z: Array, e: Array, u: Array, q: Any, dz: Array) -> None:
    """Write nothing: the controller has no state."""


@kernel
def add_no_noise(dt: float, tau: float, b: Block, out: Array) -> None:
    """Leave the plant undisturbed."""


@kernel
def keep_parameters(k: int, dt: float, b: Block, l: Any) -> None:
    """Accumulate nothing."""


@kernel
def finish_nothing(b: Block, l: Any) -> None:
    """Accumulate nothing at the end."""
