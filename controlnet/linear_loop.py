"""The whole loop near a steady state: the matrices of plant, comparator and controller, joined.

With the plant dx = A x + B u, y = C x + D u, the comparator e = r - E y and the controller dz = A_c z + B_c e,
u = C_c z + D_c e for small deviations, the control is u = (I + D_c E D)^-1 (C_c z + D_c r - D_c E C x).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .equilibrium import Equilibrium, require_fitting
from .errors import DimensionError, InputError
from .integrators import AbstractRungeKutta, Sequential
from .linear import Linear, controller_step, linear_controller
from .response import Response

if TYPE_CHECKING:
    from .base import AbstractController, Array
    from .loop import ClosedLoop


@dataclass(frozen=True, eq=False)
class LinearLoop:
    """The parts of a loop near a steady state.

    Parameters
    ----------
    plant : Linear
        The plant.
    sensitivity : array (batch, noutputs, noutputs)
        E.
    controller : Linear
        The controller.
    """

    plant: Linear
    sensitivity: Array
    controller: Linear

    @property
    def error(self) -> Array:
        """Estimate of the largest error of an entry (batch,): rounding where the plant knows its derivatives."""
        return np.maximum(self.plant.error, self.controller.error)

    def closed(self) -> Linear:
        """Join the parts.

        Returns
        -------
        Linear
            From the reference r to (y, u, e), one below the other; the states are those of plant and controller.
        """
        (A, B, C, D, _), (Ac, Bc, Cc, Dc, _), E = self.plant, self.controller, self.sensitivity
        eye = np.eye(E.shape[1])
        M = np.linalg.inv(eye + Dc @ E @ D)
        u_x, u_z, u_r = -M @ Dc @ E @ C, M @ Cc, M @ Dc
        y_x, y_z, y_r = C + D @ u_x, D @ u_z, D @ u_r
        e_x, e_z, e_r = -E @ y_x, -E @ y_z, eye - E @ y_r
        states = np.block([[A + B @ u_x, B @ u_z], [Bc @ e_x, Ac + Bc @ e_z]])
        inputs = np.concatenate([B @ u_r, Bc @ e_r], axis=1)
        outputs = np.block([[y_x, y_z], [u_x, u_z], [e_x, e_z]])
        return Linear(states, inputs, outputs, np.concatenate([y_r, u_r, e_r], axis=1), self.error)

    def opened(self) -> Linear:
        """Cut the loop at the error.

        Returns
        -------
        Linear
            From the error e to E y: the loop transfer function.
        """
        (A, B, C, D, _), (Ac, Bc, Cc, Dc, _), E = self.plant, self.controller, self.sensitivity
        states = np.block([[A, B @ Cc], [np.zeros((len(A), Ac.shape[1], A.shape[1])), Ac]])
        inputs, outputs = np.concatenate([B @ Dc, Bc], axis=1), np.concatenate([E @ C, E @ D @ Cc], axis=2)
        return Linear(states, inputs, outputs, E @ D @ Dc, self.error)


def linear_loop(loop: ClosedLoop, steady: Equilibrium, minimal: bool = False) -> LinearLoop:
    """Linearise a loop at the steady states of a batch, in continuous time.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    steady : Equilibrium
        What ``loop.equilibrium`` gave.
    minimal : bool
        Whether the plant may leave out states that its control does not reach.

    Returns
    -------
    LinearLoop
        The parts; they mean nothing where no steady state was found.

    Raises
    ------
    InputError
        If the plant does something that its dynamics in continuous time lack.
    """
    if loop.plant.discrete:
        raise InputError(
            f"{type(loop.plant).__name__}: delayed transmission exists from step to step only; linearise its steps "
            "(analysis.step_matrices), or the network with instantaneous transmission"
        )
    require_fitting(steady, loop)
    e = loop.comparator.compare(steady.reference, steady.y)
    linearize = loop.plant.linearize_minimal if minimal else loop.plant.linearize
    return LinearLoop(
        plant=linearize(steady.x, steady.u, steady.inputs),
        sensitivity=loop.comparator.sensitivity(steady.y),
        controller=linear_controller(loop.controller, controller_state(loop.controller, steady.u, e), e),
    )


def controller_state(controller: AbstractController, u: Array, e: Array) -> Array:
    """Give the state in which a controller rests with a control under an error: one step of Gauss and Newton.

    Parameters
    ----------
    controller : AbstractController
        The controller; for a linear one the step is exact.
    u, e : array (batch, n)
        Control and error.

    Returns
    -------
    array (batch, nstates)
        The state z.
    """
    z = np.zeros((len(u), controller.nstates(u.shape[1])), u.dtype)
    near = linear_controller(controller, z, e)
    q, dz, command = controller.params(u.dtype), np.zeros(z.shape[::-1], u.dtype), np.zeros(u.shape[::-1], u.dtype)
    controller.command(0.0, z.T, e.T, q, command)
    controller.rate(0.0, z.T, e.T, command, q, dz)
    missing = -np.concatenate([dz.T, command.T - u], axis=1)
    with np.errstate(all="ignore"):
        matrix = np.nan_to_num(np.concatenate([near.A, near.C], axis=1))
        return np.asarray((np.linalg.pinv(matrix) @ missing[:, :, np.newaxis])[:, :, 0], u.dtype)


def states_of(loop: ClosedLoop, start: Equilibrium | Response) -> tuple[Array, Array]:
    """Give the states of plant and controller from which a simulation can go on.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    start : Equilibrium or Response
        Steady states, or the end of a response.

    Returns
    -------
    tuple of array
        x (batch, nstates) and z (batch, nz).

    Raises
    ------
    InputError
        If it is neither, or a steady state was not found.
    DimensionError
        If it is of another loop.
    """
    if isinstance(start, Equilibrium):
        require_fitting(start, loop)
        if not start.converged.all():
            raise InputError(
                f"start: {int((~start.converged).sum())} samples have no stable steady state: leave them out"
            )
        e = loop.comparator.compare(start.reference, start.y)
        return start.x, controller_state(loop.controller, start.u, e)
    if not isinstance(start, Response):
        raise InputError(f"start: expected an Equilibrium or a Response, got {type(start).__name__}")
    x, z = start.final["x"], start.final["z"]
    expected = loop.plant.nstates, loop.controller.nstates(loop.plant.noutputs)
    if (x.shape[1], z.shape[1]) != expected:
        got = x.shape[1], z.shape[1]
        raise DimensionError(f"start: expected {expected} states of plant and controller a sample, got {got}")
    return x, z


def step_matrices(loop: ClosedLoop, steady: Equilibrium, dt: float) -> Array:
    """Give the matrices of one step of the loop's own scheme near the steady states of a batch.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    steady : Equilibrium
        What ``loop.equilibrium`` gave.
    dt : float
        Step size.

    Returns
    -------
    array (batch, n, n)
        On the states of plant and controller for a Runge-Kutta method, R(dt A); on (x, y, z, u) for `Sequential`, whose
        controller acts on the last error.

    Raises
    ------
    InputError
        If the scheme is neither, or the step size not above zero.
    """
    if not dt > 0:
        raise InputError(f"dt: expected a number > 0, got {dt!r}")
    integrator = loop.integrator
    if isinstance(integrator, AbstractRungeKutta):
        return _runge_kutta(integrator, linear_loop(loop, steady).closed().A, dt)
    if isinstance(integrator, Sequential):
        require_fitting(steady, loop)
        return _sequential(loop, integrator, steady, dt)
    raise InputError(f"{type(integrator).__name__}: expected Sequential or a Runge-Kutta method to linearise a step")


def _runge_kutta(method: AbstractRungeKutta, A: Array, dt: float) -> Array:
    """Give R(dt A): the stages K_i = A (I + dt sum_j a_ij K_j), and I + dt sum_i b_i K_i."""
    _, matrix, weights = method.tableau()
    eye = np.eye(A.shape[1])
    stages: list[Array] = []
    for row in matrix:
        stages.append(A @ (eye + dt * sum((a * K for a, K in zip(row, stages, strict=False)), np.zeros_like(A))))
    return eye + dt * sum((b * K for b, K in zip(weights, stages, strict=True)), np.zeros_like(A))


def _sequential(loop: ClosedLoop, integrator: Sequential, steady: Equilibrium, dt: float) -> Array:
    """Give the map of (x, y, z, u): first the controller on the error of y, then the plant under the new or old u."""
    plant, controller, n, batch = loop.plant, loop.controller, loop.plant.noutputs, len(steady.u)
    e = loop.comparator.compare(steady.reference, steady.y)
    z = controller_state(controller, steady.u, e)
    sizes = (plant.nstates, n, z.shape[1], plant.ninputs)
    # How each depends on all of them before the step.
    x_, y_, z_, u_ = np.split(np.stack([np.eye(sum(sizes))] * batch), np.cumsum(sizes)[:-1], axis=1)
    e_ = -loop.comparator.differentiate(steady.y, y_)
    new_z = controller_step(controller, dt, z, e, steady.u)[0] @ np.concatenate([z_, e_, u_], axis=1)
    near = linear_controller(controller, z, e)
    new_u = near.C @ new_z + near.D @ e_
    step = plant.linearize_step(dt, steady.x, steady.u, steady.inputs)
    applied = u_ if integrator.delay else new_u
    return np.concatenate([step.A @ x_ + step.B @ applied, step.C @ x_ + step.D @ applied, new_z, new_u], axis=1)
