"""Checks of a model's numbers."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from .errors import InputError


def require_finite(owner: str, **values: float) -> None:
    """Raise unless every value is a finite number.

    Parameters
    ----------
    owner : str
        Class that has the values.
    **values : float
        The values by name.

    Raises
    ------
    InputError
        Naming the value.
    """
    for name, value in values.items():
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise InputError(f"{owner}.{name}: expected a finite number, got {value!r}")


def require_at_least_zero(owner: str, **values: float) -> None:
    """Raise unless every value is a finite number >= 0.

    Parameters
    ----------
    owner : str
        Class that has the values.
    **values : float
        The values by name.

    Raises
    ------
    InputError
        Naming the value.
    """
    require_finite(owner, **values)
    for name, value in values.items():
        if value < 0:
            raise InputError(f"{owner}.{name}: expected a number >= 0, got {value!r}")


def require_above_zero(owner: str, **values: float) -> None:
    """Raise unless every value is a finite number > 0.

    Parameters
    ----------
    owner : str
        Class that has the values.
    **values : float
        The values by name.

    Raises
    ------
    InputError
        Naming the value.
    """
    require_finite(owner, **values)
    for name, value in values.items():
        if value <= 0:
            raise InputError(f"{owner}.{name}: expected a number > 0, got {value!r}")


def all_finite(array: np.ndarray[Any, Any]) -> bool:
    """Say whether all numbers are finite.

    Parameters
    ----------
    array : array
        The numbers.

    Returns
    -------
    bool
        False if there is a NaN or an infinity.
    """
    # The sum of squares takes half the time; that of large numbers can overflow.
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
