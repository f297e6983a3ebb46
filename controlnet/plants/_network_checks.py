"""Checks of a network's arrays and options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._check import all_finite
from ..activations import activation_code
from ..base import Array
from ..errors import DimensionError, InputError

if TYPE_CHECKING:
    from .network import DeepNetwork


def private(array: Array, dtype: np.dtype[Any]) -> Array:
    """Give a locked array, so that nobody changes a network behind its back.

    Parameters
    ----------
    array : array
        Numbers.
    dtype : dtype
        Type of the network's numbers.

    Returns
    -------
    array
        The array itself if it is locked and owns its memory, as those of a network do; else a copy.
    """
    flags = array.flags if type(array) is np.ndarray and array.dtype == dtype else None
    if flags and flags.owndata and flags.c_contiguous and not flags.writeable:
        return array
    mine = np.array(array, dtype if np.asarray(array).dtype.kind in "fiu" else None, order="C")
    mine.flags.writeable = False
    return mine


def _expected_shapes(network: DeepNetwork) -> dict[str, tuple[int, ...]]:
    n = network.sizes
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(1, len(n)):
        shapes |= {f"W{i - 1}": (n[i], n[i - 1]), f"b{i - 1}": (n[i],), f"Q{i - 1}": (n[i], n[-1])}
    return shapes


def check_arrays(network: DeepNetwork) -> None:
    """Raise unless all arrays of a network are finite and fit together.

    Parameters
    ----------
    network : DeepNetwork
        The network.

    Raises
    ------
    DimensionError, InputError
        Naming the array.
    """
    layers = len(network.weights)
    if layers == 0 or any(np.ndim(weight) != 2 for weight in network.weights):
        raise DimensionError("DeepNetwork.weights: expected a matrix for each of at least one layer")
    for name in ("biases", "feedback", "activations"):
        values = getattr(network, name)
        if values is not None and len(values) != layers:
            raise DimensionError(f"DeepNetwork.{name}: expected one for each of {layers} layers, got {len(values)}")
    if network.dtype not in (np.float64, np.float32):
        raise InputError(f"DeepNetwork: expected weights of type float64 or float32, got {network.dtype}")
    expected = _expected_shapes(network)
    for name, array in network.parameters.items():
        if np.shape(array) != expected[name]:
            raise DimensionError(f"DeepNetwork {name}: expected shape {expected[name]}, got {np.shape(array)}")
        if not all_finite(array):
            raise InputError(f"DeepNetwork {name}: expected finite numbers, got NaN or infinity")


def check_choices(network: DeepNetwork) -> None:
    """Raise unless all names and time constants of a network are allowed, alone and together.

    Parameters
    ----------
    network : DeepNetwork
        The network.

    Raises
    ------
    InputError
        Naming the field.
    """
    for name in network.activations:
        activation_code(name)
    if network.activations[-1] != "linear":
        raise InputError(f"DeepNetwork: expected a linear output layer, got {network.activations[-1]!r}")
    choices = {"soma": ("dynamic", "instantaneous"), "transmission": ("instantaneous", "delayed")}
    for name, allowed in choices.items():
        if (value := getattr(network, name)) not in allowed:
            raise InputError(f"DeepNetwork.{name}: expected one of {', '.join(allowed)}, got {value!r}")
    for name in ("tau_v", "tau_apical", "tau_control"):
        value = getattr(network, name)
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"DeepNetwork.{name}: expected a number > 0, got {value!r}")
    if network.soma == "instantaneous" and network.feedback is None:
        raise InputError("DeepNetwork: feedback through the Jacobian needs a dynamic soma: change one of them")
    if network.soma == "instantaneous" and network.transmission == "delayed":
        raise InputError("DeepNetwork: an instantaneous soma needs instantaneous transmission: change one of them")
