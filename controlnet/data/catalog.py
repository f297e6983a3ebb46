"""The datasets by name."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .dataset import Dataset, Seed
from .digits import load_digits
from .mnist import FASHION_MNIST, MNIST, load_idx_dataset


class Entry(NamedTuple):
    """A dataset of the catalogue: one line about it, and ``load(seed, data_dir)``."""

    description: str
    load: Callable[[Seed, Path | None], Dataset]


DATASETS = {
    "digits": Entry("1,797 handwritten digits, 8x8, embedded", lambda seed, data_dir: load_digits(seed)),
    "mnist": Entry("70,000 handwritten digits, 28x28", lambda seed, data_dir: load_idx_dataset(MNIST, seed, data_dir)),
    "fashion-mnist": Entry(
        "70,000 images of clothing, 28x28", lambda seed, data_dir: load_idx_dataset(FASHION_MNIST, seed, data_dir)
    ),
}


def load(name: str, *, seed: Seed, data_dir: Path | None = None) -> Dataset:
    """Load a dataset of the catalogue.

    Parameters
    ----------
    name : str
        One of ``DATASETS``.
    seed : int or SeedSequence
        Decides which sample goes to which split; equal seeds give equal splits.
    data_dir : Path, optional
        Folder with the files; without it the environment variable CONTROLNET_DATA, then the user's cache, to
        which missing files are downloaded. The embedded digits need none.

    Returns
    -------
    Dataset
        The scaled samples in three splits.

    Raises
    ------
    InputError
        When the name is unknown or the seed negative.
    DataError
        When files are missing or damaged, or cannot be downloaded.
    """
    if name not in DATASETS:
        close = get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "take one of these"
        raise InputError(f"unknown dataset '{name}': expected one of {', '.join(DATASETS)}; {hint}")
    return DATASETS[name].load(seed, data_dir)
