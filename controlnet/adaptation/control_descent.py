"""Gradient descent on the amount of control, which Strong-DFC approximates (Meulemans et al. 2022, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import AbstractLaw, Array, Proposal
from ..layered import mean_outer
from ._analytic_control import solve_loop

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


@dataclass(frozen=True)
class ControlDescent(AbstractLaw):
    """Minus the gradient of H, the mean over samples of |Q u|^2, in W and b at the loop's steady state.

    By the implicit function theorem on e = alpha u, per sample and layer
    Delta a_i = 2 J_i^T E^T (E J Q + alpha I)^-T Q^T Q u and Delta W_i = Delta a_i r_{i-1}^T, with E the comparator's
    sensitivity and the reference held.  The steady state is found without simulation; samples without one are left
    out, and reported as not converged.
    """

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        plant: Any = loop.plant
        steady = loop.equilibrium(lesson.reference, inputs=lesson.inputs, threads=lesson.threads)
        Q, found = plant.stacked_feedback(), steady.converged
        u = np.where(found[:, None], steady.u, 0)
        voltages = plant.voltages(lesson.inputs, [u @ q.T for q in plant.feedback])
        J = plant.jacobian(voltages)
        a, b = loop.controller.steady_relation()
        E = plant.dtype.type(a) * loop.comparator.sensitivity(voltages[-1])
        matrix = E @ (J @ Q) + plant.dtype.type(b) * np.eye(plant.noutputs, dtype=plant.dtype)
        signal = solve_loop(matrix.swapaxes(1, 2), (u @ (Q.T @ Q))[:, :, None]).swapaxes(1, 2) @ E @ J
        deltas, below = plant.by_layer(2 * signal[:, 0]), lesson.below(plant.rates(voltages))
        change = mean_outer(deltas, below, lesson.threads)
        return Proposal(change, found, np.zeros_like(found), u)


def amount_of_control(plant: Any, u: Array, voltages: Sequence[Array] | None = None) -> Array:
    """Give the amount of control of each sample, H = |Q u|^2 (Meulemans et al. 2022).

    Parameters
    ----------
    plant : DeepNetwork
        The network.
    u : array (batch, n_L)
        Control at the steady state.
    voltages : sequence of array (batch, n_i), optional
        State at which J^T stands for Q, if the network feeds back through its Jacobian.

    Returns
    -------
    array (batch,)
        H.
    """
    if plant.feedback is None and voltages is not None:
        return np.asarray(((u[:, None] @ plant.jacobian(voltages)) ** 2).sum(axis=(1, 2)))
    return np.asarray(((u @ plant.stacked_feedback().T) ** 2).sum(axis=1))
