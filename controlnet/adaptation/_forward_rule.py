"""The kernels of DFC's rule for the forward weights, accumulated while the loop runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._kernel import kernel
from ..activations import activate
from ..base import Array, Block
from ..layered import (
    ACTIVATION,
    BASAL,
    BIASES,
    FIRST,
    RATE,
    WEIGHTS,
    WIDTH,
    WIDTH_BELOW,
    LayeredParams,
    signal,
    voltage,
)

WINDOW = 32
"""Steps that are stacked for one matrix product."""


class ForwardMemory(NamedTuple):
    """What the continuous law accumulates for one block.

    `deltas` and `rates` hold the last steps side by side; the input does not change in time, so for
    the first layer the differences are summed first.
    """

    theta: Array
    deltas: Array
    rates: Array
    first_deltas: Array
    basal_rates: Array
    product: Array
    sums: Array
    filled: Array
    by_voltage: float


@kernel
def _stack(i: int, b: Block, weight: Array, l: ForwardMemory) -> None:
    """Stack phi(v) - phi(v_ff), or v - v_ff, of layer i, and its rates."""
    p = b.p
    first, n, above = p.layers[i, FIRST], p.layers[i, WIDTH], p.layers[0, WIDTH]
    rates, taught, teaching = signal(RATE, i, p), l.basal_rates[:n], signal(RATE, i, p)
    if l.by_voltage > 0:
        teaching, taught = voltage(i, b.x, p), signal(BASAL, i, p)
    else:
        activate(p.layers[i, ACTIVATION], signal(BASAL, i, p), taught)
    start = l.filled[0] * rates.shape[1]
    for j in range(n):
        for s in range(rates.shape[1]):
            delta = weight[s] * (teaching[j, s] - taught[j, s])
            if i == 0:
                l.first_deltas[j, s] += delta
            else:
                l.deltas[first - above + j, start + s] = delta
    if i < p.layers.shape[0] - 1:
        for j in range(n):
            for s in range(rates.shape[1]):
                l.rates[first + j, start + s] = rates[j, s]


@kernel
def adapt_forward(b: Block, weight: Array, l: ForwardMemory) -> None:
    """Stack the differences and rates of one step.

    Parameters
    ----------
    b : Block
        The wires.
    weight : array (batch,)
        Weight of each sample.
    l : ForwardMemory
        Written.
    """
    for i in range(b.p.layers.shape[0]):
        _stack(i, b, weight, l)
    l.filled[0] += 1
    if l.filled[0] == WINDOW:
        _flush(b.p, l)


@kernel
def _flush(p: LayeredParams, l: ForwardMemory) -> None:
    """Add the outer products of the stacked steps, one matrix product a layer."""
    above = p.layers[0, WIDTH]
    for i in range(1, p.layers.shape[0]):
        first, n, m = p.layers[i, FIRST], p.layers[i, WIDTH], p.layers[i, WIDTH_BELOW]
        deltas, rates = l.deltas[first - above : first - above + n], l.rates[first - m : first]
        product = l.product[: n * m].reshape((n, m))
        np.dot(deltas, rates.T, product)
        _accumulate(i, product, deltas, p, l)
    l.filled[0] = 0


@kernel
def _accumulate(i: int, product: Array, deltas: Array, p: LayeredParams, l: ForwardMemory) -> None:
    start, bias, m, batch = p.layers[i, WEIGHTS], p.layers[i, BIASES], product.shape[1], len(l.sums)
    for j in range(product.shape[0]):
        for c in range(m):
            l.theta[start + j * m + c] += product[j, c]
        # Sample by sample first: a sum over neighbours could not be vectorised.
        for s in range(batch):
            l.sums[s] = deltas[j, s]
        for first in range(batch, deltas.shape[1], batch):
            for s in range(batch):
                l.sums[s] += deltas[j, first + s]
        for s in range(batch):
            l.theta[bias + j] += l.sums[s]


@kernel
def finish_forward(b: Block, l: ForwardMemory) -> None:
    """Add what is still stacked, and the first layer.

    Parameters
    ----------
    b : Block
        The wires.
    l : ForwardMemory
        Written.
    """
    p = b.p
    if l.filled[0] > 0:
        for j in range(l.deltas.shape[0]):
            for s in range(l.filled[0] * len(l.sums), l.deltas.shape[1]):
                l.deltas[j, s] = 0
        _flush(p, l)
    n, m = p.layers[0, WIDTH], p.layers[0, WIDTH_BELOW]
    product = l.product[: n * m].reshape((n, m))
    np.dot(l.first_deltas, b.w.T, product)
    _accumulate(0, product, l.first_deltas, p, l)


def forward_memory(plant: Any, batch: int, by_voltage: bool, learns: bool = True) -> ForwardMemory:
    """Give zeroed memory for one block.

    Parameters
    ----------
    plant : DeepNetwork
        The network.
    batch : int
        Number of samples.
    by_voltage : bool
        Whether the rule takes v - v_ff in place of phi(v) - phi(v_ff).
    learns : bool
        False for a rule that is switched off.

    Returns
    -------
    ForwardMemory
        The memory; without room if nothing learns.
    """
    sizes, dtype, on = plant.sizes, plant.dtype, int(learns)
    neurons, stacked = on * plant.nneurons, on * WINDOW * batch
    return ForwardMemory(
        theta=np.zeros(on * plant.params(1).theta.size, dtype),
        deltas=np.zeros((neurons - on * sizes[1], stacked), dtype),
        rates=np.zeros((neurons - on * plant.noutputs, stacked), dtype),
        first_deltas=np.zeros((on * sizes[1], batch), dtype),
        basal_rates=np.zeros((on * max(sizes[1:]), batch), dtype),
        product=np.zeros(on * max(w.size for w in plant.weights), dtype),
        sums=np.zeros(batch, dtype),
        filled=np.zeros(1, np.int64),
        by_voltage=dtype.type(by_voltage),
    )
