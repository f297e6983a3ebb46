"""The Jacobian of a network's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..base import Array
from ..errors import InputError


def jacobian(network: Any, voltages: Sequence[Array], of: Literal["voltages", "rates"] = "voltages") -> Array:
    """Give the Jacobian of the output with respect to the voltages or the rates of all layers, per sample.

    J_L = I, J_i = J_{i+1} W_{i+1} diag(phi_i'(v_i)); with respect to the rates the last factor is missing
    (Meulemans et al. 2021).

    Parameters
    ----------
    network : DeepNetwork
        The network.
    voltages : sequence of array (batch, n_i)
        Somatic voltages by layer.
    of : {"voltages", "rates"}
        Pre- or post-activations.

    Returns
    -------
    array (batch, n_L, n_1 + ... + n_L)
        J, the layers side by side.
    """
    if of not in ("voltages", "rates"):
        raise InputError(f"jacobian of: expected voltages or rates, got {of!r}")
    J: Array = network.jacobian(voltages)
    if of == "voltages":
        return J
    blocks = network.by_layer(J)
    through = [J_above @ W for J_above, W in zip(blocks[1:], network.weights[1:], strict=True)]
    return np.concatenate([*through, blocks[-1]], axis=2)
