"""The rests of a network under constant controls: forward passes, and JQ by forward differentiation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .._kernel import machine_code
from .._source import source_tag
from ..activations import slope_of_rate
from ..base import Array
from ..layered import APICAL, BASAL, RATE, VOLTAGE, LayeredParams
from ..rest import Rest, Rests
from ._network_kernels import output

_BINDING = threading.Lock()

if TYPE_CHECKING:
    from .network import DeepNetwork


def _build(tag: str) -> Callable[[Array, LayeredParams, Array], None]:
    def stand(u: Array, p: LayeredParams, y: Array) -> None:
        tag  # noqa: B018 - the closure over it puts it into the cache key
        output(p.tau_v, p.signals, u, p.signals, p, y)

    return stand


@cache
def _bind() -> Callable[[Array, LayeredParams, Array], None]:
    tag = source_tag((output, _build))
    return machine_code(_build(tag), tag)


def _stand() -> Callable[[Array, LayeredParams, Array], None]:
    """Give the compiled forward pass: somas without dynamics stand at their rest.

    One thread binds it: reading sources in several at once breaks Python's parser (cpython #106905).
    """
    with _BINDING:
        return _bind()


class NetworkRests(Rests):
    """What a network does under constant controls; the first layer's basal voltage is computed once.

    Parameters
    ----------
    plant : DeepNetwork
        The network.
    inputs : array (batch, n_0)
        Input patterns.
    basal : array (batch, n_1), optional
        Basal voltage of the first layer, if it is known.
    """

    plant: DeepNetwork

    def __init__(self, plant: DeepNetwork, inputs: Array, basal: Array | None = None) -> None:
        super().__init__(plant, inputs)
        plant.stacked_feedback()
        if basal is None:
            basal = np.asarray(inputs, plant.dtype) @ plant.weights[0].T + plant.biases[0]
        self._basal = basal
        zero = plant.dtype.type(0)
        self._params = plant.params(1)._replace(tau_v=zero, tau_a=zero, tau_f=zero, delayed=zero)
        self._last = threading.local()

    def _forward(self, u: Array, part: Array) -> Array:
        """Give voltages, basal and apical voltages and rates, as `controlnet.layered` orders them: (4, neurons, n).

        What a thread asked for last is remembered: a solver asks for the output first and for the gain there later.
        """
        net, last = self.plant, getattr(self._last, "call", None)
        if last is None or not (np.array_equal(last[0], part) and np.array_equal(last[1], u)):
            n = net.nneurons
            p = self._params._replace(signals=np.empty((4 * n, len(u)), net.dtype))
            p.signals[BASAL * n : BASAL * n + net.sizes[1]] = self._basal[part].T
            _stand()(np.ascontiguousarray(u.T), p, np.empty((net.noutputs, len(u)), net.dtype))
            last = self._last.call = part.copy(), u.copy(), p.signals.reshape(4, n, len(u))
        signals: Array = last[2]
        return signals

    def states(self, u: Array) -> tuple[Array, Array, Array]:
        """Give voltages at rest of the whole batch.

        Parameters
        ----------
        u : array (batch, n_L)
            Control.

        Returns
        -------
        tuple of array (n_1 + ... + n_L, batch)
            Basal voltages, apical voltages and rates, the layers one below the other.
        """
        signals = self._forward(u, np.arange(len(u)))
        return signals[BASAL], signals[APICAL], signals[RATE]

    def output(self, u: Array, part: Array) -> Array:
        return self._forward(u, part)[RATE, -self.plant.noutputs :].T.copy(order="C")

    def at(self, u: Array, part: Array, exact: bool = True) -> Rest:
        net = self.plant
        signals = self._forward(u, part)
        parts = [signals[VOLTAGE].T] if net.soma == "dynamic" else []
        parts += [u @ net.stacked_feedback().T] if net.tau_apical is not None else []
        parts += [u] if net.tau_control is not None else []
        x = np.concatenate(parts, axis=1) if parts else np.empty((len(u), 0), net.dtype)
        rates = np.split(signals[RATE].T, np.cumsum(net.sizes[1:-1]), axis=1)
        return Rest(x, rates[-1].copy(order="C"), gain(net, rates, exact), np.ones(len(u), bool))


def gain(net: DeepNetwork, rates: Sequence[Array], exact: bool = True) -> Array:
    """Give JQ: how the output at rest depends on the control.

    The tangents of all layers cost one product a layer.

    Parameters
    ----------
    net : DeepNetwork
        The network.
    rates : sequence of array (batch, n_i)
        Rates by layer.
    exact : bool
        False for single precision.

    Returns
    -------
    array (batch, n_L, n_L)
        JQ.
    """
    *_, last = tangents(net, rates, exact)
    return np.broadcast_to(last, (len(rates[0]), *last.shape[-2:])).swapaxes(1, 2)


def tangents(
    net: DeepNetwork, rates: Sequence[Array], exact: bool = True, follow: Array | None = None
) -> Iterator[Array]:
    """Give how the voltages of each layer follow the control.

    Parameters
    ----------
    net : DeepNetwork
        The network.
    rates : sequence of array (batch, n_i)
        Rates by layer.
    exact : bool
        False for single precision.
    follow : array (batch, n_L, n_L), optional
        F, which each compartment follows its input by: T_i = (phi_i'(v_i) W_i T_{i-1} + Q_i) F; I if not given.

    Yields
    ------
    array (batch or 1, n_L, n_i)
        T_i^T.
    """
    weights, Q = (net.weights, net.feedback) if exact else net.in_single_precision
    assert Q is not None
    batch, m = len(rates[0]), net.ninputs
    layer: Array = Q[0].T[np.newaxis]
    for i in range(len(weights)):
        if i > 0:
            slope = slope_of_rate(net.activations[i - 1], np.ascontiguousarray(rates[i - 1], Q[0].dtype))
            moved = (layer * slope[:, np.newaxis]).reshape(batch * m, -1)
            layer = (moved @ weights[i].T).reshape(batch, m, -1)
            layer += Q[i].T
        if follow is not None:
            layer = follow.swapaxes(1, 2) @ layer
        yield layer
