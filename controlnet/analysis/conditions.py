"""The conditions under which DFC's updates are minimum-norm updates (Meulemans et al. 2021, theorem 3)."""

from __future__ import annotations

import numpy as np

from ..base import Array


def condition_two(J: Array, Q: Array) -> Array:
    """Give how much of Q lies in the row space of J: |P Q| / |Q| with P = J^T (J J^T)^-1 J, per sample.

    Condition 2 holds where it is 1; for random weights it is about the root of n_L / (n_1 + ... + n_L).

    Parameters
    ----------
    J : array (batch, n_L, n)
        Jacobian of the output in all voltages.
    Q : array (n, n_L)
        Feedback weights of all layers.

    Returns
    -------
    array (batch,)
        Between 0 and 1.
    """
    JQ, gram = J @ Q, J @ J.swapaxes(1, 2)
    squared = np.einsum("bij,bij->b", JQ, np.linalg.solve(gram, JQ))
    return np.asarray(np.sqrt(squared) / np.linalg.norm(Q))
