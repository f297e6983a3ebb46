"""Peak memory of a work, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .._parallel import one_blas_thread
from . import work as works
from .child import run_python
from .work import Size, Work

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class Memory(NamedTuple):
    """Memory of a process, in MB.

    Parameters
    ----------
    program_mb : float
        Program, compiled loop, weights and data.
    above_mb : float
        The peak above that while the work is done once.
    grown_mb : float
        What further calls add to the peak.
    """

    program_mb: float
    above_mb: float
    grown_mb: float


def peak_memory(build: Callable[[Size], Work], size: Size, calls: int = 0) -> Memory | None:
    """Measure the memory of a work in a new process.

    Parameters
    ----------
    build : callable
        A function of `controlnet.bench.work`.
    size : Size
        How much work.
    calls : int
        Number of further calls, to see whether memory grows.

    Returns
    -------
    Memory or None
        None where the system does not tell, as Windows.

    Raises
    ------
    ControlNetError
        If the process fails.
    """
    if resource is None:
        return None
    code = f"from {__name__} import Size, watch; watch({build.__name__!r}, {size!r}, {calls})"
    return Memory(*json.loads(run_python(code, f"memory of {build.__name__}")))


def watch(name: str, size: Size, calls: int) -> None:
    """Do a work in this process and print what memory it took, as JSON.

    Parameters
    ----------
    name : str
        A function of `controlnet.bench.work`.
    size : Size
        How much work.
    calls : int
        Number of further calls.
    """
    build: Callable[[Size], Work] = getattr(works, name)
    with one_blas_thread():
        build(size._replace(batch=1, steps=1))()  # loads the compiled loop
        work = build(size)
        held = _held()
        work()
        first = _peak()
        for _ in range(calls):
            work()
    print(json.dumps([held, first - held, _peak() - first]))


def _held() -> float:
    """Give the memory that this process holds now, in MB; its peak so far where the system does not tell."""
    held = _status("VmRSS")
    return _peak() if held is None else held


def _peak() -> float:
    """Give the most memory that this process has held, in MB."""
    # Linux counts the process that started this one into ru_maxrss.
    if (peak := _status("VmHWM")) is not None:
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _status(name: str) -> float | None:
    """Give a line of what Linux says of this process, in MB; None on other systems."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(text.split(f"{name}:")[1].split()[0]) / 2**10
