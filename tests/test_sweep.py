"""`controlnet sweep`: what it runs, what it reports, and that what is finished stays so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from click.testing import CliRunner, Result
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from sweep_runs import DIVERGING, TINY, all_ended, fingerprints, small_tasks, workers_of

from controlnet._commands._sweep_report import _seconds, show_plan, show_sweep
from controlnet.cli import main
from controlnet.errors import ConfigError, StorageError
from controlnet.experiments import resolve, to_store
from controlnet.experiments._assignments import split
from controlnet.storage import Run, write_run
from controlnet.studies import sweep_list
from controlnet.studies.grid import read_axis, read_grid, read_seeds
from controlnet.studies.sweep import Member, Sweep, plan_sweep, rows
from controlnet.studies.sweep import Result as SweepResult
from controlnet.studies.sweep_list import LIST_FILE, LOCK_FILE, write_list
from controlnet.studies.tasks import attempt, finished, identity

SMALL = ("digits", "-m", "bp", *(part for text in TINY for part in ("--set", text)), "--epochs", "1")
RATES = ("--grid", "optimizer.learning_rate=1e-3,2e-3")
STORED = {"data": {"name": "digits"}}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTROLNET_DATA", raising=False)


def call(*arguments: str, code: int = 0) -> Result:
    """Call the command in this process, on one worker unless it says otherwise."""
    result = CliRunner().invoke(main, ["sweep", "--workers", "1", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stderr
    return result


def tasks_of(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = json.loads(call(*SMALL, *arguments, "--json", "-q", code=code).stdout)["tasks"]
    return tasks


# --- what is asked for

scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=5),
)
tables = st.dictionaries(st.sampled_from("abc"), scalars, max_size=3)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.lists(st.lists(scalars, max_size=2), max_size=2), tables)


def written(value: Any) -> str:
    text = " ".join(tomli_w.dumps({"value": [value]}).partition("=")[2].split("\n")).strip()[1:-1].rstrip(" ,")
    assert tomllib.loads(f"value = {text}")["value"] == value
    return text


@given(st.lists(values, min_size=1, max_size=4))
def test_any_values_of_toml_are_read_back(expected: list[Any]) -> None:
    choices = read_axis("a.b = " + ",".join(map(written, expected)))
    assert [choice.value for choice in choices] == expected
    assert {choice.path for choice in choices} == {"a.b"}


@given(st.text(st.sampled_from("a,[]{}\"'\\ "), max_size=12))
def test_what_is_split_is_the_text_again(text: str) -> None:
    try:
        parts = split(text, "--grid")
    except ConfigError:
        return
    assert ",".join(parts) == text


@given(st.integers(0, 10**6), st.integers(1, 50), st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=5))
def test_seeds_are_ranges_and_lists(first: int, number: int, listed: list[int]) -> None:
    assert read_seeds(f"{first}:{first + number}") == tuple(range(first, first + number))
    assert read_seeds(",".join(map(str, listed))) == tuple(dict.fromkeys(listed))


def test_words_need_no_quotes_and_the_last_setting_runs_fastest() -> None:
    points = read_grid(["controller.kind=pi,'pid'", "network.hidden=[64],[64,32]"])
    found = [tuple(choice.value for choice in point) for point in points]
    assert found == list(product(["pi", "pid"], [[64], [64, 32]]))
    assert read_grid([]) == [()]


def test_a_table_may_be_set_beside_what_it_does_not_name() -> None:
    overrides = (*TINY, "optimizer={kind='sgd'}", "train={batch_size=8}")
    plan = plan_sweep("digits", ["optimizer.learning_rate=0.1,0.2"], method="bp", epochs=3, overrides=overrides)
    for member, rate in zip(plan.members, (0.1, 0.2), strict=True):
        optimizer, train = member.stored["optimizer"], member.stored["train"]
        assert (optimizer["kind"], optimizer["learning_rate"]) == ("sgd", rate)
        assert (train["epochs"], train["batch_size"]) == (3, 8)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--grid", "k_p"], "expected a.b=value,value"),
        (["--grid", "=1"], "expected a.b=value,value"),
        (["--grid", "a..b=1"], "expected a.b=value,value"),
        (["--grid", "controller.k_p="], "expected a value before and after each comma"),
        (["--grid", "controller.k_p=1,,2"], "expected a value before and after each comma"),
        (["--grid", "network.hidden=[64,32"], "without its counterpart"),
        (["--grid", "network.hidden=64],[32"], "without its counterpart"),
        (["--grid", "objective.loss='mse"], "without its counterpart"),
        (["--grid", "controller.kp=1"], "controller.kp: unknown setting; did you mean 'k_p'?"),
        (["--grid", "controller.k_p=1,-1"], "controller.k_p: expected"),
        (["--grid", "controller.k_p=1,big"], "controller.k_p: expected"),
        (["--grid", "controller.k_p=1", "--grid", "controller.k_p=2"], "given by --grid and by another --grid"),
        (["--grid", "controller.k_p=1", "--set", "controller . k_p=2"], "given by --grid and by --set"),
        (["--grid", "method=dfc,bp", "--method", "bp"], "method: given by --grid and by --method"),
        (["--grid", "seed=1,2", "--seeds", "0:2"], "seed: given by --grid and by --seeds"),
        (["--grid", "train.epochs=1,2", "--epochs", "3"], "train.epochs: given by --grid and by --epochs"),
        (
            ["--grid", "train={epochs=1},{epochs=2}", "--epochs", "3"],
            "train: given by --grid, and train.epochs by --epochs: expected one of them",
        ),
        (
            ["--grid", "network.hidden=[2],[3]", "--grid", "network={hidden=[8]},{hidden=[6]}"],
            "network.hidden: given by --grid, and network by another --grid",
        ),
        (
            ["--grid", "optimizer={kind='sgd'},{kind='adam'}", "--set", "optimizer.learning_rate=0.5"],
            "optimizer: given by --grid, and optimizer.learning_rate by --set",
        ),
        (
            ["--grid", "optimizer.learning_rate=0.1,0.2", "--set", "optimizer={kind='sgd', learning_rate=1}"],
            "optimizer.learning_rate: given by --grid and by --set",
        ),
        (["--set", "seed=7", "--seeds", "0:2"], "seed: given by --seeds and by --set"),
        (["--set", "method=bp", "--method", "dfc"], "method: given by --method and by --set"),
        (["--set", "train={epochs=8}", "--epochs", "3"], "train.epochs: given by --epochs and by --set"),
        (["--grid", "experiment=a,b"], "expected a.b=value,value"),
        (["--grid", "experiment.name=a,b"], "expected a.b=value,value"),
        (["--grid", "data.name=digits,digitz"], "data.name: expected one of digits, mnist"),
        (
            ["--grid", "train.batch_size=32,64", "--set", "data.train_samples=48"],
            "train.batch_size: expected at most the 48 training samples, got 64",
        ),
        (
            ["--grid", "network.soma=dynamic,instantaneous", "--set", "network.transmission=delayed"],
            "an instantaneous soma needs instantaneous transmission",
        ),
        (["--seeds", "5:5"], "expected 1 to 10000 seeds, got 0"),
        (["--seeds", "0:99999"], "expected 1 to 10000 seeds, got 99999"),
        *((["--seeds", text], "expected seeds such as 4, 0:5") for text in ("", "a", "-1", "0:2:3", "1,", "1_0", "٣")),
        (["--set", "nothing=1"], "nothing: unknown setting"),
        (["--scheduler", "head:8786"], "expected local, tcp://host:port"),
        (["--scheduler", "tcp://127.0.0.1:8786"], "--workers: a running scheduler has its own workers"),
    ],
)
def test_a_bad_sweep_is_one_line_and_runs_nothing(arguments: list[str], expected: str) -> None:
    result = call("digits", *arguments, code=2)
    assert result.stdout == "" and result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ") and expected in result.stderr
    assert not list(Path().iterdir())


def test_an_open_scheduler_is_warned_of() -> None:
    result = CliRunner().invoke(main, ["sweep", *SMALL, "--scheduler", "tcp://head:8786", "--dry-run"])
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1 and "can run code on the workers" in result.stderr


def test_settings_that_only_begin_alike_are_given_once_each() -> None:
    sweep = plan_sweep(
        "digits",
        ["network.feedback=random,weight-product", "optimizer.learning_rate=0.1,0.2"],
        epochs=2,
        overrides=["network.feedback_noise=0.1", "optimizer.kind=sgd", "train.batch_size=8"],
    )
    assert len(sweep.members) == 4 and sweep.repeated == 0


def test_a_table_and_then_one_of_its_settings_may_be_set_as_in_a_run() -> None:
    overrides = ["optimizer={kind='sgd', momentum=0.5}", "optimizer.momentum=0.25", "optimizer.momentum=0.125"]
    (member,) = plan_sweep("digits", method="bp", overrides=overrides).members
    assert member.stored["optimizer"]["momentum"] == 0.125
    assert member.stored == to_store(resolve("digits", method="bp", overrides=["train.compare_with=[]", *overrides]))


# --- which tasks these are


def test_a_task_is_known_by_its_settings_alone(tmp_path: Path) -> None:
    for name in ("one.toml", "two.toml"):
        (tmp_path / name).write_text("method = 'bp'\n[optimizer]\nkind = 'sgd'\n")
    one, two = (plan_sweep(name, ["optimizer.learning_rate=0.5,5e-1"], (0, 1)) for name in ("one.toml", "two.toml"))
    assert [member.identity for member in one.members] == [member.identity for member in two.members]
    assert len({member.identity for member in one.members}) == len(one.members) == one.repeated == 2
    stored = one.members[0].stored
    assert identity(json.loads(json.dumps(stored))) == identity(dict(reversed(stored.items()))) == identity(stored)
    other = plan_sweep("one.toml", ["optimizer.learning_rate=0.25"], (0,)).members[0]
    assert other.identity not in {member.identity for member in one.members}


@pytest.mark.parametrize("compared", ["[]", '["dfa"]'])
def test_members_are_what_resolve_gives(compared: str) -> None:
    override = f"train.compare_with={compared}"
    sweep = plan_sweep("digits", ["method=bp,dfc-ssa", "train.batch_size=16,32"], (3, 5), overrides=[override])
    wanted = product(("bp", "dfc-ssa"), (16, 32), (3, 5))
    expected = [
        to_store(resolve("digits", method=method, seed=seed, overrides=[override, f"train.batch_size={size}"]))
        for method, size, seed in wanted
    ]
    assert [member.stored for member in sweep.members] == expected
    assert [member.seed for member in sweep.members] == [3, 5] * 4
    assert sweep.members[0].values == {"method": "bp", "train.batch_size": 16}
    assert sweep.method is None


def test_what_is_not_given_is_the_experiments() -> None:
    (member,) = plan_sweep("digits", method="bp").members
    plain = to_store(resolve("digits", method="bp", overrides=["train.compare_with=[]"]))
    assert (member.stored, member.seed, member.values) == (plain, 0, {})
    assert [member.seed for member in plan_sweep("digits", ["seed=4,2"]).members] == [4, 2]


# --- what comes out


def test_finished_runs_are_kept_and_counted() -> None:
    first = call(*SMALL, *RATES, "--seeds", "0:2")
    assert "finished: 4 of 4 runs, 0 of them" in first.stdout and "runs: sweeps/digits" in first.stdout
    assert [line.startswith(f"sweep: {k}/4 ") for k, line in enumerate(first.stderr.splitlines(), 1)] == [True] * 4
    folder = Path("sweeps/digits")
    before = fingerprints(folder)
    assert len(before) == 4
    second = call(*SMALL, "--grid", "optimizer.learning_rate=2e-3,3e-3", "--seeds", "0:2")
    assert "finished: 4 of 4 runs, 2 of them were there already" in second.stdout
    assert second.stderr.startswith("sweep: 2 of 4 runs are there already\n")
    after = fingerprints(folder)
    assert len(after) == 6 and {name: after[name] for name in before} == before
    listed = json.loads((folder / "sweep.json").read_text())["tasks"]
    assert {entry["identity"] for entry in listed} == set(after)
    assert {(entry["values"]["optimizer.learning_rate"], entry["seed"]) for entry in listed} == set(
        product((1e-3, 2e-3, 3e-3), (0, 1))
    )


def entry(identity: str, **values: Any) -> dict[str, Any]:
    return {"identity": identity, "experiment": "digits", "values": values, "seed": 0}


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    tasks = json.loads((folder / LIST_FILE).read_text())["tasks"]
    return {task["identity"]: task["values"] for task in tasks}


def test_sweeps_into_one_folder_at_once_lose_no_entry(tmp_path: Path) -> None:
    for turn in range(3):
        folder = tmp_path / f"{turn}"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name, folder=folder: write_list(folder, [entry(name, a=name)]), "abcdefgh"))
        assert listed(folder) == {name: {"a": name} for name in "abcdefgh"}
        assert os.listdir(folder) == [LIST_FILE]


def test_what_a_killed_sweep_held_is_free_and_what_a_living_one_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK_FILE).touch()
    write_list(tmp_path, [entry("a")])
    monkeypatch.setattr(sweep_list, "PATIENCE", 0.1)
    with FileLock(tmp_path / LOCK_FILE), pytest.raises(StorageError, match="in use by another sweep"):
        write_list(tmp_path, [entry("b")])
    write_list(tmp_path, [entry("c")])
    assert set(listed(tmp_path)) == {"a", "c"}


def test_the_values_of_a_task_stay_when_another_sweep_says_them_otherwise(tmp_path: Path) -> None:
    write_list(tmp_path, [entry("a", rate=0.1), entry("b", rate=0.2)])
    write_list(tmp_path, [entry("a"), entry("b", size=8)])
    assert listed(tmp_path) == {"a": {"rate": 0.1}, "b": {"rate": 0.2, "size": 8}}


@pytest.mark.parametrize("settings", [{"peers": 5}, {"peers": {"bp": 5}}, {}, {"method": None}])
def test_a_file_of_somebody_else_is_no_finished_run(settings: dict[str, Any], tmp_path: Path) -> None:
    (task,) = small_tasks(tmp_path, [0])
    task.folder.mkdir()
    write_run(task.folder, Run(settings=settings, seed=0, complete=True))
    assert finished(task.folder, task.stored) is None
    assert attempt(task).summary and finished(task.folder, task.stored)


def test_json_is_one_object() -> None:
    tasks = tasks_of("--seeds", "4", "--out", "here")
    assert [(task["values"], task["seed"], task["already"]) for task in tasks] == [({}, 4, False)]
    assert 0 <= tasks[0]["summary"]["test_error_percent"] <= 100
    assert Path("here", tasks[0]["identity"], "run.h5").is_file()
    assert tasks_of("--seeds", "4", "--out", "here")[0]["already"]


def test_dry_run_says_what_there_is_to_do() -> None:
    shown = call(*SMALL, *RATES, "--dry-run").stdout
    assert shown.count("to run") == 2 and not list(Path().iterdir())
    tasks_of("--out", "here")
    (task,) = tasks_of("--out", "here", "--dry-run")
    assert task["finished"] and identity(task["settings"]) == task["identity"]


def test_a_diverging_point_is_reported_and_the_others_are_run() -> None:
    grid = ("--grid", f"{DIVERGING},1e-3", "--grid", "train.epochs=2", "--seeds", "0:2", "--out", "here")
    arguments = [each for each in SMALL if each not in ("--epochs", "1")]
    shown = call(*arguments, *grid, code=3).stdout
    assert "0/2 (2 failed)" in shown and "2/2" in shown
    assert shown.count("LearningDivergedError") == 0 and shown.count("take a smaller optimizer.learning_rate") == 2
    tasks = json.loads(call(*arguments, *grid, "--json", code=3).stdout)["tasks"]
    assert [task.get("error", {}).get("type") for task in tasks] == ["LearningDivergedError"] * 2 + [None] * 2
    assert [task.get("already") for task in tasks] == [None, None, True, True]


def test_other_errors_end_with_2_and_fail_fast_stops() -> None:
    grid = ("--grid", "diagnostics.samples=8,4", "--set", "data.train_samples=99999")
    arguments = [each for each in SMALL if "train_samples" not in each]
    arguments.remove("--set")
    tasks = json.loads(call(*arguments, *grid, "--json", code=2).stdout)["tasks"]
    assert ["error" in task for task in tasks] == [True, True]
    result = call(*arguments, *grid, "--fail-fast", code=2)
    assert "not run: 1; the same command runs them" in result.stdout
    assert result.stdout.count("expected at most") == 1


def test_a_folder_that_cannot_be_used_is_one_line() -> None:
    Path("file").touch()
    assert "a file is in the way" in call(*SMALL, "--out", "file/here", code=2).stderr
    Path("here").mkdir()
    Path("here/sweep.json").write_text("[1]")
    assert "is not the list of a sweep" in call(*SMALL, "--out", "here", code=2).stderr
    assert os.listdir("here") == ["sweep.json"]


def test_rows_are_means_over_the_seeds() -> None:
    members = [Member(f"{k}", {"a.b": k // 3}, k % 3, STORED) for k in range(6)]
    summaries = [{"test_loss": float(k), "test_error_percent": None, "seconds": 1.0} for k in range(4)]
    results = [SweepResult(*each) for each in zip(members, summaries, strict=False)]
    first, second = rows(Sweep("x", "bp", tuple(members)), results)
    assert (first.wanted, first.finished, first.failed) == (3, 3, 0)
    assert first.figures["test_loss"] == (1.0, 1.0) and "test_error_percent" not in first.figures
    assert second.figures["test_loss"] == (3.0, None) and second.finished == 1


AXES: dict[str, list[Any]] = {
    "optimizer.learning_rate": [0.001, 0.002],
    "network.hidden": [[64], [32]],
    "network.activation": ["tanh", "relu"],
}


def swept(points: list[dict[str, Any]], kind: str = "error_percent") -> tuple[Sweep, list[SweepResult]]:
    """Give a sweep with two seeds and figures of many digits."""
    members = tuple(
        Member(f"{2 * k + seed:016x}", point, seed, STORED) for k, point in enumerate(points) for seed in (0, 1)
    )
    figures = {f"test_{kind}": 12.345, f"validation_{kind}": 11.25, "train_loss": 0.003157}
    results = [
        SweepResult(member, {name: value * (1 + k / 7) for name, value in figures.items()} | {"seconds": 4321.0 + k})
        for k, member in enumerate(members)
    ]
    return Sweep("digits", "bp", members), results


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """Give the headings of a table that was printed, and its lines."""
    lines = capsys.readouterr().out.splitlines()
    (rule,) = (k for k, line in enumerate(lines) if set(line.strip()) == {"─"})
    end = next(k for k, line in enumerate(lines) if k > rule and not line.strip())
    return lines[rule - 1], lines[rule + 1 : end]


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("kind", ["error_percent", "loss"])
def test_rows_can_be_told_apart_on_any_terminal(
    number: int, columns: int, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    points = [dict(zip(AXES, point, strict=False)) for point in product(*list(AXES.values())[:number])]
    expected = [[str(value) for value in point.values()] for point in points]
    sweep, results = swept(points, kind)
    show_sweep(sweep, results, Path("here"))
    headings, lines = printed(capsys)
    assert [line.split()[: number + 1] for line in lines] == [[*values, "2/2"] for values in expected]
    assert {"learning_rate", "runs", "test"} <= set(headings.split())
    assert (headings.split()[-1] == "s") == (columns == 120 or (columns == 80 and number == 1))
    assert max(map(len, lines)) <= columns

    show_plan(sweep, dict.fromkeys((member.identity for member in sweep.members), False), Path("here"))
    headings, lines = printed(capsys)
    named = headings.split()[0] == "run"
    assert named or (columns, number) == (60, 3)
    seeded = [[*values, str(seed)] for values in expected for seed in (0, 1)]
    assert [line.split()[named : named + number + 1] for line in lines] == seeded
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_long_values_are_folded_but_whole(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    tables = [{"kind": "sgd", "learning_rate": rate, "momentum": 0.9, "weight_decay": 0.0001} for rate in (0.1, 0.2)]
    show_sweep(*swept([{"optimizer": table} for table in tables]), Path("here"))
    headings, lines = printed(capsys)
    left = "".join(line[: headings.index("runs")] for line in lines)
    assert "".join(left.split()) == "".join("".join(json.dumps(table).split()) for table in tables)
    assert ("valid." in headings) == (columns >= 60), "figures go before legible values only"
    assert max(map(len, lines)) <= columns


def test_seconds_have_three_digits() -> None:
    assert [_seconds(value) for value in (0.71949, 33.5943, 1233.5943, 98765.4)] == ["0.719", "33.6", "1230", "98800"]


# --- when it is stopped


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_sweep_leaves_no_process_and_is_resumed(how: signal.Signals) -> None:
    arguments = [*SMALL[:-1], "90", "--seeds", "0:9", "--workers", "2", "--out", "here"]
    # As from a shell in the foreground: what a runner in the background ignores is heeded, and in a group of its own.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", "controlnet.cli", "sweep", *arguments]
    started = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True, preexec_fn=heed)
    with started as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("sweep: 1/9 ")
        workers = workers_of(process.pid)
        os.killpg(process.pid, how) if how == signal.SIGINT else process.kill()
        out, err = process.communicate(timeout=30)
    assert workers and all_ended(workers)
    before = fingerprints(Path("here"))
    assert 1 <= len(before) < 9
    if how == signal.SIGINT:
        assert (process.returncode, out, err.splitlines()[-1][:19]) == (130, "", "Error: interrupted:")
        assert "the same command goes on with the rest" in err and "Traceback" not in err
    resumed = call(*arguments, "--workers", "1")
    assert f"finished: 9 of 9 runs, {len(before)} of them were there already" in resumed.stdout
    after = fingerprints(Path("here"))
    assert len(after) == 9 and {name: after[name] for name in before} == before
