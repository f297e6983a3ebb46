"""The control of the linearised steady state, which the analytic law takes in place of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import get_lapack_funcs

from .._equation import shifted
from .._inner_equation import inner_loop
from .._parallel import on_threads
from ..base import Array
from ..errors import InputError

LARGE = 32
"""Equations from which on LU factors are faster than inverses."""
LARGEST_CONDITION = 0.1
"""Largest condition number of a matrix that does not count as singular, times the precision."""

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson
    from ..plants._network_inner import Inner


def analytic_control(loop: ClosedLoop, lesson: Lesson) -> Array:
    """Give the control of the linearised steady state, u = (E J Q + alpha I)^{-1} e.

    J and e are those of the feed-forward state (Meulemans et al. 2021); E is the comparator's sensitivity, the
    identity for e = r* - r_L.

    Parameters
    ----------
    loop : ClosedLoop
        Network and controller; alpha is the controller's leak divided by its integral gain.
    lesson : Lesson
        Inputs and reference.

    Returns
    -------
    array (batch, n_L)
        The control u.

    Raises
    ------
    InputError
        If E J Q + alpha I is singular.
    """
    plant: Any = loop.plant
    if (inside := inner_loop(loop)) is not None:
        return _inner_control(loop, lesson, *inside)
    number = plant.dtype.type
    a, b = (number(value) for value in loop.controller.steady_relation())
    error = loop.comparator.compare(lesson.reference, lesson.output)
    u = np.empty_like(error)

    def solve(part: slice) -> None:
        gain = plant.gain([r[part] for r in lesson.rates])
        matrix = shifted(a * loop.comparator.differentiate(lesson.output[part], gain), b)
        u[part] = solve_loop(matrix, a * error[part, :, np.newaxis])[:, :, 0]

    on_threads(solve, len(u), lesson.threads)
    return u


def _inner_control(loop: ClosedLoop, lesson: Lesson, inner: Inner, m: Array) -> Array:
    """Give the same by matrices of the last hidden layer's size."""
    a = loop.plant.dtype.type(loop.controller.steady_relation()[0])
    error = a * loop.comparator.compare(lesson.reference, lesson.output)
    u = np.empty_like(error)

    def solve(part: slice) -> None:
        rates = np.concatenate([r[part].T for r in lesson.rates])
        matrix = shifted(a * inner.gain(rates), m)
        moved = solve_loop(matrix, inner.follow(rates, error[part])[:, :, np.newaxis])[:, :, 0]
        u[part] = inner.completed(moved, error[part], a, m)

    on_threads(solve, len(u), lesson.threads)
    return u


def solve_loop(matrix: Array, right: Array) -> Array:
    """Solve (E J Q + alpha I) s = right for every sample.

    Parameters
    ----------
    matrix : array (batch, n, n)
        The linearised loop, or its transpose; n is n_L, or n_{L-1} for a loop of the last hidden layer.
    right : array (batch, n, 1)
        Right side.

    Returns
    -------
    array (batch, n, 1)
        The solution.

    Raises
    ------
    InputError
        If a matrix is singular, rounding aside.
    """
    try:
        return _by_inverses(matrix, right) if matrix.shape[1] < LARGE else _by_factors(matrix, right)
    except np.linalg.LinAlgError:
        message = "the loop's matrix E J Q + alpha I is singular: take a leak > 0 or other feedback weights"
        raise InputError(message) from None


def _by_inverses(matrix: Array, right: Array) -> Array:
    """Solve small systems, all samples in a few calls."""
    inverse = np.linalg.inv(matrix)
    condition = np.linalg.norm(matrix, 1, axis=(1, 2)) * np.linalg.norm(inverse, 1, axis=(1, 2))
    if not (condition <= LARGEST_CONDITION / np.finfo(matrix.dtype).eps).all():
        raise np.linalg.LinAlgError
    return np.asarray(inverse @ right)


def _by_factors(matrix: Array, right: Array) -> Array:
    """Solve large systems one by one, by LU factors and an estimate of the condition from these."""
    factors, condition, solve = get_lapack_funcs(("getrf", "gecon", "getrs"), dtype=matrix.dtype)
    least = np.finfo(matrix.dtype).eps / LARGEST_CONDITION
    found = np.empty_like(right)
    for sample, norm in enumerate(np.linalg.norm(matrix, 1, axis=(1, 2))):
        lu, pivots, _ = factors(matrix[sample])
        if not condition(lu, norm)[0] >= least:
            raise np.linalg.LinAlgError
        found[sample] = solve(lu, pivots, right[sample])[0]
    return found
