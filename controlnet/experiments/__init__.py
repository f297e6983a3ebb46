"""Experiments: settings, training, running and what is kept of it."""

from .config import Plan, as_toml, catalogue, from_stored, resolve, to_store
from .methods import METHODS
from .settings import Settings

__all__ = ["METHODS", "Plan", "Settings", "as_toml", "catalogue", "from_stored", "resolve", "to_store"]
