"""Looking at networks under control: Jacobians, conditions, stability, and angles between updates."""

from .alignment import angle, angles_by_layer, feedback_angle
from .conditions import condition_two
from .jacobian import jacobian
from .stability import loop_matrices, spectral_abscissa

__all__ = [
    "angle",
    "angles_by_layer",
    "condition_two",
    "feedback_angle",
    "jacobian",
    "loop_matrices",
    "spectral_abscissa",
]
