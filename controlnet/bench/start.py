"""How long a training takes to start: a new process from its first instruction to its first forward minibatch."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..experiments import resolve
from ..experiments.running import run_experiment
from ..experiments.watching import Watcher
from .child import run_python
from .work import Size, Work

SMALL: dict[str, Any] = {"epochs": 1, "overrides": ("data.train_samples=32", "train.compare_with=[]")}
"""What makes `digits` short; it starts as the whole does."""


def cold(size: Size) -> Work:
    """Prepare the start of a new installation, which compiles.

    Parameters
    ----------
    size : Size
        Plays no part.

    Returns
    -------
    callable
        The start.
    """

    def work() -> None:
        with tempfile.TemporaryDirectory() as cache:
            _start({"NUMBA_CACHE_DIR": cache})

    return work


def warm(size: Size) -> Work:
    """Prepare the start of a later process, which finds compiled loops on the disk.

    Parameters
    ----------
    size : Size
        Plays no part.

    Returns
    -------
    callable
        The start.
    """
    _start({})
    return lambda: _start({})


def _start(environment: Mapping[str, str]) -> None:
    run_python(f"from {__name__} import begin; begin()", "start", environment)


class _Stop(Exception):
    """Ends a training on purpose."""


class _UntilForward(Watcher):
    def on_batch(self, epoch: int, loss: float | None) -> None:
        if loss is not None:
            raise _Stop


def begin() -> None:
    """Train `digits` in this process until the forward weights have learned from a minibatch."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_experiment(resolve("digits", **SMALL), folder=Path(folder) / "run", watcher=_UntilForward())
        except _Stop:
            pass
