"""Learning as control: deep networks as plants, feedback controllers, closed loops and adaptation laws.

The rooms `plants`, `controllers`, `integrators`, `adaptation`, `analysis`, `data` and the names below load when they
are first used, so that the command line starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import adaptation, analysis, controllers, data, experiments, integrators, plants
    from ._kernel import kernel
    from .comparator import Difference, SoftmaxDifference
    from .equilibrium import Equilibrium
    from .errors import ControlNetError, DivergedError
    from .loop import ClosedLoop
    from .objective import CrossEntropy, Lesson, MeanSquaredError, Nudged, Strong
    from .response import Response

__version__ = "0.1.0"

_ROOMS = ("adaptation", "analysis", "controllers", "data", "experiments", "integrators", "plants")
_HOMES = {
    "kernel": "_kernel",
    "Difference": "comparator",
    "SoftmaxDifference": "comparator",
    "Equilibrium": "equilibrium",
    "ControlNetError": "errors",
    "DivergedError": "errors",
    "ClosedLoop": "loop",
    "CrossEntropy": "objective",
    "Lesson": "objective",
    "MeanSquaredError": "objective",
    "Nudged": "objective",
    "Strong": "objective",
    "Response": "response",
}

__all__ = [
    "ClosedLoop",
    "ControlNetError",
    "CrossEntropy",
    "Difference",
    "DivergedError",
    "Equilibrium",
    "Lesson",
    "MeanSquaredError",
    "Nudged",
    "Response",
    "SoftmaxDifference",
    "Strong",
    "adaptation",
    "analysis",
    "controllers",
    "data",
    "experiments",
    "integrators",
    "kernel",
    "plants",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
