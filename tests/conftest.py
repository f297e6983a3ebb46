"""What all tests share: the Hypothesis profile, and the models that the registries are tried with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings

from controlnet.base import AbstractPlant
from controlnet.controllers import PI, PID, Integral, Proportional
from controlnet.plants import DeepNetwork, LinearPlant, Pendulum

# The first call of a kernel compiles it, so a deadline would trip; the same examples come in every run.
settings.register_profile("controlnet", deadline=None, derandomize=True, max_examples=20)
settings.load_profile("controlnet")

SMALL_PLANTS = {
    "deep-network": DeepNetwork.initialize((3, 4, 2), seed=1),
    "linear": LinearPlant(A=[[-1.0, 0.5], [0.0, -2.0]], B=np.eye(2), C=[[1.0, 0.0], [0.3, 1.0]]),
    "pendulum": Pendulum(),
}
MILD_CONTROLLERS = {
    "proportional": Proportional(1.5),
    "integral": Integral(k_i=1.0, leak=0.1),
    "pi": PI(k_p=1.0, k_i=0.5, leak=0.1),
    "pid": PID(k_p=1.0, k_i=0.5, k_d=0.05, derivative_filter=0.1, lower=-5.0, upper=5.0),
}


@pytest.fixture(params=SMALL_PLANTS)
def plant(request: pytest.FixtureRequest) -> AbstractPlant:
    """Give a small example of each registered plant."""
    return SMALL_PLANTS[request.param]
