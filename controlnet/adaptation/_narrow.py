"""Feedback learning with an output layer wider than the one below, in fewer coordinates.

Without noise in a linear output layer with Q_L = q I its deviation, the error and the control all stay in the range of
W_L: u = W_L c.  So n_{L-1} numbers c take the place of n_L controls, and v_fb u^T = (v_fb c^T) W_L^T.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import Parameters
from ..objective import OwnOutput

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


def narrowed(loop: ClosedLoop, lesson: Lesson) -> tuple[ClosedLoop, Lesson] | None:
    """Give loop and lesson in the coordinates c.

    Parameters
    ----------
    loop : ClosedLoop
        The loop under noise.
    lesson : Lesson
        What it would be simulated on.

    Returns
    -------
    tuple or None
        None if the control would leave the range of W_L, or if there is nothing to gain.

    Raises
    ------
    DimensionError, InputError
        If recorded noise does not fit the network.
    """
    plant: Any = loop.plant
    integrator: Any = loop.integrator
    noise = integrator.noise
    stays = loop.controller.linear and loop.comparator.plain and isinstance(lesson.objective, OwnOutput)
    if plant.inner is None or not stays or noise.strengths[1]:
        return None
    narrow = plant.inner.narrowed()
    if noise.recorded is not None:
        noise.check(plant.noise_layers, len(lesson.inputs), lesson.steps, lesson.dt)
        hidden = narrow.nneurons - narrow.noutputs
        recorded = np.zeros((*noise.recorded.shape[:2], narrow.nneurons))
        recorded[..., :hidden] = noise.recorded[..., :hidden]
        integrator = replace(integrator, noise=replace(noise, recorded=recorded))
    return replace(loop, plant=narrow, integrator=integrator), replace(lesson, plant=narrow)


def widened(plant: Any, change: Parameters) -> Parameters:
    """Give the change of the feedback weights that a change in the coordinates c stands for.

    Parameters
    ----------
    plant : DeepNetwork
        The whole network.
    change : dict of arrays
        ``Q0, Q1, ...`` (n_i, n_{L-1}) of the hidden layers.

    Returns
    -------
    dict of arrays
        The same, (n_i, n_L).
    """
    return {name: part @ plant.weights[-1].T for name, part in change.items()}
