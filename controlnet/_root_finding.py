"""Finds the controls at which a loop rests.

At rest the controller holds a e = b u, and the plant's state follows from u, so that only n_L numbers a sample are
unknown: F(u) = a e(y(u)) - b u = 0, with dF/du = -M, M = a E G + b I, G = dy/du (J Q for a network), E = dg/dy of the
comparator.

Broyden's method (1965) comes first: M is formed and inverted once, then corrected from what each step brings, so that a
step costs one forward pass.  A softmax bends F so much that this would fail; so it works on F in first order from the
output that u asks for, which has the same root.  Where it does not reach a stable root, pseudo-transient continuation
(Kelley, Keyes 1998) follows until Broyden's method can take over: implicit Euler in the controller's own time, the step
growing as the residual falls, which stays on the branch that the dynamics reach.

With many outputs matrices are what costs: Anderson's acceleration comes first there, a forward pass a step, and M is
formed once, for the proof of stability.  Where matrices of a smaller size stand for M (`_inner_equation`), continuation
alone follows, from the given start and from zero.
"""

from __future__ import annotations

import numpy as np

from ._acceleration import accelerated
from ._equation import Equation, Point, applied, shifted
from .base import Array

FIRST_STEP, LEAST_GROWTH, MOST_GROWTH, REJECTED_ABOVE = 10.0, 1.5, 10.0, 1.2
HANDOVER = 1e-4
"""Residual below which continuation hands over to Broyden's method."""
MANY = 128
"""Outputs from which on the search begins without matrices."""
LARGEST = 2**22
"""Entries that the matrices of the samples that are looked at together may have, each kind."""
MOST_BROYDEN, SLOWEST = 20, 0.9
"""Steps after which Broyden's method is given up, and what each must make of the residual."""


class Found:
    """Where the search of each sample ended, in how many steps, and whether the loop is stable there."""

    def __init__(self, equation: Equation, samples: int) -> None:
        self.equation = equation
        self.u, self.y, self.x = (np.empty((samples, 0)) for _ in range(3))
        self.residual, self.stable = np.full(samples, np.inf), np.zeros(samples, bool)
        self.iterations = np.zeros(samples, np.int64)

    def judge(self, part: Array, u: Array) -> None:
        """Say of some samples that their search has ended at some controls, for good or for now."""
        for piece in np.array_split(np.arange(len(part)), -(-len(part) * self.equation.rows**2 // LARGEST)):
            which, point = part[piece], self.equation.at(u[piece], part[piece])
            for name in ("u", "y", "x"):
                values = getattr(point, name)
                if not getattr(self, name).size:
                    setattr(self, name, np.empty((len(self.stable), values.shape[1]), values.dtype))
                getattr(self, name)[which] = values
            self.residual = self.residual.astype(point.residual.dtype, copy=False)
            self.residual[which], self.stable[which] = point.residual, _stable(self.equation, which, point)


def search(equation: Equation, start: Array, tolerance: Array, max_iterations: int) -> Found:
    """Look for the roots of all samples.

    Parameters
    ----------
    equation : Equation
        What is to be zero.
    start : array (samples, n_L)
        Control from which to start.
    tolerance : array (samples,)
        Largest residual that counts as zero.
    max_iterations : int
        Most steps of each continuation.

    Returns
    -------
    Found
        Roots, and for samples without one where the last attempt ended.
    """
    found, part = Found(equation, len(start)), np.arange(len(start))
    if start.shape[1] >= MANY:
        u, residual, found.iterations[:] = accelerated(equation, start, tolerance)
        near_root = np.flatnonzero(residual <= tolerance)
        if len(near_root):
            found.judge(near_root, u[near_root])
        part = np.flatnonzero(~((found.residual <= tolerance) & found.stable))
    for few in np.array_split(part, -(-len(part) * equation.rows**2 // LARGEST)) if len(part) else []:
        _search_few(found, few, start[few], tolerance, max_iterations)
    return found


def _search_few(found: Found, part: Array, start: Array, tolerance: Array, max_iterations: int) -> None:
    """Look for the roots of samples of which all matrices find room."""
    equation = found.equation
    near = equation.at(start, part)
    pace = np.full(len(start), FIRST_STEP, start.dtype)
    again = (0.0, 0.0) if start.any() else (0.0,)
    for attempt, until in enumerate((np.inf, HANDOVER, 0.0) if equation.explicit else again):
        if attempt == 1 and near.u.any():
            near, pace = equation.at(np.zeros_like(near.u), part), np.full(len(part), FIRST_STEP, pace.dtype)
        wanted = tolerance[part]
        found.iterations[part] += _continue(equation, part, near, pace, np.maximum(until, wanted), max_iterations)
        u, residual = near.u, near.residual
        if equation.explicit:
            u, residual, steps = _broyden(equation, part, near, wanted)
            found.iterations[part] += steps
        # Where no root is, only the last attempt has to say what is.
        judged = np.flatnonzero((residual <= wanted) | (until == 0))
        if len(judged):
            found.judge(part[judged], u[judged])
        left = ~((found.residual <= tolerance) & found.stable)[part]
        near, pace, part = near.part(left), pace[left], part[left]
        if not len(part):
            break


def _stable(equation: Equation, part: Array, point: Point) -> Array:
    """Judge stability; softmax ignores a common shift of all outputs, so that without a leak one eigenvalue is zero."""
    finite: Array = np.asarray(np.isfinite(point.matrix).all(axis=(1, 2)))
    matrix = point.matrix if finite.all() else np.where(finite[:, np.newaxis, np.newaxis], point.matrix, 0)
    falling = _clearly_positive(matrix + matrix.swapaxes(1, 2))
    unclear = np.flatnonzero(finite & ~falling)
    if len(unclear):
        matrix = point.matrix[unclear]
        # In single precision there is no better one.
        if matrix.dtype != np.float32:
            matrix = equation.at(point.u[unclear], part[unclear], exact=True).matrix
        eigenvalues = np.linalg.eigvals(matrix)
        largest = np.abs(eigenvalues).max(axis=1, keepdims=True)
        positive = (largest > 0) & (eigenvalues.real >= -100 * np.finfo(matrix.dtype).eps * largest)
        falling[unclear] = positive.all(axis=1)
    return np.asarray(finite & point.stable_plant & falling)


def _clearly_positive(matrix: Array) -> Array:
    """Say which symmetric matrices are positive definite by more than rounding: enough for M, and cheap to see."""
    largest = np.sqrt(np.einsum("bij,bij->b", matrix, matrix))
    matrix = shifted(matrix, -1e-4 * largest[:, np.newaxis])
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.eigvalsh(matrix)[:, 0] > 0)
    return np.ones(len(matrix), bool)


def _inverse(matrix: Array) -> Array:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.linalg.pinv(matrix)


def _broyden(equation: Equation, part: Array, start: Point, tolerance: Array) -> tuple[Array, Array, Array]:
    """Give u, residual and number of steps of each sample, which leaves when it is solved or hardly gets better."""
    u, residual, iterations = start.u.copy(), start.residual.copy(), np.zeros(len(part), np.int64)
    F, asked = equation.straight(u, start.y, part)
    matrix = equation.matrix(asked, start.gain)
    active = np.flatnonzero(np.isfinite(matrix).all(axis=(1, 2)) & (residual > tolerance))
    F, inverse = F[active], _inverse(matrix[active])
    for _ in range(MOST_BROYDEN):
        if not len(active):
            break
        step = applied(inverse, F)
        trial = u[active] + step
        y = equation.output(trial, part[active])
        new, after = equation.straight(trial, y, part[active])[0], equation.error(trial, y, part[active])[1]
        iterations[active] += 1
        better = _size(new) < SLOWEST * _size(F)
        u[active[better]], residual[active[better]] = trial[better], after[better]
        inverse, going = _corrected(inverse, step, F - new), better & (after > tolerance[active])
        active, F, inverse = active[going], new[going], inverse[going]
    return u, residual, iterations


def _size(F: Array) -> Array:
    return np.asarray(np.abs(F).max(axis=1))


def _corrected(inverse: Array, step: Array, change: Array) -> Array:
    """Give the inverse of M that maps the change of F to the step that made it, and else is the nearest (Broyden)."""
    row = (step[:, np.newaxis] @ inverse)[:, 0]
    share = (row * change).sum(axis=1)
    scale = np.where(np.abs(share) > 1e-3 * (step * step).sum(axis=1), 1 / share, 0)
    return inverse + (scale[:, np.newaxis] * (step - applied(inverse, change)))[:, :, np.newaxis] * row[:, np.newaxis]


def _continue(equation: Equation, part: Array, point: Point, pace: Array, until: Array, most: int) -> Array:
    """Move along du/ds = F(u) by implicit Euler with growing steps ds, the pace; give the number of steps."""
    iterations = np.zeros(len(part), np.int64)
    for _ in range(most):
        going = np.flatnonzero(np.isfinite(point.residual) & (point.residual > until))
        if not len(going):
            break
        trial = (point.u[going] + equation.implicit_step(point.part(going), 1 / pace[going])).astype(point.u.dtype)
        new = equation.at(trial, part[going])
        iterations[going] += 1
        growth = np.clip(point.residual[going] / new.residual, LEAST_GROWTH, MOST_GROWTH)
        accepted: Array = np.asarray(new.residual <= REJECTED_ABOVE * point.residual[going])
        pace[going] *= np.where(accepted, growth, 1 / MOST_GROWTH)
        point.put(going[accepted], new.part(accepted))
    return iterations
