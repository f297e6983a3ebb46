"""The papers' tables: which runs they need, and how ours stand beside the paper's."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
import numpy as np
import pytest
from table_records import changed, record

from controlnet.errors import InputError
from controlnet.experiments import catalogue, resolve
from controlnet.reproduction.published import paper_table
from controlnet.reproduction.records import Record
from controlnet.reproduction.tables import FAST, cells, chosen_names, fits, jobs, missing
from controlnet.reproduction.texts import HEADINGS, as_latex, as_markdown, lines

TABLES = ("dfc", "strong-dfc")


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


def test_unknown_tables_rows_and_columns_are_named() -> None:
    with pytest.raises(InputError, match="table: expected one of dfc, strong-dfc, got 'dfc-2023'"):
        paper_table("dfc-2023")
    table = paper_table("dfc")
    with pytest.raises(InputError, match=r"--rows: expected some of bp, dfc, .*, got 'sgd'"):
        chosen_names(["bp", "sgd"], table.rows, "rows")
    assert chosen_names(["dfa", "bp"], table.rows, "rows") == ["bp", "dfa"]
    assert chosen_names([], table.columns, "columns") == list(table.columns)


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


def test_a_longer_run_tells_of_fewer_epochs_too() -> None:
    wanted = jobs(paper_table("dfc"), ["bp"], ["mnist"], seeds=3)
    left = missing(wanted, [record(epochs=120), record(seed=1, epochs=99), record(seed=1, epochs=3)])
    assert [job.seed for job in left] == [1, 2]
    assert not missing(jobs(paper_table("dfc"), ["bp"], ["mnist"], seeds=1, epochs=1), [record()])


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
    records = [record("strong-dfc/mnist/bp", i, 40, test_error_percent=error) for i, error in enumerate(errors)]
    found = cell(records, table="strong-dfc")
    assert found.values == found.ours == errors and (found.epochs, found.planned, found.fast) == (40, 40, False)
    assert (found.mean, found.std) == (pytest.approx(np.mean(errors)), pytest.approx(np.std(errors, ddof=1)))
    assert found.chosen == (2.1, 2.1, 2.1)
    assert found.deviation == pytest.approx((2.2 - 1.83) / 0.11)
    assert json.loads(json.dumps(found.as_dict()))["seconds"] == 60.0


def cell(records: list[Record], row: str = "bp", column: str = "mnist", table: str = "dfc") -> Any:
    return cells(paper_table(table), [row], [column], records)[row, column]


def test_longer_runs_count_before_shorter_and_published_before_fast() -> None:
    row, slow = "dfc-ss", "dfc/mnist/dfc-ss"
    records = [record(slow, epochs=10), record(slow + FAST, epochs=20), record(slow + FAST, seed=1, epochs=20)]
    assert (cell(records, row).epochs, cell(records, row).fast, len(cell(records, row).values)) == (20, True, 2)
    records.append(record(slow, seed=7, epochs=20))
    assert (cell(records, row).fast, len(cell(records, row).values)) == (False, 1)


def test_samples_that_are_not_the_official_ones_are_told() -> None:
    records = [
        msgspec.structs.replace(record(seed=seed, note="few"), machine={"official": official})
        for seed, official in enumerate([True, False, None])
    ]
    assert cell(records).notes == ("few", "not the official samples")
    assert cell(records[::2]).notes == ("few",)


def test_seeds_of_which_only_shorter_or_fast_runs_are_there_are_named() -> None:
    row, slow = "dfc-ss", "dfc/mnist/dfc-ss"
    records = [record(slow), record(slow + FAST), record(slow + FAST, seed=3), record(slow, seed=1, epochs=10)]
    assert cell(records, row).notes == ("without the shorter or fast runs of seed 1, 3",)
    assert cell(records[:2], row).notes == ()


def test_runs_of_the_same_settings_count_wherever_they_belong() -> None:
    """The fast variant of DFC is that of DFC-SS."""
    assert cell([record("dfc/mnist/dfc-fast")], "dfc-ss").fast


def test_the_steady_state_of_one_fast_variant_fills_the_cell_of_the_other() -> None:
    for column in ("fashion-mnist", "mnist-autoencoder", "mnist-train-loss"):
        kept = record(f"dfc/{column}/dfc-fixed-fast", epochs=25, test_loss=0.1, train_loss=0.1)
        assert len(cell([kept], "dfc-fixed-ss", column).values) == 1
        wanted = jobs(paper_table("dfc"), ["dfc-fixed-ss"], [column], seeds=1, epochs=25, fast=True)
        assert not missing(wanted, [kept])


def test_one_run_of_a_seed_counts() -> None:
    twice = [record("dfc/mnist/dfc-fast"), record("dfc/mnist/dfc-ss-fast"), record("dfc/mnist/dfc-fast")]
    found = cell([*twice, record("dfc/mnist/dfc-fast", seed=1, test_error_percent=3.0)], "dfc-ss")
    assert found.values == (2.0, 3.0) and found.notes == ()


def made_at(kept: Record, time: str) -> Record:
    return msgspec.structs.replace(kept, machine={"time": time})


@pytest.mark.parametrize("order", [1, -1])
def test_of_runs_of_one_seed_that_differ_the_newest_counts_and_is_named(order: int) -> None:
    old = made_at(record(test_error_percent=9.0), "2026-01-01T00:00:00+00:00")
    new = made_at(record(test_error_percent=2.5), "2026-02-01T00:00:00+00:00")
    found = cell([old, new][::order])
    assert found.values == (2.5,) and found.notes == ("one of 2 runs of seed 0",)


def test_a_longer_run_counts_as_it_was_after_the_published_epochs() -> None:
    longer = record(epochs=120, test_error_percent=1.0)
    longer.history["test_error_percent"][99:] = [2.25, *[1.0] * 20]
    longer.history["validation_error_percent"][110] = 0.5
    found = cell([longer])
    assert (found.values, found.chosen, found.epochs, found.planned) == ((2.25,), (2.1,), 100, 100)
    assert found.notes == ("epoch 100 of 120",)
    assert cell([longer, record(epochs=99)]).values == (2.25,)


@pytest.mark.parametrize("order", [1, -1])
def test_a_run_of_just_the_published_epochs_counts_before_a_longer_one(order: int) -> None:
    longer = made_at(record(epochs=120), "2026-02-01T00:00:00+00:00")
    exact = made_at(record(test_error_percent=2.00000001), "2026-01-01T00:00:00+00:00")
    found = cell([exact, longer][::order])
    assert found.values == (2.00000001,) and found.notes == ()


def test_a_run_fits_a_table_that_has_a_cell_for_it() -> None:
    table = paper_table("dfc")
    assert fits(table, record()) and fits(table, record("dfc/mnist-train-loss/dfc-fixed-ss-fast", epochs=3))
    assert not fits(table, record("strong-dfc/mnist/bp")) and not fits(table, changed(record(), 0.5))


def test_runs_of_other_settings_do_not_count() -> None:
    other = record()
    other.settings["optimizer"]["learning_rate"] *= 2
    assert not cell([other]).values
    unknown = record()
    unknown.settings["something"] = 1
    assert not cell([unknown]).values
    assert not cell([msgspec.structs.replace(record(epochs=120), settings={"train": 3})]).values


def test_of_a_training_loss_the_smallest_is_chosen_and_unknown_ones_are_not_made_up() -> None:
    (found,) = cells(
        paper_table("dfc"), ["bp"], ["mnist-train-loss"], [record("dfc/mnist-train-loss/bp", train_loss=0.3)]
    ).values()
    assert (found.values, found.chosen) == ((0.3,), (0.2,))
    (unknown,) = cells(
        paper_table("dfc"),
        ["bp"],
        ["mnist-autoencoder"],
        [record("dfc/mnist-autoencoder/bp", epochs=25, test_loss=0.1)],
    ).values()
    assert unknown.values == (0.1,) and math.isnan(unknown.chosen[0])
    assert unknown.as_dict()["at_best_validation"] == [None]


def test_the_mean_at_the_best_epoch_is_that_of_the_seeds_whose_best_epoch_is_known() -> None:
    known, unknown = record(seed=0), record(seed=1, test_error_percent=2.6)
    unknown.history.pop("validation_error_percent")
    table = paper_table("dfc")
    (line,) = lines(table, cells(table, ["bp"], ["mnist"], [known, unknown]), "mnist")
    shown = dict(zip(HEADINGS, line, strict=True))
    assert (shown["ours"], shown["best"], shown["last"], shown["seeds"]) == ("2.10", "2.10", "2.30", "1")


def test_validation_results_that_are_not_known_choose_nothing() -> None:
    kept = record()
    columns = {"validation_error_percent": [None] * 100, "validation_loss": [2.0, 1.0, *[3.0] * 98]}
    for history, expected in ((columns, 2.1), (columns | {"validation_loss": [None] * 100}, None)):
        known = msgspec.structs.replace(kept, history=kept.history | history)
        assert cell([known]).as_dict()["at_best_validation"] == [expected]


def test_an_empty_cell_says_so() -> None:
    found = cell([])
    assert math.isnan(found.mean) and found.std is None and found.as_dict()["mean"] is None
    (line,) = lines(paper_table("dfc"), {("bp", "mnist"): found}, "mnist")
    assert line == ("bp", "–", "–", "–", "0", "2.08 ± 0.15", "–", "–", "–", "")


def test_remarks_name_what_differs_from_the_paper() -> None:
    records = [record("dfc/mnist/dfc-ssa-fast", epochs=20, note="other data")]
    (line,) = lines(paper_table("dfc"), {("dfc-ssa", "mnist"): cell(records, "dfc-ssa")}, "mnist")
    assert line[5] == "2.25 ± 0.09†" and line[-1] == "fast variant; 20 of 100 epochs; other data"
    assert line[1:5] == ("2.10", "2.10", "2.00", "1") and line[6:9] == ("-1.6", "–", "1 min")


def test_what_the_paper_takes_at_the_best_validation_is_held_against_that() -> None:
    records = [record(seed=seed, test_error_percent=3.0) for seed in range(2)]
    unknown = msgspec.structs.replace(record(seed=2, test_error_percent=1.0), history={})
    found = cell([*records, unknown])
    assert found.values == (3.0, 3.0, 1.0) and found.ours == (2.1, 2.1) and found.std == 0
    assert found.deviation == pytest.approx((2.1 - 2.08) / 0.15)
    plain = found.as_dict()
    assert (plain["values"], plain["at_last_epoch"], plain["at_best_validation"]) == (
        [2.1, 2.1],
        [3.0, 3.0, 1.0],
        [2.1, 2.1, None],
    )
    assert not cell([unknown]).ours and "–" in lines(paper_table("dfc"), {("bp", "mnist"): cell([unknown])}, "mnist")[0]
    assert not cell(records, "bp", "mnist-train-loss").ours


@pytest.mark.parametrize(("error", "said"), [(2.5, "+0.40 (+0.61)"), (2.0, "-0.10 (+0.61)")])
def test_distances_from_bp_are_those_of_the_means_whatever_rows_are_asked_for(error: float, said: str) -> None:
    dfa = record("dfc/mnist/dfa")
    dfa.history["test_error_percent"][:] = [error] * 100
    table, records = paper_table("dfc"), [record(seed=0), record(seed=1), dfa]
    found = cells(table, ["dfa"], ["mnist"], records)
    (line,) = lines(table, found, "mnist")
    assert line[HEADINGS.index("to bp (paper)")] == said
    plain = found["dfa", "mnist"].as_dict()
    assert (plain["to_bp"], plain["paper_to_bp"]) == (pytest.approx(error - 2.1), pytest.approx(2.69 - 2.08))
    assert cell([dfa], "dfa").as_dict()["to_bp"] is None
    (own,) = lines(table, cells(table, ["bp"], ["mnist"], records), "mnist")
    assert own[HEADINGS.index("to bp (paper)")] == "–"


def test_bp_that_was_cut_short_is_no_measure_for_what_was_not() -> None:
    table, short = paper_table("dfc"), record(epochs=10)
    dfa, as_short = record("dfc/mnist/dfa"), record("dfc/mnist/dfa", epochs=10)
    assert cells(table, ["dfa"], ["mnist"], [short, dfa])["dfa", "mnist"].as_dict()["to_bp"] is None
    assert cells(table, ["dfa"], ["mnist"], [short, as_short])["dfa", "mnist"].as_dict()["to_bp"] is not None
    assert cells(table, ["dfa"], ["mnist"], [record(), as_short])["dfa", "mnist"].as_dict()["to_bp"] is not None


def test_markdown_and_latex_hold_every_row() -> None:
    table = paper_table("strong-dfc")
    found = cells(table, list(table.rows), ["mnist", "fashion-mnist"], [])
    markdown, latex = as_markdown(table, found), as_latex(table, found)
    for row in table.rows.values():
        assert markdown.count(f"| {row.title} |") == 2 and latex.count(f"\n{row.title} &") == 2
    assert markdown.count("| " + " | ".join(HEADINGS)) == 2
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert "±" not in latex and latex.count(r"\%]") == 2


NOTE = "a|b \\ $x_1$ {y} ^ ~ 5 % # & <b> `c` *d*\nend\x1b"


def test_notes_do_not_break_a_row_of_markdown() -> None:
    table = paper_table("dfc")
    text = as_markdown(table, cells(table, ["bp"], ["mnist"], [record(note=NOTE)]))
    (row,) = [line for line in text.splitlines() if line.startswith("| bp")]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == len(HEADINGS) + 1
    assert row.endswith(r"a\|b \\ $x\_1$ {y} ^ \~ 5 % # & \<b> \`c\` \*d\* end |")


def test_notes_do_not_reach_latex_as_commands() -> None:
    table = paper_table("dfc")
    text = as_latex(table, cells(table, ["bp"], ["mnist"], [record(note=NOTE)]))
    (row,) = [line for line in text.splitlines() if line.startswith("bp &")]
    assert row.endswith(
        r"a\textbar{}b \textbackslash{} \$x\_1\$ \{y\} \textasciicircum{} \textasciitilde{} 5 \% \# \& "
        r"\textless{}b\textgreater{} `c` *d* end \\"
    )
