"""CIFAR-10 in its binary version: six files of records, a byte for the class and 3,072 for the pixels."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import Dataset, Seed, Split, generator, scaled_pixels
from .folders import VARIABLE, data_folder, home_of

FOLDER = "cifar-10-batches-bin"
PARTS = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
PIXELS = 32 * 32 * 3
CLASSES = 10
VALIDATION_SHARE = 1 / 10


@dataclass(frozen=True)
class CifarSource:
    """Where CIFAR-10 comes from and how long its files are.

    Parameters
    ----------
    url : str
        Folder on the web.
    archive : str
        The file there.
    md5 : str
        Its checksum.
    samples : int
        Number of images in each file.
    """

    url: str = "https://www.cs.toronto.edu/~kriz/"
    archive: str = "cifar-10-binary.tar.gz"
    md5: str = "c32a1d4ab5d03f1284b67883e8d87530"
    samples: int = 10_000


CIFAR10 = CifarSource()


def load_cifar(source: CifarSource, seed: Seed, data_dir: Path | None = None) -> Dataset:
    """Load CIFAR-10; a random tenth of its training samples becomes the validation split.

    Parameters
    ----------
    source : CifarSource
        The dataset.
    seed : int or SeedSequence
        Decides the order of the training samples and which of them validate.
    data_dir : Path, optional
        Folder with the six files, or with a subfolder ``cifar-10-batches-bin``. Without it the folder named by
        the environment variable CONTROLNET_DATA, then the user's cache.

    Returns
    -------
    Dataset
        The official files give 45,000, 5,000 and 10,000 samples of 3,072 features from -1 to 1 in 10 classes:
        1.5 GB.

    Raises
    ------
    DataError
        When a file is missing or damaged, or cannot be downloaded.
    """
    folder = data_folder(data_dir)
    if folder is None:
        from .download import fetch

        contents = _packed(source, fetch("cifar10", (source.url,), {source.archive: source.md5})[0])
    else:
        contents = _unpacked(source, home_of("cifar10", folder, FOLDER))
    *train, test = (_records(source, path, content) for path, content in contents)
    records = np.concatenate(train)
    order = generator(seed).permutation(len(records))
    kept = len(records) - max(1, round(len(records) * VALIDATION_SHARE))
    validation = _split(records[order[kept:]])
    return Dataset("cifar10", _split(records[order[:kept]]), validation, _split(test), outputs=CLASSES)


def _unpacked(source: CifarSource, home: Path) -> Iterable[tuple[str, bytes]]:
    """Read the files of a folder; one byte too many is enough to see that one is too long."""
    for part in PARTS:
        path = home / part
        if not path.is_file():
            raise DataError(
                f"{home} lacks a file of cifar10: expected {', '.join(PARTS)}, the binary version, got no {part}: "
                f"add it there, or name another folder with --data-dir or {VARIABLE}"
            )
        try:
            with path.open("rb") as stream:
                yield str(path), stream.read(_size(source) + 1)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}: check the file") from error


def _packed(source: CifarSource, archive: Path) -> Iterable[tuple[str, bytes]]:
    """Read the files of the downloaded archive, in which they stay under its checksum."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                part = member.name.rpartition("/")[2]
                if part in PARTS and (stream := tar.extractfile(member)) is not None:
                    found[part] = stream.read(_size(source) + 1)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive} is damaged: expected a whole archive, got '{error}': fetch it again") from error
    if missing := [part for part in PARTS if part not in found]:
        raise DataError(f"{archive} is damaged: expected {missing[0]} in it: fetch it again")
    return [(f"{archive}/{part}", found[part]) for part in PARTS]


def _size(source: CifarSource) -> int:
    return source.samples * (1 + PIXELS)


def _records(source: CifarSource, path: str, content: bytes) -> NDArray[np.uint8]:
    """Give the images of one file, one a row behind its class."""
    expected = _size(source)
    if len(content) != expected:
        got = f"only {len(content)}" if len(content) < expected else "more"
        raise DataError(
            f"{path} is damaged: expected {source.samples} records of {1 + PIXELS} bytes, {expected} bytes in all, "
            f"got {got}: fetch it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(source.samples, 1 + PIXELS)
    if (largest := records[:, 0].max()) >= CLASSES:
        raise DataError(
            f"{path} is not a file of cifar10: expected classes 0 to {CLASSES - 1}, got {largest}: check the file"
        )
    return records


def _split(records: NDArray[np.uint8]) -> Split:
    return Split(scaled_pixels(records[:, 1:], 0.5, 0.5), records[:, 0].astype(np.int64))
