"""Cholesky factors of a block of small matrices, side by side: entry (c, d) of sample s lies at [c, d batch + s].

Where a matrix has no full rank the pivot and its column are zero, and solving gives zero there.
"""

from __future__ import annotations

import numpy as np

from .._kernel import kernel
from ..base import Array

SMALLEST_PIVOT = 16
"""Share of a diagonal entry that does not count as zero, in units of the precision."""


@kernel
def factorize(batch: int, matrix: Array) -> None:
    """Write L with L L^T = A in place of A; what is above the diagonal is neither read nor written.

    Parameters
    ----------
    batch : int
        Number of samples.
    matrix : array (n, n batch)
        Symmetric and positive semidefinite.
    """
    n, smallest = matrix.shape[0], np.finfo(matrix.dtype).eps * matrix.dtype.type(SMALLEST_PIVOT)
    for e in range(n):
        _write_pivots(e, batch, smallest, matrix)
        pivots = matrix[e, e * batch : (e + 1) * batch]
        for c in range(e + 1, n):
            column = matrix[c, e * batch : (e + 1) * batch]
            for k in range(e):
                for s in range(batch):
                    column[s] -= matrix[c, k * batch + s] * matrix[e, k * batch + s]
            _divide(pivots, column)


@kernel
def _write_pivots(e: int, batch: int, smallest: float, matrix: Array) -> None:
    zero = matrix.dtype.type(0)
    for s in range(batch):
        whole = rest = matrix[e, e * batch + s]
        for k in range(e):
            rest -= matrix[e, k * batch + s] * matrix[e, k * batch + s]
        # This way round NaN stays NaN.
        matrix[e, e * batch + s] = zero if rest <= smallest * whole else np.sqrt(rest)


@kernel
def _divide(pivots: Array, out: Array) -> None:
    zero = out.dtype.type(0)
    for s in range(pivots.shape[0]):
        out[s] = zero if pivots[s] == 0 else out[s] / pivots[s]


@kernel
def solve_lower(batch: int, factor: Array, out: Array) -> None:
    """Write L^-1 B in place of B.

    Parameters
    ----------
    batch : int
        Number of samples.
    factor : array (n, n batch)
        L.
    out : array (n, m batch)
        B.
    """
    n, columns = factor.shape[0], out.shape[1] // batch
    for e in range(n):
        for d in range(columns):
            row = out[e, d * batch : (d + 1) * batch]
            for k in range(e):
                for s in range(batch):
                    row[s] -= factor[e, k * batch + s] * out[k, d * batch + s]
            _divide(factor[e, e * batch : (e + 1) * batch], row)


@kernel
def solve_upper(batch: int, factor: Array, out: Array) -> None:
    """Write L^-T B in place of B.

    Parameters
    ----------
    batch : int
        Number of samples.
    factor : array (n, n batch)
        L.
    out : array (n, m batch)
        B.
    """
    n, columns = factor.shape[0], out.shape[1] // batch
    for e in range(n - 1, -1, -1):
        for d in range(columns):
            row = out[e, d * batch : (d + 1) * batch]
            for k in range(e + 1, n):
                for s in range(batch):
                    row[s] -= factor[k, e * batch + s] * out[k, d * batch + s]
            _divide(factor[e, e * batch : (e + 1) * batch], row)
