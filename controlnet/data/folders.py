"""Where files of data are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DataError

VARIABLE = "CONTROLNET_DATA"


def data_folder(data_dir: Path | None) -> Path | None:
    """Give the folder that the user named.

    Parameters
    ----------
    data_dir : Path, optional
        The one of the command line or of the caller, which goes first.

    Returns
    -------
    Path or None
        The folder, else the one of the environment variable CONTROLNET_DATA; None if there is neither.

    Raises
    ------
    DataError
        If it is the home of a user who is not known.
    """
    folder = data_dir or os.environ.get(VARIABLE)
    return expanded(folder) if folder else None


def expanded(path: str | Path) -> Path:
    """Give a path with the user's home in place of ``~``.

    Parameters
    ----------
    path : str or Path
        The path.

    Returns
    -------
    Path
        The same, or one from the root.

    Raises
    ------
    DataError
        If it is the home of a user who is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataError(f"no home folder for {path}: expected a path that exists: name it from the root") from None


def home_of(dataset: str, folder: Path, subfolder: str) -> Path:
    """Give the folder in which a dataset's files should lie.

    Parameters
    ----------
    dataset : str
        Its name.
    folder : Path
        The folder that the user named.
    subfolder : str
        Name of the folder below, which goes first.

    Returns
    -------
    Path
        An existing folder.

    Raises
    ------
    DataError
        If there is none.
    """
    if not folder.is_dir():
        raise DataError(
            f"no folder {folder} with the files of {dataset}: name an existing one with --data-dir or {VARIABLE}"
        )
    return folder / subfolder if (folder / subfolder).is_dir() else folder
