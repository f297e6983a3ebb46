"""A network of somas, apical compartments and a filtered control, near a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..activations import slope
from ..base import Array, Linear

if TYPE_CHECKING:
    from .network import DeepNetwork


def compartments(net: DeepNetwork) -> dict[str, slice]:
    """Give where the states of each kind of compartment lie, of those that have dynamics.

    Parameters
    ----------
    net : DeepNetwork
        The network.

    Returns
    -------
    dict of slice
        ``v``, ``v_apical`` and ``u_filtered``, as far as present.
    """
    sizes = {
        "v": net.nneurons if net.soma == "dynamic" else 0,
        "v_apical": net.nneurons if net.tau_apical is not None else 0,
        "u_filtered": net.ninputs if net.tau_control is not None else 0,
    }
    ends = np.cumsum([*sizes.values()]).tolist()
    return {name: slice(end - n, end) for (name, n), end in zip(sizes.items(), ends, strict=True) if n}


def state_names(net: DeepNetwork) -> tuple[str, ...]:
    """Give the names of the states.

    Parameters
    ----------
    net : DeepNetwork
        The network.

    Returns
    -------
    tuple of str
        As v1[0], v_apical2[3], u_filtered[1].
    """
    names: list[str] = []
    for kind in compartments(net):
        if kind == "u_filtered":
            names += [f"{kind}[{j}]" for j in range(net.ninputs)]
        else:
            names += [f"{kind}{i}[{j}]" for i, n in enumerate(net.sizes[1:], start=1) for j in range(n)]
    return tuple(names)


def between_layers(net: DeepNetwork, voltages: Sequence[Array]) -> Array:
    """Give F, how the basal voltages of all layers depend on the somatic voltages of the layer below.

    Parameters
    ----------
    net : DeepNetwork
        The network.
    voltages : sequence of array (batch, n_i)
        Somatic voltages by layer.

    Returns
    -------
    array (batch, n, n)
        W_i diag(phi'(v_{i-1})) from layer i - 1 to layer i, zero elsewhere.
    """
    edges = np.cumsum((0, *net.sizes[1:]))
    F = np.zeros((len(voltages[0]), edges[-1], edges[-1]), net.dtype)
    for i in range(1, len(net.weights)):
        block = net.weights[i] * slope(net.activations[i - 1], voltages[i - 1])[:, np.newaxis]
        F[:, edges[i] : edges[i + 1], edges[i - 1] : edges[i]] = block
    return F


def linear_network(net: DeepNetwork, x: Array, u: Array, inputs: Array) -> Linear:
    """Linearise a network with feedback weights; the derivatives are exact.

    Parameters
    ----------
    net : DeepNetwork
        The network.
    x : array (batch, nstates)
        State.
    u : array (batch, n_L)
        Control.
    inputs : array (batch, n_0)
        Input patterns.

    Returns
    -------
    Linear
        tau_v dv/dt = (F - I) v + v_fb, tau_a dv_fb/dt = Q u_f - v_fb, tau_f du_f/dt = u - u_f, y = v_L for deviations.
    """
    where, Q, n, m = compartments(net), net.stacked_feedback(), net.nstates, net.ninputs
    # Each row of these says how something depends on (x, u).
    own, given = np.split(np.eye(n + m, dtype=net.dtype), [n])
    rates = np.zeros((len(x), n, n + m), net.dtype)
    control = own[where["u_filtered"]] if "u_filtered" in where else given
    apical = own[where["v_apical"]] if "v_apical" in where else Q @ control
    if "u_filtered" in where:
        rates[:, where["u_filtered"]] = (given - control) / (net.tau_control or 1)
    if "v_apical" in where:
        rates[:, where["v_apical"]] = (Q @ control - apical) / (net.tau_apical or 1)
    if "v" in where:
        v = own[where["v"]]
        rates[:, where["v"]] = (between_layers(net, net.by_layer(x[:, where["v"]])) @ v - v + apical) / net.tau_v
        output = np.broadcast_to(v[-m:], (len(x), m, n + m))
    else:
        output = net.jacobian(_instantaneous(net, x, u, inputs)) @ apical
    return Linear(rates[:, :, :n], rates[:, :, n:], output[:, :, :n], output[:, :, n:], np.zeros(len(x)))


def minimal_network(net: DeepNetwork, x: Array, u: Array, inputs: Array) -> Linear:
    """Linearise a network to what u does to y: L n_L states in place of those of all neurons, exactly.

    F leads from a layer to the next alone, so that (tau s I + I - F)^-1 = sum_k F^k / (tau s + 1)^(k + 1), k < L: a
    chain of L low-pass filters of the control with taps C F^k Q.  What is left out decays with the time constants
    alone, out of reach of any control.

    Parameters
    ----------
    net : DeepNetwork
        The network.
    x : array (batch, nstates)
        State.
    u : array (batch, n_L)
        Control.
    inputs : array (batch, n_0)
        Input patterns.

    Returns
    -------
    Linear
        The same transfer function as that of `linear_network`.
    """
    where, m, batch = compartments(net), net.ninputs, len(x)
    before = [tau for tau in (net.tau_control, net.tau_apical) if tau is not None]
    if "v" in where:
        F, reached = between_layers(net, net.by_layer(x[:, where["v"]])), np.stack([net.stacked_feedback()] * batch)
        taps, filters = [], [*before, *[net.tau_v] * len(net.weights)]
        for _ in net.weights:
            taps.append(reached[:, -m:])
            reached = F @ reached
    else:
        taps, filters = [net.jacobian(_instantaneous(net, x, u, inputs)) @ net.stacked_feedback()], before
    if not filters:
        none = np.zeros((batch, 0, m), net.dtype)
        return Linear(none[:, :, :0], none, none.swapaxes(1, 2), taps[0], np.zeros(batch))
    rates = 1 / np.asarray(filters, net.dtype)
    chain, entry = np.diag(-rates) + np.diag(rates[1:], -1), np.eye(len(rates), 1, dtype=net.dtype) * rates[0]
    A, B = (np.kron(matrix, np.eye(m, dtype=net.dtype)) for matrix in (chain, entry))
    silent = [np.zeros((batch, m, m), net.dtype)] * (len(filters) - len(taps))
    C = np.concatenate([*silent, *taps], axis=2)
    A, B = (np.broadcast_to(matrix, (batch, *matrix.shape)) for matrix in (A, B))
    return Linear(A, B, C, np.zeros((batch, m, m), net.dtype), np.zeros(batch))


def linear_network_step(net: DeepNetwork, dt: float, x: Array, u: Array, inputs: Array) -> Linear:
    """Linearise the step that a network with feedback weights makes under `Sequential`; the derivatives are exact.

    The filtered control moves first, then the apical compartments with it, then the somas layer by layer.

    Parameters
    ----------
    net : DeepNetwork
        The network.
    dt : float
        Step size.
    x : array (batch, nstates)
        State.
    u : array (batch, n_L)
        Control that is applied.
    inputs : array (batch, n_0)
        Input patterns.

    Returns
    -------
    Linear
        With g = dt / tau_v: v' = (I - g F)^-1 ((1 - g) v + g v_fb'), or F v in place of F v' where transmission is
        delayed; v' = (I - F)^-1 v_fb' for instantaneous somas.
    """
    where, Q, n, m = compartments(net), net.stacked_feedback(), net.nstates, net.ninputs
    # Each row of these says how something after the step depends on (x, u) before it.
    own, control = np.split(np.eye(n + m, dtype=net.dtype), [n])
    moved = np.zeros((len(x), n, n + m), net.dtype)
    if "u_filtered" in where:
        control = _relaxed(own[where["u_filtered"]], control, dt / (net.tau_control or 1))
        moved[:, where["u_filtered"]] = control
    apical = Q @ control
    if "v_apical" in where:
        apical = _relaxed(own[where["v_apical"]], apical, dt / (net.tau_apical or 1))
        moved[:, where["v_apical"]] = apical
    if "v" in where:
        F, g, v = between_layers(net, net.by_layer(x[:, where["v"]])), dt / net.tau_v, own[where["v"]]
        drive = np.broadcast_to(_relaxed(v, apical, g), (len(x), *v.shape))
        step = drive + g * F @ v if net.discrete else np.linalg.solve(np.eye(len(v), dtype=net.dtype) - g * F, drive)
        moved[:, where["v"]], output = step, step[:, -m:]
    else:
        output = net.jacobian(_instantaneous(net, x, u, inputs)) @ apical
    return Linear(moved[:, :, :n], moved[:, :, n:], output[:, :, :n], output[:, :, n:], np.zeros(len(x)))


def _relaxed(own: Array, target: Array, gain: float) -> Array:
    return (1 - gain) * own + gain * target


def _instantaneous(net: DeepNetwork, x: Array, u: Array, inputs: Array) -> list[Array]:
    """Give the voltages of somas without dynamics."""
    where = compartments(net)
    control = x[:, where["u_filtered"]] if "u_filtered" in where else u
    apical = x[:, where["v_apical"]] if "v_apical" in where else control @ net.stacked_feedback().T
    return net.voltages(inputs, net.by_layer(apical))
