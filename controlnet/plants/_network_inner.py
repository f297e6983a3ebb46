"""What a wide output layer leaves of a network: its last hidden layer, and how that follows the control."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._check import all_finite
from .._parallel import one_blas_thread
from ..activations import slope_of_rate
from ..base import Array
from ._network_tangents import gain

if TYPE_CHECKING:
    from .network import DeepNetwork


@dataclass(frozen=True, eq=False)
class Inner:
    """A network without its last layer, where that is linear, wider than the one below, and has Q_L = q I.

    Then JQ = q I + W_L K with K = dr_{L-1}/du: what costs n_L tangents a sample takes n_{L-1}.

    Parameters
    ----------
    net : DeepNetwork
        The layers up to L - 1, under feedback weights Q_i W_L; the last is linear here.
    activation : str
        What the last of them has.
    feedback : tuple of array (n_i, n_L)
        Their own feedback weights Q_i.
    weights : array (n_L, n_{L-1})
        W_L.
    identity : float
        q.
    """

    net: DeepNetwork
    activation: str
    feedback: tuple[Array, ...]
    weights: Array
    identity: float

    def gain(self, rates: Array, exact: bool = True) -> Array:
        """Give K W_L.

        Parameters
        ----------
        rates : array (n_1 + ... + n_L, batch)
            Rates of the whole network, the layers one below the other.
        exact : bool
            False for single precision.

        Returns
        -------
        array (batch, n_{L-1}, n_{L-1})
            How the rates of layer L - 1 follow a control W_L c.
        """
        hidden = rates[: self.net.nneurons]
        slopes = slope_of_rate(self.activation, hidden[-self.net.noutputs :])
        return np.asarray(slopes.T[:, :, np.newaxis] * gain(self.net, hidden, exact))

    def follow(self, rates: Array, control: Array) -> Array:
        """Give K u.

        Parameters
        ----------
        rates : array (n_1 + ... + n_L, batch)
            Rates of the whole network.
        control : array (batch, n_L)
            u.

        Returns
        -------
        array (batch, n_{L-1})
            How the rates of layer L - 1 move.
        """
        net, activations = self.net, (*self.net.activations[:-1], self.activation)
        layers = net.by_layer(rates[: net.nneurons].T)
        moved = np.zeros((len(control), 0), control.dtype)
        for i, r in enumerate(layers):
            moved = control @ self.feedback[i].T + (moved @ net.weights[i].T if i else 0)
            moved = moved * slope_of_rate(activations[i], r)
        return np.asarray(moved)

    def narrowed(self) -> DeepNetwork:
        """Give the network with one output for each neuron of layer L - 1: v_L = v_L_ff + W_L times what they move by.

        Under a control W_L c and no noise in the output layer it moves as the whole network does, exactly.

        Returns
        -------
        DeepNetwork
            Its output layer has the weights I, no biases and the feedback weights q I.
        """
        eye = np.eye(self.net.noutputs, dtype=self.net.dtype)
        return replace(
            self.net,
            weights=(*self.net.weights, eye),
            biases=(*self.net.biases, np.zeros(len(eye), self.net.dtype)),
            feedback=(*(self.net.feedback or ()), self.net.dtype.type(self.identity) * eye),
            activations=(*self.net.activations[:-1], self.activation, "linear"),
        )

    def completed(self, moved: Array, right: Array, a: Any, m: Any) -> Array:
        """Give (m I + a W_L K)^{-1} F from what is known inside.

        Parameters
        ----------
        moved : array (batch, n_{L-1})
            (m I + a K W_L)^{-1} K F.
        right : array (batch, n_L)
            F.
        a, m : float, or array (batch, 1)
            The numbers.

        Returns
        -------
        array (batch, n_L)
            The solution, by the identity of Woodbury.
        """
        return np.asarray((right - a * (moved @ self.weights.T)) / m)


def inner_of(net: DeepNetwork) -> Inner | None:
    """Give the inner network.

    Parameters
    ----------
    net : DeepNetwork
        The network, to which the result does not refer.

    Returns
    -------
    Inner or None
        None if the last layer is not wider than the one below, its feedback weights are no multiple of I, or a product
        overflows.
    """
    if len(net.weights) < 2 or net.feedback is None or net.sizes[-2] >= net.noutputs:
        return None
    last, output = net.feedback[-1], net.weights[-1]
    if not np.array_equal(last, last[0, 0] * np.eye(len(last), dtype=net.dtype)):
        return None
    with one_blas_thread(), np.errstate(all="ignore"):
        feedback = tuple(Q @ output for Q in net.feedback[:-1])
    if not all(map(all_finite, feedback)):
        return None
    linear = (*net.activations[:-2], "linear")
    inside = replace(net, weights=net.weights[:-1], biases=net.biases[:-1], feedback=feedback, activations=linear)
    return Inner(inside, net.activations[-2], net.feedback[:-1], output, float(last[0, 0]))
