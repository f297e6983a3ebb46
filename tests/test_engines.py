"""Engines: the same bits wherever a task is done, and every task is done whoever dies."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import h5py
import pytest
from distributed import LocalCluster
from storage_runs import failing
from sweep_runs import DIVERGING, all_ended, learned, small_tasks, workers_of

from controlnet.errors import ConfigError, LearningDivergedError, UnreadableError
from controlnet.storage import claim_folder, read_run
from controlnet.studies import _cluster
from controlnet.studies.engines import check_scheduler, is_open, run_tasks
from controlnet.studies.tasks import Outcome, Task, attempt, finished, identity, perform

Engine = dict[str, Any]
PROCESSES: Engine = {"workers": 2}
CLUSTER: Engine = {"workers": 2, "scheduler": "local"}


def mixed(folder: Path) -> list[Task]:
    """Give two tasks that can be done, one that diverges, and one whose folder is taken by other files."""
    good = small_tasks(folder, (0, 1))
    (bad,) = small_tasks(folder, (0,), epochs=2, overrides=[DIVERGING])
    (taken,) = small_tasks(folder, (2,))
    taken.folder.mkdir(parents=True, exist_ok=True)
    (taken.folder / "mine.txt").touch()
    return [bad, taken, *good]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Do the mixed tasks in this process."""
    return list(run_tasks(mixed(tmp_path_factory.mktemp("alone")), workers=1))


@pytest.fixture
def running() -> Iterator[str]:
    """Give the address of a scheduler that others have started."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


def assert_like_alone(outcomes: list[Outcome], alone: list[Outcome]) -> None:
    expected = {outcome.task.identity: outcome for outcome in alone}
    assert {outcome.task.identity for outcome in outcomes} == set(expected)
    assert len(outcomes) == len(expected)
    for task, summary, error in outcomes:
        other = expected[task.identity]
        assert (error and error.type) == (other.error and other.error.type)
        if summary is not None:
            assert learned(task.folder) == learned(other.task.folder)
            assert finished(task.folder, task.stored) == summary


def test_errors_are_outcomes(alone: list[Outcome]) -> None:
    bad, taken, *good = alone
    assert bad.error is not None and bad.error.type == LearningDivergedError.__name__ and bad.error.diverged
    assert "take a smaller" in str(bad.error)
    assert taken.error is not None and taken.error.type == "StorageError" and not taken.error.diverged
    assert all(outcome.error is None and outcome.summary is not None for outcome in good)


@pytest.mark.parametrize("engine", [PROCESSES, CLUSTER], ids=["processes", "cluster"])
def test_the_bits_do_not_depend_on_the_engine(engine: Engine, alone: list[Outcome], tmp_path: Path) -> None:
    tasks = mixed(tmp_path)
    assert_like_alone(list(run_tasks(tasks, **engine)), alone)
    blas = read_run(tasks[-1].folder).provenance["blas"]
    assert blas and all(library["num_threads"] == 1 for library in blas)
    assert all_ended(workers_of(os.getpid()))


def test_a_running_scheduler_does_tasks_too(
    running: str, alone: list[Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # its workers have been started elsewhere
    assert_like_alone(list(run_tasks(mixed(Path("here")), scheduler=running)), alone)


@pytest.mark.parametrize("engine", [PROCESSES, CLUSTER], ids=["processes", "cluster"])
def test_killed_workers_are_replaced(engine: Engine, tmp_path: Path) -> None:
    tasks = small_tasks(tmp_path, range(4), epochs=12)
    outcomes = run_tasks(tasks, **engine)
    first = next(outcomes)
    killed = workers_of(os.getpid())
    assert len(killed) == 2
    for worker in killed:
        worker.kill()
    rest = list(outcomes)
    assert [outcome.error for outcome in (first, *rest)] == [None] * 4
    assert all(finished(task.folder, task.stored) for task in tasks)


def test_a_task_that_kills_its_worker_takes_no_other_with_it(tmp_path: Path) -> None:
    class Poison:
        """A folder at which a worker dies as soon as it reads it."""

        def absolute(self) -> Poison:
            return self

        def __reduce__(self) -> tuple[Callable[..., Any], tuple[int]]:
            return os._exit, (1,)

    good = small_tasks(tmp_path, (0, 1))
    poisoned = Task("poison", {}, Poison())  # type: ignore[arg-type]
    outcomes = {outcome.task.identity: outcome for outcome in run_tasks([poisoned, *good], workers=2)}
    assert outcomes["poison"].error is not None
    assert outcomes["poison"].error.type == "WorkerDied" and "3 times" in outcomes["poison"].error.message
    assert all(outcomes[task.identity].error is None for task in good)


def test_closing_an_engine_ends_its_workers(tmp_path: Path) -> None:
    tasks = small_tasks(tmp_path, range(4), epochs=2000)
    tasks[1:2] = small_tasks(tmp_path, (9,))
    outcomes = run_tasks(tasks, workers=2)
    next(outcomes)
    workers = workers_of(os.getpid())
    assert workers
    outcomes.close()  # type: ignore[attr-defined]
    assert all_ended(workers)
    assert not any(finished(task.folder, task.stored) for task in tasks[2:])


def test_a_folder_that_is_held_is_waited_for(tmp_path: Path) -> None:
    (task,) = small_tasks(tmp_path, (0,))
    outcomes: list[Outcome] = []
    with claim_folder(task.folder):
        waiting = Thread(target=lambda: outcomes.append(attempt(task)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and not outcomes
    waiting.join()
    assert outcomes[0].error is None


def test_what_another_process_finishes_before_the_folder_is_held_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = small_tasks(tmp_path, (0,))
    outcomes: list[Outcome] = []

    @contextmanager
    def late(folder: Path, *, replace: bool) -> Iterator[Path]:
        with monkeypatch.context() as patched:
            patched.setattr("controlnet.studies.tasks.claim_folder", claim_folder)
            outcomes.append(attempt(task))
        with claim_folder(folder, replace=replace) as held:
            yield held

    monkeypatch.setattr("controlnet.studies.tasks.claim_folder", late)
    outcomes.append(attempt(task))
    before, after = outcomes
    assert before.summary is not None and before == after


def test_a_finished_task_is_not_done_again(tmp_path: Path) -> None:
    (task,) = small_tasks(tmp_path, (0,))
    summary = perform(task.stored, task.folder)
    before = (task.folder / "run.h5").stat().st_mtime_ns
    assert perform(task.stored, task.folder) == summary
    assert (task.folder / "run.h5").stat().st_mtime_ns == before


def test_a_damaged_or_foreign_run_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    task, other = small_tasks(tmp_path, (0, 1))
    perform(other.stored, task.folder)
    assert finished(task.folder, task.stored) is None
    perform(task.stored, task.folder)
    file = task.folder / "run.h5"
    damaged = file.read_bytes()[:-100]
    file.write_bytes(damaged)
    assert finished(task.folder, task.stored) is None
    assert attempt(task).error is None
    assert identity(read_run(task.folder).settings) == task.identity
    assert identity(read_run(task.folder / "run-1.h5").settings) == other.identity
    assert (task.folder / "run-2.h5").read_bytes() == damaged


def test_a_run_that_is_begun_again_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (task,) = small_tasks(tmp_path, (0,))
    task.folder.mkdir()
    (task.folder / "run.h5").write_bytes(b"no run")
    perform(task.stored, task.folder)
    assert f"{task.folder / 'run.h5'} is no whole run of these settings: it is kept as run-1.h5" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("words", ["newer schema 1000", "cannot read"])
def test_a_run_that_may_be_whole_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    (task,) = small_tasks(tmp_path, (0,))
    perform(task.stored, task.folder)
    file = task.folder / "run.h5"
    if "schema" in words:
        with h5py.File(file, "r+") as run:
            run.attrs["schema"] = 1000
    else:
        monkeypatch.setattr("pathlib.Path.open", failing(errno.EACCES))
    before = file.stat()
    with pytest.raises(UnreadableError, match=words):
        finished(task.folder, task.stored)
    failure = attempt(task).error
    assert failure is not None and words in failure.message
    assert (file.stat().st_mtime_ns, file.stat().st_size) == (before.st_mtime_ns, before.st_size)


def test_nothing_to_do_starts_nothing() -> None:
    assert list(run_tasks([], workers=2)) == []
    assert list(run_tasks([], scheduler="tcp://nowhere:1")) == []


@pytest.mark.parametrize(
    "address", ["", "x", "tcp://", "tcp://host", "http://host:80", "tcp://host:99999", "tcp://[::1", "Local"]
)
def test_a_scheduler_needs_an_address(address: str) -> None:
    with pytest.raises(ConfigError, match="expected local, tcp://host:port or tls://host:port"):
        check_scheduler(address)


def test_a_scheduler_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_cluster, "CONNECT_TIMEOUT", 0.2)
    with pytest.raises(ConfigError, match="tcp://127.0.0.1:1: cannot connect"):
        list(run_tasks(small_tasks(tmp_path, (0,)), scheduler="tcp://127.0.0.1:1"))


def test_what_does_not_greet_as_a_scheduler_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_cluster, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(_cluster, "GREETING_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConfigError, match="does not answer as a Dask scheduler does: check the address"):
            list(run_tasks(small_tasks(tmp_path, (0,)), scheduler=address))


def test_without_dask_a_scheduler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cluster, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"install controlnet\[cluster\]"):
        check_scheduler("local")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("local", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("tls://head:8786", False),
        ("tcp://head:8786", True),
        ("tcp://10.0.0.1:8786", True),
    ],
)
def test_what_is_open_to_others(address: str, expected: bool) -> None:
    assert is_open(address) is expected
