"""Controllers: what turns the error into the control."""

from .integral import Integral
from .pi import PI
from .pid import PID
from .proportional import Proportional

CONTROLLERS = {"proportional": Proportional, "integral": Integral, "pi": PI, "pid": PID}

__all__ = ["CONTROLLERS", "PI", "PID", "Integral", "Proportional"]
