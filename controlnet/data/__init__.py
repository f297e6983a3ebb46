"""Labelled data for the experiments: embedded digits, MNIST and Fashion-MNIST."""

from __future__ import annotations

from controlnet.data.catalog import DATASETS, load
from controlnet.data.dataset import Dataset, Split

__all__ = ["DATASETS", "Dataset", "Split", "load"]
