"""The state in which a plant rests under a constant control, found from its kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from .base import AbstractPlant, Array

ITERATIONS = 50
STEP = 1e-6
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


def find_rest(plant: AbstractPlant, u: Array, inputs: Array) -> Rest:
    """Find the rest by Newton's method on dx/dt = 0, with derivatives by central differences.

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
    InputError
        If the plant integrates.
    """
    x = plant.initial_state(inputs).T
    columns = _Columns(plant, inputs.T)
    for _ in range(ITERATIONS):
        slope, (A, _) = columns.dynamics(x, u.T), columns.derivatives("dynamics", x, u.T)
        moving = np.abs(slope).max(axis=0, initial=0) >= TOLERANCE
        if not moving.any():
            break
        x = x - np.where(moving, _solve(plant, A, slope), 0)
    A, B = columns.derivatives("dynamics", x, u.T)
    C, D = columns.derivatives("output", x, u.T)
    through = np.stack([_solve(plant, A, B[:, :, k].T).T for k in range(u.shape[1])], axis=2) if len(x) else B
    stable: Array = np.asarray((np.linalg.eigvals(A).real < 0).all(axis=1))
    found = Rest(x.T, columns.output(x, u.T).T, D - C @ through, stable)
    if moving.any():
        for values in found[:3]:
            values[moving] = np.nan
    return found


def _solve(plant: AbstractPlant, A: Array, right: Array) -> Array:
    """Solve A_b s_b = right[:, b] for every sample b."""
    try:
        return np.linalg.solve(A, right.T[:, :, np.newaxis])[:, :, 0].T
    except np.linalg.LinAlgError:
        raise InputError(
            f"{type(plant).__name__}: the plant integrates (singular A), so a constant control has no single rest"
        ) from None


class _Columns:
    """The kernels of a plant as functions, with derivatives for every sample."""

    def __init__(self, plant: AbstractPlant, w: Array) -> None:
        self.plant, self.w, self.p = plant, w, plant.params(w.shape[1])
        plant.set_input(w, self.p)

    def _call(self, name: str, x: Array, u: Array) -> Array:
        rows = self.plant.nstates if name == "dynamics" else self.plant.noutputs
        out = np.zeros((rows, x.shape[1]), self.plant.dtype)
        x, u = np.ascontiguousarray(x), np.ascontiguousarray(u)
        if name == "dynamics":
            self._call("output", x, u)
            self.plant.set_control(x, u, self.p)
        getattr(self.plant, name)(0.0, x, u, self.w, self.p, out)
        return out

    def dynamics(self, x: Array, u: Array) -> Array:
        return self._call("dynamics", x, u)

    def output(self, x: Array, u: Array) -> Array:
        return self._call("output", x, u)

    def derivatives(self, name: str, x: Array, u: Array) -> tuple[Array, Array]:
        """Give the derivatives in x and in u, (batch, rows, columns)."""

        def difference(values: Array, i: int, call: Any) -> Array:
            shift = np.zeros_like(values)
            shift[i] = STEP
            return (call(values + shift) - call(values - shift)).T / (2 * STEP)

        in_x = [difference(x, i, lambda s: self._call(name, s, u)) for i in range(len(x))]
        in_u = [difference(u, i, lambda s: self._call(name, x, s)) for i in range(len(u))]
        rows = self.plant.nstates if name == "dynamics" else self.plant.noutputs
        empty = np.zeros((x.shape[1], rows, 0))
        return np.stack(in_x, axis=2) if in_x else empty, np.stack(in_u, axis=2) if in_u else empty
