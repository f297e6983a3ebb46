"""The folder of a run: held by one writer, its file replaced as a whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from ._files import held, named_errors, put
from .errors import StorageError

RUN_FILE = "run.h5"
LOCK_FILE = ".run.lock"
TEMPORARY = re.compile(r"\.run-[0-9a-f]{32}\.part")
ASIDE = re.compile(r"run-\d+\.h5")


@contextmanager
def claim_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Hold a folder for one writer, who may call `write_run` as often as needed.

    Parameters
    ----------
    folder : Path
        The folder; it is created with its parents.
    replace : bool, optional
        Accept a folder that holds a run, to continue or replace it; files beside the run are left alone.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    StorageError
        When the folder is in use (`FolderInUseError`), cannot be written to, holds a run that is not to be replaced,
        or holds files but no run.
    """
    with named_errors("use", folder):
        created = not folder.exists()
    try:
        with held(folder, LOCK_FILE, "run"):
            with named_errors("use", folder):
                _clear(folder, replace)
            yield folder
    finally:
        if created:
            # Nothing was written, or it is not empty and stays.
            with suppress(OSError):
                folder.rmdir()


def replace_file(folder: Path, content: bytes) -> Path:
    """Write the run file of a folder so that a crash leaves the old one or the new one.

    Parameters
    ----------
    folder : Path
        The existing folder.
    content : bytes
        What the file is to hold.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StorageError
        When the folder cannot be written to; the old file, if any, is untouched.
    """
    with named_errors("write to", folder):
        target = put(folder / RUN_FILE, content)
    _sync_folder(folder)
    return target


def set_aside(folder: Path) -> Path:
    """Rename the run file of a folder that is held, so that another one can take its place.

    Parameters
    ----------
    folder : Path
        The folder, with a run file.

    Returns
    -------
    Path
        Where the file is now: ``run-1.h5``, or the next that is free.

    Raises
    ------
    StorageError
        When the folder cannot be written to.
    """
    target = next(name for k in count(1) if not (name := folder / f"run-{k}.h5").exists())
    with named_errors("write to", folder):
        os.replace(folder / RUN_FILE, target)
    return target


def _clear(folder: Path, replace: bool) -> None:
    names = {entry.name for entry in folder.iterdir()} - {LOCK_FILE}
    stale = {name for name in names if TEMPORARY.fullmatch(name)}
    if RUN_FILE in names and not replace:
        raise StorageError(f"{folder} holds a run already: choose another folder")
    others = {name for name in names - stale if not ASIDE.fullmatch(name)}
    if RUN_FILE not in names and others:
        raise StorageError(
            f"{folder} holds other files, such as '{min(others)}': expected an empty folder: choose another"
        )
    for name in stale:
        (folder / name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # The run is in place by now, and not every file system can sync a folder.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
