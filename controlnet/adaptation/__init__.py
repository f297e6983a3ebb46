"""Adaptation laws: what changes the plant's parameters, and the optimisers that apply the change."""

from ..base import Frozen
from .backprop import Backprop
from .convergence import Convergence
from .dfc import DFC, analytic_control
from .optimizers import OPTIMIZERS, SGD, Adam, RMSprop

__all__ = ["DFC", "OPTIMIZERS", "SGD", "Adam", "Backprop", "Convergence", "Frozen", "RMSprop", "analytic_control"]
