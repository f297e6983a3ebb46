"""Labelled data for the experiments: embedded digits, MNIST and Fashion-MNIST."""

from __future__ import annotations

from .catalog import DATASETS, load
from .dataset import Dataset, Split

__all__ = ["DATASETS", "Dataset", "Split", "load"]
