"""The state in which a plant rests under a constant control, found from its kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import NoRestError
from .linear import PlantColumns

if TYPE_CHECKING:
    from .base import AbstractPlant, Array

ITERATIONS = 50
TOLERANCE = 1e-10


class Rest(NamedTuple):
    """A plant at rest: state x (batch, nstates), output y (batch, noutputs), dy/du (batch, noutputs, ninputs).

    ``stable`` (batch,) says whether the plant returns to it under constant control.  Where no rest was found, all
    numbers are NaN.
    """

    x: Array
    y: Array
    gain: Array
    stable: Array


class Rests:
    """The rests of a plant for a batch of inputs, of which any part can be asked for.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    inputs : array (batch, nexogenous)
        Exogenous input.
    """

    every = False
    """Whether there is a stable rest for every control."""

    def __init__(self, plant: Any, inputs: Array) -> None:
        self.plant, self.inputs = plant, inputs

    def at(self, u: Array, part: Array, exact: bool = True) -> Rest:
        """Give state, output, gain and stability.

        Parameters
        ----------
        u : array (samples, ninputs)
            Control.
        part : array of int
            Which samples.
        exact : bool
            Whether the gain must have the plant's precision; single precision may be cheaper.

        Returns
        -------
        Rest
            The rest under that control.
        """
        rest: Rest = self.plant.at_rest(u, self.inputs[part])
        return rest

    def output(self, u: Array, part: Array) -> Array:
        """Give the output alone, which may cost much less.

        Parameters
        ----------
        u : array (samples, ninputs)
            Control.
        part : array of int
            Which samples.

        Returns
        -------
        array (samples, noutputs)
            y.
        """
        return self.at(u, part).y

    def gain(self, x: Array, u: Array, part: Array) -> Array:
        """Give how the output at rest depends on the control near a state at rest.

        Parameters
        ----------
        x : array (samples, nstates)
            State.
        u : array (samples, ninputs)
            Control.
        part : array of int
            Which samples.

        Returns
        -------
        array (samples, noutputs, ninputs)
            dy/du = D - C A^-1 B; NaN where the plant does not return to that state by itself.
        """
        near = self.plant.linearize(x, u, self.inputs[part])
        found = np.full(near.D.shape, np.nan)
        stable = (np.linalg.eigvals(near.A).real < 0).all(axis=1)
        A, B, C, D = (matrix[stable] for matrix in near[:4])
        found[stable] = D - C @ np.linalg.solve(A, B)
        return found


def find_rest(plant: AbstractPlant, u: Array, inputs: Array) -> Rest:
    """Find the rest by Newton's method on dx/dt = 0, with the plant's own derivatives.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    u : array (batch, ninputs)
        Control.
    inputs : array (batch, nexogenous)
        Exogenous input.

    Returns
    -------
    Rest
        State, output and gain; NaN for samples without a rest near the initial state.

    Raises
    ------
    NoRestError
        If the plant integrates.
    """
    x, columns = plant.initial_state(inputs), PlantColumns(plant, inputs)
    for _ in range(ITERATIONS):
        slope = columns.dynamics(x.T, u.T).T
        near = plant.linearize(x, u, inputs)
        moving = np.abs(slope).max(axis=1, initial=0) >= TOLERANCE
        if not moving.any():
            break
        x = x - np.where(moving[:, np.newaxis], _solve(plant, near.A, slope[:, :, np.newaxis])[:, :, 0], 0)
    through = _solve(plant, near.A, near.B)
    stable: Array = np.asarray((np.linalg.eigvals(near.A).real < 0).all(axis=1))
    found = Rest(x, columns.output(x.T, u.T).T, near.D - near.C @ through, stable)
    if moving.any():
        for values in found[:3]:
            values[moving] = np.nan
    return found


def _solve(plant: AbstractPlant, A: Array, right: Array) -> Array:
    """Solve A s = right for every sample."""
    try:
        return np.linalg.solve(A, right)
    except np.linalg.LinAlgError:
        raise NoRestError(
            f"{type(plant).__name__}: the plant integrates (singular A), so a constant control has no single rest"
        ) from None
