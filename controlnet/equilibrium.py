"""The steady state of a closed loop of each sample, by root finding in the space of controls."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ._equation import Equation
from ._inner_equation import InnerEquation, inner_loop
from ._parallel import on_threads
from ._root_finding import MANY, search
from .base import Array
from .errors import DimensionError, InputError
from .rest import Rests

if TYPE_CHECKING:
    from .loop import ClosedLoop


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """Steady state of each sample.

    Parameters
    ----------
    u, y : array (batch, n_L)
        Control and output.
    x : array (batch, nstates)
        State of the plant.
    reference : array (batch, n_L)
        Reference r*.
    inputs : array (batch, nexogenous)
        Exogenous input.
    residual : array (batch,)
        Largest absolute entry of e - (b / a) u; where state and control were found together, of dx/dt too.
    iterations : array (batch,) of int
        Steps of Broyden and of continuation together, or of Newton for state and control.
    stable : array (batch,) of bool
        Whether the plant alone is stable there and no eigenvalue of a E G + b I has a negative real part, rounding
        aside: then the loop is stable if the plant is faster than the controller.  For plants other than networks also
        whether the whole loop is stable in continuous time.
    converged : array (batch,) of bool
        Residual below the tolerance, and stable.
    """

    u: Array
    y: Array
    x: Array
    reference: Array
    inputs: Array
    residual: Array
    iterations: Array
    stable: Array
    converged: Array

    def part(self, chosen: Array | slice) -> Equilibrium:
        """Give some samples.

        Parameters
        ----------
        chosen : array of int or bool, or slice
            Which.

        Returns
        -------
        Equilibrium
            Their steady states.
        """
        return Equilibrium(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def sample(self, index: int) -> Equilibrium:
        """Give one sample, as a batch of one.

        Parameters
        ----------
        index : int
            Its number.

        Returns
        -------
        Equilibrium
            Its steady state.

        Raises
        ------
        InputError
            If there is no such sample.
        """
        if not 0 <= index < len(self.u):
            raise InputError(f"sample: expected a number from 0 to {len(self.u) - 1}, got {index}")
        return self.part(slice(index, index + 1))


def require_fitting(steady: Equilibrium, loop: ClosedLoop) -> None:
    """Raise if steady states cannot be those of a loop.

    Parameters
    ----------
    steady : Equilibrium
        What ``loop.equilibrium`` gave.
    loop : ClosedLoop
        The loop.

    Raises
    ------
    DimensionError
        If they are of a plant of another size.
    """
    plant = loop.plant
    expected = {"x": plant.nstates, "u": plant.ninputs, "y": plant.noutputs, "inputs": plant.nexogenous}
    for name, width in expected.items():
        if (found := getattr(steady, name).shape[1]) != width:
            raise DimensionError(
                f"steady.{name}: expected {width} numbers a sample, got {found}: take what this loop's equilibrium gave"
            )


def unknown(plant: Any, reference: Array, inputs: Array) -> Equilibrium:
    """Give what is known of steady states before the search.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    reference : array (batch, noutputs)
        Reference r*.
    inputs : array (batch, nexogenous)
        Exogenous input.

    Returns
    -------
    Equilibrium
        NaN for state, control and output, nothing converged.
    """
    batch = len(reference)
    u, y, x = (np.full((batch, n), np.nan, plant.dtype) for n in (plant.ninputs, plant.noutputs, plant.nstates))
    no = np.zeros(batch, bool)
    return Equilibrium(u, y, x, reference, inputs, np.full(batch, np.inf), np.zeros(batch, np.int64), no, no)


def default_tolerance(reference: Array, dtype: np.dtype[Any]) -> Array:
    """Give the largest residual that counts as zero where none is named.

    Parameters
    ----------
    reference : array (batch, noutputs)
        Reference r*.
    dtype : dtype
        Precision of the plant.

    Returns
    -------
    array (batch,)
        1e-10, or 1e-5 for float32, and what rounding leaves of a reference of thousands.
    """
    largest = np.abs(reference).max(axis=1, initial=0)
    return np.maximum(1e-10 if dtype == np.float64 else 1e-5, 32 * np.finfo(dtype).eps * largest)


def solve(
    loop: ClosedLoop,
    reference: Array,
    rests: Rests,
    *,
    guess: Array | None = None,
    tolerance: float | Array | None = None,
    max_iterations: int = 100,
    threads: int | None = None,
) -> Equilibrium:
    """Find the steady state of every sample.

    Parameters
    ----------
    loop : ClosedLoop
        The loop; its integrator plays no part.
    reference : array (batch, noutputs)
        Reference r*.
    rests : Rests
        The rests of the loop's plant.
    guess : array (batch, ninputs), optional
        Control from which to start; zeros if not given.
    tolerance : float or array (batch,), optional
        Largest residual that counts as zero; 1e-10, or 1e-5 for float32, if not given, and what rounding leaves of a
        reference of thousands.
    max_iterations : int
        Most steps of continuation, before Broyden's method takes over and again if it fails.
    threads : int, optional
        Number of threads; all cores if not given.  The result does not depend on it.

    Returns
    -------
    Equilibrium
        The steady state, and where it was not found.

    Raises
    ------
    InputError
        If an option is out of range, or plant or controller have no such state.
    DimensionError
        If the guess does not fit.
    """
    dtype = loop.plant.dtype
    if tolerance is None:
        tolerance = default_tolerance(reference, dtype)
    if np.shape(tolerance) not in ((), reference.shape[:1]):
        raise DimensionError(f"tolerance: expected a number or shape {reference.shape[:1]}, got {np.shape(tolerance)}")
    if not np.all(np.asarray(tolerance) > 0) or max_iterations < 1:
        raise InputError(f"expected tolerance > 0 and max_iterations >= 1, got {tolerance} and {max_iterations}")
    tolerances = np.broadcast_to(np.asarray(tolerance, dtype), reference.shape[:1])
    start = np.zeros(reference.shape, dtype) if guess is None else np.array(guess, dtype)
    if start.shape != reference.shape:
        raise DimensionError(f"guess: expected shape {reference.shape}, got {start.shape}")
    start[~np.isfinite(start).all(axis=1)] = 0

    def work(part: slice) -> Equilibrium:
        return solve_block(loop, reference[part], rests, start[part], part.start, tolerances[part], max_iterations)

    parts = on_threads(work, len(reference), threads)
    return Equilibrium(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Equilibrium))
    )


def solve_block(
    loop: ClosedLoop,
    reference: Array,
    rests: Rests,
    start: Array,
    first: int = 0,
    tolerance: float | Array = 1e-10,
    max_iterations: int = 100,
) -> Equilibrium:
    """Find the steady state of some samples in this thread.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    reference : array (samples, noutputs)
        Reference r*.
    rests : Rests
        The rests of the loop's plant.
    start : array (samples, ninputs)
        Control from which to start.
    first : int
        Number of the first sample among those of the rests.
    tolerance : float or array (samples,)
        Largest residual that counts as zero.
    max_iterations : int
        Most steps of continuation, before Broyden's method takes over and again if it fails.

    Returns
    -------
    Equilibrium
        The steady state, and where it was not found.
    """
    tolerance, equation = np.broadcast_to(tolerance, len(start)), Equation(loop, reference, rests, first)
    if start.shape[1] >= MANY and (inside := inner_loop(loop)) is not None:
        equation = InnerEquation(loop, reference, rests, first, *inside)
    with np.errstate(all="ignore"):
        found = search(equation, start, tolerance, max_iterations)
    state = found.u, found.y, found.x, reference, rests.inputs[first : first + len(start)]
    judged = found.residual, found.iterations, found.stable
    return Equilibrium(*state, *judged, (found.residual <= tolerance) & found.stable)
