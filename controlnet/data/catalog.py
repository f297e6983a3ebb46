"""The datasets by name."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from controlnet.data.dataset import Dataset, Seed
from controlnet.data.digits import load_digits
from controlnet.data.mnist import FASHION_MNIST, MNIST, load_idx_dataset
from controlnet.errors import InputError

DATASETS: dict[str, Callable[[Seed, Path | None], Dataset]] = {
    "digits": lambda seed, data_dir: load_digits(seed),
    "mnist": lambda seed, data_dir: load_idx_dataset(MNIST, seed, data_dir),
    "fashion-mnist": lambda seed, data_dir: load_idx_dataset(FASHION_MNIST, seed, data_dir),
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
    return DATASETS[name](seed, data_dir)
