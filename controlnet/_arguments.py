"""Checks of the arrays that a simulation or an equilibrium is asked for, and their shapes made one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._blocks import Problem
from .base import AbstractPlant, Array
from .errors import DimensionError, InputError


def check_batch(
    plant: AbstractPlant, reference: Any, inputs: Any, steps: int | None = None, initial_state: Any = None
) -> Problem:
    """Give reference, inputs and initial states of a whole batch.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    reference : array (noutputs,), (batch, noutputs) or (time, batch, noutputs)
        Reference r*.
    inputs : array (nexogenous,), (batch, nexogenous) or (time, batch, nexogenous), or None
        Exogenous input; None for zeros.
    steps : int or None
        Number of steps; None if there are none, and so no time axis and no state to start from.
    initial_state : array (nstates,) or (batch, nstates), or None
        The states to start from; None for the plant's own choice.

    Returns
    -------
    Problem
        Arrays of the plant's type.

    Raises
    ------
    DimensionError, InputError
        Naming the argument.
    """
    given = {
        "reference": (reference, plant.noutputs, steps),
        "inputs": (np.zeros(plant.nexogenous) if inputs is None else inputs, plant.nexogenous, steps),
    }
    if initial_state is not None:
        given["initial_state"] = (initial_state, plant.nstates, None)
    arrays = {name: _checked(name, *what, plant.dtype) for name, what in given.items()}
    batch = max(array.shape[1] for array in arrays.values())
    for name, array in arrays.items():
        if array.shape[1] not in (1, batch):
            raise DimensionError(f"{name}: expected {batch} samples like the other arguments, got {array.shape[1]}")
        arrays[name] = np.broadcast_to(array, (len(array), batch, array.shape[2]))
    if initial_state is not None:
        initial = arrays["initial_state"][0]
    else:
        initial = np.zeros((batch, 0)) if steps is None else plant.initial_state(arrays["inputs"][0])
    return Problem(arrays["reference"], arrays["inputs"], initial)


def check_weight(weight: Any, batch: int) -> Array:
    """Give the weights of samples as numbers.

    Parameters
    ----------
    weight : array (batch,)
        What is given.
    batch : int
        Number of samples.

    Returns
    -------
    array (batch,)
        The weights.

    Raises
    ------
    DimensionError, InputError
        If they do not fit or are not finite.
    """
    weight = np.asarray(weight, float)
    if weight.shape != (batch,):
        raise DimensionError(f"weight: expected shape ({batch},), got {weight.shape}")
    if not np.isfinite(weight).all():
        raise InputError("weight: expected finite numbers, got NaN or infinity")
    return weight


def _checked(name: str, values: Any, width: int, steps: int | None, dtype: np.dtype[Any]) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: expected real numbers, got an array of type {array.dtype}")
    array = array.astype(dtype, copy=False)
    array = array.reshape((1,) * (3 - array.ndim) + array.shape) if 1 <= array.ndim <= 2 else array
    shapes = f"({width},), (batch, {width})" + ("" if steps is None else f" or ({steps + 1}, batch, {width})")
    times = (1,) if steps is None else (1, steps + 1)
    if array.ndim != 3 or array.shape[2] != width or array.shape[0] not in times or array.shape[1] == 0:
        raise DimensionError(f"{name}: expected shape {shapes}, got {np.shape(values)}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    return array
