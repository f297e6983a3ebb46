"""Whole runs: what is in their file, that it can be run again, and what an interruption leaves behind."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controlnet.errors import ConfigError, DataError, DivergedError, StorageError
from controlnet.experiments import Plan, from_stored, resolve
from controlnet.experiments import running as running_module
from controlnet.experiments.running import in_folders, named, new_folder, run_experiment
from controlnet.experiments.watching import Epoch, Watcher
from controlnet.provenance import PACKAGES
from controlnet.storage import Run, read_run

SMALL = ("network.hidden=[8]", "train.compare_with=[]")
RUNAWAY = "{kind='pi', k_i=1e9}"
EPOCH_KEYS = set(Epoch._fields)


def plan(*overrides: str, method: str = "bp", epochs: int = 1, seed: int = 0) -> Plan:
    return resolve("digits", method=method, epochs=epochs, seed=seed, overrides=(*SMALL, *overrides))


def timeless(history: list[Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def same_result(first: Run, second: Run) -> bool:
    """Compare histories (without their times) and the bits of the weights."""
    return (
        timeless(first.history) == timeless(second.history)
        and first.weights.keys() == second.weights.keys()
        and all(first.weights[name].tobytes() == second.weights[name].tobytes() for name in first.weights)
    )


class StopAt(Watcher):
    """Interrupts a run, as Ctrl-C does."""

    def __init__(self, epoch: int, batch: bool = True) -> None:
        self.epoch, self.batch = epoch, batch

    def on_batch(self, epoch: int, loss: float | None) -> None:
        if self.batch and epoch == self.epoch:
            raise KeyboardInterrupt

    def on_epoch(self, epoch: Epoch) -> None:
        if not self.batch and epoch.epoch == self.epoch:
            raise KeyboardInterrupt


# --- what a run holds


@pytest.mark.parametrize("method", ["bp", "dfc-fixed-ssa", "dfc", "strong-dfc"])
def test_a_run_holds_all_that_is_needed_to_judge_it(tmp_path: Path, method: str) -> None:
    chosen = plan(method=method, epochs=2, seed=4)
    summary = run_experiment(chosen, folder=tmp_path / "deep" / "run")
    assert os.listdir(tmp_path / "deep" / "run") == ["run.h5"]
    run = read_run(tmp_path / "deep" / "run")
    assert run.complete
    assert run.seed == 4
    assert from_stored(run.settings) == chosen
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert all(set(row) == EPOCH_KEYS for row in run.history)
    shapes = {name: array.shape for name, array in run.weights.items()}
    assert shapes == {"W0": (8, 64), "b0": (8,), "Q0": (8, 10), "W1": (10, 8), "b1": (10,), "Q1": (10, 10)}
    assert run.summary == summary
    results = ("test_error_percent", "validation_error_percent", "train_loss", "amount_of_control", "converged_percent")
    for name in results:
        assert run.summary[name] == run.history[-1][name]
    assert (run.history[-1]["converged_percent"] is None) == (method in ("bp", "dfc-fixed-ssa"))
    assert (run.history[-1]["amount_of_control"] is None) == (method == "bp")
    assert run.summary["seconds"] == pytest.approx(sum(row["seconds"] for row in run.history), abs=1e-3)  # type: ignore[misc]
    assert run.summary["run"] == str(tmp_path / "deep" / "run" / "run.h5")


def test_a_run_tells_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["controlnet", "run", "--seed", "0"])
    run_experiment(plan(), folder=tmp_path)
    provenance = read_run(tmp_path).provenance
    assert provenance["argv"] == ["controlnet", "run", "--seed", "0"]
    assert set(provenance["packages"]) == set(PACKAGES)
    assert provenance["packages"]["numpy"] == np.__version__
    assert provenance["python"] == ".".join(map(str, sys.version_info[:3]))
    assert provenance["cores"] == os.cpu_count()
    assert provenance["platform"] and provenance["time"].endswith("+00:00")


def test_the_stored_weights_are_those_that_were_judged(tmp_path: Path) -> None:
    """The test error follows from the file alone."""
    from controlnet.data import load
    from controlnet.experiments.chance import seeds

    run_experiment(plan(epochs=2), folder=tmp_path)
    run = read_run(tmp_path)
    test = load("digits", seed=seeds(0)["split"]).test
    w = run.weights
    output = np.tanh(test.inputs @ w["W0"].T + w["b0"]) @ w["W1"].T + w["b1"]
    wrong = 100 * np.mean(output.argmax(axis=1) != test.targets)
    assert run.summary["test_error_percent"] == pytest.approx(wrong)


@pytest.mark.parametrize(("method", "number"), [("dfc-fixed", 64), ("strong-dfc", 50)])
def test_as_many_samples_are_learned_from_as_asked_for(tmp_path: Path, method: str, number: int) -> None:
    summary = run_experiment(plan(f"data.train_samples={number}", method=method), folder=tmp_path)
    assert summary["simulated"] == number
    assert read_run(tmp_path).settings["data"] == {"name": "digits", "train_samples": number}
    whole = run_experiment(plan(method="dfc-fixed"), folder=tmp_path / "whole")
    assert whole["simulated"] == 1258
    assert "train_samples" not in read_run(tmp_path / "whole").settings["data"]


def test_all_samples_are_the_same_as_no_limit(tmp_path: Path) -> None:
    for name, few in {"all": (), "same": ("data.train_samples=1258",), "few": ("data.train_samples=1257",)}.items():
        run_experiment(plan(*few), folder=tmp_path / name)
    runs = {name: read_run(tmp_path / name) for name in ("all", "same", "few")}
    assert same_result(runs["all"], runs["same"])
    assert not same_result(runs["all"], runs["few"])


def test_peers_are_summed_up_beside_the_run(tmp_path: Path) -> None:
    both = plan('train.compare_with=["bp", "dfc-fixed-ssa"]', method="dfc-fixed-ssa", epochs=2)
    peers = run_experiment(both, folder=tmp_path / "both")["peers"]
    alone = run_experiment(plan(epochs=2), folder=tmp_path / "alone")
    assert list(peers) == ["bp"]
    names = ("test_error_percent", "validation_error_percent", "train_loss", "epochs")
    assert {name: peers["bp"][name] for name in names} == {name: alone[name] for name in names}
    assert read_run(tmp_path / "both").summary["peers"] == peers


def test_peers_do_not_change_the_run(tmp_path: Path) -> None:
    for name, peers in {"with": '["bp"]', "without": "[]"}.items():
        run_experiment(plan(f"train.compare_with={peers}", method="dfc-fixed-ssa"), folder=tmp_path / name)
    assert same_result(read_run(tmp_path / "with"), read_run(tmp_path / "without"))


@pytest.mark.parametrize("method", ["bp", "dfc-ssa", "dfc", "strong-dfc"])
def test_a_run_can_be_run_again_from_its_file(tmp_path: Path, method: str) -> None:
    few = "data.train_samples=320"
    run_experiment(plan(few, method=method, epochs=2, seed=5), folder=tmp_path / "first")
    first = read_run(tmp_path / "first")
    run_experiment(from_stored(first.settings), folder=tmp_path / "again", threads=1)
    assert same_result(first, read_run(tmp_path / "again"))
    run_experiment(plan(few, method=method, epochs=2, seed=6), folder=tmp_path / "other")
    assert not same_result(first, read_run(tmp_path / "other"))


def test_a_new_folder_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Noon(running_module.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Noon:
            return cls(2024, 5, 17, 12, 0, 0)

    monkeypatch.setattr(running_module, "datetime", Noon)
    settings = plan(seed=3).settings
    stem = "runs/20240517-120000-digits-bp-s3"
    for expected in (stem, f"{stem}-2", f"{stem}-3"):
        folder = new_folder(settings)
        assert folder == Path(expected)
        folder.mkdir(parents=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", "digits"),
        ("dfc/mnist/dfc", "dfc-mnist-dfc"),
        ("../a/own.toml", "own"),
        ("b/own.data.npz", "own.data"),
    ],
)
def test_a_folder_tells_the_whole_name_of_an_experiment_but_of_a_file_its_own_alone(name: str, expected: str) -> None:
    assert in_folders(name) == expected


# --- what an interruption leaves


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_ctrl_c_leaves_the_complete_epochs(tmp_path: Path, stopped: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_experiment(plan(epochs=4), folder=tmp_path / "cut", watcher=StopAt(stopped))
    cut = read_run(tmp_path / "cut")
    assert not cut.complete
    assert os.listdir(tmp_path / "cut") == ["run.h5"]
    assert cut.summary["epochs"] == stopped - 1
    run_experiment(plan(epochs=4), folder=tmp_path / "whole")
    assert timeless(cut.history) == timeless(read_run(tmp_path / "whole").history)[: stopped - 1]
    if stopped > 1:
        run_experiment(plan(epochs=stopped - 1), folder=tmp_path / "short")
        assert same_result(cut, read_run(tmp_path / "short"))


def test_an_epoch_that_was_shown_has_been_saved(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_experiment(plan(epochs=3), folder=tmp_path, watcher=StopAt(1, batch=False))
    assert [row["epoch"] for row in read_run(tmp_path).history] == [1]


def test_ctrl_c_in_a_peer_leaves_the_whole_run(tmp_path: Path) -> None:
    class InPeer(Watcher):
        def on_start(self, method: str, epochs: int, batches: int) -> None:
            if method == "bp":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        peers = 'train.compare_with=["bp"]'
        run_experiment(plan(peers, method="dfc-fixed-ssa", epochs=2), folder=tmp_path, watcher=InPeer())
    run = read_run(tmp_path)
    assert not run.complete
    assert len(run.history) == 2
    assert math.isfinite(run.summary["test_error_percent"])


# --- what cannot be run


def test_a_folder_with_a_run_is_left_as_it_is(tmp_path: Path) -> None:
    run_experiment(plan(), folder=tmp_path)
    before = (tmp_path / "run.h5").read_bytes()
    with pytest.raises(StorageError, match="holds a run already"):
        run_experiment(plan(seed=1), folder=tmp_path)
    assert (tmp_path / "run.h5").read_bytes() == before
    assert os.listdir(tmp_path) == ["run.h5"]


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_full_disk_keeps_what_was_written_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """The first write comes before the first epoch."""
    real, count = os.replace, [0]

    def replace(source: Any, target: Any) -> None:
        count[0] += 1
        if count[0] > written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr("controlnet._files.os.replace", replace)
    with pytest.raises(StorageError, match="No space left on device: free space there or choose another folder"):
        run_experiment(plan(epochs=3), folder=tmp_path)
    if written == 0:
        assert os.listdir(tmp_path) == []
    else:
        assert os.listdir(tmp_path) == ["run.h5"]
        assert [row["epoch"] for row in read_run(tmp_path).history] == list(range(1, written))


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (("data.name=nonsense",), ConfigError, "data.name: expected one of .*, got 'nonsense'"),
        (("data.name=mnist",), DataError, "mnist"),
        (("train.batch_size=5000",), ConfigError, "train.batch_size: expected at most the 1258"),
        (
            ("network.activation=['relu', 'relu']",),
            ConfigError,
            "network.activation: expected one name, or one for each",
        ),
    ],
)
def test_what_cannot_start_leaves_no_file(
    tmp_path: Path, overrides: tuple[str, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_experiment(plan(*overrides), folder=tmp_path / "run", data_dir=tmp_path / "no data")
    assert not (tmp_path / "run" / "run.h5").exists()


def test_a_run_that_diverges_is_kept_as_incomplete(tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        run_experiment(plan(f"controller={RUNAWAY}", method="dfc-fixed"), folder=tmp_path)
    run = read_run(tmp_path)
    assert not run.complete
    assert run.history == []
    assert run.settings["controller"]["k_i"] == 1e9


# --- in a process of its own

COMMAND = [sys.executable, "-m", "controlnet.cli"]
SET = [part for text in SMALL for part in ("--set", text)]


def process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True)


def test_the_command_line_starts_without_heavy_imports() -> None:
    heavy = "numba numpy scipy control matplotlib h5py msgspec rich pooch".split()
    code = f"import sys, controlnet.cli; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("-m", "bp", "--epochs", "1", "--json"), 0),
        (("digit",), 2),
        (("-m", "strong-dfc", "--set", "objective.feedback=nudged"), 2),
        (("-m", "dfc-fixed", "--set", f"controller={RUNAWAY}", "-q"), 3),
    ],
)
def test_a_process_ends_with_its_code_and_no_traceback(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    answer = process(tmp_path, "run", *SET, *arguments)
    assert answer.returncode == code, answer.stderr
    if code:
        assert answer.stdout == "" and len(answer.stderr.splitlines()) == 1
        assert answer.stderr.startswith("Error: ")
    else:
        assert json.loads(answer.stdout)["method"] == "bp"


def test_a_training_that_diverges_ends_in_one_line_with_code_3(tmp_path: Path) -> None:
    options = ("--set", "optimizer={kind='sgd', learning_rate=1e308}", "--set", "objective.loss=mse", "--quiet")
    answer = process(tmp_path, "run", "-m", "bp", "--epochs", "1", *SET, *options)
    assert len(answer.stderr.splitlines()) == 1
    assert answer.returncode == 3


def test_a_real_ctrl_c_ends_in_one_line(tmp_path: Path) -> None:
    command = [*COMMAND, "run", "-m", "bp", "--epochs", "2000", "--out", "run", *SET]
    pipe = subprocess.PIPE
    # A test run in the background may ignore the signal, and its children would inherit that.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed) as running:
        assert running.stderr is not None and running.stdout is not None
        try:
            for line in running.stderr:
                if line.startswith("bp: epoch 3,"):  # so the second one is on disk
                    break
            running.send_signal(signal.SIGINT)
            rest, output = running.stderr.read(), running.stdout.read()
            running.wait(timeout=120)
        finally:
            running.kill()
    lines = rest.strip().splitlines()
    assert running.returncode == 130
    assert output == ""
    assert lines[-1].startswith("Error: interrupted")
    assert all(line.startswith("bp: epoch ") for line in lines[:-1])
    run = read_run(tmp_path / "run")
    assert not run.complete
    assert len(run.history) >= 2
    assert [row["epoch"] for row in run.history] == list(range(1, len(run.history) + 1))


@pytest.mark.parametrize(
    ("experiment", "data", "told"),
    [
        ("digits", "digits", True),
        ("digits", "mine.npz", False),
        ("fashion-mnist", "mnist", False),
        ("dfc/mnist-train-loss/bp", "mnist", True),
        ("my/mnist.toml", "mnist", True),
        ("digits", None, True),
    ],
)
def test_data_are_named_unless_the_experiment_tells(experiment: str, data: str | None, told: bool) -> None:
    assert named(experiment, data) == ((experiment,) if told else (experiment, data))
