"""Groups of plain arrays as an HDF5 file, and back from a file that nobody vouches for.

A tree maps ``"name"`` or ``"group/name"`` to an array of numbers or of fixed-length bytes. Such arrays lie in
one piece in the file, so that their declared size can be held against the size of the file before it is read.
Other programs' files are read too, array by array.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import StorageError, UnreadableError

Tree: TypeAlias = dict[str, NDArray[Any]]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SCHEMA = 2
KINDS = "biufcS"
HASH = "sha256"


def dump(tree: Tree, *, complete: bool) -> bytes:
    """Build the content of an HDF5 file in memory, where neither disk nor file lock can fail.

    Parameters
    ----------
    tree : dict of str to ndarray
        The arrays to keep, in the order to keep them in.
    complete : bool
        Whether the run came to its end.

    Returns
    -------
    bytes
        What to write to the file.
    """
    with h5py.File("image", "w", driver="core", backing_store=False, track_order=True) as file:
        file.attrs["schema"] = np.int64(SCHEMA)
        file.attrs["complete"] = np.uint8(complete)
        for path, array in tree.items():
            group, _, name = path.rpartition("/")
            if group and group not in file:
                file.create_group(group, track_order=True)
            if array.dtype.kind == "S":
                array = array.astype(h5py.string_dtype("utf-8", array.dtype.itemsize))
            file[group or "/"].create_dataset(name, data=array)
        file.attrs[HASH] = np.bytes_(_digest(tree, complete))
        file.flush()
        return bytes(file.id.get_file_image())


def load(path: Path, groups: frozenset[str], texts: frozenset[str]) -> tuple[Tree, bool]:
    """Read a file that `dump` made, and nothing else.

    Parameters
    ----------
    path : Path
        The file.
    groups, texts : frozenset of str
        Names of the groups and of the top-level arrays that the file may hold.

    Returns
    -------
    tree : dict of str to ndarray
        The arrays, in the order in which they were kept.
    complete : bool
        Whether the run came to its end.

    Raises
    ------
    StorageError
        When the file is damaged, of a newer schema, or holds something that `dump` never writes.
    """
    try:
        # No lock: a run is replaced as a whole and never changed in place, and locks fail on network folders.
        with h5py.File(path, "r", locking=False) as file:
            _check_schema(path, file)
            budget = path.stat().st_size
            tree: Tree = {}
            for name, dataset in _datasets(path, file, groups, texts):
                budget -= _size(path, name, dataset)
                if budget < 0:
                    raise StorageError(f"{path} declares more data than it is long: do not trust this file")
                tree[name] = dataset[...]
            complete = bool(_attribute(path, file, "complete", "u"))
            expected = _attribute(path, file, HASH, "S").decode("ascii", "replace")
    except StorageError:
        raise
    except Exception as error:  # libhdf5 answers damage with almost any class of exception
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise StorageError(
            f"{path} is damaged ({reason}): expected a whole run file: restore a copy or run again"
        ) from error
    got = _digest(tree, complete)
    if got != expected:
        raise StorageError(
            f"{path} is damaged: expected content {expected[:12]!r}, got {got[:12]!r}: restore a copy or run again"
        )
    return tree, complete


def _digest(tree: Tree, complete: bool) -> str:
    total = hashlib.sha256(f"{SCHEMA} {bool(complete)}".encode())
    for name in sorted(tree):
        array = tree[name]
        total.update(f"{name!r} {array.dtype.str} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _check_schema(path: Path, file: h5py.File) -> None:
    if HASH not in file.attrs:
        raise StorageError(f"{path} is not a run of controlnet: expected a content hash, got none")
    schema = int(_attribute(path, file, "schema", "i"))
    if schema != SCHEMA:
        age = "newer" if schema > SCHEMA else "older"
        raise UnreadableError(
            f"{path} has the {age} schema {schema}: expected {SCHEMA}: "
            "read it with the version of controlnet that wrote it"
        )


def _attribute(path: Path, file: h5py.File, name: str, kind: str) -> Any:
    header = file.attrs.get_id(name)
    if header.shape != () or header.dtype.kind != kind:
        raise StorageError(f"{path} has a malformed attribute '{name}': do not trust this file")
    return file.attrs[name]


def _datasets(
    path: Path, file: h5py.File, groups: frozenset[str], texts: frozenset[str]
) -> Iterator[tuple[str, h5py.Dataset]]:
    for name in file:
        entry = _entry(path, file, name)
        if name in texts and isinstance(entry, h5py.Dataset):
            yield name, entry
        elif name in groups and isinstance(entry, h5py.Group):
            for child in entry:
                dataset = _entry(path, entry, child)
                if not isinstance(dataset, h5py.Dataset):
                    raise StorageError(f"{path} holds no array at '{name}/{child}': do not trust this file")
                yield f"{name}/{child}", dataset
        else:
            raise StorageError(f"{path} holds an unknown '{name}': expected a run file of controlnet")


def _entry(path: Path, group: h5py.Group, name: str) -> Any:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise StorageError(f"{path} holds a link at '{name}': do not trust this file")
    return group[name]


def _size(path: Path, name: str, dataset: h5py.Dataset) -> int:
    layout = dataset.id.get_create_plist()
    in_one_piece = layout.get_layout() == h5py.h5d.CONTIGUOUS and layout.get_external_count() == 0
    if not in_one_piece or dataset.shape is None or dataset.dtype.kind not in KINDS:
        raise StorageError(f"{path} holds '{name}' in a form that no run has: do not trust this file")
    return int(dataset.nbytes)


def read_arrays(path: Path, names: Sequence[str], largest: int) -> Tree:
    """Read those of the named arrays that lie at the top of any HDF5 file, however they are laid out.

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
    dict of str to ndarray
        Arrays of numbers or fixed-length bytes by name.

    Raises
    ------
    StorageError
        When the file is damaged, leads to other files, or an array holds something else or declares too much.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = {name: _entry(path, file, name) for name in names if name in file}
            for name, dataset in found.items():
                _check_array(path, name, dataset, largest)
            return {name: dataset[...] for name, dataset in found.items()}
    except StorageError:
        raise
    except Exception as error:  # libhdf5 answers damage with almost any class of exception
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise StorageError(f"{path} is damaged ({reason}): expected a whole HDF5 file: write it again") from error


def _check_array(path: Path, name: str, dataset: Any, largest: int) -> None:
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.dtype.kind not in KINDS:
        raise StorageError(f"{path} holds something else as '{name}': expected an array of numbers: convert it")
    layout = dataset.id.get_create_plist()
    # Data of other files would come along unseen.
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():
        raise StorageError(f"{path} takes '{name}' from another file: expected it within: do not trust this file")
    if dataset.nbytes > largest:
        raise StorageError(
            f"{path} declares {dataset.nbytes} bytes for '{name}': expected at most {largest}: take fewer samples"
        )
