"""MNIST and Fashion-MNIST, from a folder of IDX files or from the user's cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import Dataset, Seed, Split, generator, scaled_pixels
from .folders import VARIABLE, data_folder, home_of
from .idx import read_labelled

VALIDATION_SHARE = 1 / 12
PARTS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class IdxSource:
    """Where an IDX dataset comes from and how its pixels are scaled.

    Parameters
    ----------
    name : str
        Name in the catalogue, in the cache and of the subfolder that is looked for.
    urls : tuple of str
        Folders on the web, tried in this order.
    md5 : tuple of str
        Checksums of the official compressed files, in the order of ``PARTS``.
    labels_md5 : tuple of str
        Checksums of the official labels as bytes, training and test; by the first a folder of the other dataset is
        noticed.
    pixels : tuple of int
        Sums of the pixels of the official images, training and test, however they are packed.
    mean, deviation : float
        A pixel ``p`` in 0..255 becomes ``(p / 255 - mean) / deviation``.
    """

    name: str
    urls: tuple[str, ...]
    md5: tuple[str, str, str, str]
    labels_md5: tuple[str, str]
    pixels: tuple[int, int]
    mean: float = 0.0
    deviation: float = 1.0


MNIST = IdxSource(
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    ("e86ee40d66677c011a9abda399ec8c4d", "073c3904dfbd3e141ff8aa01cfde6b15"),
    (1_567_298_545, 264_923_200),
    mean=0.1307,
    deviation=0.3081,
)
FASHION_MNIST = IdxSource(
    "fashion-mnist",
    (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    ("3236f6424fc25388b2834cb19942cf7e", "8dea97a4e78c1bd1b5a6e8efbb870b6e"),
    (3_431_114_169, 574_355_854),
)


def load_idx_dataset(source: IdxSource, seed: Seed, data_dir: Path | None = None) -> Dataset:
    """Load an IDX dataset; a random twelfth of its training file becomes the validation split.

    Parameters
    ----------
    source : IdxSource
        The dataset.
    seed : int or SeedSequence
        Decides the order of the training samples and which of them validate.
    data_dir : Path, optional
        Folder with the four files, or with a subfolder named as the dataset. Without it the folder named by
        the environment variable CONTROLNET_DATA, then the user's cache.

    Returns
    -------
    Dataset
        The official files give 55,000, 5,000 and 10,000 samples of 784 features in 10 classes.

    Raises
    ------
    DataError
        When a file is missing, damaged or of another dataset, or cannot be downloaded.
    """
    folder = data_folder(data_dir)
    if folder is None:
        from .download import fetch

        paths = fetch(
            source.name, source.urls, {f"{part}.gz": md5 for part, md5 in zip(PARTS, source.md5, strict=True)}
        )
    else:
        home = home_of(source.name, folder, source.name)
        paths = [_find(source, home, part) for part in PARTS]
    images, labels = read_labelled(paths[0], paths[1], classes=10)
    test_images, test_labels = read_labelled(paths[2], paths[3], classes=10)
    _check(source, paths, images, labels, test_images)
    order = generator(seed).permutation(len(labels))
    kept = len(labels) - max(1, round(len(labels) * VALIDATION_SHARE))
    return Dataset(
        source.name,
        _split(source, images[order[:kept]], labels[order[:kept]]),
        _split(source, images[order[kept:]], labels[order[kept:]]),
        _split(source, test_images, test_labels),
        outputs=10,
        official=_is_official(source, (images, test_images), (labels, test_labels)),
    )


def as_autoencoder(dataset: Dataset) -> Dataset:
    """Give the dataset whose targets are its inputs.

    Parameters
    ----------
    dataset : Dataset
        Any dataset.

    Returns
    -------
    Dataset
        The same samples in the same splits, named ``NAME-autoencoder``.
    """
    splits = (dataset.train, dataset.validation, dataset.test)
    train, validation, test = (Split(split.inputs, split.inputs) for split in splits)
    name, outputs = f"{dataset.name}-autoencoder", train.inputs.shape[1]
    return Dataset(name, train, validation, test, outputs=outputs, official=dataset.official)


def _find(source: IdxSource, home: Path, part: str) -> Path:
    names = [stem + suffix for stem in (part, part.replace("-idx", ".idx")) for suffix in ("", ".gz")]
    for name in names:
        if (home / name).is_file():
            return home / name
    raise DataError(
        f"{home} lacks a file of {source.name}: expected one of {', '.join(names)}: "
        f"add it there, or name another folder with --data-dir or {VARIABLE}"
    )


def _digest(labels: NDArray[np.uint8]) -> str:
    return hashlib.md5(labels.tobytes(), usedforsecurity=False).hexdigest()


def _is_official(source: IdxSource, images: Sequence[NDArray[np.uint8]], labels: Sequence[NDArray[np.uint8]]) -> bool:
    """Say whether these are the published samples; a sum of pixels does not tell their order."""
    pixels = tuple(int(each.sum(dtype=np.int64)) for each in images)
    return (tuple(map(_digest, labels)), pixels) == (source.labels_md5, source.pixels)


def _check(source: IdxSource, paths: list[Path], *arrays: NDArray[np.uint8]) -> None:
    """Refuse files that do not belong together."""
    images, labels, test_images = arrays
    digest = _digest(labels)
    for other in (MNIST, FASHION_MNIST):
        if other.name != source.name and other.labels_md5[0] == digest:
            raise DataError(f"{paths[1]} belongs to {other.name}: expected {source.name}: name its own folder")
    if images.shape[1] != test_images.shape[1]:
        raise DataError(
            f"{paths[2]} does not belong to {paths[0]}: expected images of {images.shape[1]} pixels, "
            f"got {test_images.shape[1]}: take both files from one source"
        )
    if len(images) < 2:
        raise DataError(f"{paths[0]} holds 1 image: expected at least 2, one to validate on: check the file")


def _split(source: IdxSource, images: NDArray[np.uint8], labels: NDArray[Any]) -> Split:
    return Split(scaled_pixels(images, source.mean, source.deviation), labels.astype(np.int64))
