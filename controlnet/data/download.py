"""Download of the official files into the user's cache, each checked against its checksum."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError

if TYPE_CHECKING:
    from .mnist import IdxSource

CONNECT_TIMEOUT = 4.0  # s
READ_TIMEOUT = 20.0  # s


def fetch(source: IdxSource, parts: Sequence[str]) -> list[Path]:
    """Make sure that the compressed files of a dataset are in the user's cache.

    Parameters
    ----------
    source : IdxSource
        Web folders and checksums of the files.
    parts : sequence of str
        File names without ``.gz``, in the order of ``source.md5``.

    Returns
    -------
    list of Path
        The files. Nothing is downloaded when they are there and intact.

    Raises
    ------
    DataError
        When a file can be fetched from none of the web folders.
    """
    from platformdirs import user_cache_dir

    cache = Path(user_cache_dir("controlnet")) / source.name
    return [_fetch_one(source, f"{part}.gz", md5, cache) for part, md5 in zip(parts, source.md5, strict=True)]


def _fetch_one(source: IdxSource, name: str, md5: str, cache: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel(logging.CRITICAL)
    downloader = pooch.HTTPDownloader(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    failure: Exception | None = None
    for url in source.urls:
        try:
            return Path(pooch.retrieve(url + name, f"md5:{md5}", fname=name, path=cache, downloader=downloader))
        except (OSError, ValueError) as error:
            failure = error
    raise DataError(
        f"cannot download {source.name} ({_reason(failure, cache)}): name a folder that holds its files with "
        "--data-dir DIR or CONTROLNET_DATA=DIR, or connect and try again"
    ) from failure


def _reason(failure: Exception | None, cache: Path) -> str:
    from requests.exceptions import HTTPError, RequestException

    if isinstance(failure, HTTPError):
        return "the server refused the file"
    if isinstance(failure, RequestException):
        return "no network connection"
    if isinstance(failure, ValueError):
        return "the file that came does not have the expected checksum"
    return f"cannot write to {cache}: {getattr(failure, 'strerror', None) or failure}"
