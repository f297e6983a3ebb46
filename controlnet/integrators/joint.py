"""What the integrators of the joint state share: closing the loop at an instant, and its time derivative."""

from __future__ import annotations

from .._kernel import kernel
from ..base import Array, Block, System, copy


@kernel
def close(system: System, t: float, s: Array, b: Block) -> None:
    """Bring control, output and error in agreement with a joint state.

    Plant or controller has no feedthrough, so one of the two commands below already is the final one.

    Parameters
    ----------
    system : System
        The bound kernels.
    t : float
        Time.
    s : array (n, batch)
        Joint state of plant and controller.
    b : Block
        `b.u`, `b.applied`, `b.y` and `b.e` are written.
    """
    n = b.x.shape[0]
    system.command(t, s[n:], b.e, b.q, b.u)
    system.output(t, s[:n], b.u, b.w, b.p, b.y)
    system.error(b.r, b.y, b.e)
    system.command(t, s[n:], b.e, b.q, b.u)
    copy(b.u, b.applied)
    system.set_control(s[:n], b.u, b.p)


@kernel
def slope(system: System, t: float, s: Array, b: Block, ds: Array) -> None:
    """Write ds/dt of the joint state at which the loop was closed last.

    Parameters
    ----------
    system : System
        The bound kernels.
    t : float
        Time.
    s : array (n, batch)
        Joint state of plant and controller.
    b : Block
        Control and error are read.
    ds : array (n, batch)
        Written.
    """
    n = b.x.shape[0]
    system.dynamics(t, s[:n], b.u, b.w, b.p, ds[:n])
    system.rate(t, s[n:], b.e, b.u, b.q, ds[n:])
