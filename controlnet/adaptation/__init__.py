"""Adaptation laws: what changes the plant's parameters, and the optimisers that apply the change."""

from ..base import Frozen
from ._analytic_control import analytic_control
from .backprop import Backprop
from .control_descent import ControlDescent, amount_of_control
from .convergence import Convergence, steady_control
from .dfc import DFC
from .direct_feedback import DFA
from .feedback import FeedbackLearning
from .gauss_newton import GaussNewton, MinimumNorm, minimum_norm
from .linear_feedback import LinearFeedbackLearning
from .optimizers import OPTIMIZERS, SGD, Adam, RMSprop
from .single_phase import SinglePhase

__all__ = [
    "DFA",
    "DFC",
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "Backprop",
    "ControlDescent",
    "Convergence",
    "FeedbackLearning",
    "Frozen",
    "GaussNewton",
    "LinearFeedbackLearning",
    "MinimumNorm",
    "RMSprop",
    "SinglePhase",
    "amount_of_control",
    "analytic_control",
    "minimum_norm",
    "steady_control",
]
