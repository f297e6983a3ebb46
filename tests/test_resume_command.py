"""``controlnet run --resume``: the same result from the command line, and one line for everything else."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from continued_runs import StopAfter, assert_like, cut, plan
from test_cli import call, done, failed

from controlnet.experiments import from_stored
from controlnet.experiments import training as training_module
from controlnet.experiments.running import run_experiment
from controlnet.storage import claim_folder, read_run, write_run
from controlnet.studies.tasks import identity

EXPERIMENT = """
method = "bp"
seed = 1
data = {name = "digits", train_samples = 48}
network = {hidden = [5]}
train = {epochs = 3, batch_size = 16}
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTROLNET_DATA", raising=False)
    Path("mine.toml").write_text(EXPERIMENT, encoding="utf-8")


@pytest.fixture
def run() -> Path:
    """Give the folder of a run of which one epoch of three is done."""
    cut(plan(), Path("my run"))
    return Path("my run")


@pytest.mark.parametrize("name", ["my run", "my run/run.h5"])
@pytest.mark.parametrize("flags", [(), ("--threads", "1"), ("--quiet",), ("--data-dir", "absent")])
def test_a_run_goes_on_where_it_is(run: Path, name: str, flags: tuple[str, ...]) -> None:
    result = done("run", "--resume", name, "--json", *flags)
    run_experiment(plan(), folder=Path("whole"))
    assert_like(read_run(run), read_run(Path("whole")))
    assert json.loads(result.stdout) == read_run(run).summary
    assert result.stderr.startswith("" if "--quiet" in flags else "bp: goes on after epoch 1\n")
    assert ("--quiet" in flags) == (result.stderr == "")


def test_an_interruption_tells_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Any, epoch: int, loss: float | None) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    arguments = ("--out", "my run", "--data-dir", "the data")
    with monkeypatch.context() as patched:
        patched.setattr(training_module.Watcher, "on_batch", stop)
        lines = [failed("run", "mine.toml", *arguments, code=130)]
        lines.append(failed("run", "--resume", "my run", *arguments[2:], code=130))
    assert lines[0] == lines[1]
    assert lines[0].startswith("interrupted; the complete epochs are in my run: `controlnet run --resume 'my run' ")
    assert "goes on with it" in done("show", "my run").stdout
    command = shlex.split(lines[0].split("`")[1])
    assert command == ["controlnet", "run", "--resume", "my run", "--data-dir", "the data"]
    done(*command[1:])
    done("run", "mine.toml", "--out", "whole")
    assert_like(read_run(Path("my run")), read_run(Path("whole")))
    assert "goes on" not in done("show", "my run").stdout


def test_an_interruption_that_leaves_nothing_has_nothing_to_go_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("controlnet.experiments.running.dataset_of", stop)
    assert failed("run", "mine.toml", "--out", "here", code=130) == "interrupted"
    assert not Path("here").exists()


def test_the_settings_are_shown_without_running(run: Path) -> None:
    before = (run / "run.h5").read_bytes()
    shown = done("run", "--resume", str(run), "--dry-run").stdout
    assert "train_samples = 48" in shown
    assert (run / "run.h5").read_bytes() == before


AS_IT_WAS = "--resume goes on with a run as it was: no EXPERIMENT, --method, --seed, --epochs or --set with it"
IN_ITS_FOLDER = "--resume goes on in the folder of the run: no --from or --out with it"
WRONG = {
    ("digits",): AS_IT_WAS,
    ("-m", "bp"): AS_IT_WAS,
    ("--seed", "1"): AS_IT_WAS,
    ("--epochs", "5"): AS_IT_WAS,
    ("--set", "seed=1"): AS_IT_WAS,
    ("--from", "my run"): IN_ITS_FOLDER,
    ("--out", "other"): IN_ITS_FOLDER,
}


@pytest.mark.parametrize("arguments", WRONG)
def test_nothing_can_be_changed(run: Path, arguments: tuple[str, ...]) -> None:
    before = (run / "run.h5").read_bytes()
    assert failed("run", "--resume", "my run", *arguments) == WRONG[arguments]
    assert (run / "run.h5").read_bytes() == before


def test_what_cannot_go_on_is_one_line(run: Path) -> None:
    whole = read_run(run)
    assert failed("run", "--resume", "absent").startswith("no run at absent")
    with claim_folder(run, replace=True):
        assert "my run is in use by another run" in failed("run", "--resume", "my run")
    write_run(run, replace(whole, continuation=whole.continuation | {"forward.first.W0": np.zeros(3)}))
    line = failed("run", "--resume", "my run")
    assert "forward.first.W0: expected float64 of shape (5, 64), got float64 of shape (3,)" in line
    write_run(run, replace(whole, continuation={}))
    command = failed("run", "--resume", "my run").split("`")[1]
    assert "goes on" not in done("show", "my run").stdout
    done(*shlex.split(command)[1:], "--out", "again")
    assert "again holds a complete run" in failed("run", "--resume", "again")
    (run / "run.h5").write_bytes((run / "run.h5").read_bytes()[:-100])
    assert "damaged" in failed("run", "--resume", "my run")


@pytest.mark.parametrize("flags", [(), ("--quiet",)])
def test_other_versions_are_told_in_one_line(run: Path, flags: tuple[str, ...]) -> None:
    kept = read_run(run)
    write_run(run, replace(kept, provenance=kept.provenance | {"python": "2.7"}))
    result = done("run", "--resume", "my run", *flags)
    first, *others = result.stderr.splitlines()
    assert first.startswith("bp: goes on after epoch 1 with python '3") and "(was '2.7'): the last" in first
    assert bool(others) == (not flags)


def test_a_sweep_goes_on_with_what_was_interrupted() -> None:
    arguments = ("sweep", "mine.toml", "--seeds", "1:3", "--workers", "1", "--json")
    tasks = json.loads(done(*arguments, "--out", "whole").stdout)["tasks"]
    stored = read_run(Path("whole", tasks[0]["identity"])).settings
    folder = Path("cut", identity(stored))
    with pytest.raises(KeyboardInterrupt):
        run_experiment(from_stored(stored), folder=folder, watcher=StopAfter(2))
    result = call(*arguments, "--out", "cut")
    assert result.exit_code == 0
    for task in tasks:
        assert_like(read_run(Path("cut", task["identity"])), read_run(Path("whole", task["identity"])))
    assert [part["after_epoch"] for part in read_run(folder).provenance["continued"]] == [2]
