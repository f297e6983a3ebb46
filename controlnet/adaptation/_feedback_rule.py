"""The kernels of the anti-Hebbian rule for the feedback weights, accumulated while the loop runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._kernel import kernel
from ..base import Array, Block
from ..layered import APICAL

WINDOW = 8
"""Steps that are stacked for one matrix product."""


class FeedbackMemory(NamedTuple):
    """What the law accumulates for one block; `apicals` runs one step ahead of `controls`.

    The layers whose weights learn have a row a neuron; there are none of the output layer if that does not learn.
    `tau` = 0 takes the control as it is, else its high-pass part.
    """

    total: Array
    product: Array
    apicals: Array
    controls: Array
    low: Array
    filled: Array
    tau: float


@kernel
def adapt_feedback(k: int, dt: float, b: Block, l: FeedbackMemory) -> None:
    """Stack the control of one step beside the apical voltages of the step before.

    Parameters
    ----------
    k : int
        Index of the step.
    dt : float
        Step size.
    b : Block
        The wires.
    l : FeedbackMemory
        Written.
    """
    batch, start = b.u.shape[1], l.filled[0] * b.u.shape[1]
    share = dt / l.tau if l.tau > 0 else dt
    for j in range(b.u.shape[0]):
        for s in range(batch):
            l.controls[j, start + s] = b.u[j, s]
            if l.tau > 0:
                l.low[j, s] = b.u[j, s] if k == 0 else l.low[j, s] + share * (b.u[j, s] - l.low[j, s])
                l.controls[j, start + s] -= l.low[j, s]
    l.filled[0] += 1
    if l.filled[0] * batch == l.controls.shape[1]:
        _flush(l)
    apical, start = b.p.signals[APICAL * (b.p.signals.shape[0] // 4) :], l.filled[0] * batch
    for j in range(l.apicals.shape[0]):
        for s in range(batch):
            l.apicals[j, start + s] = apical[j, s]


@kernel
def _flush(l: FeedbackMemory) -> None:
    """Add the outer products of the stacked steps."""
    np.dot(l.apicals, l.controls.T, l.product)
    for j in range(l.total.shape[0]):
        for c in range(l.total.shape[1]):
            l.total[j, c] += l.product[j, c]
    l.filled[0] = 0


@kernel
def finish_feedback(b: Block, l: FeedbackMemory) -> None:
    """Add what is still stacked.

    Parameters
    ----------
    b : Block
        The wires.
    l : FeedbackMemory
        Written.
    """
    for j in range(l.controls.shape[0]):
        for s in range(l.filled[0] * b.u.shape[1], l.controls.shape[1]):
            l.controls[j, s] = 0
    if l.filled[0] > 0:
        _flush(l)


def feedback_memory(plant: Any, batch: int, neurons: int, high_pass: float | None = None) -> FeedbackMemory:
    """Give zeroed memory for one block.

    Parameters
    ----------
    plant : DeepNetwork
        The network.
    batch : int
        Number of samples.
    neurons : int
        Number of neurons, from the first layer on, whose feedback weights learn; 0 switches the rule off.
    high_pass : float, optional
        Time constant of the low-pass part that is taken off the control.

    Returns
    -------
    FeedbackMemory
        The memory; without room if nothing learns.
    """
    n, dtype = neurons, plant.dtype
    m, stacked = (plant.ninputs, WINDOW * batch) if n else (0, 0)
    return FeedbackMemory(
        total=np.zeros((n, m), dtype),
        product=np.zeros((n, m), dtype),
        apicals=np.zeros((n, stacked), dtype),
        controls=np.zeros((m, stacked), dtype),
        low=np.zeros((m, batch), dtype),
        filled=np.zeros(1, np.int64),
        tau=dtype.type(high_pass or 0),
    )
