"""The samples that are here now, held against those that runs have learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.files import is_file_name
from ..data.folders import data_folder
from ..errors import ControlNetError, DataError, OtherSamplesError
from ..experiments.config import from_stored
from ..experiments.running import dataset_of


class Samples:
    """The hashes of the datasets that are here, each found once.

    Parameters
    ----------
    data_dir : Path, optional
        Folder with the datasets' files.
    """

    def __init__(self, data_dir: Path | None = None) -> None:
        self._data_dir = data_dir
        self._known: dict[str, str | None] = {}

    def check(self, stored: Mapping[str, Any], learned: str | None, holder: str) -> None:
        """Refuse a run whose samples are not those that are here.

        Parameters
        ----------
        stored : mapping
            Its settings, as kept.
        learned : str or None
            The hash of its samples; None if it is not known.
        holder : str
            Who holds which run, for the error.

        Raises
        ------
        OtherSamplesError
            If its samples were others. What is not here, or cannot change, is not looked at.
        """
        data = stored["data"]
        key = json.dumps([data, stored["seed"]], sort_keys=True)
        if key not in self._known:
            self._known[key] = self._fingerprint(stored) if self._may_change(data["name"]) else None
        now = self._known[key]
        if None not in (now, learned) and now != learned:
            words = f"{holder} that learned other samples of {data['name']} than those that are here"
            raise OtherSamplesError(f"{words}: remove it, choose another folder, or name theirs with --data-dir")

    def _may_change(self, name: str) -> bool:
        """Say whether samples come from files of the user; what is downloaded has a checksum."""
        return is_file_name(name) or data_folder(self._data_dir) is not None

    def _fingerprint(self, stored: Mapping[str, Any]) -> str | None:
        try:
            return dataset_of(from_stored(stored).settings, self._data_dir).fingerprint
        except DataError:
            return None
        except ControlNetError:
            # Such as fewer than the settings ask for.
            return "others"
