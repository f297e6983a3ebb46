"""The command line: what it prints where, its exit codes, and that every error is one line."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import requests
import tomli_w
from click.testing import CliRunner, Result
from idx_files import idx

from controlnet import __version__, _display
from controlnet import cli as cli_module
from controlnet._commands.options import echo_json
from controlnet.cli import main
from controlnet.experiments import METHODS, resolve
from controlnet.experiments import training as training_module
from controlnet.storage import Run, read_run, write_run

SMALL = ("-m", "bp", "--set", "network.hidden=[4]", "--set", "train.compare_with=[]")
ONE = (*SMALL, "--epochs", "1")
SUMMARY = {"experiment", "method", "seed", "test_error_percent", "validation_error_percent", "train_loss", "run"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, without a data folder, an own cache or the network."""

    def refuse(*args: object, **options: object) -> None:
        raise requests.exceptions.ConnectionError("name or service not known")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTROLNET_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setattr(requests, "get", refuse)


def call(*arguments: str, **options: Any) -> Result:
    """Call the command line in this process; errors that it should have caught come out."""
    result = CliRunner().invoke(main, [*arguments], **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def done(*arguments: str, **options: Any) -> Result:
    result = call(*arguments, **options)
    assert result.exit_code == 0, result.stderr
    return result


def failed(*arguments: str, code: int = 2, quiet: bool = True) -> str:
    """Give the one line with which a command fails."""
    result = call(*arguments, *(["--quiet"] if quiet and arguments[0] == "run" else []))
    assert result.exit_code == code
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0].removeprefix("Error: ")


# --- run


def test_json_holds_no_number_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"a": [math.inf, 1.5, (math.nan,)], "b": {"c": -math.inf}, "path": Path("x")})
    assert capsys.readouterr().out == '{"a": [null, 1.5, [null]], "b": {"c": null}, "path": "x"}\n'


def test_a_terminal_that_lacks_a_sign_shows_another() -> None:
    script = "from controlnet.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, "table", "dfc", "--rows", "bp", "--columns", "mnist", "--print"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert "2.08 ? 0.15" in result.stdout


def test_a_dry_run_refuses_what_a_run_would() -> None:
    options = ("--set", "controller.kind=pid", "--set", "simulation.extend=1e-3")
    assert failed("run", "digits", *options, "--dry-run").startswith(
        "extend: settled samples can only be extended with"
    )
    assert failed("run", "digits", *options).startswith("extend: settled samples can only be extended with")


@pytest.mark.parametrize("text", [f"seed = {'1' * 5000}", f"seed = {'[' * 20000}"], ids=["number", "tables"])
def test_toml_that_python_cannot_take_is_one_line(text: str) -> None:
    Path("own.toml").write_text(text, encoding="utf-8")
    assert "own.toml: not valid TOML: a number too long, or tables too deep" in failed("run", "own.toml", "--dry-run")


def test_what_is_no_text_is_one_line() -> None:
    assert "expected text in UTF-8" in failed("run", "digits", "--set", "controller.k_p=\udcff", "--dry-run")


def test_a_run_prints_its_summary_and_its_file() -> None:
    result = done("run", *ONE, "--seed", "3", "--out", "here")
    assert "digits, seed 3" in result.stdout and "run: here/run.h5" in result.stdout
    assert read_run(Path("here")).seed == 3


def test_without_a_folder_a_new_one_below_runs_is_taken() -> None:
    folders = {json.loads(done("run", *ONE, "--json").stdout)["run"] for _ in range(2)}
    assert len(folders) == 2
    assert all(Path(folder).is_file() and folder.startswith("runs/") for folder in folders)


def test_json_is_one_object_with_the_numbers() -> None:
    result = done("run", *ONE, "--seed", "2", "--out", "here", "--json")
    assert result.stdout.count("\n") == 1
    summary = json.loads(result.stdout)
    assert set(summary) >= SUMMARY | {"epochs", "seconds", "peers"}
    assert (summary["experiment"], summary["method"], summary["seed"], summary["epochs"]) == ("digits", "bp", 2, 1)
    assert 0 <= summary["test_error_percent"] <= 100
    assert summary == read_run(Path(summary["run"])).summary


def test_progress_goes_to_stderr_only() -> None:
    result = done("run", *ONE, "--json")
    lines = result.stderr.splitlines()
    assert [line.startswith("bp: ") for line in lines] == [True, True]
    assert "epoch 1" in lines[1]
    json.loads(result.stdout)


@pytest.mark.parametrize("flags", [("--quiet",), ("-q", "--json")])
def test_quiet_prints_no_progress(flags: tuple[str, ...]) -> None:
    result = done("run", *ONE, *flags)
    assert result.stderr == ""
    assert result.stdout != ""


def test_on_a_terminal_each_method_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_module, "_watcher", lambda quiet: _display.Bars())
    options = ("--set", 'train.compare_with=["dfc-ssa"]')
    result = done("run", *ONE, *options, "--json")
    json.loads(result.stdout)
    passes = 2 + resolve("digits", method="dfc-ssa").settings.feedback.pretraining_epochs
    assert "40/40" in result.stderr and f"{40 * passes}/{40 * passes}" in result.stderr
    assert "epoch 1/1" in result.stderr and "dfc-ssa" in result.stderr


def test_peers_are_shown_beside_the_run() -> None:
    result = done("run", *ONE, "--set", 'train.compare_with=["dfc-fixed-ssa", "mn"]')
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows if len(row) == 8] == ["bp", "dfc-fixed-ssa", "mn"]
    assert "…" not in result.stdout


def test_a_dry_run_prints_what_can_be_run() -> None:
    dry = done("run", *ONE, "--seed", "7", "--set", "controller.k_i=2.5", "--dry-run").stdout
    assert os.listdir() == []
    Path("dry.toml").write_text(dry, encoding="utf-8")
    settings = resolve("dry.toml").settings
    assert (settings.method, settings.seed, settings.network.hidden, settings.controller.k_i) == ("bp", 7, (4,), 2.5)  # type: ignore[union-attr]
    done("run", "dry.toml", "--out", "dry")
    done("run", *ONE, "--seed", "7", "--set", "controller.k_i=2.5", "--out", "wet")
    assert same_weights("dry", "wet")


def test_a_dry_run_keeps_the_settings_of_the_peers() -> None:
    table = {"train": {"compare_with": ["dfc-ssa"]}, "methods": {"dfc-ssa": {"controller": {"kind": "integral"}}}}
    Path("full.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    Path("dry.toml").write_text(done("run", "full.toml", "-m", "bp", "--dry-run").stdout, encoding="utf-8")
    assert resolve("dry.toml").peers[0].controller == resolve("full.toml", method="bp").peers[0].controller


def same_weights(first: str, second: str) -> bool:
    a, b = (read_run(Path(folder)).weights for folder in (first, second))
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


@pytest.mark.parametrize("source", ["first", "first/run.h5"])
def test_from_repeats_a_run_even_without_its_experiment(source: str) -> None:
    """The file of the experiment is gone by then, and only the run knows its settings."""
    dry = done("run", *SMALL, "--seed", "4", "--epochs", "2", "--dry-run").stdout
    Path("mine.toml").write_text(dry, encoding="utf-8")
    done("run", "mine.toml", "--out", "first")
    Path("mine.toml").unlink()
    summary = json.loads(done("run", "--from", source, "--out", "again", "--json").stdout)
    assert (summary["experiment"], summary["seed"], summary["epochs"]) == ("mine.toml", 4, 2)
    assert same_weights("first", "again")
    histories = [read_run(Path(folder)).history for folder in ("first", "again")]
    for row in (row for history in histories for row in history):
        row["seconds"] = None
    assert histories[0] == histories[1]


@pytest.mark.parametrize("change", [("--seed", "0"), ("--epochs", "2"), ("-m", "bp"), ("--set", "seed=1")])
def test_from_takes_no_changes(change: tuple[str, ...]) -> None:
    done("run", *ONE, "--out", "first")
    assert "--from repeats a run as it was" in failed("run", "--from", "first", *change)


# --- errors


ERRORS: dict[str, tuple[tuple[str, ...], str]] = {
    "experiment": (("run", "digit"), "did you mean 'digits'?"),
    "method": (("run", "-m", "dcf"), "did you mean 'dfc'?"),
    "setting": (("run", "--set", "controller.k_p=two"), 'controller.k_p: expected a number >= 0, got "two"'),
    "absent file": (("run", "absent.toml"), "absent.toml: cannot read the experiment: No such file or directory"),
    "dataset": (("run", *ONE, "--set", "data.name=mnits"), "did you mean 'mnist'?"),
    "offline": (("run", "mnist", *ONE), "no network connection"),
    "no data": (("run", "mnist", *ONE, "--data-dir", "absent"), "no folder absent with the files of mnist"),
    "empty data": (("run", "mnist", *ONE, "--data-dir", "."), "lacks a file of mnist"),
    "samples": (
        ("run", *ONE, "--set", "data.train_samples=1259"),
        "data.train_samples: expected at most 1258 for digits, got 1259",
    ),
    "batch": (("run", *ONE, "--set", "train.batch_size=5000"), "train.batch_size: expected at most"),
    "shown": (("show", "absent"), "no run at absent"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_one_line_that_helps(case: str) -> None:
    arguments, words = ERRORS[case]
    assert words in failed(*arguments)


@pytest.mark.parametrize(
    "arguments", [("run", "--seed", "-1"), ("run", "--epochs", "0"), ("run", "--threads", "0"), ("walk",), ("show",)]
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["run.h5", "thesis.tex"])
def test_nothing_in_a_folder_is_overwritten(name: str) -> None:
    Path("taken").mkdir()
    if name == "run.h5":
        done("run", *ONE, "--out", "taken")
    else:
        Path("taken", name).write_bytes(b"five years of work")
    before = Path("taken", name).read_bytes()
    assert failed("run", *ONE, "--out", "taken").startswith("taken holds ")
    assert Path("taken", name).read_bytes() == before
    assert os.listdir("taken") == [name]


@pytest.mark.parametrize(("code", "advice"), [(errno.ENOSPC, "free space"), (errno.EROFS, "you may write to")])
def test_a_folder_that_takes_nothing_is_named(monkeypatch: pytest.MonkeyPatch, code: int, advice: str) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("controlnet._files.os.fsync", refuse)
    message = failed("run", *ONE, "--out", "full")
    assert os.strerror(code) in message and "full" in message and advice in message
    assert not Path("full").exists()


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
@pytest.mark.parametrize("command", [("show",), ("show", "--json"), ("run", "--from"), ("run", "--resume")])
def test_a_truncated_run_is_refused(kept: float, command: tuple[str, ...]) -> None:
    done("run", *ONE, "--out", "cut")
    content = Path("cut/run.h5").read_bytes()
    Path("cut/run.h5").write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    assert "cut/run.h5" in failed(*command, "cut")


@pytest.mark.parametrize("part", ["summary", "peers"])
def test_a_run_that_another_program_wrote_is_refused(part: str) -> None:
    Path("odd").mkdir()
    settings = {"experiment": "x", **({"peers": 5} if part == "peers" else {})}
    write_run(Path("odd"), Run(settings=settings, seed=0))
    failed("show", "odd")


def test_divergence_has_its_own_code() -> None:
    gain = ("-m", "dfc-fixed", "--set", "controller={kind='pi', k_i=1e9}")
    message = failed("run", *SMALL, *gain, "--out", "far", code=3)
    assert "the loop diverged at step" in message
    assert not read_run(Path("far")).complete


def test_ctrl_c_has_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Any, epoch: int, loss: float | None) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_module.Watcher, "on_batch", stop)
    assert failed("run", *SMALL, "--epochs", "3", "--out", "cut", code=130).startswith("interrupted")
    assert [row["epoch"] for row in read_run(Path("cut")).history] == [1]


@pytest.mark.parametrize("folder", ["runs [test]", "a[/b]"])
def test_a_folder_with_brackets_is_printed_as_it_is(folder: str) -> None:
    assert f"run: {folder}/run.h5" in done("run", *ONE, "--out", folder).stdout


# --- MNIST from files


@pytest.fixture
def mnist() -> Path:
    """Make four small files whose images tell their class."""
    folder, rng = Path("data"), np.random.default_rng(0)
    folder.mkdir()
    for stem, count in (("train", 48), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (count, 4, 5), dtype=np.uint8)
        images.reshape(count, 20)[np.arange(count), 2 * labels] = 255
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


FROM_FILES = ("run", "mnist", "-m", "bp", "--set", "network.hidden=[16]", "--set", "train.batch_size=8", "--json")


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_folder_of_idx_files_is_trained_on(mnist: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool) -> None:
    if by_variable:
        monkeypatch.setenv("CONTROLNET_DATA", str(mnist))
    where = () if by_variable else ("--data-dir", str(mnist))
    rate = ("--set", "optimizer.learning_rate=0.02")
    summary = json.loads(done(*FROM_FILES, *where, *rate, "--epochs", "20", "--out", "run").stdout)
    assert summary["test_error_percent"] <= 10
    assert read_run(Path("run")).weights["W0"].shape == (16, 20)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"])
def test_a_damaged_idx_file_is_named(mnist: Path, name: str) -> None:
    (mnist / name).write_bytes((mnist / name).read_bytes()[:-9])
    assert name in failed(*FROM_FILES, "--data-dir", str(mnist))


# --- list and show


def test_list_names_everything() -> None:
    listed = json.loads(done("list", "--json").stdout)
    assert set(listed) == {"experiments", "methods", "datasets", "figures", "plants", "controllers"}
    assert set(listed["methods"]) == set(METHODS)
    assert {"digits", "mnist"} <= set(listed["experiments"])
    printed = done("list").stdout.split()
    for names in listed.values():
        assert set(names) <= set(printed)


@pytest.mark.parametrize("name", ["run", "run/run.h5"])
def test_show_prints_settings_history_and_summary(name: str) -> None:
    done("run", *SMALL, "--epochs", "2", "--out", "run")
    shown = done("show", name).stdout
    assert shown.startswith('method = "bp"\n')
    assert "history" in shown and f"run: {name}" in shown
    assert "did not come to its end" not in shown
    stored, run = json.loads(done("show", name, "--json").stdout), read_run(Path("run"))
    for part in ("settings", "seed", "summary", "history", "provenance", "complete"):
        assert stored[part] == getattr(run, part)


@pytest.mark.parametrize("stopped", [1, 2])
def test_show_says_that_a_run_was_cut_short(monkeypatch: pytest.MonkeyPatch, stopped: int) -> None:
    def stop(self: Any, epoch: int, loss: float | None) -> None:
        if epoch == stopped:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_module.Watcher, "on_batch", stop)
    failed("run", *SMALL, "--epochs", "3", "--out", "cut", code=130)
    assert "This run did not come to its end." in done("show", "cut").stdout
    stored = json.loads(done("show", "cut", "--json").stdout)
    assert (stored["complete"], len(stored["history"])) == (False, stopped - 1)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help"), ("list", "-h")])
def test_help_and_version(arguments: tuple[str, ...]) -> None:
    shown = done(*arguments).stdout
    assert (__version__ if "--version" in arguments else "Usage: ") in shown


@pytest.mark.parametrize("name", main.commands)
def test_every_option_says_what_it_does(name: str) -> None:
    options = (each for each in main.commands[name].params if isinstance(each, click.Option))
    assert [option.name for option in options if not option.help] == []


def test_a_shared_option_says_the_same_everywhere() -> None:
    said: dict[str, set[Any]] = {
        "method": set(),
        "overrides": set(),
        "data_dir": set(),
        "as_json": set(),
        "quiet": set(),
    }
    for option in (each for command in main.commands.values() for each in command.params):
        if option.name in said:
            said[option.name].add((getattr(option, "help", None), *option.opts))
    assert {name: len(texts) for name, texts in said.items()} == dict.fromkeys(said, 1)


# --- what is meant


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "cifar10"), "; for a dataset, add --set data.name=cifar10 to an experiment"),
        (("run", "mine.npz"), "; for a dataset, add --set data.name=mine.npz to an experiment"),
        (("run", "MNIST"), "; did you mean 'mnist'?"),
        (("run", "--method", "DFC-SS"), "did you mean 'dfc-ss'?"),
        (("run", "--set", "data={name='student-teacher', sizes=[5]}"), "a list of at least 2 and at most "),
        (("run", "--seed", "4", "--set", "seed=3"), "seed: given by --seed and by --set: expected one of them"),
        (("run", "--epochs", "4", "--set", "train={epochs=3}"), "train.epochs: given by --epochs and by --set"),
    ],
)
def test_what_may_have_been_meant_is_said(arguments: tuple[str, ...], words: str) -> None:
    assert words in failed(*arguments)


def write_samples(file: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    np.savez(file, X=rng.normal(size=(80, 6)), y=np.arange(80) % 4)


def test_data_that_the_experiment_does_not_name_are_in_title_folder_and_sweep() -> None:
    write_samples("mine.npz", 1)
    own = ("--set", "data.name=mine.npz")
    assert "digits on mine.npz, seed 0" in done("run", *ONE, *own).stdout
    (folder,) = Path("runs").iterdir()
    assert folder.name.endswith("-digits-mine-bp-s0")
    assert "digits on mine.npz, bp" in done("sweep", "digits", *ONE, *own, "--seeds", "0", "--workers", "1").stdout


def test_other_samples_than_those_of_the_run_are_told_or_refused() -> None:
    write_samples("mine.npz", 1)
    done("run", *ONE, "--set", "data.name=mine.npz", "--out", "here")
    assert "other samples" not in done("run", "--from", "here", "--out", "again").stderr
    write_samples("mine.npz", 2)
    repeated = done("run", "--from", "here", "--out", "other").stderr
    assert "mine.npz: these are other samples than those of the run that is repeated" in repeated
    line = failed("analyze", "here")
    assert line.startswith(
        "here learned other samples of mine.npz than those that are here: name theirs with --data-dir"
    )
