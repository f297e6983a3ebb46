"""Matrices of the linearised loop of a network, whose eigenvalues decide on stability.

The state of the joint matrices is the deviation of all voltages, then of the control; tau_u = 1 is the unit of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..activations import slope
from ..base import Array


def loop_matrices(
    network: Any, voltages: Sequence[Array], *, leak: float, k_p: float = 0.0, tau_v: float | None = None
) -> dict[str, Array]:
    """Give the loop's matrix under four assumptions, per sample (Meulemans et al. 2021, section 3.4 and appendix).

    With J the Jacobian in all voltages, J_L its part of the output layer alone, F the matrix with blocks
    W_i diag(phi'(v_{i-1})) from layer i - 1 to layer i, and alpha the leak:

    - ``separated``: -(J Q + alpha I), the network at rest at every instant;
    - ``integral``: [[-(I - F) / tau, Q / tau], [-J_L, -alpha I]], integral control of the network's own dynamics;
    - ``steady``: [[-(I - F) / tau, (I - F) Q / tau], [-J, -alpha I]], the same with the feedback acting on all
      voltages at once;
    - ``proportional-integral``: the latter with -J + k_p / tau J_L and -(alpha I + k_p / tau Q_L) in its second row.

    Parameters
    ----------
    network : DeepNetwork
        The network.
    voltages : sequence of array (batch, n_i)
        Somatic voltages by layer, at the steady state or at the feed-forward one.
    leak : float
        alpha.
    k_p : float
        Proportional gain.
    tau_v : float, optional
        Time constant of the soma; the network's if not given.

    Returns
    -------
    dict of array (batch, n, n)
        The matrices by name.
    """
    J, Q = network.jacobian(voltages), network.stacked_feedback()
    tau = network.tau_v if tau_v is None else tau_v
    n_L, n = network.noutputs, network.nneurons
    own, leaking = (np.eye(n) - _forward(network, voltages)) / tau, leak * np.eye(n_L)
    last = np.zeros_like(J)
    last[:, :, n - n_L :] = J[:, :, n - n_L :]
    steady = own @ Q
    proportional = leaking + k_p / tau * (J[:, :, n - n_L :] @ Q[n - n_L :])
    return {
        "separated": -(J @ Q + leaking),
        "integral": _joint(-own, Q / tau, -last, -leaking),
        "steady": _joint(-own, steady, -J, -leaking),
        "proportional-integral": _joint(-own, steady, k_p / tau * last - J, -proportional),
    }


def _forward(network: Any, voltages: Sequence[Array]) -> Array:
    """Give F, how the voltages of a layer depend on those of the layer below."""
    edges = np.cumsum((0, *network.sizes[1:]))
    F = np.zeros((len(voltages[0]), edges[-1], edges[-1]))
    for i in range(1, len(network.weights)):
        block = network.weights[i] * slope(network.activations[i - 1], voltages[i - 1])[:, np.newaxis]
        F[:, edges[i] : edges[i + 1], edges[i - 1] : edges[i]] = block
    return F


def _joint(A: Array, B: Array, C: Array, D: Array) -> Array:
    """Put four blocks together, each (rows, columns) or (batch, rows, columns)."""
    batch = len(A)
    A, B, C, D = (np.broadcast_to(block, (batch, *block.shape[-2:])) for block in (A, B, C, D))
    return np.concatenate([np.concatenate([A, B], axis=2), np.concatenate([C, D], axis=2)], axis=1)


def spectral_abscissa(matrices: Array) -> Array:
    """Give the largest real part of the eigenvalues of each matrix: negative where the loop is stable.

    Parameters
    ----------
    matrices : array (batch, n, n)
        Matrices of dx/dt = A x.

    Returns
    -------
    array (batch,)
        max Re lambda.
    """
    return np.asarray(np.linalg.eigvals(matrices).real.max(axis=1))
