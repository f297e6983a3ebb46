"""Reader of named arrays in NumPy's .npz files that nobody vouches for."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError


def read_npz(path: Path, names: Sequence[str], largest: int) -> dict[str, NDArray[Any]]:
    """Read those of the named arrays that an .npz file holds.

    Parameters
    ----------
    path : Path
        The file.
    names : sequence of str
        The arrays that are looked for; others are left alone.
    largest : int
        Bytes that an array may declare.

    Returns
    -------
    dict of ndarray
        Arrays of numbers or text by name; nothing in the file is run.

    Raises
    ------
    DataError
        When the file is damaged, or an array holds objects or declares too much.
    """
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            for name in names:
                if (info := members.get(f"{name}.npy")) is not None:
                    with archive.open(info) as stream:
                        _check_header(path, name, stream, largest)
                    with archive.open(info) as stream:
                        arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
                        # What comes after the data shows damage, and makes zipfile reach and check its checksum.
                        if stream.read(1):
                            raise DataError(f"{path} is damaged: expected nothing after the data of {name}")
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy answer damage with almost any class of exception
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"{path} is damaged ({reason}): expected a whole .npz file: write it again") from error
    return arrays


def _check_header(path: Path, name: str, stream: IO[bytes], largest: int) -> None:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise DataError(f"{path} holds Python objects as {name}: expected an array of numbers: convert it")
    if (size := math.prod(shape) * dtype.itemsize) > largest:
        raise DataError(f"{path} declares {size} bytes for {name}: expected at most {largest}: take fewer samples")
