"""The conditions under which DFC makes Gauss-Newton and minimum-norm updates (Meulemans et al. 2021, section 3).

Condition 2 makes them minimum-norm updates; where condition 1 holds too, these are Gauss-Newton updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._check import all_finite
from ..base import Array
from ..errors import DimensionError, InputError


class NormSpread(NamedTuple):
    """How the norms |r_i| differ between the L layers, per sample.

    ``mean`` (batch,) is their mean over layers, ``relative`` (batch, L) each one's deviation from it in units of it,
    ``deviation`` (batch,) the root mean square of these.
    """

    mean: Array
    relative: Array
    deviation: Array


def condition_one(rates: Sequence[Array]) -> NormSpread:
    """Give how far the norms of what the layers receive are from being equal, per sample.

    Condition 1 (Meulemans et al. 2021) holds where ``deviation`` is 0: with m the mean of the |r_i|, i = 0 ... L - 1,
    it is sqrt(mean of (|r_i| - m)^2) / m.  The public code divides by the root of m instead, a slip by which its
    ``dev_r`` has a unit: it is ``deviation`` times the root of ``mean``.

    Parameters
    ----------
    rates : sequence of array (batch, n_i)
        r_0, the input, and the rates of all layers but the last: what weights are multiplied with.

    Returns
    -------
    NormSpread
        All without unit but ``mean``; NaN for samples with all rates zero.

    Raises
    ------
    DimensionError
        If there are no rates, or not the same number of samples in each layer.
    InputError
        If a rate is not finite.
    """
    shapes = [np.shape(r) for r in rates]
    if not shapes or any(len(shape) != 2 or shape[0] != shapes[0][0] for shape in shapes):
        raise DimensionError(f"rates: expected an array (batch, n_i) for each layer, got shapes {shapes}")
    for i, r in enumerate(rates):
        _require_finite(f"rates[{i}]", r)
    norms = np.stack([np.linalg.norm(r, axis=1) for r in rates], axis=1)
    mean = norms.mean(axis=1)
    relative = _share(norms - mean[:, np.newaxis], mean[:, np.newaxis])
    return NormSpread(mean, relative, np.sqrt((relative**2).mean(axis=1)))


def condition_two(J: Array, Q: Array) -> Array:
    """Give how much of Q lies in the row space of J: |P Q| / |Q| with P = J^+ J, per sample.

    P = J^T (J J^T)^-1 J where J J^T can be inverted, as it always can for a network's J, whose last block is I; where
    it cannot, P still projects on the rows that J has.  Condition 2 (Meulemans et al. 2021) holds where this is 1; for
    random weights it is about the root of n_L / (n_1 + ... + n_L).

    Parameters
    ----------
    J : array (batch, n_L, n)
        Jacobian of the output in all voltages.
    Q : array (n, n_L)
        Feedback weights of all layers.

    Returns
    -------
    array (batch,)
        Between 0 and 1, without unit; NaN if Q is zero.

    Raises
    ------
    DimensionError
        If the shapes do not fit.
    InputError
        If a number is not finite.
    """
    rows = _row_space(J)
    if np.ndim(Q) != 2 or len(Q) != rows.shape[2]:
        raise DimensionError(f"Q: expected shape ({rows.shape[2]}, n_L) as J has columns, got {np.shape(Q)}")
    _require_finite("Q", Q)
    return _share(np.linalg.norm(rows @ Q, axis=(1, 2)), float(np.linalg.norm(Q)))


def null_space_ratio(J: Array, change: Array) -> Array:
    """Give how much of a change does nothing to the output: |(I - P) x| / |x| with P = J^+ J, per sample.

    The square and that of the share in the row space, `condition_two` for x = Q, add to 1.  Minimum-norm changes have
    no such part (Meulemans et al. 2021).

    Parameters
    ----------
    J : array (batch, m, n)
        Jacobian of the output in what changes: all voltages, or all weights.
    change : array (batch, n) or (batch or 1, n, k)
        Change x of each sample, as a vector, or as a matrix of which each column is projected; ``Q[np.newaxis]`` for
        feedback weights.

    Returns
    -------
    array (batch,)
        Between 0 and 1, without unit; NaN where the change is zero.

    Raises
    ------
    DimensionError
        If the shapes do not fit.
    InputError
        If a number is not finite.
    """
    rows, x = _row_space(J), np.asarray(change)
    batch, n = len(rows), rows.shape[2]
    if x.shape[:2] not in {2: [(batch, n)], 3: [(batch, n), (1, n)]}.get(x.ndim, []):
        raise DimensionError(f"change: expected shape ({batch}, {n}), ({batch}, {n}, k) or (1, {n}, k), got {x.shape}")
    _require_finite("change", x)
    x = x.reshape(*x.shape[:2], -1)
    # The rest itself, not the root of 1 - share^2, which knows only half of the digits of a small one.
    outside = x - rows.swapaxes(1, 2) @ (rows @ x)
    return _share(np.linalg.norm(outside, axis=(1, 2)), np.linalg.norm(x, axis=(1, 2)))


def _row_space(J: Array) -> Array:
    """Give an orthonormal basis of J's rows (batch, m, n), with zeros for the rows that J lacks in rank."""
    if np.ndim(J) != 3 or 0 in np.shape(J)[1:]:
        raise DimensionError(f"J: expected shape (batch, n_L, n), got {np.shape(J)}")
    _require_finite("J", J)
    _, values, rows = np.linalg.svd(J, full_matrices=False)
    least = values.max(axis=1, keepdims=True) * max(J.shape[1:]) * np.finfo(values.dtype).eps
    return np.asarray(rows * (values > least)[:, :, np.newaxis])


def _share(part: Array, whole: Array | float) -> Array:
    """Divide, with NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(part / whole)


def _require_finite(name: str, values: Array) -> None:
    if not all_finite(values):
        worst = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"{name}: expected finite numbers, got {values[tuple(worst)]} at {worst.tolist()}")
