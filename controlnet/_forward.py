"""The feed-forward pass of a layered network, by parts of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._parallel import cut, in_parallel
from .activations import rate
from .base import Array
from .errors import DimensionError


def feed_forward(
    network: Any, inputs: Array, shift: Sequence[Array] | None = None, threads: int | None = 1
) -> tuple[list[Array], list[Array]]:
    """Give voltages and rates at rest under constant apical voltages.

    Parameters
    ----------
    network : DeepNetwork
        The network.
    inputs : array (batch, n_0)
        Input patterns.
    shift : sequence of array (batch, n_i), optional
        Apical voltages by layer; zeros if not given.
    threads : int or None
        Number of threads; None for all cores. The result does not depend on it.

    Returns
    -------
    tuple of list of array (batch, n_i)
        v_i = W_i r_{i-1} + b_i + shift_i and r_i = phi_i(v_i), by layer.

    Raises
    ------
    DimensionError
        If the inputs are no batch for this network.
    """
    inputs = np.asarray(inputs, network.dtype)
    if inputs.ndim != 2 or inputs.shape[1] != network.nexogenous:
        raise DimensionError(f"inputs: expected shape (batch, {network.nexogenous}), got {inputs.shape}")
    cost = len(inputs) * sum(weight.size for weight in network.weights)
    voltages, rates = ([np.empty((len(inputs), len(b)), b.dtype) for b in network.biases] for _ in range(2))

    def forward(part: slice) -> None:
        r = inputs[part]
        for i, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            v = np.matmul(r, weight.T, out=voltages[i][part])
            v += bias if shift is None else bias + shift[i][part]
            rates[i][part] = r = rate(network.activations[i], v)

    in_parallel(forward, cut(len(inputs), cost), cost, threads)
    return voltages, rates
