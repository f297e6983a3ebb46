"""Where and with what a run was made."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("controlnet", "numpy", "scipy", "numba", "h5py")
GIT_TIMEOUT = 5.0  # s


def describe_machine() -> dict[str, Any]:
    """Describe the machine, the versions, the time and the command line of this process.

    Returns
    -------
    dict
        Plain values for JSON: ``time`` (UTC, ISO 8601), ``argv``, ``python``, ``packages``, ``source`` (a hash of this
        package's source text), ``platform``, ``cpu``, ``cores``, ``blas`` and ``git`` (the commit of the working
        folder). What cannot be found out is None.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": list(sys.argv),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "source": _source(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "blas": _blas(),
        "git": _git(),
    }


def parts_of(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give how a run went on after each interruption.

    Parameters
    ----------
    provenance : mapping
        That of the run.

    Returns
    -------
    list of dict
        ``after_epoch``, ``changed`` and the machine, as `describe_machine` tells it, of each part but the first.
    """
    parts = provenance.get("continued")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


@cache
def _source() -> str:
    folder, total = Path(__file__).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        total.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None) or platform.processor() or None


def _blas() -> list[dict[str, Any]] | None:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    keys = ("internal_api", "version", "num_threads")
    libraries = [library for library in threadpool_info() if library.get("user_api") == "blas"]
    return [{key: library.get(key) for key in keys} for library in libraries]


def _git() -> dict[str, Any] | None:
    commit = _git_output("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git_output("status", "--porcelain")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git_output(*arguments: str) -> str | None:
    # Without optional locks, asking for the status never disturbs a git command of the user.
    command = ["git", "--no-optional-locks", *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return answer.stdout.strip()
