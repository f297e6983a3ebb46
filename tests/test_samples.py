"""Runs that learned other samples than those that are here are neither taken for these nor lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sweep_runs import small_tasks
from test_runs import StopAt

from controlnet.errors import ConfigError, DataError, OtherSamplesError, StorageError
from controlnet.experiments.config import from_stored
from controlnet.experiments.running import run_experiment
from controlnet.storage import claim_folder, read_run, write_run
from controlnet.studies import engines
from controlnet.studies.comparing import compare
from controlnet.studies.engines import run_tasks
from controlnet.studies.samples import Samples
from controlnet.studies.sweep import done, plan_sweep, run_sweep
from controlnet.studies.tasks import Task, attempt, finished, perform
from controlnet.studies.tuning import Search, tune

OWN = ("data.name=mine.npz", "data.train_samples=48", "network.hidden=[4]")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTROLNET_DATA", raising=False)
    write(Path("mine.npz"), 1)


def write(file: Path, seed: int, samples: int = 80, features: int = 6) -> None:
    rng = np.random.default_rng(seed)
    np.savez(file, X=rng.normal(size=(samples, features)), y=np.arange(samples) % 10)


def own_task(folder: Path, epochs: int = 1) -> Task:
    (task,) = small_tasks(folder, (0,), epochs=epochs, overrides=OWN)
    return task


def interrupted(task: Task) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_experiment(from_stored(task.stored), folder=task.folder, watcher=StopAt(2))


def whole(task: Task) -> None:
    perform(task.stored, task.folder)


@pytest.mark.parametrize("other", [{}, {"samples": 70}, {"samples": 300}, {"features": 5}])
@pytest.mark.parametrize("earlier", [interrupted, whole])
def test_an_earlier_attempt_on_other_samples_fails_the_task_and_is_kept(
    earlier: Callable[[Task], None], other: dict[str, int]
) -> None:
    overrides = (OWN[0], OWN[2], "train.batch_size=16")
    (member,) = plan_sweep("digits", (), (0,), method="bp", epochs=3, overrides=overrides).members
    task = Task(member.identity, member.stored, Path("here"))
    earlier(task)
    before = (task.folder / "run.h5").read_bytes()
    write(Path("mine.npz"), 2, **other)
    outcome = attempt(task)
    assert outcome.error is not None and outcome.error.type == OtherSamplesError.__name__
    assert "samples" in str(outcome.error) and "\n" not in str(outcome.error)
    assert (task.folder / "run.h5").read_bytes() == before
    write(Path("mine.npz"), 1)
    assert attempt(task).error is None and read_run(task.folder).complete


def test_an_attempt_that_does_not_fit_is_begun_again_and_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    task = own_task(Path("here"), epochs=3)
    interrupted(task)
    run = read_run(task.folder)
    run.continuation.pop("forward.first.W0")
    write_run(task.folder, run)
    assert attempt(task).error is None and read_run(task.folder).complete
    (line,) = capsys.readouterr().err.splitlines()
    assert "lacks 'continuation/forward.first.W0'" in line and line.endswith(": it is kept as run-1.h5 and begun again")


def test_a_sweep_takes_no_finished_run_of_other_samples_for_these() -> None:
    sweep = plan_sweep("digits", (), (0,), method="bp", epochs=1, overrides=OWN)
    list(run_sweep(sweep, Path("here"), workers=1))
    write(Path("mine.npz"), 2)
    more = plan_sweep("digits", (), (0, 1), method="bp", epochs=1, overrides=OWN)
    before = Path("here/sweep.json").read_bytes()
    for look in (lambda: list(run_sweep(more, Path("here"), workers=1)), lambda: done(more, Path("here"))):
        with pytest.raises(OtherSamplesError, match="holds a run that learned other samples of mine.npz"):
            look()
    assert Path("here/sweep.json").read_bytes() == before
    Path("mine.npz").unlink()
    # They may be where the workers are.
    (result,) = run_sweep(sweep, Path("here"), workers=1)
    assert result.already


def test_a_search_does_not_go_on_with_other_samples() -> None:
    search = Search("digits", ("optimizer.learning_rate=1e-3..1e-1",), OWN, method="bp", epochs=1)
    tune(search, Path("here"), 1, workers=1)
    write(Path("mine.npz"), 2)
    with pytest.raises(OtherSamplesError, match="here holds a search on other samples .*: choose another folder"):
        tune(search, Path("here"), 2, workers=1)
    (run,) = Path("here").glob("*/run.h5")
    run.unlink()
    with pytest.raises(StorageError, match="lacks the run of trial 1, the best so far: choose another folder"):
        tune(search, Path("here"), 2, workers=1)


def test_what_another_process_finishes_on_other_samples_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    task = own_task(Path("here"))
    write(Path("theirs.npz"), 2)
    others = Path("others")
    others.mkdir()
    Path("theirs.npz").rename(others / "mine.npz")

    @contextmanager
    def late(folder: Path, *, replace: bool) -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr("controlnet.studies.tasks.claim_folder", claim_folder)
            mine = Path("mine.npz").rename("aside.npz")
            perform(task.stored, task.folder, data_dir=others)
            mine.rename("mine.npz")
        with claim_folder(folder, replace=replace):
            yield

    monkeypatch.setattr("controlnet.studies.tasks.claim_folder", late)
    outcome = attempt(task)
    assert outcome.error is not None and outcome.error.type == OtherSamplesError.__name__


def test_fewer_samples_than_the_settings_ask_for_are_others() -> None:
    task = own_task(Path("here"))
    whole(task)
    write(Path("mine.npz"), 1, samples=40)
    with pytest.raises(OtherSamplesError):
        finished(task.folder, task.stored, Samples())


def test_the_folder_of_the_data_counts() -> None:
    task = own_task(Path("here"))
    for folder, seed in (("one", 1), ("two", 2)):
        Path(folder).mkdir()
        write(Path(folder, "mine.npz"), seed)
    Path("mine.npz").unlink()
    perform(task.stored, task.folder, data_dir=Path("one"))
    assert finished(task.folder, task.stored, Samples(Path("one")))
    with pytest.raises(OtherSamplesError):
        finished(task.folder, task.stored, Samples(Path("two")))


def test_what_cannot_change_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = small_tasks(Path("here"), (0,))
    whole(task)
    monkeypatch.setattr("controlnet.studies.samples.dataset_of", None)
    assert finished(task.folder, task.stored, Samples())


def test_runs_tell_what_they_learned() -> None:
    runs = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(Path("mine.npz"), seed)
        task = own_task(Path(name))
        whole(task)
        runs.append(read_run(task.folder))
    assert "samples" not in compare(runs[:2]).machine
    assert compare(runs[1:]).machine["samples"] == [run.provenance["samples"] for run in runs[1:]]
    (another,) = small_tasks(Path("seeds"), (1,), overrides=OWN)
    whole(another)
    assert "samples" in compare([*runs, read_run(another.folder)]).machine
    assert all(len(run.provenance["samples"]) == 16 for run in runs)
    one, other = small_tasks(Path("seeds"), (0, 1))
    whole(one)
    whole(other)
    assert "samples" not in compare([read_run(one.folder), read_run(other.folder)]).machine


# --- where they are looked for


def test_workers_elsewhere_need_a_path_from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path | None] = []
    monkeypatch.setattr("controlnet.studies._cluster.cluster", lambda *_: pytest.MonkeyPatch.context())
    monkeypatch.setattr(
        "controlnet.studies._cluster.on_cluster", lambda client, tasks, place: opened.append(place) or iter(())
    )
    task = own_task(Path("here"))
    with pytest.raises(ConfigError, match="data.name: expected a path from the root, .* got 'mine.npz'"):
        list(run_tasks([task], scheduler="tcp://127.0.0.1:8786"))
    assert opened == []
    with engines.engine(1, scheduler="tcp://127.0.0.1:8786", data_dir=Path("data")) as do:
        do([task])
    assert opened == [Path("data").absolute()]


def test_the_home_folder_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("home").absolute()
    home.mkdir()
    write(home / "mine.npz", 1)
    Path("mine.npz").unlink()
    monkeypatch.setenv("HOME", str(home))
    for place in ("data_dir", "variable"):
        task = own_task(Path(place))
        if place == "variable":
            monkeypatch.setenv("CONTROLNET_DATA", "~")
        (outcome,) = run_tasks([task], workers=1, data_dir=Path("~") if place == "data_dir" else None)
        assert outcome.error is None


@pytest.mark.parametrize("name", ["~nobody-of-this-name/mine.npz", "mine.npz"])
def test_the_home_of_an_unknown_user_is_one_line(name: str) -> None:
    Path("mine.npz").unlink()
    (task,) = small_tasks(Path("here"), (0,), overrides=(f"data.name={name}", *OWN[1:]))
    with pytest.raises(DataError, match="no home folder for ~nobody-of-this-name"):
        perform(task.stored, task.folder, data_dir=Path("~nobody-of-this-name"))
