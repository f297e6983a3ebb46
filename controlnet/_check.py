"""Checks of a model's numbers."""

from __future__ import annotations

import math
import numbers

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
