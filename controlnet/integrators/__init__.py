"""Schemes that step plant and controller through time."""

from ..base import add_scaled
from .joint import close, slope
from .noise import AbstractNoise, FilteredNoise, WhiteNoise, make_noise
from .runge_kutta import RK4, AbstractRungeKutta, Euler, Heun
from .sequential import Sequential

INTEGRATORS = {"sequential": Sequential, "euler": Euler, "heun": Heun, "rk4": RK4}

__all__ = [
    "INTEGRATORS",
    "RK4",
    "AbstractNoise",
    "AbstractRungeKutta",
    "Euler",
    "FilteredNoise",
    "Heun",
    "Sequential",
    "WhiteNoise",
    "add_scaled",
    "close",
    "make_noise",
    "slope",
]
