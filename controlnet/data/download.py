"""Download of the official files into the user's cache, each checked against its checksum."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError

CONNECT_TIMEOUT = 4.0  # s
READ_TIMEOUT = 20.0  # s


def fetch(dataset: str, urls: Sequence[str], files: Mapping[str, str]) -> list[Path]:
    """Make sure that the files of a dataset are in the user's cache.

    Parameters
    ----------
    dataset : str
        Its name, which is that of its folder in the cache.
    urls : sequence of str
        Folders on the web, tried in this order.
    files : mapping of str
        MD5 checksum by file name.

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

    cache = Path(user_cache_dir("controlnet")) / dataset
    return [_fetch_one(dataset, urls, name, md5, cache) for name, md5 in files.items()]


def _fetch_one(dataset: str, urls: Sequence[str], name: str, md5: str, cache: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel(logging.CRITICAL)
    downloader = pooch.HTTPDownloader(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    failure: Exception | None = None
    for url in urls:
        try:
            return Path(pooch.retrieve(url + name, f"md5:{md5}", fname=name, path=cache, downloader=downloader))
        except (OSError, ValueError) as error:
            failure = error
    raise DataError(
        f"cannot download {dataset} ({_reason(failure, cache)}): name a folder that holds its files with "
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
