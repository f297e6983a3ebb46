"""Cholesky factors side by side: NumPy's, also where the matrix has no full rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from controlnet.adaptation._cholesky import factorize, solve_lower, solve_upper


def side_by_side(matrices: Any) -> Any:
    """Give entry (c, d) of sample s at [c, d batch + s]."""
    return np.ascontiguousarray(matrices.transpose(1, 2, 0).reshape(matrices.shape[1], -1))


def by_sample(block: Any, batch: int) -> Any:
    return block.reshape(len(block), -1, batch).transpose(2, 0, 1)


def factors(matrices: Any) -> tuple[Any, Any]:
    block = side_by_side(np.tril(matrices))
    factorize(len(matrices), block)
    return block, by_sample(block, len(matrices))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_factors_and_solutions_are_those_of_numpy(n: int) -> None:
    rng = np.random.default_rng(n)
    J, right = rng.normal(size=(3, n, 8)), rng.normal(size=(3, n, 4))
    block, L = factors(J @ J.swapaxes(1, 2))
    assert_allclose(L, np.linalg.cholesky(J @ J.swapaxes(1, 2)), rtol=1e-11, atol=1e-11)
    for solve, matrix in ((solve_lower, L), (solve_upper, L.swapaxes(1, 2))):
        out = side_by_side(right)
        solve(3, block, out)
        assert_allclose(by_sample(out, 3), np.linalg.solve(matrix, right), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dependent", ["zero row", "equal rows", "few columns"])
def test_without_full_rank(dependent: str, dtype: Any) -> None:
    J = np.random.default_rng(0).normal(size=(3, 5, 9)).astype(dtype)
    if dependent == "zero row":
        J[:, 2] = 0
    elif dependent == "equal rows":
        J[:, 2] = J[:, 1]
    else:
        J = np.ascontiguousarray(J[..., :3])
    block, L = factors(J @ J.swapaxes(1, 2))
    exact = 50 * np.finfo(dtype).eps
    assert_allclose(L @ L.swapaxes(1, 2), J @ J.swapaxes(1, 2), rtol=0, atol=20 * exact)
    # The rows of A^T = L^-1 J are orthonormal, but for those of pivots that are zero.
    rows = side_by_side(J)
    solve_lower(3, block, rows)
    rows = by_sample(rows, 3)
    rank = {"zero row": 4, "equal rows": 4, "few columns": 3}[dependent]
    found = rows @ rows.swapaxes(1, 2)
    there = np.diagonal(L, axis1=1, axis2=2) > 0
    assert (there.sum(axis=1) == rank).all()
    assert_allclose(found, np.eye(5) * there[:, np.newaxis], rtol=0, atol=20 * exact)


def test_what_is_no_number_stays_visible() -> None:
    block, L = factors(np.array([[[np.nan, 0.0], [1.0, 2.0]], [[1.0, 0.0], [0.5, 1.0]]]))
    assert np.isnan(L[0, 0, 0]) and np.isnan(L[0, 1, 1]) and np.isfinite(L[1]).all()
    out = side_by_side(np.ones((2, 2, 1)))
    solve_lower(2, block, out)
    assert np.isnan(by_sample(out, 2)[0]).all() and np.isfinite(by_sample(out, 2)[1]).all()
