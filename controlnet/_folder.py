"""The folder of a run: held by one writer, its file replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from .errors import StorageError

RUN_FILE = "run.h5"
LOCK_FILE = ".run.lock"
TEMPORARY = re.compile(r"\.run-[0-9a-f]{32}\.part")

ADVICE = {
    errno.ENOSPC: "free space there or choose another folder",
    errno.EDQUOT: "free space there or choose another folder",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
    errno.ENOTDIR: "a file is in the way, choose another folder",
    errno.EEXIST: "a file is in the way, choose another folder",
}


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
        When the folder is in use, cannot be written to, holds a run that is not to be replaced, or holds
        files but no run.
    """
    from filelock import FileLock, Timeout

    lock, created = FileLock(folder / LOCK_FILE, timeout=0), not folder.exists()
    with named_errors("use", folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise StorageError(
                f"{folder} is in use by another run: wait for its end or choose another folder"
            ) from error
    try:
        with named_errors("use", folder):
            _clear(folder, replace)
        yield folder
    finally:
        # Removed while it is still held: whoever comes next makes a new one.
        with suppress(OSError):
            (folder / LOCK_FILE).unlink(missing_ok=True)
        lock.release()
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


def put(target: Path, content: bytes) -> Path:
    """Write a file so that a crash leaves the old one or the new one.

    Parameters
    ----------
    target : Path
        The file, in an existing folder.
    content : bytes
        What it is to hold.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OSError
        When it cannot be written; the old file, if any, is untouched.
    """
    temporary = target.with_name(f".{target.stem}-{uuid4().hex}.part")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


def try_folder(folder: Path) -> None:
    """Write a file to a folder and remove it.

    Parameters
    ----------
    folder : Path
        The existing folder.

    Raises
    ------
    OSError
        When it cannot be written to.
    """
    put(folder / f".try-{uuid4().hex}", b"").unlink()


@contextmanager
def named_errors(verb: str, path: Path) -> Iterator[None]:
    """Turn the system's errors into one line that says what to do.

    Parameters
    ----------
    verb : str
        What is done, such as ``"read"``.
    path : Path
        To which file or folder.

    Raises
    ------
    StorageError
        In place of any OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        advice = ADVICE.get(error.errno or 0, "check it or choose another folder")
        if verb == "read":
            advice = "check that you may read it"
        raise StorageError(f"cannot {verb} {path}: {reason}: {advice}") from error


def _clear(folder: Path, replace: bool) -> None:
    names = {entry.name for entry in folder.iterdir()} - {LOCK_FILE}
    stale = {name for name in names if TEMPORARY.fullmatch(name)}
    if RUN_FILE in names and not replace:
        raise StorageError(f"{folder} holds a run already: choose another folder")
    if RUN_FILE not in names and names - stale:
        raise StorageError(
            f"{folder} holds other files, such as '{min(names - stale)}': expected an empty folder: choose another"
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
