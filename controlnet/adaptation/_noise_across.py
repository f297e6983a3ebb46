"""What noise contributes to the feedback weights' change: the part that the output saw, and the rest, drawn as a sum.

With J_i J_i^T = L_i L_i^T the columns of A_i = J_i^T L_i^-T are orthonormal.  The noise A_i a_i along them, n_L numbers
a step, is all that the output sees: J_i A_i a_i = L_i a_i.  Noise across them moves nothing, so that given the control
its sum with u^T over the steps is (1 - A_i A_i^T) Z_i S^T, Z_i (n_i, n_L) from N(0, 1): S S^T is the sum of w w^T over
the steps, w the weight that the number drawn in a step has in that sum.
"""

from __future__ import annotations

import numpy as np

from .._kernel import kernel
from .._random import fill_normal
from ..base import Array, Block, Kernel
from ..layered import FIRST, WIDTH
from ._cholesky import factorize, solve_lower, solve_upper
from ._feedback_rule import FeedbackMemory
from ._linear_memory import LinearMemory


@kernel
def _draw_across(transpose_disturb: Kernel, dt: float, b: Block, m: LinearMemory) -> None:
    """Write Z and S."""
    sigma = b.noise.sigma[0]
    transpose_disturb(dt, b.p.tau_a if b.p.tau_a > 0 else dt, b.noise, m.controls)
    batch = b.u.shape[1]
    for k in range(m.controls.shape[0]):
        for d in range(m.spread.shape[0]):
            for e in range(d + 1):
                for s in range(batch):
                    m.spread[d, e * batch + s] += m.controls[k, d * batch + s] * m.controls[k, e * batch + s]
    factorize(batch, m.spread)
    for d in range(m.spread.shape[0]):
        for e in range(m.spread.shape[1]):
            m.spread[d, e] *= sigma
    fill_normal(m.stream, 0, m.across)


@kernel
def _write_seen(batch: int, to_output: Array, across: Array, out: Array) -> None:
    """Write J_i Z_i."""
    _clear(out)
    for j in range(to_output.shape[0]):
        for c in range(out.shape[0]):
            for e in range(out.shape[0]):
                for s in range(batch):
                    out[c, e * batch + s] += to_output[j, c * batch + s] * across[j, e * batch + s]


@kernel
def _write_coefficients(i: int, batch: int, m: LinearMemory) -> None:
    """Write X with J_i^T X = A_i (sum of a_i u^T - A_i^T Z_i S^T)."""
    outputs = m.seen.shape[0]
    _clear(m.coefficients)
    for c in range(outputs):
        for d in range(outputs):
            for e in range(d + 1):
                for s in range(batch):
                    m.coefficients[c, d * batch + s] -= m.seen[c, e * batch + s] * m.spread[d, e * batch + s]
    solve_lower(batch, m.factors[i], m.coefficients)
    for e in range(outputs):
        for s in range(outputs * batch):
            m.coefficients[e, s] += m.paired[i, e, s]
    solve_upper(batch, m.factors[i], m.coefficients)


@kernel
def _clear(out: Array) -> None:
    for c in range(out.shape[0]):
        for s in range(out.shape[1]):
            out[c, s] = 0


@kernel
def _reorder(batch: int, matrix: Array, out: Array) -> None:
    for c in range(matrix.shape[0]):
        for d in range(out.shape[0]):
            for s in range(batch):
                out[d, c * batch + s] = matrix[c, d * batch + s]


@kernel
def _add_product(left: Array, right: Array, product: Array, out: Array) -> None:
    """Add left right^T."""
    np.dot(left, right.T, product)
    for j in range(out.shape[0]):
        for d in range(out.shape[1]):
            out[j, d] += product[j, d]


@kernel
def add_noise(transpose_disturb: Kernel, dt: float, b: Block, l: FeedbackMemory, m: LinearMemory) -> None:
    """Add the sum of v_fb u^T over the steps, for the noise in v_fb.

    Parameters
    ----------
    transpose_disturb : Kernel
        The noise's.
    dt : float
        Step size.
    b : Block
        The wires.
    l : FeedbackMemory
        Its `total` is added to.
    m : LinearMemory
        After the last step.
    """
    batch, hidden = b.u.shape[1], m.factors.shape[0]
    _draw_across(transpose_disturb, dt, b, m)
    across = m.across[: m.to_output.size].reshape(m.to_output.shape)
    for i in range(hidden):
        first, last = b.p.layers[i, FIRST], b.p.layers[i, FIRST] + b.p.layers[i, WIDTH]
        _write_seen(batch, m.to_output[first:last], across[first:last], m.seen)
        _write_coefficients(i, batch, m)
        _reorder(batch, m.coefficients, m.reordered)
        product, total = l.product[first:last], l.total[first:last]
        _add_product(m.to_output[first:last], m.reordered, product, total)
        _add_product(across[first:last], m.spread, product, total)
    first = b.p.layers[hidden, FIRST]
    for c in range(l.total.shape[0] - first):
        for d in range(l.total.shape[1]):
            for s in range(batch):
                l.total[first + c, d] += m.paired[hidden, c, d * batch + s]
