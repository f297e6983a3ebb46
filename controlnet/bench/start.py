"""How long a training takes to start: a new process from its first instruction to its first minibatch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..experiments import resolve
from ..experiments.running import run_experiment
from ..experiments.training import Watcher
from .child import run_python
from .work import Size, Work

SMALL: dict[str, Any] = {"epochs": 1, "overrides": ("data.train_samples=32", "train.compare_with=[]")}
"""What makes `digits` short; it starts as the whole does."""


def cold(size: Size) -> Work:
    """Prepare the start of a new installation, which compiles its first loop.

    Parameters
    ----------
    size : Size
        Plays no part.

    Returns
    -------
    callable
        The start.
    """
    return lambda: _in_new_cache("any")


def cold_forward(size: Size) -> Work:
    """Prepare the same up to the first minibatch of the forward weights, whose loop is another one.

    Parameters
    ----------
    size : Size
        Plays no part.

    Returns
    -------
    callable
        The start.
    """
    return lambda: _in_new_cache("forward")


def warm(size: Size) -> Work:
    """Prepare the start of a later process, which finds the compiled loop on the disk.

    Parameters
    ----------
    size : Size
        Plays no part.

    Returns
    -------
    callable
        The start.
    """
    _start("any", {})
    return lambda: _start("any", {})


def _in_new_cache(minibatch: str) -> None:
    with tempfile.TemporaryDirectory() as cache:
        _start(minibatch, {"NUMBA_CACHE_DIR": cache})


def _start(minibatch: str, environment: dict[str, str]) -> None:
    """Run a process until it has learned from a minibatch of any weights, or of the forward weights."""
    run_python(f"from {__name__} import run_until; run_until({minibatch!r})", "start", environment)


class _Stop(Exception):
    """Ends a training on purpose."""


class _Until(Watcher):
    def __init__(self, minibatch: str) -> None:
        self._minibatch = minibatch

    def on_batch(self, epoch: int, loss: float | None) -> None:
        if self._minibatch == "any" or loss is not None:
            raise _Stop


def run_until(minibatch: str) -> None:
    """Train `digits` in this process until the first minibatch has been learned.

    Parameters
    ----------
    minibatch : {"any", "forward"}
        Of which weights.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_experiment(resolve("digits", **SMALL), folder=Path(folder) / "run", watcher=_Until(minibatch))
        except _Stop:
            pass
