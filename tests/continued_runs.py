"""Runs that are interrupted and continued, for the tests, and how they are held against whole ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_runs import timeless

from controlnet.experiments import Plan, resolve
from controlnet.experiments.running import continue_experiment, run_experiment
from controlnet.experiments.watching import Watcher
from controlnet.storage import Run, read_run

SMALL = ("data.train_samples=48", "train.batch_size=16", "network.hidden=[5]", "train.compare_with=[]")
BATCHES = 3


def plan(*overrides: str, method: str = "bp", epochs: int = 3, seed: int = 1) -> Plan:
    return resolve("digits", method=method, epochs=epochs, seed=seed, overrides=(*SMALL, *overrides))


class StopAfter(Watcher):
    """Interrupts a run at the second minibatch of a pass, when so many passes are done."""

    def __init__(self, passes: int) -> None:
        self.left = passes * BATCHES + 2
        self.heard: list[tuple[int, list[str]]] = []

    def on_continue(self, method: str, epoch: int, changed: Any) -> None:
        self.heard.append((epoch, changed))

    def on_batch(self, epoch: int, loss: float | None) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def cut(chosen: Plan, folder: Path, passes: int = 1) -> Run:
    """Run until it is interrupted; give what is left."""
    with pytest.raises(KeyboardInterrupt):
        run_experiment(chosen, folder=folder, watcher=StopAfter(passes))
    return read_run(folder)


def in_pieces(chosen: Plan, folder: Path, passes: int) -> list[int]:
    """Run and continue, interrupted whenever so many passes are done; give the epochs after which it went on."""
    run = cut(chosen, folder, passes)
    while not run.complete:
        try:
            continue_experiment(folder, watcher=StopAfter(passes))
        except KeyboardInterrupt:
            assert not read_run(folder).complete
        run = read_run(folder)
    return [part["after_epoch"] for part in run.provenance["continued"]]


def bits(arrays: dict[str, Any]) -> list[Any]:
    return [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()]


def results(summary: dict[str, Any]) -> dict[str, Any]:
    """Give a summary without times and place."""
    kept = {name: value for name, value in summary.items() if name not in ("seconds", "run", "peers")}
    return kept | {name: results(peer) for name, peer in summary.get("peers", {}).items()}


def assert_like(run: Run, whole: Run) -> None:
    """Hold everything but times and machine against a run that was never interrupted, to the bit."""
    assert run.complete and whole.complete
    assert run.continuation == whole.continuation == {}
    assert bits(run.weights) == bits(whole.weights)
    assert bits(run.diagnostics) == bits(whole.diagnostics)
    assert timeless(run.history) == timeless(whole.history)
    assert results(run.summary) == results(whole.summary)
    assert (run.settings, run.seed) == (whole.settings, whole.seed)
