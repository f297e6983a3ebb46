"""The papers' tables: which runs they need, what is kept of each, and how ours stand beside the paper's."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet.errors import InputError, StorageError
from controlnet.experiments import catalogue, resolve, to_store
from controlnet.reproduction.published import paper_table
from controlnet.reproduction.records import Record, read_records, record_of, write_record
from controlnet.reproduction.tables import FAST, cells, chosen_names, jobs, missing
from controlnet.reproduction.texts import HEADINGS, as_latex, as_markdown, lines
from controlnet.storage import Run

TABLES = ("dfc", "strong-dfc")
EXPERIMENT = "dfc/mnist/bp"
HISTORY: dict[str, list[float | None]] = {
    "train_loss": [0.5, 0.2, 0.3],
    "validation_error_percent": [3.0, 2.0, 2.5],
    "test_error_percent": [3.5, 2.1, 2.0],
}


def record(experiment: str = EXPERIMENT, seed: int = 0, epochs: int = 100, note: str = "", **result: Any) -> Record:
    """Make a record as a run of an experiment of the catalogue would leave it."""
    stored = to_store(resolve(experiment, seed=seed, epochs=epochs))
    result = {"test_error_percent": 2.0, "seconds": 60.0} | result
    return Record(experiment, stored["method"], seed, epochs, result, HISTORY, stored, {}, note)


def run(epochs: int = 3, planned: int = 5, complete: bool = False, **settings: Any) -> Run:
    stored = to_store(resolve(EXPERIMENT, seed=4, epochs=planned)) | settings
    history = [
        {"epoch": i + 1, "train_loss": 1 / (i + 3), "test_error_percent": 2.0, "seconds": 0.5} for i in range(epochs)
    ]
    summary = {"test_error_percent": 2.0, "seconds": 1.5, "run": "somewhere/run.h5", "peers": {}}
    provenance = {"argv": ["/home/someone/controlnet"], "cpu": "a processor", "cores": 2}
    return Run(stored, 4, summary, history, {"W0": np.zeros(2)}, {}, provenance, complete)


# --- what the papers report


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_has_an_experiment_of_its_method_and_numbers_of_the_paper(name: str) -> None:
    table, known = paper_table(name), catalogue()
    for row in table.rows:
        for column in table.columns:
            experiment = table.experiment(row, column)
            assert experiment in known
            assert resolve(experiment).settings.method == row.removesuffix("-noise")
            assert table.rows[row].values[column].std > 0


def test_every_published_experiment_belongs_to_a_cell() -> None:
    wanted = {
        table.experiment(row, column)
        for table in map(paper_table, TABLES)
        for row in table.rows
        for column in table.columns
    }
    assert {name.removesuffix(FAST) for name in catalogue() if "/" in name} == wanted


@pytest.mark.parametrize(
    ("column", "epochs", "outputs"), [("mnist", 100, "cross-entropy"), ("mnist-autoencoder", 25, "mse")]
)
def test_settings_are_the_published_ones_in_our_names(column: str, epochs: int, outputs: str) -> None:
    """There the nudging of the mean loss is lambda, the learning rate a multiple of it."""
    settings = resolve(f"dfc/{column}/dfc-ss").settings
    nudging = {"mnist": 0.07794471, "mnist-autoencoder": 0.02027700}[column]
    rate = {"mnist": 9.265965e-05, "mnist-autoencoder": 1.867134e-4}[column]
    assert settings.objective.stepsize == pytest.approx(nudging / 128, rel=1e-5)
    assert settings.optimizer.learning_rate == pytest.approx(rate / nudging, rel=1e-5)
    assert (settings.train.epochs, settings.train.batch_size, settings.objective.loss) == (epochs, 128, outputs)


@pytest.mark.parametrize("experiment", [name for name in catalogue() if name.endswith(FAST)])
def test_fast_experiments_differ_from_the_published_in_what_they_say(experiment: str) -> None:
    fast, published = (to_store(resolve(name)) for name in (experiment, experiment.removesuffix(FAST)))
    differing = {
        f"{name}.{key}" if isinstance(value, dict) else name
        for name, value in fast.items()
        for key in (value if isinstance(value, dict) else [name])
        if (value[key] if isinstance(value, dict) else value)
        != (published[name].get(key) if isinstance(value, dict) else published[name])
    }
    assert differing <= {
        "experiment",
        "method",
        "network.dtype",
        "objective.stepsize",
        "optimizer.epsilon",
        "law.steady_state",
        "law.converged_only",
        "optimizer.clip_norm",
        "feedback.learning",
    }
    # Nudging and epsilon grow together, so that Adam makes the same steps.
    ratio = fast["objective"]["stepsize"] / published["objective"]["stepsize"]
    assert fast["optimizer"]["epsilon"] == pytest.approx(ratio * published["optimizer"]["epsilon"], rel=1e-5)


def test_unknown_tables_rows_and_columns_are_named() -> None:
    with pytest.raises(InputError, match="table: expected one of dfc, strong-dfc, got 'dfc-2023'"):
        paper_table("dfc-2023")
    table = paper_table("dfc")
    with pytest.raises(InputError, match=r"--rows: expected some of bp, dfc, .*, got 'sgd'"):
        chosen_names(["bp", "sgd"], table.rows, "rows")
    assert chosen_names(["dfa", "bp"], table.rows, "rows") == ["bp", "dfa"]
    assert chosen_names([], table.columns, "columns") == list(table.columns)


# --- what is kept of a run


@given(st.integers(1, 5), st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False))
def test_records_read_back(epochs: int, note: str, loss: float) -> None:
    kept = record(epochs=epochs, note=note, train_loss=loss)
    with tempfile.TemporaryDirectory() as folder:
        path = write_record(Path(folder), kept)
        assert path.relative_to(folder) == Path(f"{EXPERIMENT}/seed0-{epochs}epochs.json")
        (again,) = read_records(Path(folder))
    assert msgspec.json.encode(again) == msgspec.json.encode(kept)


def test_a_run_that_was_cut_short_counts_as_one_of_fewer_epochs() -> None:
    short, whole = record_of(run(3, planned=5)), record_of(run(3, planned=3, complete=True))
    assert short.epochs == 3 and short.settings == whole.settings and short.identity == whole.identity
    assert short.history == {
        "train_loss": [0.333333, 0.25, 0.2],
        "test_error_percent": [2.0, 2.0, 2.0],
        "seconds": [0.5, 0.5, 0.5],
    }


def test_a_record_has_no_paths_of_the_machine() -> None:
    kept = record_of(run(), note="a note")
    assert "run" not in kept.result and "peers" not in kept.result and "argv" not in kept.machine
    assert kept.machine["cpu"] == "a processor" and kept.note == "a note"


def test_a_run_without_an_epoch_is_refused() -> None:
    with pytest.raises(StorageError, match="no epoch is complete"):
        record_of(run(0))


@pytest.mark.parametrize("content", ["", "{}", '{"experiment": 3}', "[1, 2]", "\x00\xff"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    path = write_record(tmp_path, record())
    path.write_text(content, encoding="latin-1")
    with pytest.raises(StorageError) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- what a table needs, and what it shows


def test_what_is_recorded_is_not_run_again() -> None:
    table = paper_table("dfc")
    wanted = jobs(table, ["bp", "dfa"], ["mnist"], seeds=2)
    assert [(job.experiment, job.seed) for job in wanted] == [
        (f"dfc/mnist/{row}", seed) for seed in range(2) for row in ("bp", "dfa")
    ]
    left = missing(wanted, [record(seed=1), record("dfc/mnist/dfa", epochs=10)])
    assert [(job.experiment, job.seed) for job in left] == [
        ("dfc/mnist/bp", 0),
        ("dfc/mnist/dfa", 0),
        ("dfc/mnist/dfa", 1),
    ]


def test_the_same_run_under_two_names_is_made_once() -> None:
    """The fast variant of continuous DFC is that of DFC-SS."""
    wanted = jobs(paper_table("dfc"), ["dfc-fixed", "dfc-fixed-ss"], ["mnist"], seeds=2, epochs=1, fast=True)
    assert len(wanted) == 4
    assert [(job.experiment, job.seed) for job in missing(wanted, [])] == [
        ("dfc/mnist/dfc-fixed-fast", 0),
        ("dfc/mnist/dfc-fixed-fast", 1),
    ]


def test_fast_jobs_take_the_fast_variants_where_there_are_some() -> None:
    names = [job.experiment for job in jobs(paper_table("dfc"), ["bp", "dfc"], ["mnist"], seeds=1, epochs=2, fast=True)]
    assert names == ["dfc/mnist/bp", "dfc/mnist/dfc-fast"]


def test_means_and_deviations_are_those_of_the_seeds() -> None:
    errors = (2.0, 2.2, 2.4)
    found = cell([record(seed=i, test_error_percent=error) for i, error in enumerate(errors)])
    assert found.values == errors and (found.epochs, found.planned, found.fast) == (100, 100, False)
    assert (found.mean, found.std) == (pytest.approx(np.mean(errors)), pytest.approx(np.std(errors, ddof=1)))
    assert found.chosen == (2.1, 2.1, 2.1)
    assert found.deviation == pytest.approx((2.2 - 2.08) / 0.15)
    assert json.loads(json.dumps(found.as_dict()))["seconds"] == 60.0


def cell(records: list[Record], row: str = "bp", column: str = "mnist") -> Any:
    return cells(paper_table("dfc"), [row], [column], records)[row, column]


def test_longer_runs_count_before_shorter_and_published_before_fast() -> None:
    row, slow = "dfc-ss", "dfc/mnist/dfc-ss"
    records = [record(slow, epochs=10), record(slow + FAST, epochs=20), record(slow + FAST, seed=1, epochs=20)]
    assert (cell(records, row).epochs, cell(records, row).fast, len(cell(records, row).values)) == (20, True, 2)
    records.append(record(slow, seed=7, epochs=20))
    assert (cell(records, row).fast, len(cell(records, row).values)) == (False, 1)


def test_runs_of_the_same_settings_count_wherever_they_belong() -> None:
    """The fast variant of DFC is that of DFC-SS."""
    assert cell([record("dfc/mnist/dfc-fast")], "dfc-ss").fast


def test_runs_of_other_settings_do_not_count() -> None:
    other = record()
    other.settings["optimizer"]["learning_rate"] *= 2
    assert not cell([other]).values
    unknown = record()
    unknown.settings["something"] = 1
    assert not cell([unknown]).values


def test_of_a_training_loss_the_smallest_is_chosen_and_unknown_ones_are_not_made_up() -> None:
    (found,) = cells(
        paper_table("dfc"), ["bp"], ["mnist-train-loss"], [record("dfc/mnist-train-loss/bp", train_loss=0.3)]
    ).values()
    assert (found.values, found.chosen) == ((0.3,), (0.2,))
    (unknown,) = cells(
        paper_table("dfc"), ["bp"], ["mnist-autoencoder"], [record("dfc/mnist-autoencoder/bp", test_loss=0.1)]
    ).values()
    assert unknown.values == (0.1,) and math.isnan(unknown.chosen[0])


def test_an_empty_cell_says_so() -> None:
    found = cell([])
    assert math.isnan(found.mean) and found.std is None and found.as_dict()["mean"] is None
    (line,) = lines(paper_table("dfc"), {("bp", "mnist"): found}, "mnist")
    assert line == ("bp", "–", "–", "0", "2.08 ± 0.15", "–", "–", "")


def test_remarks_name_what_differs_from_the_paper() -> None:
    records = [record("dfc/mnist/dfc-ssa-fast", epochs=20, note="other data")]
    (line,) = lines(paper_table("dfc"), {("dfc-ssa", "mnist"): cell(records, "dfc-ssa")}, "mnist")
    assert line[4] == "2.25 ± 0.09†" and line[-1] == "fast variant; 20 of 100 epochs; other data"
    assert line[1:4] == ("2.00", "2.10", "1") and line[5:7] == ("-2.7", "1 min")


def test_markdown_and_latex_hold_every_row() -> None:
    table = paper_table("strong-dfc")
    found = cells(table, list(table.rows), ["mnist", "fashion-mnist"], [])
    markdown, latex = as_markdown(table, found), as_latex(table, found)
    for row in table.rows.values():
        assert markdown.count(f"| {row.title} |") == 2 and latex.count(f"\n{row.title} &") == 2
    assert markdown.count("| " + " | ".join(HEADINGS)) == 2
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert "±" not in latex and latex.count(r"\%]") == 2
