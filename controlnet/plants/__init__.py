"""Plants: what is controlled."""

from .linear import LinearPlant
from .network import DeepNetwork
from .pendulum import Pendulum

PLANTS = {"deep-network": DeepNetwork, "linear": LinearPlant, "pendulum": Pendulum}

__all__ = ["PLANTS", "DeepNetwork", "LinearPlant", "Pendulum"]
