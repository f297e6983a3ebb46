"""The datasets by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .cifar import CIFAR10, load_cifar
from .dataset import Dataset, Seed
from .digits import load_digits
from .files import SUFFIXES, is_file_name, load_file
from .mnist import FASHION_MNIST, MNIST, as_autoencoder, load_idx_dataset
from .student_teacher import NAME as STUDENT_TEACHER
from .student_teacher import load_student_teacher


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
    "mnist-autoencoder": Entry(
        "MNIST with each image as its own target",
        lambda seed, data_dir: as_autoencoder(load_idx_dataset(MNIST, seed, data_dir)),
    ),
    "cifar10": Entry(
        "60,000 small colour photographs, 32x32x3", lambda seed, data_dir: load_cifar(CIFAR10, seed, data_dir)
    ),
    STUDENT_TEACHER: Entry(
        "7,000 answers of a random tanh network, to learn as vectors", lambda seed, data_dir: load_student_teacher(seed)
    ),
}


def load(name: str, *, seed: Seed, data_dir: Path | None = None, sizes: Sequence[int] | None = None) -> Dataset:
    """Load a dataset of the catalogue, or one of a file.

    Parameters
    ----------
    name : str
        One of ``DATASETS``, or the path of a file ending in ``.npz``, ``.h5`` or ``.hdf5`` that holds ``X`` and
        ``y``, and maybe ``X_test`` and ``y_test``; see `controlnet.data.files.load_file`.
    seed : int or SeedSequence
        Decides which sample goes to which split; equal seeds give equal splits.
    data_dir : Path, optional
        Folder with the files; without it the environment variable CONTROLNET_DATA, then the user's cache, to
        which missing files are downloaded. Embedded digits, student and teacher need none.
    sizes : sequence of int, optional
        Widths of the teacher of ``student-teacher``.

    Returns
    -------
    Dataset
        The samples in three splits.

    Raises
    ------
    InputError
        When the name is unknown, the seed negative, or sizes are given to another dataset.
    DataError
        When files are missing or damaged, or cannot be downloaded.
    """
    if sizes is not None:
        if name != STUDENT_TEACHER:
            raise InputError(f"sizes: expected none for {name}, as only {STUDENT_TEACHER} takes any, got {sizes}")
        return load_student_teacher(seed, sizes)
    if is_file_name(name):
        return load_file(name, seed, data_dir)
    if name not in DATASETS:
        close = get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "take one of these"
        files = f"or a file ending in {', '.join(SUFFIXES)}"
        raise InputError(f"unknown dataset '{name}': expected one of {', '.join(DATASETS)}, {files}; {hint}")
    return DATASETS[name].load(seed, data_dir)
