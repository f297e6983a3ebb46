"""The rests of a network under constant controls, by forward passes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .._kernel import bound
from .._parallel import one_blas_thread
from ..base import Array, Kernel
from ..layered import APICAL, BASAL, RATE, VOLTAGE, LayeredParams
from ..rest import Rest, Rests
from . import _network_tangents as tangents
from ._network_kernels import output

if TYPE_CHECKING:
    from .network import DeepNetwork


def _build_pass(tag: str, output: Kernel) -> Callable[[Array, LayeredParams, Array], None]:
    def stand(u: Array, p: LayeredParams, y: Array) -> None:
        tag  # noqa: B018 - the closure over it puts it into the cache key
        output(p.tau_v, p.signals, u, p.signals, p, y)

    return stand


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
    every = True

    def __init__(self, plant: DeepNetwork, inputs: Array, basal: Array | None = None) -> None:
        super().__init__(plant, inputs)
        plant.stacked_feedback()
        if basal is None:
            with one_blas_thread():
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
            with one_blas_thread():
                bound(_build_pass, output)(np.ascontiguousarray(u.T), p, np.empty((net.noutputs, len(u)), net.dtype))
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

    def rates(self, u: Array, part: Array) -> Array:
        """Give the rates at rest.

        Parameters
        ----------
        u : array (samples, n_L)
            Control.
        part : array of int
            Which samples.

        Returns
        -------
        array (n_1 + ... + n_L, samples)
            The layers one below the other.
        """
        return self._forward(u, part)[RATE]

    def at(self, u: Array, part: Array, exact: bool = True) -> Rest:
        x, y = self.state(u, part)
        return Rest(x, y, tangents.gain(self.plant, self.rates(u, part), exact), np.ones(len(u), bool))

    def gain(self, x: Array, u: Array, part: Array) -> Array:
        return self.at(u, part).gain

    def state(self, u: Array, part: Array) -> tuple[Array, Array]:
        """Give the plant's state at rest, and its output.

        Parameters
        ----------
        u : array (samples, n_L)
            Control.
        part : array of int
            Which samples.

        Returns
        -------
        tuple of array
            x (samples, nstates) and y (samples, n_L).
        """
        net, signals = self.plant, self._forward(u, part)
        parts = [signals[VOLTAGE].T] if net.soma == "dynamic" else []
        parts += [u @ net.stacked_feedback().T] if net.tau_apical is not None else []
        parts += [u] if net.tau_control is not None else []
        x = np.concatenate(parts, axis=1) if parts else np.empty((len(u), 0), net.dtype)
        return x, signals[RATE, -net.noutputs :].T.copy(order="C")
