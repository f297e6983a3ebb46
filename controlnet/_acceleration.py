"""Anderson's acceleration (1965): a root of F from forward passes alone, as GMRES would find it if F were linear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Array

if TYPE_CHECKING:
    from ._equation import Equation

MOST_STEPS, MEMORY = 60, 20
RELAXATION = 0.3
"""Share of the step that would solve F(u) = 0 if the plant were the identity."""
RUNAWAY = 100.0
"""Growth of the residual at which a sample is given up."""


def accelerated(equation: Equation, start: Array, tolerance: Array) -> tuple[Array, Array, Array]:
    """Look for roots without a single matrix of the plant.

    With the last changes dU of u and dF of F, the next u is u + beta F - (dU + beta dF) g, where g makes F - dF g
    smallest (Walker, Ni 2011).

    Parameters
    ----------
    equation : Equation
        What is to be zero.
    start : array (samples, n_L)
        Control from which to start.
    tolerance : array (samples,)
        Largest residual that counts as zero.

    Returns
    -------
    tuple of array
        u (samples, n_L), its residual and the number of steps (samples,), of roots and of what was given up.
    """
    u, best = start.copy(), np.full(len(start), np.inf, start.dtype)
    iterations, active, beta = np.zeros(len(start), np.int64), np.arange(len(start)), _relaxation(equation)
    at = u.copy()
    F, residual = _evaluated(equation, at, active)
    first = best[:] = residual
    changes = np.zeros((2, len(start), start.shape[1], 0), start.dtype)
    for _ in range(MOST_STEPS):
        going = np.isfinite(residual) & (residual > tolerance[active]) & (residual <= RUNAWAY * first[active])
        active, at, F, changes = active[going], at[going], F[going], changes[:, going]
        if not len(active):
            break
        step = beta * F - _correction(changes, F, beta)
        new, residual = _evaluated(equation, at + step, active)
        iterations[active] += 1
        changes = np.concatenate([changes, np.stack([step, new - F])[..., np.newaxis]], axis=3)[..., -MEMORY:]
        at, F = at + step, new
        better = residual < best[active]
        u[active[better]], best[active[better]] = at[better], residual[better]
    return u, best, iterations


def _relaxation(equation: Equation) -> Array:
    return equation.a.dtype.type(RELAXATION) / (abs(equation.a) + equation.b)


def _evaluated(equation: Equation, u: Array, part: Array) -> tuple[Array, Array]:
    return equation.error(u, equation.output(u, part), part)


def _correction(changes: Array, F: Array, beta: Array) -> Array:
    """Give (dU + beta dF) g, with the least squares of g a little damped."""
    dU, dF = changes
    if not dF.shape[2]:
        return np.zeros_like(F)
    gram = dF.swapaxes(1, 2) @ dF
    size = np.trace(gram, axis1=1, axis2=2)[:, np.newaxis, np.newaxis]
    damped = gram + np.finfo(F.dtype).eps * size * np.eye(gram.shape[1], dtype=F.dtype)
    g = np.linalg.solve(damped, dF.swapaxes(1, 2) @ F[:, :, np.newaxis])
    return np.asarray(((dU + beta * dF) @ g)[:, :, 0])
