"""Data in three splits, with classes or target vectors: embedded, downloaded, drawn, or of a file of one's own."""

from __future__ import annotations

from .catalog import DATASETS, load
from .dataset import Dataset, Split

__all__ = ["DATASETS", "Dataset", "Split", "load"]
