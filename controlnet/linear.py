"""A plant or a controller near a state: its matrices, from its kernels by differences if it does not know better.

In continuous time, and for the step that each makes under `Sequential`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._idle import add_no_noise

if TYPE_CHECKING:
    from .base import AbstractController, AbstractPlant, Array


class Linear(NamedTuple):
    """dx/dt = A x + B u, y = C x + D u for small deviations, each matrix (batch, rows, columns).

    ``error`` (batch,) estimates the largest error of an entry: zero where the derivatives are exact.
    """

    A: Array
    B: Array
    C: Array
    D: Array
    error: Array


def derivative(function: Callable[[Array], Array], at: Array) -> tuple[Array, Array]:
    """Differentiate a function of columns: central differences of two step sizes, extrapolated (Richardson 1911).

    Parameters
    ----------
    function : callable
        Takes (n, batch), gives (m, batch), one sample a column.
    at : array (n, batch)
        Where.

    Returns
    -------
    tuple of array
        The derivatives (batch, m, n), of fourth order in the step; and (batch,) the largest difference from the
        second-order ones, which bounds the error of smooth functions from above.
    """
    # Truncation of fourth order and rounding balance at the fifth root of the precision.
    steps = np.finfo(at.dtype).eps ** at.dtype.type(0.2) * np.maximum(1, np.abs(at))
    fine, coarse = (_central(function, at, scale * steps) for scale in (at.dtype.type(0.5), at.dtype.type(1)))
    change = (fine - coarse) / 3
    return fine + change, np.abs(change).max(axis=(1, 2), initial=0)


def _central(function: Callable[[Array], Array], at: Array, steps: Array) -> Array:
    columns = []
    for i in range(len(at)):
        higher, lower = at.copy(), at.copy()
        higher[i] += steps[i]
        lower[i] -= steps[i]
        columns.append(((function(higher) - function(lower)) / (higher[i] - lower[i])).T)
    rows = function(at).shape[0] if not columns else columns[0].shape[1]
    return np.stack(columns, axis=2) if columns else np.zeros((at.shape[1], rows, 0), at.dtype)


class PlantColumns:
    """The kernels of a plant as functions that give what they write.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    inputs : array (batch, nexogenous)
        Exogenous input.
    """

    def __init__(self, plant: AbstractPlant, inputs: Array) -> None:
        self.plant, self.w = plant, np.ascontiguousarray(inputs.T)
        self.p: Any = plant.params(self.w.shape[1])
        plant.set_input(self.w, self.p)

    def output(self, x: Array, u: Array) -> Array:
        """Give y (noutputs, batch).

        Parameters
        ----------
        x : array (nstates, batch)
            State.
        u : array (ninputs, batch)
            Control.
        """
        y = np.zeros((self.plant.noutputs, x.shape[1]), self.plant.dtype)
        self.plant.output(0.0, np.ascontiguousarray(x), np.ascontiguousarray(u), self.w, self.p, y)
        return y

    def dynamics(self, x: Array, u: Array) -> Array:
        """Give dx/dt (nstates, batch).

        Parameters
        ----------
        x : array (nstates, batch)
            State.
        u : array (ninputs, batch)
            Control.
        """
        x, u, dx = np.ascontiguousarray(x), np.ascontiguousarray(u), np.zeros(x.shape, self.plant.dtype)
        self.output(x, u)
        self.plant.set_control(x, u, self.p)
        self.plant.dynamics(0.0, x, u, self.w, self.p, dx)
        return dx


def linear_plant(plant: AbstractPlant, x: Array, u: Array, inputs: Array) -> Linear:
    """Linearise a plant by differences of its kernels.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    x : array (batch, nstates)
        State.
    u : array (batch, ninputs)
        Control.
    inputs : array (batch, nexogenous)
        Exogenous input.

    Returns
    -------
    Linear
        The matrices, with an estimate of their error.
    """
    columns, n = PlantColumns(plant, inputs), x.shape[1]

    def both(xu: Array) -> Array:
        return np.concatenate([columns.dynamics(xu[:n], xu[n:]), columns.output(xu[:n], xu[n:])])

    return _cut(*derivative(both, np.concatenate([x, u], axis=1, dtype=plant.dtype).T), n)


def plant_step(plant: AbstractPlant, dt: float, x: Array, u: Array, inputs: Array) -> Linear:
    """Linearise a plant's own step by differences of its kernels.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    dt : float
        Step size.
    x : array (batch, nstates)
        State.
    u : array (batch, ninputs)
        Control that is applied.
    inputs : array (batch, nexogenous)
        Exogenous input.

    Returns
    -------
    Linear
        x' = A x + B u, y' = C x + D u: state and output after the step.
    """
    columns, n, number = PlantColumns(plant, inputs), x.shape[1], plant.dtype.type
    system = SimpleNamespace(dynamics=plant.dynamics, output=plant.output, disturb=add_no_noise)

    def both(xu: Array) -> Array:
        x, u = xu[:n].copy(), xu[n:].copy()
        y = columns.output(x, u)
        plant.set_control(x, u, columns.p)
        room = np.zeros((1, *x.shape), plant.dtype)
        block = SimpleNamespace(x=x, y=y, u=u, applied=u, w=columns.w, p=columns.p, work=room, noise=())
        plant.advance(system, 1, number(0), number(dt), block)
        return np.concatenate([block.x, block.y])

    return _cut(*derivative(both, np.concatenate([x, u], axis=1, dtype=plant.dtype).T), n)


def controller_step(controller: AbstractController, dt: float, z: Array, e: Array, u: Array) -> tuple[Array, Array]:
    """Linearise a controller's own step by differences of its kernel.

    Parameters
    ----------
    controller : AbstractController
        The controller.
    dt : float
        Step size.
    z : array (batch, nstates)
        State of the controller.
    e, u : array (batch, n)
        Error, and control before the step.

    Returns
    -------
    tuple of array
        Derivatives (batch, nstates, nstates + 2 n) of z' with respect to z, e and u, and an estimate of their error.
    """
    dtype, n, m = np.result_type(z, e), z.shape[1], e.shape[1]
    q, system = controller.params(dtype), SimpleNamespace(rate=controller.rate)

    def after(zeu: Array) -> Array:
        z, e, u = (part.copy() for part in np.split(zeu, (n, n + m)))
        room, nothing = np.zeros((1, *z.shape), dtype), np.zeros((0, z.shape[1]), dtype)
        controller.control_step(
            system, dtype.type(0), dtype.type(dt), SimpleNamespace(x=nothing, z=z, e=e, u=u, q=q, work=room)
        )
        return z

    return derivative(after, np.concatenate([z, e, u], axis=1).T)


def linear_controller(controller: AbstractController, z: Array, e: Array) -> Linear:
    """Linearise a controller by differences of its kernels: dz/dt and u for its state z and the error e.

    Parameters
    ----------
    controller : AbstractController
        The controller.
    z : array (batch, nstates)
        State of the controller.
    e : array (batch, noutputs)
        Error.

    Returns
    -------
    Linear
        The matrices; exact up to rounding for a linear controller.
    """
    dtype, n = np.result_type(z, e), z.shape[1]
    q = controller.params(dtype)

    def both(ze: Array) -> Array:
        z, e = np.ascontiguousarray(ze[:n]), np.ascontiguousarray(ze[n:])
        u, dz = np.zeros_like(e), np.zeros_like(z)
        controller.command(0.0, z, e, q, u)
        controller.rate(0.0, z, e, u, q, dz)
        return np.concatenate([dz, u])

    return _cut(*derivative(both, np.concatenate([z, e], axis=1).T), n)


def _cut(matrix: Array, error: Array, n: int) -> Linear:
    """Take the four blocks of [[A, B], [C, D]] with n states apart."""
    return Linear(matrix[:, :n, :n], matrix[:, :n, n:], matrix[:, n:, :n], matrix[:, n:, n:], error)
