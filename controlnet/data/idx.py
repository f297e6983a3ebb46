"""Reader of IDX files, the format of MNIST: two zero bytes, a type, the dimensions, then the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
UNSIGNED_BYTE = 0x08
LARGEST = 2**30


def read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, compressed with gzip or not.

    Parameters
    ----------
    path : Path
        The file; its content, not its suffix, tells whether it is compressed.
    ndim : int
        Dimensions the file must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray of uint8
        The array with the dimensions that the file declares.

    Raises
    ------
    DataError
        When the file is unreadable, damaged, of another type or not exactly as long as it declares.
    """
    try:
        with _open(path) as stream:
            shape = _read_shape(path, stream, ndim)
            expected = math.prod(shape)
            # One byte more than declared: shows extra bytes and makes gzip reach and check its checksum.
            content = stream.read(expected + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged: expected a whole gzip file, got '{error}': fetch it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}: check the file") from error
    if len(content) != expected:
        got = f"only {len(content)}" if len(content) < expected else "more"
        raise DataError(f"{path} is damaged: expected {expected} bytes of data, got {got}: fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        compressed = stream.read(2) == GZIP_MAGIC
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


def _read_shape(path: Path, stream: IO[bytes], ndim: int) -> tuple[int, ...]:
    expected = bytes([0, 0, UNSIGNED_BYTE, ndim])
    magic = stream.read(4)
    if magic != expected:
        raise DataError(
            f"{path} is not the IDX file that was asked for: expected it to start with {expected.hex()} "
            f"(unsigned bytes, dimensions: {ndim}), got {magic.hex() or 'nothing'}: check the file"
        )
    header = stream.read(4 * ndim)
    if len(header) != 4 * ndim:
        raise DataError(f"{path} is damaged: expected {ndim} dimensions, got {len(header)} bytes: fetch it again")
    shape = struct.unpack(f">{ndim}I", header)
    if not 0 < math.prod(shape) <= LARGEST:
        raise DataError(f"{path} declares dimensions {shape}: expected 1 to {LARGEST} bytes of data: check the file")
    return shape


def read_labelled(images_path: Path, labels_path: Path, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a file of images and its file of labels, and check that they belong together.

    Parameters
    ----------
    images_path, labels_path : Path
        The two IDX files.
    classes : int
        Number of classes; labels must be smaller.

    Returns
    -------
    images : ndarray of uint8, shape (samples, features)
        One flattened image per row.
    labels : ndarray of uint8, shape (samples,)
        Class of each image.

    Raises
    ------
    DataError
        When a file is damaged, the counts differ or a label is outside the classes.
    """
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path} does not belong to {images_path}: expected {len(images)} labels, "
            f"got {len(labels)}: take both files from one source"
        )
    if labels.max() >= classes:
        raise DataError(
            f"{labels_path} has labels outside its classes: expected 0 to {classes - 1}, "
            f"got {labels.max()}: check the file"
        )
    return images.reshape(len(images), -1), labels
