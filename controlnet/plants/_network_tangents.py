"""How a network at rest follows the control: JQ by forward differentiation, for a block of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .._kernel import bound, kernel
from .._parallel import one_blas_thread
from ..activations import scale_by_slope
from ..base import Array, Kernel
from ..layered import ACTIVATION, FIRST, WIDTH, WIDTH_BELOW, LayeredParams, feedback_weights, multiply, weights

if TYPE_CHECKING:
    from .network import DeepNetwork


@kernel
def _write_slopes(i: int, rates: Array, p: LayeredParams, out: Array) -> None:
    """Write phi'(v) of layer i, in terms of the rates."""
    out[:] = 1
    scale_by_slope(p.layers[i, ACTIVATION], rates[p.layers[i, FIRST] : p.layers[i, FIRST] + len(out)], out)


@kernel
def _scale(tangents: Array, slopes: Array, out: Array) -> None:
    """Write out = phi' T."""
    for j in range(tangents.shape[0]):
        for k in range(tangents.shape[1]):
            for s in range(tangents.shape[2]):
                out[j, k, s] = tangents[j, k, s] * slopes[j, s]


@kernel
def _add_feedback(i: int, p: LayeredParams, T: Array) -> None:
    """Add Q_i for every sample."""
    Q = feedback_weights(i, p)
    for j in range(T.shape[0]):
        for k in range(T.shape[1]):
            for s in range(T.shape[2]):
                T[j, k, s] += Q[j, k]


@kernel
def _follow(F: Array, room: Array, T: Array) -> None:
    """Write T = T F, for every sample."""
    room[:] = 0
    for j in range(T.shape[0]):
        for k in range(T.shape[1]):
            for n in range(T.shape[1]):
                for s in range(T.shape[2]):
                    room[j, k, s] += T[j, n, s] * F[n, k, s]
    T[:] = room


@kernel
def write_tangents(p: LayeredParams, rates: Array, F: Array, room: Array, T: Array) -> None:
    """Write T_i = (W_i phi_{i-1}' T_{i-1} + Q_i) F of all layers; F without entries stands for I.

    Parameters
    ----------
    p : LayeredParams
        The network.
    rates : array (neurons, batch)
        Rates.
    F : array (n_L, n_L, batch)
        What each layer follows its input by.
    room : array (2, widest, n_L, batch)
        Overwritten.
    T : array (neurons, n_L, batch)
        Written.
    """
    m, batch = T.shape[1], T.shape[2]
    for i in range(p.layers.shape[0]):
        first, n = p.layers[i, FIRST], p.layers[i, WIDTH]
        layer = T[first : first + n]
        layer[:] = 0
        if i > 0:
            below = p.layers[i, WIDTH_BELOW]
            moved, slopes = room[0, :below], room[1, :below].reshape(below * m, batch)[:below]
            _write_slopes(i - 1, rates, p, slopes)
            _scale(T[first - below : first], slopes, moved)
            multiply(weights(i, p), moved.reshape(below, m * batch), layer.reshape(n, m * batch))
        _add_feedback(i, p, layer)
        if F.shape[0] > 0:
            _follow(F, room[1, :n], layer)


def _build(tag: str, write_tangents: Kernel) -> Callable[[LayeredParams, Array, Array, Array, Array], None]:
    def tangents(p: LayeredParams, rates: Array, F: Array, room: Array, T: Array) -> None:
        tag  # noqa: B018 - the closure over it puts it into the cache key
        write_tangents(p, rates, F, room, T)

    return tangents


def gain(net: DeepNetwork, rates: Array, exact: bool = True) -> Array:
    """Give JQ: how the output at rest depends on the control.

    Parameters
    ----------
    net : DeepNetwork
        The network.
    rates : array (n_1 + ... + n_L, batch)
        Rates, the layers one below the other.
    exact : bool
        False for single precision.

    Returns
    -------
    array (batch, n_L, n_L)
        JQ.
    """
    return tangents(net, rates, exact)[:, -net.noutputs :]


def tangents(net: DeepNetwork, rates: Array, exact: bool = True, follow: Array | None = None) -> Array:
    """Give how the voltages of all layers follow the control.

    Parameters
    ----------
    net : DeepNetwork
        The network.
    rates : array (n_1 + ... + n_L, batch)
        Rates, the layers one below the other.
    exact : bool
        False for single precision.
    follow : array (batch, n_L, n_L), optional
        F, which each compartment follows its input by: T_i = (W_i phi_{i-1}' T_{i-1} + Q_i) F; I if not given.

    Returns
    -------
    array (batch, n_1 + ... + n_L, n_L)
        T, the layers one below the other.
    """
    p = net.params(1) if exact else net.params(1)._replace(theta=net.in_single_precision)
    dtype = p.theta.dtype
    m, (n, batch) = net.ninputs, rates.shape
    F = np.empty((0, 0, 0), dtype) if follow is None else np.ascontiguousarray(follow.transpose(1, 2, 0), dtype)
    T, room = np.empty((n, m, batch), dtype), np.empty((2, max(net.sizes[1:]), m, batch), dtype)
    with one_blas_thread():
        bound(_build, write_tangents)(p, np.ascontiguousarray(rates, dtype), F, room, T)
    return T.transpose(2, 0, 1)
