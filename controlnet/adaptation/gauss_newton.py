"""Gauss-Newton and minimum-norm updates, which DFC approximates (Meulemans et al. 2021, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._check import require_at_least_zero
from ..activations import rate
from ..base import AbstractLaw, Array, Proposal
from ..errors import InputError
from ..layered import mean_outer

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


@dataclass(frozen=True)
class GaussNewton(AbstractLaw):
    """GN: minus the mean over samples of Jw^T (Jw Jw^T + gamma I)^-1 g; needs no simulation.

    Jw is the Jacobian of the output in all weights and biases, g the gradient of the sample's loss in its output.

    Parameters
    ----------
    damping : float
        gamma >= 0.
    """

    damping: float = 0.0

    def __post_init__(self) -> None:
        require_at_least_zero("GaussNewton", damping=self.damping)

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        blocks, below = _jacobians(lesson), lesson.below()
        # The columns of W_i are those of b_i times the rates below, so r r^T + 1 weights J_i J_i^T.
        weight = [1 + np.einsum("bm,bm->b", r, r) for r in below]
        gram = sum(w[:, None, None] * (J @ J.swapaxes(1, 2)) for w, J in zip(weight, blocks, strict=True))
        signal = _solve(gram, lesson.output_gradient, self.damping)
        return Proposal(mean_outer([-(signal[:, None] @ J)[:, 0] for J in blocks], below, lesson.threads))


@dataclass(frozen=True)
class MinimumNorm(AbstractLaw):
    """MN: the smallest change of all voltages that corrects the output, a = -J^T (J J^T + gamma I)^-1 g; no simulation.

    Delta W_i = 1/B times the sum over samples of a_i r_{i-1}^T, or of (phi(v_i + a_i) - phi(v_i)) r_{i-1}^T, at the
    feed-forward state; J is the Jacobian of the output in all voltages, g the gradient of the sample's loss.

    Parameters
    ----------
    damping : float
        gamma >= 0.
    rule : {"voltage-difference", "nonlinear-difference"}
        a itself, or the change of the rates that it makes.
    """

    damping: float = 0.0
    rule: Literal["voltage-difference", "nonlinear-difference"] = "voltage-difference"

    def __post_init__(self) -> None:
        require_at_least_zero("MinimumNorm", damping=self.damping)
        if self.rule not in ("voltage-difference", "nonlinear-difference"):
            raise InputError(
                f"MinimumNorm.rule: expected voltage-difference or nonlinear-difference, got {self.rule!r}"
            )

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        lesson.require(loop.plant)
        deltas = minimum_norm(lesson, self.damping)
        if self.rule == "nonlinear-difference":
            steps = zip(lesson.plant.activations, lesson.voltages, deltas, strict=True)
            deltas = [rate(name, v + a) - rate(name, v) for name, v, a in steps]
        return Proposal(mean_outer(deltas, lesson.below(), lesson.threads))


def minimum_norm(lesson: Lesson, damping: float = 0.0) -> list[Array]:
    """Give the smallest change of the voltages that corrects the output to first order.

    Parameters
    ----------
    lesson : Lesson
        Network, inputs and labels.
    damping : float
        gamma >= 0.

    Returns
    -------
    list of array (batch, n_i)
        a_i = -J_i^T (J J^T + gamma I)^-1 g by layer.
    """
    blocks = _jacobians(lesson)
    signal = _solve(sum(J @ J.swapaxes(1, 2) for J in blocks), lesson.output_gradient, damping)
    return [-(signal[:, None] @ J)[:, 0] for J in blocks]


def _jacobians(lesson: Lesson) -> list[Array]:
    """Give J by layer at the feed-forward state."""
    return lesson.plant.by_layer(lesson.plant.jacobian(lesson.voltages))


def _solve(gram: Any, gradient: Array, damping: float) -> Array:
    """Give (gram + gamma I)^-1 g; the output's own block makes J J^T at least the identity."""
    eye = np.eye(gradient.shape[1], dtype=gradient.dtype)
    return np.asarray(np.linalg.solve(gram + gradient.dtype.type(damping) * eye, gradient[:, :, None])[:, :, 0])
