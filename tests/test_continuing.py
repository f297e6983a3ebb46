"""Interrupted runs are continued to the same bits as if nothing had happened: alone, killed, and as tasks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from continued_runs import BATCHES, SMALL, StopAfter, assert_like, cut, in_pieces, plan
from sweep_runs import DIVERGING, learned, small_tasks
from test_runs import COMMAND, SET, StopAt

from controlnet.errors import LearningDivergedError
from controlnet.experiments import METHODS, from_stored, resolve
from controlnet.experiments.running import continue_experiment, run_experiment
from controlnet.experiments.watching import Watcher
from controlnet.storage import Run, read_run, write_run
from controlnet.studies.engines import run_tasks
from controlnet.studies.tasks import Outcome, Task, attempt, finished, perform

FEW = ("simulation.steps=8", "simulation.dt=0.02")
PRE = ("feedback.pretraining_epochs=2", "feedback.extra_epochs=1")

# --- the same bits

CASES: dict[str, tuple[str, tuple[str, ...]]] = {method: (method, PRE) for method in METHODS} | {
    "SGD with momentum": ("bp", ("optimizer={kind='sgd', momentum=0.9}",)),
    "SGD without": ("bp", ("optimizer={kind='sgd', learning_rate=0.1}",)),
    "RMSprop that clips": ("bp", ("optimizer={kind='rmsprop', clip_norm=0.01, weight_decay=0.001}",)),
    "single precision": ("dfc-ss", ("network.dtype='float32'", *PRE)),
    "alignment that sleeps": ("dfa", ("feedback.learning='two-phase'", *PRE)),
    "one phase": ("dfc", ("feedback.learning='single-phase'", "noise={sigma=0.1}", *PRE)),
    "strong in two phases": ("strong-dfc", ("feedback.learning='two-phase'", *PRE)),
    "output layer fixed": ("dfc-ssa", ("feedback.output_layer=false", *PRE)),
    "an optimiser for each": (
        "strong-dfc-2phase",
        ("feedback.optimizer={kind='rmsprop'}", "feedback.pretraining_optimizer={kind='sgd', momentum=0.5}", *PRE),
    ),
    "warm start": ("dfc-fixed-ss", ("law.warm_start=true",)),
    "warm start and sleep": ("dfc-ss", ("law.warm_start=true", *PRE)),
    "extended": ("dfc-fixed", ("simulation.extend=1e-3",)),
    "looked at": ("dfc-ssa", ("diagnostics.every=2", "diagnostics.samples=4")),
    "looked at in the middle": ("bp", ("diagnostics.every=3", "diagnostics.samples=4", "train.epochs=5")),
    "vectors": ("dfc-fixed-ssa", ("objective.loss=mse", "data={name='student-teacher', sizes=[5, 4, 3]}")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_in_pieces_is_the_same_as_a_whole_one(tmp_path: Path, case: str) -> None:
    method, overrides = CASES[case]
    steps = FEW if "extend" not in str(overrides) else ()
    chosen = plan(*steps, *overrides, method=method, epochs=5 if "middle" in case else 3)
    if case == "vectors":
        chosen = resolve("digits", method=method, epochs=3, overrides=(*overrides, "data.train_samples=48", *SMALL[1:]))
    feedback = chosen.settings.feedback
    sleeping = (feedback.learning == "two-phase") + feedback.extra_epochs if feedback.learning != "none" else 0
    after = in_pieces(chosen, tmp_path / "pieces", passes=1 + sleeping)
    assert len(after) >= 2 and after == sorted(after) and after[-1] >= 1
    assert (0 in after) == (sleeping > 0 and feedback.pretraining_epochs > 0)
    run_experiment(chosen, folder=tmp_path / "whole")
    assert_like(read_run(tmp_path / "pieces"), read_run(tmp_path / "whole"))


@pytest.mark.parametrize("passes", range(7))
def test_it_may_be_interrupted_anywhere(tmp_path: Path, passes: int) -> None:
    """Before the first pass of pre-training is over, after one of two, and within the epochs."""
    chosen = plan("feedback.pretraining_epochs=2", method="dfc-ssa")
    run = cut(chosen, tmp_path / "cut", passes)
    assert len(run.history) == max(0, passes - 2) // 2
    assert int(run.continuation["pretraining"]) == min(passes, 2)
    continue_experiment(tmp_path / "cut", threads=1)
    run_experiment(chosen, folder=tmp_path / "whole")
    assert_like(read_run(tmp_path / "cut"), read_run(tmp_path / "whole"))


def test_interrupted_when_all_is_learned(tmp_path: Path) -> None:
    """The diagnostics at the end draw a minibatch and noise of their own; the peers begin again."""

    class InPeer(Watcher):
        def on_start(self, method: str, epochs: int, batches: int) -> None:
            if method == "bp":
                raise KeyboardInterrupt

    chosen = plan('train.compare_with=["bp", "mn"]', *FEW, method="dfc")
    for name, watcher in {"shown": StopAt(3, batch=False), "in peer": InPeer()}.items():
        with pytest.raises(KeyboardInterrupt):
            run_experiment(chosen, folder=tmp_path / name, watcher=watcher)
        assert len(read_run(tmp_path / name).history) == 3
        continue_experiment(tmp_path / name)
    run_experiment(chosen, folder=tmp_path / "whole")
    for name in ("shown", "in peer"):
        assert_like(read_run(tmp_path / name), read_run(tmp_path / "whole"))


def test_what_is_shown_begins_after_the_last_epoch(tmp_path: Path) -> None:
    class Heard(StopAfter):
        def __init__(self) -> None:
            super().__init__(100)
            self.starts: list[tuple[str, int, int]] = []
            self.batches: list[int] = []
            self.epochs: list[int] = []

        def on_start(self, method: str, epochs: int, batches: int) -> None:
            self.starts.append((method, epochs, batches))

        def on_batch(self, epoch: int, loss: float | None) -> None:
            self.batches.append(epoch)

        def on_epoch(self, epoch: Any) -> None:
            self.epochs.append(epoch.epoch)

    cut(plan("feedback.pretraining_epochs=2", method="dfc-ssa"), tmp_path, passes=4)
    watcher = Heard()
    continue_experiment(tmp_path, watcher=watcher)
    assert watcher.heard == [(1, [])]
    assert watcher.starts == [("dfc-ssa", 3, 4 * BATCHES)]
    assert watcher.batches == [2] * 2 * BATCHES + [3] * 2 * BATCHES
    assert watcher.epochs == [2, 3]


def test_the_first_epoch_counts_the_pretraining_before_the_interruption(tmp_path: Path) -> None:
    run = cut(plan("feedback.pretraining_epochs=2", method="dfc-ssa"), tmp_path, passes=2)
    assert run.history == [] and run.continuation["seconds"] > 0
    write_run(tmp_path, replace(run, continuation=run.continuation | {"seconds": np.asarray(1000.0)}))
    continue_experiment(tmp_path)
    first, *others = (row["seconds"] for row in read_run(tmp_path).history)
    assert 1000 < first < 1060  # type: ignore[operator]
    assert all(seconds < 60 for seconds in others)  # type: ignore[operator]


def test_a_whole_run_holds_nothing_more_than_before(tmp_path: Path) -> None:
    cut(plan(), tmp_path)
    with h5py.File(tmp_path / "run.h5") as file:
        assert set(file["continuation"]) >= {"pretraining", "seconds", "forward.first.W0"}
    continue_experiment(tmp_path)
    with h5py.File(tmp_path / "run.h5") as file:
        texts, groups = {"settings", "seed", "summary", "provenance"}, {"history", "missing", "weights", "diagnostics"}
        assert set(file) == texts | groups
        assert file.attrs["complete"]


def test_a_run_that_diverged_says_so_again(tmp_path: Path) -> None:
    chosen = plan(DIVERGING)
    lines = []
    for act in (lambda: run_experiment(chosen, folder=tmp_path), *[lambda: continue_experiment(tmp_path)] * 2):
        with pytest.raises(LearningDivergedError) as caught:
            act()
        lines.append(str(caught.value))
    assert len(set(lines)) == 1
    assert read_run(tmp_path).history == []


# --- in a process of its own


def test_a_killed_process_is_gone_on_with(tmp_path: Path) -> None:
    options = ("-m", "bp", "--epochs", "40", "--out", "run", *SET)
    with subprocess.Popen([*COMMAND, "run", *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("bp: epoch 4,"):
                break
        running.kill()
    left = read_run(tmp_path / "run")
    assert not left.complete and len(left.history) >= 4
    command = [*COMMAND, "run", "--resume", "run", "--threads", "1"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = answer.stderr.splitlines()
    assert lines[0] == f"bp: goes on after epoch {len(left.history)}"
    assert lines[2].startswith(f"bp: epoch {len(left.history) + 1},") and len(lines) == 42 - len(left.history)
    assert "run: run/run.h5" in answer.stdout
    overrides = [text for text in SET if text != "--set"]
    run_experiment(resolve("digits", method="bp", epochs=40, overrides=overrides), folder=tmp_path / "whole")
    assert_like(read_run(tmp_path / "run"), read_run(tmp_path / "whole"))
    assert os.listdir(tmp_path / "run") == ["run.h5"]


# --- tasks


def interrupted(folder: Path) -> Task:
    """Give a task of which one epoch of three is done."""
    (task,) = small_tasks(folder, (0,), epochs=3)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(from_stored(task.stored), folder=task.folder, watcher=StopAt(2))
    assert finished(task.folder, task.stored) is None
    return task


@pytest.mark.parametrize("engine", [attempt, lambda task: next(iter(run_tasks([task], workers=2)))])
def test_an_unfinished_task_is_gone_on_with(tmp_path: Path, engine: Callable[[Task], Outcome]) -> None:
    task = interrupted(tmp_path / "cut")
    assert engine(task).error is None
    run = read_run(task.folder)
    assert [part["after_epoch"] for part in run.provenance["continued"]] == [1]
    assert finished(task.folder, task.stored) == run.summary
    (other,) = small_tasks(tmp_path / "whole", (0,), epochs=3)
    perform(other.stored, other.folder)
    assert learned(task.folder) == learned(other.folder)


def without_continuation(run: Run) -> Run:
    return replace(run, continuation={})


def with_a_wrong_count(run: Run) -> Run:
    return replace(run, continuation=run.continuation | {"forward.count.W0": np.asarray(7)})


def of_another_seed(run: Run) -> Run:
    return replace(run, settings=run.settings | {"seed": 5})


@pytest.mark.parametrize("spoil", [without_continuation, with_a_wrong_count, of_another_seed])
def test_an_unfinished_task_that_does_not_fit_begins_again(tmp_path: Path, spoil: Callable[[Run], Run]) -> None:
    task = interrupted(tmp_path / "cut")
    write_run(task.folder, spoil(read_run(task.folder)))
    assert attempt(task).error is None
    assert "continued" not in read_run(task.folder).provenance
    (other,) = small_tasks(tmp_path / "whole", (0,), epochs=3)
    perform(other.stored, other.folder)
    assert learned(task.folder) == learned(other.folder)
