"""The steady state of a closed loop by root finding in the space of controls.

At rest the controller holds a e = b u, and the plant's state follows from u, so that only n_L numbers a sample are
unknown: F(u) = a e(y(u)) - b u = 0, with dF/du = -(a E G + b I), G = dy/du (J Q for a network), E = dg/dy of the
comparator.  Newton's method from u = 0 comes first.  Where it does not reach a stable root, pseudo-transient
continuation (Kelley, Keyes 1998) follows: implicit Euler in the controller's own time, the step growing as the
residual falls, which stays on the branch that the dynamics reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .base import Array
from .errors import InputError

if TYPE_CHECKING:
    from .loop import ClosedLoop

FIRST_STEP, LEAST_GROWTH, MOST_GROWTH, REJECTED_ABOVE = 10.0, 1.5, 10.0, 1.2


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """Steady state of each sample.

    Parameters
    ----------
    u, y : array (batch, n_L)
        Control and output.
    x : array (batch, nstates)
        State of the plant.
    residual : array (batch,)
        Largest absolute entry of e - (b / a) u.
    iterations : array (batch,) of int
        Newton and continuation steps together.
    stable : array (batch,) of bool
        Whether the plant alone is stable there and no eigenvalue of a E G + b I has a negative real part, rounding
        aside: then the loop is stable if the plant is faster than the controller.
    converged : array (batch,) of bool
        Residual below the tolerance, and stable.
    """

    u: Array
    y: Array
    x: Array
    residual: Array
    iterations: Array
    stable: Array
    converged: Array


class _Point(NamedTuple):
    """F and a E G + b I at some controls, and the residual."""

    F: Array
    matrix: Array
    residual: Array
    x: Array
    y: Array
    stable_plant: Array


class _Equation:
    """F(u) = 0 for a batch, of which any part can be evaluated."""

    def __init__(self, loop: ClosedLoop, reference: Array, inputs: Array) -> None:
        self.loop, self.reference, self.inputs = loop, reference, inputs
        self.a, self.b = loop.controller.steady_relation()

    def at(self, u: Array, part: Array) -> _Point:
        rest = self.loop.plant.at_rest(u, self.inputs[part])
        with np.errstate(all="ignore"):
            F = self.a * self.loop.comparator.compare(self.reference[part], rest.y) - self.b * u
            matrix = self.a * self.loop.comparator.sensitivity(rest.y) @ rest.gain + self.b * np.eye(u.shape[1])
            residual = np.abs(F).max(axis=1) / (abs(self.a) or 1.0)
        residual = np.where(np.isfinite(residual) & np.isfinite(matrix).all(axis=(1, 2)), residual, np.inf)
        return _Point(F, matrix, residual, rest.x, rest.y, rest.stable)


def solve(
    loop: ClosedLoop,
    reference: Array,
    inputs: Array,
    *,
    tolerance: float | None = None,
    max_iterations: int = 100,
) -> Equilibrium:
    """Find the steady state of every sample.

    Parameters
    ----------
    loop : ClosedLoop
        The loop; its integrator plays no part.
    reference : array (batch, noutputs)
        Reference r*.
    inputs : array (batch, nexogenous)
        Exogenous input.
    tolerance : float, optional
        Largest residual that counts as zero; 1e-10, or 1e-5 for float32, if not given.
    max_iterations : int
        Most continuation steps, after at most 20 of Newton.

    Returns
    -------
    Equilibrium
        The steady state, and where it was not found.

    Raises
    ------
    InputError
        If an option is out of range, or plant or controller have no such state.
    """
    if tolerance is None:
        tolerance = 1e-10 if loop.plant.dtype == np.float64 else 1e-5
    if not tolerance > 0 or max_iterations < 1:
        raise InputError(f"expected tolerance > 0 and max_iterations >= 1, got {tolerance} and {max_iterations}")
    equation = _Equation(loop, reference, inputs)
    u, iterations = _newton(equation, tolerance)
    everything = np.arange(len(u))
    point = equation.at(u, everything)
    failed = np.flatnonzero((point.residual > tolerance) | ~_stable(point))
    if len(failed):
        u[failed], more = _continue(equation, failed, tolerance, max_iterations)
        iterations[failed] += more
        point = equation.at(u, everything)
    stable = _stable(point)
    converged = (point.residual <= tolerance) & stable
    return Equilibrium(u, point.y, point.x, point.residual, iterations, stable, converged)


def _stable(point: _Point) -> Array:
    """Judge stability; softmax ignores a common shift of all outputs, so that without a leak one eigenvalue is zero."""
    matrix = point.matrix
    finite: Array = np.asarray(np.isfinite(matrix).all(axis=(1, 2)))
    eigenvalues = np.linalg.eigvals(np.where(finite[:, np.newaxis, np.newaxis], matrix, 0))
    largest = np.abs(eigenvalues).max(axis=1, keepdims=True)
    falling = (largest > 0) & (eigenvalues.real >= -100 * np.finfo(matrix.dtype).eps * largest)
    return np.asarray(finite & point.stable_plant & falling.all(axis=1))


def _step(matrix: Array, F: Array) -> Array:
    try:
        return np.linalg.solve(matrix, F[:, :, np.newaxis])[:, :, 0]
    except np.linalg.LinAlgError:
        return np.asarray((np.linalg.pinv(matrix) @ F[:, :, np.newaxis])[:, :, 0])


def _newton(equation: _Equation, tolerance: float, most: int = 20) -> tuple[Array, Array]:
    """Give u and the number of steps of each sample; a sample leaves when it is solved or its residual grows."""
    u = np.zeros_like(equation.reference)
    iterations = np.zeros(len(u), np.int64)
    active = np.arange(len(u))
    point = equation.at(u, active)
    for _ in range(most):
        going = np.isfinite(point.residual) & (point.residual > tolerance)
        active, point = active[going], _Point(*(values[going] for values in point))
        if not len(active):
            break
        trial = (u[active] + _step(point.matrix, point.F)).astype(u.dtype)
        new = equation.at(trial, active)
        iterations[active] += 1
        better = new.residual < REJECTED_ABOVE * point.residual
        u[active[better]] = trial[better]
        active, point = active[better], _Point(*(values[better] for values in new))
    return u, iterations


def _continue(equation: _Equation, part: Array, tolerance: float, most: int) -> tuple[Array, Array]:
    """Follow du/ds = F(u) from u = 0 by implicit Euler with growing steps."""
    u = np.zeros_like(equation.reference[part])
    iterations = np.zeros(len(part), np.int64)
    eye = np.eye(u.shape[1], dtype=u.dtype)
    step = np.full(len(part), FIRST_STEP)
    point = equation.at(u, part)
    for _ in range(most):
        going = np.flatnonzero(np.isfinite(point.residual) & (point.residual > tolerance))
        if not len(going):
            break
        implicit = point.matrix[going] + eye / step[going, np.newaxis, np.newaxis]
        trial = (u[going] + _step(implicit, point.F[going])).astype(u.dtype)
        new = equation.at(trial, part[going])
        iterations[going] += 1
        with np.errstate(divide="ignore"):
            growth = np.clip(point.residual[going] / new.residual, LEAST_GROWTH, MOST_GROWTH)
        accepted: Array = np.asarray(new.residual <= REJECTED_ABOVE * point.residual[going])
        step[going] *= np.where(accepted, growth, 1 / MOST_GROWTH)
        u[going[accepted]] = trial[accepted]
        for values, fresh in zip(point, new, strict=True):
            values[going[accepted]] = fresh[accepted]
    return u, iterations
