"""Angles between the changes that different laws want."""

from __future__ import annotations

import math

import numpy as np

from ..base import Array, Parameters
from ..errors import InputError


def angle(first: Parameters, second: Parameters) -> float:
    """Give the angle between two changes, all common arrays taken as one vector.

    Parameters
    ----------
    first, second : dict of arrays
        Changes with at least one common name.

    Returns
    -------
    float
        The angle in [0, 180] degrees; NaN if one of them is zero.

    Raises
    ------
    InputError
        If they have no name in common.
    """
    names = sorted(first.keys() & second.keys())
    if not names:
        raise InputError("angle: the two changes have no array in common")
    a, b = (np.concatenate([change[name].ravel() for name in names]) for change in (first, second))
    return _angle(a, b)


def angles_by_layer(first: Parameters, second: Parameters) -> dict[str, float]:
    """Give the angle between two changes for each common array.

    Parameters
    ----------
    first, second : dict of arrays
        The changes.

    Returns
    -------
    dict of float
        Degrees by name.
    """
    return {name: _angle(first[name].ravel(), second[name].ravel()) for name in first if name in second}


def _angle(a: Array, b: Array) -> float:
    """Give the angle from the sum and difference of unit vectors, which stays exact where arccos does not."""
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if not all(norms):
        return math.nan
    a, b = a / norms[0], b / norms[1]
    return math.degrees(2 * math.atan2(float(np.linalg.norm(a - b)), float(np.linalg.norm(a + b))))


def feedback_angle(Q: Array, direction: Array) -> Array:
    """Give the angle between feedback weights and a direction for them, per sample.

    Parameters
    ----------
    Q : array (n, n_L)
        Feedback weights of all layers.
    direction : array (batch, n, n_L)
        For example J^T, or its pseudo-inverse J^+ (Meulemans et al. 2021).

    Returns
    -------
    array (batch,)
        Angles in degrees.
    """
    a, b = Q / np.linalg.norm(Q), direction / np.linalg.norm(direction, axis=(1, 2), keepdims=True)
    return np.asarray(
        np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=(1, 2)), np.linalg.norm(a + b, axis=(1, 2))))
    )
