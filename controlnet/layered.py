"""How a layered network lies in memory: what its plant's kernels write and the adaptation laws read.

Everything lies in flat arrays, so that one compiled loop serves networks of every depth and width.

- `theta`: W_0, b_0, Q_0, W_1, b_1, Q_1, ... one behind the other.
- `layers`: a row for each layer, with the columns `FIRST` (its first neuron), `WIDTH`, `WIDTH_BELOW`, `WEIGHTS`,
  `BIASES`, `FEEDBACK` (where they start in theta), `ACTIVATION` (code of phi) and `IDENTITY` (whether Q_i = I).
- `signals`: somatic voltages (unless they are states), basal voltages, apical voltages and rates of all layers, one
  below the other; the parts are numbered `VOLTAGE`, `BASAL`, `APICAL`, `RATE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._kernel import kernel
from ._parallel import cut, in_parallel
from .base import Array, Parameters

FIRST, WIDTH, WIDTH_BELOW, WEIGHTS, BIASES, FEEDBACK, ACTIVATION, IDENTITY = range(8)
VOLTAGE, BASAL, APICAL, RATE = range(4)


class LayeredParams(NamedTuple):
    """What the kernels know; a time constant of 0 means that the compartment has no dynamics."""

    theta: Array
    layers: Array
    tau_v: float
    tau_a: float
    tau_f: float
    delayed: float
    by_jacobian: float
    signals: Array


@kernel
def multiply(a: Array, b: Array, out: Array) -> None:
    """Write out = a b: one place, so that the call to BLAS is compiled once.

    Parameters
    ----------
    a : array (n, m)
        Left factor.
    b : array (m, batch)
        Right factor.
    out : array (n, batch)
        Written.
    """
    np.dot(a, b, out)


@kernel
def weights(i: int, p: LayeredParams) -> Array:
    """Give W_i, a view.

    Parameters
    ----------
    i : int
        The layer.
    p : LayeredParams
        The network.
    """
    start, n, m = p.layers[i, WEIGHTS], p.layers[i, WIDTH], p.layers[i, WIDTH_BELOW]
    return p.theta[start : start + n * m].reshape((n, m))


@kernel
def feedback_weights(i: int, p: LayeredParams) -> Array:
    """Give Q_i, a view.

    Parameters
    ----------
    i : int
        The layer.
    p : LayeredParams
        The network.
    """
    start, n, m = p.layers[i, FEEDBACK], p.layers[i, WIDTH], p.layers[-1, WIDTH]
    return p.theta[start : start + n * m].reshape((n, m))


@kernel
def signal(kind: int, i: int, p: LayeredParams) -> Array:
    """Give v, v_ff, v_fb or r of layer i, a view.

    Parameters
    ----------
    kind : int
        `VOLTAGE`, `BASAL`, `APICAL` or `RATE`.
    i : int
        The layer.
    p : LayeredParams
        The network.
    """
    start = kind * (p.signals.shape[0] // 4) + p.layers[i, FIRST]
    return p.signals[start : start + p.layers[i, WIDTH]]


@kernel
def voltage(i: int, x: Array, p: LayeredParams) -> Array:
    """Give v of layer i, a view of the state or, if the soma has no dynamics, of the signals.

    Parameters
    ----------
    i : int
        The layer.
    x : array (nstates, batch)
        State of the plant.
    p : LayeredParams
        The network.
    """
    if p.tau_v > 0:
        return x[p.layers[i, FIRST] : p.layers[i, FIRST] + p.layers[i, WIDTH]]
    return signal(VOLTAGE, i, p)


def table(sizes: Sequence[int], activations: Sequence[int], feedback: Sequence[Array] | None) -> Array:
    """Give the table `layers`.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output.
    activations : sequence of int
        Code of phi by layer.
    feedback : sequence of array or None
        Q by layer, if theta holds feedback weights.

    Returns
    -------
    array (layers, 8) of int
        The table.
    """
    rows: list[tuple[int, ...]] = []
    start, first = 0, 0
    for m, n, activation in zip(sizes[:-1], sizes[1:], activations, strict=True):
        biases = start + n * m
        Q = None if feedback is None else feedback[len(rows)]
        identity = Q is not None and n == sizes[-1] and np.array_equal(Q, np.eye(n))
        rows.append((first, n, m, start, biases, biases + n, activation, identity))
        start, first = biases + n + (0 if Q is None else Q.size), first + n
    return np.array(rows)


def split(theta: Array, layers: Array, letters: str = "WbQ") -> Parameters:
    """Give the parts of a flat theta by name.

    Parameters
    ----------
    theta : array
        All parameters.
    layers : array (layers, 8) of int
        Where they lie.
    letters : str
        Which to give.

    Returns
    -------
    dict of arrays
        ``W0, b0, Q0, W1, ...``, views.
    """
    named: Parameters = {}
    for i, row in enumerate(layers):
        n, m, last = row[WIDTH], row[WIDTH_BELOW], layers[-1, WIDTH]
        parts = {"W": (WEIGHTS, (n, m)), "b": (BIASES, (n,)), "Q": (FEEDBACK, (n, last))}
        for letter in letters:
            column, shape = parts[letter]
            named[f"{letter}{i}"] = theta[row[column] : row[column] + np.prod(shape)].reshape(shape)
    return named


def mean_outer(deltas: Sequence[Array], below: Sequence[Array], threads: int | None = None) -> Parameters:
    """Give the change of weights and biases that changes of the voltages make, a mean over samples.

    Parameters
    ----------
    deltas : sequence of array (batch, n_i)
        Wanted changes by layer.
    below : sequence of array (batch, n_{i-1})
        What each layer receives.
    threads : int, optional
        Number of threads; all cores if not given.  The result does not depend on it.

    Returns
    -------
    dict of arrays
        W_i: the mean of delta_i r_{i-1}^T; b_i: the mean of delta_i.
    """
    change: Parameters = {}
    pieces, cost = [], 0
    for i, (delta, r) in enumerate(zip(deltas, below, strict=True)):
        scaled, n = delta / delta.dtype.type(len(r)), delta.size * r.shape[1]
        change |= {f"W{i}": np.empty((delta.shape[1], r.shape[1]), delta.dtype), f"b{i}": scaled.sum(axis=0)}
        pieces += [(change[f"W{i}"][rows], scaled.T[rows], r) for rows in cut(delta.shape[1], n)]
        cost += n
    in_parallel(lambda piece: np.matmul(piece[1], piece[2], out=piece[0]), pieces, cost, threads)
    return change
