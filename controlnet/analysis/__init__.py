"""Analysis: how an update lies to others."""

from .alignment import angle, angles_by_layer

__all__ = ["angle", "angles_by_layer"]
