"""The list of a sweep's folder: which tasks it holds, those of earlier sweeps too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._files import held, named_errors, put
from ..errors import StorageError

LIST_FILE = "sweep.json"
LOCK_FILE = ".sweep.lock"
PATIENCE = 60.0
"""Seconds to wait for another sweep that writes the list; it takes milliseconds."""


def write_list(folder: Path, entries: Iterable[Mapping[str, Any]]) -> Path:
    """Add tasks to the list of a folder; several sweeps may do so at once.

    Parameters
    ----------
    folder : Path
        The folder; created with its parents.
    entries : iterable of mapping
        For each task ``identity``, ``experiment``, ``values`` and ``seed``. Of a task that is in the list the values
        stay that an earlier sweep gave it.

    Returns
    -------
    Path
        ``sweep.json``.

    Raises
    ------
    StorageError
        If it cannot be written, or holds something else.
    """
    file = folder / LIST_FILE
    with named_errors("write to", folder), held(folder, LOCK_FILE, "sweep", PATIENCE):
        tasks = {entry["identity"]: entry for entry in _read_list(file)}
        for entry in entries:
            before = tasks.get(entry["identity"], {"values": {}})
            tasks[entry["identity"]] = {**entry, "values": before["values"] | entry["values"]}
        return put(file, json.dumps({"tasks": list(tasks.values())}, indent=1, default=str).encode() + b"\n")


def _read_list(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    try:
        tasks = json.loads(file.read_bytes())["tasks"]
        return [
            {**entry, "identity": str(entry["identity"]), "values": dict(entry.get("values", {}))} for entry in tasks
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StorageError(f"{file} is not the list of a sweep: remove it or choose another folder") from None
