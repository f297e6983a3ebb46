"""Files that are replaced as a whole, folders that one process holds, and what the system refuses in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from .errors import FolderInUseError, StorageError, UnreadableError

ADVICE = {
    errno.ENOSPC: "free space there or choose another folder",
    errno.EDQUOT: "free space there or choose another folder",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
    errno.ENOTDIR: "a file is in the way, choose another folder",
    errno.EEXIST: "a file is in the way, choose another folder",
    errno.ENOSYS: "its file system has no locks, choose another folder",
    errno.ENOLCK: "its file system has no locks, choose another folder",
    errno.EOPNOTSUPP: "its file system has no locks, choose another folder",
}


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
def held(folder: Path, lock_file: str, user: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a folder for one process; the system lets go of what a dead one held.

    Parameters
    ----------
    folder : Path
        The folder; it is created with its parents.
    lock_file : str
        Name of the file that the lock is on, which is there while it is held.
    user : str
        What holds folders in this way, for the error.
    patience : float
        Seconds to wait for another process.

    Yields
    ------
    None
        While it is held.

    Raises
    ------
    FolderInUseError
        When another process holds it.
    StorageError
        When it cannot be written to, or its file system has no locks.
    """
    from filelock import FileLock, Timeout

    # In place of a lock that is missing it would take a marker, which outlives a process that was killed.
    lock = FileLock(folder / lock_file, timeout=patience, fallback_to_soft=False)
    with named_errors("use", folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            words = f"{folder} is in use by another {user}: wait for its end or choose another folder"
            raise FolderInUseError(words) from error
    try:
        yield
    finally:
        # Removed while it is still held: whoever waits notices and makes a new one.
        with suppress(OSError):
            (folder / lock_file).unlink(missing_ok=True)
        lock.release()


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
        In place of any OSError, `UnreadableError` when it is read.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        if verb == "read":
            raise UnreadableError(f"cannot read {path}: {reason}: check that you may read it") from error
        advice = ADVICE.get(error.errno or 0, "check it or choose another folder")
        raise StorageError(f"cannot {verb} {path}: {reason}: {advice}") from error
