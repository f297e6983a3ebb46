"""The wires of the closed loop: what its kernels hand to each other, and the smallest of these kernels.

Letters, used everywhere.  A **block** is a matrix whose columns are samples, so that a kernel reads like
the textbook equation (``dx = A x + B u``); the public face is batch first.

=========  ==================  =========================================================
letter     shape in a block    meaning
=========  ==================  =========================================================
t, dt, k   scalars             time, step size (both in the plant's unit), index of the step
x          (nstates, batch)    state of the plant
z          (nstates, batch)    state of the controller
s          (both, batch)       joint state: x stacked on z
u          (ninputs, batch)    control, as the controller gives it
y          (noutputs, batch)   output of the plant
r          (noutputs, batch)   reference, r* in the papers
e          (noutputs, batch)   error signal
w          (nexogenous, batch) exogenous input: disturbance, or the network's input pattern
p, q       NamedTuples         what the kernels of plant and controller know
l          NamedTuple          what the kernels of the law accumulate
=========  ==================  =========================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from ._kernel import kernel

Array: TypeAlias = NDArray[Any]
Parameters: TypeAlias = dict[str, Array]
Kernel: TypeAlias = Callable[..., Any]


class Block(NamedTuple):
    """The wires of the loop for one block of samples; single letters as in the module's table.

    `applied` (ninputs, batch) is the control that reaches the plant, `mean_u` and `mean_e` are the means of u and e
    over the last time points, `work` (stages, both, batch) is room for the integrator.  `scheme` and `noise` are what
    its kernels know, `law` is l, what the law accumulates.
    """

    s: Array
    x: Array
    z: Array
    u: Array
    applied: Array
    y: Array
    e: Array
    r: Array
    w: Array
    mean_u: Array
    mean_e: Array
    work: Array
    scheme: Any
    noise: Any
    p: Any
    q: Any
    law: Any


class System(NamedTuple):
    """The kernels that one compiled loop binds together."""

    dynamics: Kernel
    output: Kernel
    advance: Kernel
    set_input: Kernel
    set_control: Kernel
    observe: Kernel
    rate: Kernel
    command: Kernel
    control_step: Kernel
    error: Kernel
    step: Kernel
    settle: Kernel
    disturb: Kernel
    adapt: Kernel
    finish: Kernel


@kernel
def add_scaled(a: Array, scale: float, b: Array, out: Array) -> None:
    """Write out = a + scale b without allocating.

    Parameters
    ----------
    a, b : array (n, batch)
        The summands.
    scale : float
        Factor of `b`.
    out : array (n, batch)
        Written; may be `a` itself.
    """
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[i, j] = a[i, j] + scale * b[i, j]


@kernel
def copy(source: Array, out: Array) -> None:
    """Write out = source; ``out[:] = source`` would compile code for broadcasting and its errors.

    Parameters
    ----------
    source, out : array (n, batch)
        From and to.
    """
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = source[i, j]


@kernel
def follow(target: Array, gain: float, x: Array) -> None:
    """Move x towards the target by that share of the difference.

    Parameters
    ----------
    target : array (n, batch)
        Where to.
    gain : float
        The share; dt / tau for a time constant tau.
    x : array (n, batch)
        Written.
    """
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] += gain * (target[i, j] - x[i, j])


@kernel
def first_diverged(limit: float, values: Array) -> int:
    """Give the first sample that has a value which is not a number or beyond the limit.

    Parameters
    ----------
    limit : float
        Largest absolute value.
    values : array (n, batch)
        Signals.

    Returns
    -------
    int
        The sample, or -1.
    """
    for j in range(values.shape[1]):
        for i in range(values.shape[0]):
            if not abs(values[i, j]) <= limit:
                return j
    return -1


@kernel
def euler_advance(system: System, k: int, t: float, dt: float, b: Block) -> None:
    """Advance a plant one explicit Euler step under the control `b.applied`, and read its output.

    Parameters
    ----------
    system : System
        The bound kernels.
    k : int
        Index of the control that is applied; -1 if the controller has not given one yet.
    t, dt : float
        Time before the step, and its size.
    b : Block
        `b.x` and `b.y` are written.
    """
    dx = b.work[0][: b.x.shape[0]]
    system.dynamics(t, b.x, b.applied, b.w, b.p, dx)
    add_scaled(b.x, dt, dx, b.x)
    system.output(t + dt, b.x, b.applied, b.w, b.p, b.y)


@kernel
def euler_control(system: System, t: float, dt: float, b: Block) -> None:
    """Step the state of a controller by explicit Euler under the present error.

    Parameters
    ----------
    system : System
        The bound kernels.
    t, dt : float
        Time before the step, and its size.
    b : Block
        `b.z` is written.
    """
    dz = b.work[0][b.x.shape[0] :]
    system.rate(t, b.z, b.e, b.u, b.q, dz)
    add_scaled(b.z, dt, dz, b.z)
