"""A dataset in a file of one's own: arrays X and y in an .npz or HDF5 file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._check import all_finite
from .._files import named_errors
from ..errors import DataError, StorageError
from .dataset import Dataset, Seed, Split, generator
from .folders import data_folder, expanded

HDF5_SUFFIXES = (".h5", ".hdf5")
SUFFIXES = (".npz", *HDF5_SUFFIXES)
LARGEST = 2**32
"""Bytes that one array may have."""
FEWEST = 10
"""Samples from which each tenth can be taken."""
EXPECTED = "X of shape (samples, features), and y of integers (samples,) or floats (samples, outputs)"


def is_file_name(name: str) -> bool:
    """Say whether the name of a dataset is that of a file.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    bool
        True if it ends as such files do.
    """
    return name.lower().endswith(SUFFIXES)


def load_file(name: str, seed: Seed, data_dir: Path | None = None) -> Dataset:
    """Load a dataset from a file with arrays ``X``, ``y`` and, if there are any, ``X_test``, ``y_test``.

    Without test samples a tenth of all validates and another is reported on; with them a tenth of the others
    validates.  Every class is dealt in the same shares.

    Parameters
    ----------
    name : str
        Path of the file, from the working directory, else from `data_dir`.
    seed : int or SeedSequence
        Decides the order of the training samples, and which samples go to which split.
    data_dir : Path, optional
        Folder with the file; without it the one of the environment variable CONTROLNET_DATA.

    Returns
    -------
    Dataset
        With the inputs as they are.

    Raises
    ------
    DataError
        When the file is missing or damaged, or holds other arrays.
    """
    path = _find(name, data_folder(data_dir))
    found = _read(path)
    rng = generator(seed)
    x, y = _samples(path, found, "X", "y")
    if len(x) < FEWEST:
        raise DataError(f"{path} holds {len(x)} samples in X: expected at least {FEWEST}, to validate and test on some")
    if y.ndim == 1:
        _require_all_classes(path, y)
    tenths = _tenths(y, rng)
    learned = tenths > 0
    if "X_test" in found:
        test = _test_split(path, found, x, y)
    else:
        learned &= tenths > 1
        test = Split(x[tenths == 1], y[tenths == 1])
    # Shuffled, because the first of them may be asked for alone.
    order = rng.permutation(np.flatnonzero(learned))
    validation = Split(x[tenths == 0], y[tenths == 0])
    return Dataset(name, Split(x[order], y[order]), validation, test, outputs=_outputs(y))


def _outputs(y: NDArray[Any]) -> int:
    return y.shape[1] if y.ndim == 2 else int(y.max()) + 1


def _find(name: str, folder: Path | None) -> Path:
    path = expanded(name)
    places = [path] if folder is None else [path, folder / path]
    for place in places:
        # Unlike Path.is_file it takes a name that is too long for one that is not there.
        if os.path.isfile(place):
            return place
    tried = " or ".join(dict.fromkeys(str(place.absolute()) for place in places))
    raise DataError(f"no file {name}: expected {tried}: check data.name, or name its folder with --data-dir")


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Give the arrays of a file; both of X and y, both or none of the test samples."""
    names = ("X", "y", "X_test", "y_test")
    # What may not be read is not to be called damaged, as the readers below call all that they cannot open.
    with named_errors("read", path), path.open("rb"):
        pass
    if path.suffix.lower() in HDF5_SUFFIXES:
        from .._hdf5 import read_arrays

        try:
            found = read_arrays(path, names, LARGEST)
        except StorageError as error:
            raise DataError(str(error)) from error
    else:
        from .npz import read_npz

        found = read_npz(path, names, LARGEST)
    needed = names if "X_test" in found or "y_test" in found else names[:2]
    if missing := [name for name in needed if name not in found]:
        raise DataError(f"{path} lacks {' and '.join(missing)}: expected arrays {EXPECTED}, X_test and y_test alike")
    return found


def _samples(
    path: Path, found: dict[str, NDArray[Any]], inputs: str, targets: str
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Give checked inputs and targets."""
    x, y = found[inputs], found[targets]
    for name, array in ((inputs, x), (targets, y)):
        if array.dtype.kind not in "biuf":
            raise DataError(f"{path} holds {array.dtype} as {name}: expected numbers: convert them")
    vectors = y.ndim == 2 and y.dtype.kind == "f" and y.shape[1] > 0
    classes = y.ndim == 1 and y.dtype.kind != "f"
    if x.ndim != 2 or x.shape[1] == 0 or not (vectors or classes) or len(x) != len(y):
        got = f"{inputs} {x.dtype} {x.shape} and {targets} {y.dtype} {y.shape}"
        raise DataError(f"{path} holds {got}: expected {EXPECTED}, as many as X: reshape or convert them")
    x = _as_float(path, inputs, x)
    if vectors:
        return x, _as_float(path, targets, y)
    # As Python's integers, because the largest of 64 bits have no place in int64.
    least, most = (int(end) for end in (y.min(initial=0), y.max(initial=0)))
    if least < 0 or most >= max(len(found["y"]), 1):
        expected = f"expected classes counted from 0, fewer than the {len(found['y'])} samples of y"
        raise DataError(f"{path} holds {least} to {most} as {targets}: {expected}: count them anew")
    return x, y.astype(np.int64)


def _require_all_classes(path: Path, y: NDArray[np.int64]) -> None:
    """Refuse classes that nothing could be learned of, and one class alone."""
    counts = np.bincount(y)
    if len(counts) < 2:
        raise DataError(f"{path} holds one class alone in y: expected at least 2: check y")
    if missing := np.flatnonzero(counts == 0).tolist():
        names = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{path} holds no sample of class {names} in y: expected some of each from 0 to {len(counts) - 1}: "
            f"count the classes anew"
        )


def _as_float(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float64)
    if not all_finite(array):
        row = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise DataError(f"{path} holds a NaN or an infinity in row {row} of {name}: expected finite numbers")
    return array


def _test_split(path: Path, found: dict[str, NDArray[Any]], x: NDArray[Any], y: NDArray[Any]) -> Split:
    test_x, test_y = _samples(path, found, "X_test", "y_test")
    if not len(test_x):
        raise DataError(f"{path} holds no samples in X_test: expected some, or neither X_test nor y_test")
    for name, test, array in (("X_test", test_x, x), ("y_test", test_y, y)):
        if test.shape[1:] != array.shape[1:]:
            kinds = f"{name} {test.shape} beside {array.shape}"
            raise DataError(f"{path} holds {kinds}: expected both of one kind and width: take one source")
    if y.ndim == 1 and test_y.max() > y.max():
        raise DataError(f"{path} holds class {test_y.max()} in y_test: expected 0 to {y.max()}, as in y: check both")
    return Split(test_x, test_y)


def _tenths(y: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal the samples to ten equal parts, so that every part has the same mix of classes.

    Unlike shares of each class rounded by themselves, no part comes out empty where all classes are small.
    """
    order = rng.permutation(len(y))
    if y.ndim == 1:
        order = order[np.argsort(y[order], kind="stable")]
    tenths = np.empty(len(y), np.int64)
    tenths[order] = np.arange(len(y)) % FEWEST
    return tenths
