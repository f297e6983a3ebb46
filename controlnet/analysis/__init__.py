"""Looking at networks under control: Jacobians, conditions, stability, and angles between updates."""

from ..linear_loop import step_matrices
from .alignment import (
    Angles,
    FeedbackAngles,
    alignment,
    angle,
    angles_by_layer,
    damped_inverse,
    distance_to_analytic,
    feedback_alignment,
    feedback_angle,
)
from .conditions import NormSpread, condition_one, condition_two, null_space_ratio
from .jacobian import jacobian
from .margins import Margins, margins, stability_map
from .stability import Stability, eigenvalues_of_jq, loop_matrices, separated_eigenvalues, spectral_abscissa, stability

__all__ = [
    "Angles",
    "FeedbackAngles",
    "Margins",
    "NormSpread",
    "Stability",
    "alignment",
    "angle",
    "angles_by_layer",
    "condition_one",
    "condition_two",
    "damped_inverse",
    "distance_to_analytic",
    "eigenvalues_of_jq",
    "feedback_alignment",
    "feedback_angle",
    "jacobian",
    "loop_matrices",
    "margins",
    "null_space_ratio",
    "separated_eigenvalues",
    "spectral_abscissa",
    "stability",
    "stability_map",
    "step_matrices",
]
