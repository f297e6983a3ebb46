"""``controlnet table`` on four small files: runs what is missing, keeps what is done."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from idx_files import idx

from controlnet.cli import main
from controlnet.studies import engines

BP = (
    "dfc",
    "--rows",
    "bp",
    "--columns",
    "mnist",
    "--epochs",
    "1",
    "--data-dir",
    "data",
    "--workers",
    "1",
    "--out",
    "kept",
)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make files whose images tell their class, enough for one minibatch of the published size."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("data").mkdir()
    for stem, count in (("train", 200), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (count, 4, 5), dtype=np.uint8)
        images.reshape(count, 20)[np.arange(count), 2 * labels] = 255
        Path(f"data/{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        Path(f"data/{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["table", *arguments])
    assert result.exit_code == code, result.output
    return result


def cell(*arguments: str, code: int = 0) -> dict[str, Any]:
    (found,) = json.loads(call(*arguments, "--json", code=code).stdout)["cells"]
    return dict(found)


def test_missing_runs_are_made_and_kept_ones_are_not_repeated() -> None:
    first = call(*BP, "--seeds", "2")
    heading, *lines = first.stderr.splitlines()
    assert heading == "2 runs are missing" and [line.split()[0] for line in lines] == ["1/2", "2/2"]
    files = sorted(Path("kept/dfc/mnist/bp").iterdir())
    assert [file.name for file in files] == ["seed0-1epochs.json", "seed1-1epochs.json"]
    assert all(file.stat().st_size < 8000 for file in files)
    before = [file.read_bytes() for file in files]
    again = call(*BP, "--seeds", "3")
    assert again.stderr.splitlines()[1:] == ["1/1 dfc/mnist/bp, seed 2"]
    assert [file.read_bytes() for file in files] == before
    found = cell(*BP, "--print")
    assert len(found["values"]) == 3 and (found["epochs"], found["planned_epochs"]) == (1, 100)


def test_the_records_alone_make_the_table() -> None:
    made = cell(*BP, "--seeds", "1")
    shutil.rmtree("kept/runs")
    shutil.rmtree("data")
    assert cell(*BP, "--seeds", "1") == made


def test_a_folder_without_records_is_told() -> None:
    assert "kept holds no records: name their folder with --out" in call(*BP, "--print").stderr


def test_runs_on_other_samples_are_not_added_to_those_that_are_there() -> None:
    call(*BP, "--seeds", "1")
    shutil.copytree("data", "others")
    labels = Path("others/train-labels-idx1-ubyte.gz")
    labels.write_bytes(gzip.compress(idx(np.roll(np.arange(200) % 10, 1).astype(np.uint8))))
    result = call(*BP, "--seeds", "2", "--data-dir", "others", code=2)
    assert (
        "kept holds a run of dfc/mnist/bp that learned other samples of mnist than those that are here" in result.stderr
    )
    assert len(result.stderr.splitlines()) == 1 and len(list(Path("kept/dfc/mnist/bp").iterdir())) == 1
    assert len(cell(*BP, "--seeds", "2", "--data-dir", "others", "--out", "apart")["values"]) == 2


def test_no_mean_is_taken_over_other_samples() -> None:
    call(*BP, "--seeds", "1")
    train("own")
    labels = Path("data/train-labels-idx1-ubyte.gz")
    labels.write_bytes(gzip.compress(idx(np.roll(np.arange(200) % 10, 1).astype(np.uint8))))
    train("other")
    assert (
        "own holds a run that learned other samples of mnist" in call(*TAKE, "own", "--data-dir", "data", code=2).stderr
    )
    assert (
        "kept holds a run of dfc/mnist/bp that learned other"
        in call(*TAKE, "other", "--data-dir", "data", code=2).stderr
    )
    assert len(list(Path("kept/dfc/mnist/bp").iterdir())) == 1


@pytest.mark.parametrize("option", ["--rows", "--columns"])
def test_no_name_is_not_all_names(option: str) -> None:
    assert f"{option}: expected some of" in call("dfc", "--print", option, "", code=2).stderr


def test_workers_make_the_same_records() -> None:
    call(*BP, "--seeds", "2", "--workers", "2")
    one, other = cell(*BP, "--print"), cell(*BP[:-1], "serial", "--seeds", "2")
    assert one["values"] == other["values"]


def train(out: str, *more: str, experiment: str = "dfc/mnist/bp") -> None:
    run = ["run", experiment, "--epochs", "1", "--data-dir", "data", "--out", out, "--seed", "5", "-q", *more]
    assert CliRunner().invoke(main, run).exit_code == 0


TAKE = ("dfc", "--rows", "bp", "--columns", "mnist", "--out", "kept", "--take")


def test_a_run_that_was_made_otherwise_is_taken_with_a_note_and_nothing_is_run() -> None:
    train("own")
    for _ in range(2):
        taken = call(*TAKE, "own", "--note", "few", "--json")
        (found,) = json.loads(taken.stdout)["cells"]
        assert (
            len(found["values"]) == 1 and found["notes"] == ["few", "not the official samples"] and taken.stderr == ""
        )
    assert cell(*TAKE, "own")["notes"] == ["few", "not the official samples"]
    assert os.listdir("kept") == ["dfc"]


def test_a_run_of_other_settings_is_taken_beside_the_first_and_said_to_fit_no_cell() -> None:
    """Both have the same experiment, seed and number of epochs."""
    train("own")
    train("other", "--set", "optimizer.learning_rate=0.5")
    call(*TAKE, "own")
    kept = Path("kept/dfc/mnist/bp/seed5-1epochs.json")
    before = kept.read_bytes()
    taken = call(*TAKE, "other")
    beside = kept.with_stem("seed5-1epochs-2")
    words = f"{beside}: kept, but table dfc has no cell for a run of these settings\n"
    assert taken.stderr == words and kept.read_bytes() == before and beside.is_file()
    assert len(cell(*TAKE, "own")["values"]) == 1


@pytest.mark.parametrize("folder", ["..", "elsewhere/../..", "{absolute}"])
def test_a_run_of_a_file_elsewhere_is_kept_in_the_folder(folder: str, tmp_path: Path) -> None:
    Path("work/elsewhere").mkdir(parents=True)
    os.rename("data", "work/data")
    Path("mine.toml").write_text('base = "dfc/mnist/bp"\n')
    os.chdir("work")
    train("own", experiment=f"{folder.format(absolute=tmp_path)}/mine.toml")
    before = {path for path in tmp_path.rglob("*") if "kept" not in path.parts}
    assert cell(*TAKE, "own")["values"]
    assert {path for path in tmp_path.rglob("*") if "kept" not in path.parts} == before
    assert Path("kept/mine/seed5-1epochs.json").is_file()


def test_a_run_without_validation_history_is_null_in_json() -> None:
    call(*BP, "--seeds", "1")
    (kept,) = Path("kept").rglob("seed*.json")
    content = json.loads(kept.read_text())
    del content["history"]["validation_error_percent"], content["history"]["validation_loss"]
    kept.write_text(json.dumps(content))
    shown = call(*BP, "--print", "--json").stdout
    assert json.loads(shown, parse_constant=pytest.fail)["cells"][0]["at_best_validation"] == [None]


def test_a_damaged_record_is_one_line() -> None:
    call(*BP, "--seeds", "1")
    (kept,) = Path("kept").rglob("seed*.json")
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps(content | {"result": content["result"] | {"test_error_percent": "x"}}))
    result = call(*BP, "--print", code=2)
    assert str(kept) in result.stderr and len(result.stderr.splitlines()) == 1


def test_help_says_what_is_run_and_what_is_not() -> None:
    shown = " ".join(call("--help").stdout.split())
    assert "runs what is missing" in shown and "takes days" in shown
    assert "With --print, and with --take, nothing is run." in shown


def test_dask_makes_the_same_records() -> None:
    call(*BP, "--seeds", "1", "--scheduler", "local")
    one, other = cell(*BP, "--print"), cell(*BP[:-1], "serial", "--seeds", "1")
    assert one["values"] == other["values"] and len(one["values"]) == 1


def test_an_interrupted_table_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(tasks: Any, **where: Any) -> Iterator[Any]:
        yield engines.attempt(tasks[0], where["data_dir"])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engines, "run_tasks", interrupted)
        stopped = call(*BP, "--seeds", "3", code=130)
    assert stopped.stderr.splitlines()[-1] == (
        "Error: interrupted: 1 of 3 runs are finished; the same command goes on with the rest"
    )
    assert call(*BP, "--seeds", "3").stderr.startswith("2 runs are missing\n1/2 dfc/mnist/bp, seed 1\n")


@pytest.mark.parametrize(("form", "start"), [("--markdown", "**MNIST"), ("--latex", "% MNIST")])
def test_the_table_is_printed_in_other_forms(form: str, start: str) -> None:
    assert call("dfc", "--print", form).stdout.startswith(start)
    assert "paper" in call("dfc", "--print").stdout


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("name", ["dfc", "strong-dfc"])
def test_no_number_is_cut_where_the_terminal_is_narrow(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = call(name, "--print").stdout
    assert "…" not in shown and max(map(len, shown.splitlines()[1:-2])) <= columns
    assert all(name in shown for name in ("bp", "paper", "off"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("dfc-3",), "table: expected one of dfc, strong-dfc, got 'dfc-3'"),
        (("dfc", "--rows", "sgd"), "--rows: expected some of bp, "),
        (("dfc", "--print", "--take", "nothing"), "nothing"),
        (("dfc", "--scheduler", "nowhere"), "--scheduler: expected local, tcp://host:port or tls://host:port"),
        (("dfc", "--scheduler", "tls://a:1", "--workers", "2"), "--workers: a running scheduler has its own workers"),
        (("dfc", "--print", "--json", "--latex"), "--json, --markdown and --latex, got --json and --latex"),
        (("dfc", "--print", "--json", "--markdown"), "got --json and --markdown"),
        (("dfc", "--print", "--latex", "--markdown"), "got --markdown and --latex"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    result = call(*arguments, code=2)
    assert line in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_run_that_fails_is_named_and_the_others_are_kept() -> None:
    """The images of the training set are gone for Fashion-MNIST alone, as the folder is MNIST's."""
    Path("data/train-labels-idx1-ubyte.gz").unlink()
    result = call(*BP, "--seeds", "1", "--json", code=2)
    assert json.loads(result.stdout)["failed"] and "train-labels" in result.stderr
