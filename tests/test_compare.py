"""`controlnet compare`: what differs between runs, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from controlnet.cli import main
from controlnet.errors import InputError
from controlnet.storage import Run, read_run, write_run
from controlnet.studies.comparing import compare, difference, flatten

SMALL = ("-m", "bp", "--epochs", "1", "--set", "data.train_samples=64", "--set", "network.hidden=[4]", "--quiet")
RUN = Run(
    settings={"experiment": "digits", "method": "bp", "optimizer": {"learning_rate": 1e-3}, "train": {"epochs": 2}},
    seed=0,
    summary={"method": "bp", "test_error_percent": 4.0, "train_loss": 0.5, "epochs": 2, "seconds": 1.5},
    weights={"W0": np.arange(6.0).reshape(2, 3), "b0": np.zeros(2)},
    provenance={"time": "now", "argv": ["a"], "python": "3.11", "packages": {"numpy": "2.0"}},
    complete=True,
)


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def done(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def failed(*arguments: object) -> str:
    """Give the one line with which a command fails."""
    result = call(*arguments)
    assert result.exit_code == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def written(folder: Path, run: Run) -> Path:
    folder.mkdir()
    write_run(folder, run)
    return folder


def changed(**changes: Any) -> Run:
    """Give the example with other parts."""
    return replace(RUN, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of the same settings, and one with another learning rate."""
    folder = tmp_path_factory.mktemp("trained")
    names = [folder / name for name in ("one", "same", "other")]
    for name in names:
        more = ("--set", "optimizer.learning_rate=0.01") if name.name == "other" else ()
        done("run", "digits", *SMALL, "--set", "train.compare_with=[]", *more, "--out", name)
    return names


# --- what is compared


def test_only_what_differs_is_given() -> None:
    other = changed(
        settings=RUN.settings | {"optimizer": {"learning_rate": 1e-2}, "data": {"train_samples": 64}},
        summary=RUN.summary | {"test_error_percent": 5.0},
        provenance=RUN.provenance | {"time": "later", "argv": ["b"], "packages": {"numpy": "2.1"}},
    )
    found = compare([RUN, other])
    assert found.settings == {"optimizer.learning_rate": [1e-3, 1e-2], "data.train_samples": [None, 64]}
    assert found.results == {"test_error_percent": [4.0, 5.0]}
    assert found.machine == {"packages.numpy": ["2.0", "2.1"]}
    assert not found.same_settings and found.same_weights


def test_everything_is_given_when_asked_for() -> None:
    found = compare([RUN, RUN], everything=True)
    assert found.settings["train.epochs"] == [2, 2]
    assert found.results["complete"] == [True, True] and "test_loss" not in found.results
    assert found.machine == {}


def test_a_run_that_was_cut_short_is_told() -> None:
    cut = changed(complete=False, summary={"method": "bp", "epochs": 0})
    found = compare([RUN, cut])
    assert found.results["complete"] == [True, False]
    assert found.results["test_error_percent"] == [4.0, None]


def test_what_an_experiment_is_called_is_no_other_setting() -> None:
    found = compare([RUN, changed(settings=RUN.settings | {"experiment": "mine.toml"})])
    assert found.same_settings and found.settings == {"experiment": ["digits", "mine.toml"]}
    peers = [{"bp": {"experiment": name, "method": "bp"}} for name in ("digits", "mine.toml")]
    first, second = (changed(settings=RUN.settings | {"peers": each}) for each in peers)
    assert compare([first, second]).same_settings and not compare([first, RUN]).same_settings


def test_the_order_of_blas_libraries_says_nothing() -> None:
    libraries = [{"version": "1"}, {"version": "2"}]
    first, second = (changed(provenance={"blas": order}) for order in (libraries, libraries[::-1]))
    assert compare([first, second]).machine == {}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (RUN.weights, 0.0),
        ({**RUN.weights, "b0": np.array([0.0, -0.25])}, 0.25),
        ({**RUN.weights, "b0": np.zeros(3)}, None),
        ({"W0": RUN.weights["W0"]}, None),
        ({**RUN.weights, "b0": np.array([0.0, np.nan])}, None),
        ({}, None),
    ],
)
def test_largest_difference_of_weights(weights: dict[str, Any], expected: float | None) -> None:
    found = compare([RUN, changed(weights=weights)])
    assert found.weights == [0.0, expected]
    assert found.same_weights == (expected == 0.0)


def test_equal_numbers_of_other_bits_are_not_the_same_weights() -> None:
    found = compare([RUN, changed(weights={**RUN.weights, "b0": np.zeros(2, np.float32)})])
    assert found.weights == [0.0, 0.0] and not found.same_weights


def test_a_single_run_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="at least two runs to compare, got 1"):
        compare([RUN])


@pytest.mark.parametrize(
    ("first", "other", "expected"), [(1, 3.5, 2.5), (None, 1, None), (True, False, None), ("a", 1, None)]
)
def test_only_numbers_have_a_difference(first: Any, other: Any, expected: float | None) -> None:
    assert difference(first, other) == expected


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
names = st.text("abc", min_size=1, max_size=3)
tables = st.dictionaries(
    names, st.recursive(leaves, lambda below: st.dictionaries(names, below, min_size=1), max_leaves=6)
)


@given(tables)
def test_flat_tables_keep_every_leaf(table: dict[str, Any]) -> None:
    for path, leaf in flatten(table).items():
        value: Any = table
        for key in path.split("."):
            value = value[key]
        assert value == leaf
    assert (flatten(table) == {}) == (table == {})


# --- the command


def test_the_same_run_twice_is_said_in_words(trained: list[Path]) -> None:
    shown = done("compare", *trained[:2])
    assert "same settings, same weights" in shown
    assert "learning_rate" not in shown and "test error" not in shown


def test_settings_and_results_stand_beside_each_other(trained: list[Path]) -> None:
    shown = done("compare", *trained)
    assert "other settings, other weights" in shown
    (row,) = (line for line in shown.splitlines() if "optimizer.learning_rate" in line)
    assert row.split() == ["optimizer.learning_rate", "0.002", "0.002", "0.01"]
    assert "network.hidden" not in shown
    assert "network.hidden" in done("compare", *trained, "--all")
    (losses,) = (line for line in shown.splitlines() if "training loss" in line)
    assert "(-" in losses or "(+" in losses


def test_json(trained: list[Path]) -> None:
    found = json.loads(done("compare", *trained, "--json"))
    assert found["runs"] == [str(each) for each in trained]
    assert found["settings"] == {"optimizer.learning_rate": [0.002, 0.002, 0.01]}
    runs = [read_run(each) for each in trained]
    assert found["results"]["train_loss"] == [run.summary["train_loss"] for run in runs]
    apart = max(np.abs(runs[2].weights[name] - runs[0].weights[name]).max() for name in runs[0].weights)
    assert found["weights"] == pytest.approx(apart) and found["weights"] > 0
    assert found["weights_by_run"][:2] == [0.0, 0.0]
    same = json.loads(done("compare", *trained[:2], "--json"))
    assert same["settings"] == {} and same["weights"] == 0.0 and same["same_weights"]


def test_a_file_may_stand_for_its_folder(trained: list[Path]) -> None:
    assert "same weights" in done("compare", trained[0] / "run.h5", trained[1])


def test_many_runs_take_several_tables_with_the_first_in_each(tmp_path: Path) -> None:
    runs = [changed(summary={"test_error_percent": 4.0 + number}) for number in range(6)]
    paths = [written(tmp_path / str(number), run) for number, run in enumerate(runs)]
    rows = [line.split()[3:] for line in done("compare", *paths).splitlines() if "test error" in line]
    assert rows == [["4", "5", "(+1)", "6", "(+2)"], ["4", "7", "(+3)", "8", "(+4)"], ["4", "9", "(+5)"]]


def test_shapes_that_differ_are_told(tmp_path: Path) -> None:
    wide = changed(weights={"W0": np.zeros((4, 3)), "b0": np.zeros(4)})
    paths = [written(tmp_path / "one", RUN), written(tmp_path / "wide", wide)]
    assert "other weights of other shapes" in done("compare", *paths)
    assert json.loads(done("compare", *paths, "--json"))["weights"] is None


def test_markup_in_a_run_is_text(tmp_path: Path) -> None:
    strange = changed(settings={"[bold]x": "[/]"}, summary={"epochs": "[red]many"})
    shown = done("compare", written(tmp_path / "one", RUN), written(tmp_path / "two", strange))
    assert "[bold]x" in shown and "[/]" in shown and "[red]many" in shown


def test_bad_input_is_one_line(trained: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no run")
    assert "at least two runs" in failed("compare")
    assert "at least two runs" in failed("compare", trained[0])
    assert "no run at" in failed("compare", trained[0], tmp_path / "missing")
    assert "is no run file" in failed("compare", trained[0], tmp_path / "text.h5")
