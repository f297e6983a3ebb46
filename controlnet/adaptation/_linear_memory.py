"""What the kernels of the linearised loop know of one block of samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..base import Array


class LinearMemory(NamedTuple):
    """What the kernels know of one block, and their workspace; c, d, e count outputs, s samples.

    `to_output` (hidden neurons, c s) is J^T, `gains` (layers, d, c s) are (J_i Q_i)^T, `factors` (hidden layers, c,
    e s) L_i.  `apical` (layers e, s) is a_i, `driven` (s) what noise and control in the apical compartments do to an
    output, `somas` (layers, c, s) are J_i delta_v_i, `sent` and `held` (c, s) the control behind its filter and behind
    the apical compartments.  `paired` (layers, e, d s) is the sum of a_i u^T, `moments` (c, d s) that of held u^T,
    `controls` (steps - 1, d s) are u.  `spread` (d, e s) is S, `across` (hidden neurons, e s) Z from `stream`, `seen`
    (c, e s) J_i Z_i; J_i^T is multiplied by `coefficients` (c, d s), which `reordered` has as (d, c s).
    """

    to_output: Array
    gains: Array
    factors: Array
    slopes: Array
    apical: Array
    driven: Array
    somas: Array
    sent: Array
    held: Array
    paired: Array
    moments: Array
    controls: Array
    spread: Array
    across: Array
    seen: Array
    coefficients: Array
    reordered: Array
    stream: Array


def linear_memory(plant: Any, batch: int, steps: int, stream: Array) -> LinearMemory:
    """Give room for one block.

    Parameters
    ----------
    plant : DeepNetwork
        The network.
    batch, steps : int
        Number of samples and of steps.
    stream : array (2,) of uint64
        Random stream of the noise that the output does not see.

    Returns
    -------
    LinearMemory
        Zeros.
    """
    n, m, layers = plant.nneurons, plant.noutputs, len(plant.weights)
    drawn = (n - m) * m * batch
    shapes: dict[str, tuple[int, ...]] = {
        "to_output": (n - m, m * batch),
        "gains": (layers, m, m * batch),
        "factors": (layers - 1, m, m * batch),
        "slopes": (max(plant.sizes[1:]), batch),
        "apical": (layers * m, batch),
        "driven": (batch,),
        "somas": (layers, m, batch),
        "sent": (m, batch),
        "held": (m, batch),
        "paired": (layers, m, m * batch),
        "controls": (steps - 1, m * batch),
        "across": (drawn + drawn % 2,),
    }
    shapes |= dict.fromkeys(("moments", "spread", "seen", "coefficients", "reordered"), (m, m * batch))
    return LinearMemory(**{name: np.zeros(shape, plant.dtype) for name, shape in shapes.items()}, stream=stream)
