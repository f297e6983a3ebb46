"""Small sweeps for the tests, and what is left of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from controlnet.storage import read_run
from controlnet.studies.sweep import plan_sweep
from controlnet.studies.tasks import Task

TINY = ("data.train_samples=64", "network.hidden=[4]")
DIVERGING = "optimizer.learning_rate=1.7e308"


def small_tasks(
    folder: Path, seeds: Sequence[int], epochs: int = 1, grid: Sequence[str] = (), overrides: Sequence[str] = ()
) -> list[Task]:
    """Give trainings by backpropagation, which compile nothing."""
    plan = plan_sweep("digits", grid, seeds, method="bp", epochs=epochs, overrides=(*TINY, *overrides))
    return [Task(member.identity, member.stored, folder / member.identity) for member in plan.members]


def learned(folder: Path) -> dict[str, bytes]:
    """Give the bits that a run learned, by parameter, and its history without the times."""
    run = read_run(folder)
    assert run.complete
    bits = {name: np.ascontiguousarray(array).tobytes() for name, array in run.weights.items()}
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in run.history]
    return bits | {"history": repr(history).encode()}


def fingerprints(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Give time and content of every file of the runs that are finished."""
    files = [file for file in sorted(folder.glob("*/run.h5")) if read_run(file).complete]
    return {file.parent.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def workers_of(process: int) -> list[psutil.Process]:
    """Give the processes that do tasks for another one."""
    children = [
        child for child in psutil.Process(process).children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE
    ]
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def all_ended(processes: Sequence[psutil.Process], patience: float = 10.0) -> bool:
    """Say whether processes end; those of a dead parent stay zombies until the system looks."""
    end = time.monotonic() + patience
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
