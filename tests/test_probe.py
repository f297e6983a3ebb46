"""What is looked at during training and afterwards: numbers, verdicts, plots, and that looking changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from controlnet.analysis import condition_two, stability
from controlnet.cli import main
from controlnet.errors import DivergedError
from controlnet.experiments import resolve
from controlnet.experiments.examining import Examined, examine, verdicts
from controlnet.experiments.running import run_experiment
from controlnet.experiments.watching import Watcher
from controlnet.storage import Run, read_run

SMALL = ("data.train_samples=60", "network.hidden=[8]", "train.compare_with=[]", "diagnostics.samples=6")
LOOKING = "diagnostics.every=2"


def trained(folder: Path, *overrides: str, method: str = "dfc-ss", epochs: int = 3) -> Path:
    plan = resolve("digits", method=method, epochs=epochs, overrides=(*SMALL, *overrides))
    run_experiment(plan, folder=folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run") / "looked", LOOKING)


class Remarks(Watcher):
    """Keeps what is remarked."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    def on_remark(self, words: str) -> None:
        self.remarks.append(words)


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["analyze", *map(str, arguments)])


# --- during training


def test_every_so_many_epochs_are_looked_at_the_first_and_the_last_too(run: Path) -> None:
    recorded = read_run(run).diagnostics
    assert recorded["probe_epoch"].tolist() == [0, 2, 3]
    looked = {name: array for name, array in recorded.items() if name.startswith("probe_")}
    assert {array.shape for array in looked.values()} == {(3,)}
    assert np.isfinite([*looked.values()]).all()
    assert (recorded["probe_samples"] == 6).all()


def test_looking_changes_no_bit_of_the_training(run: Path, tmp_path: Path) -> None:
    looked, blind = read_run(run), read_run(trained(tmp_path / "blind"))
    assert not any(name.startswith("probe_") for name in blind.diagnostics)
    assert {name: array.tobytes() for name, array in looked.weights.items()} == {
        name: array.tobytes() for name, array in blind.weights.items()
    }


def test_only_what_is_asked_for_is_looked_at(tmp_path: Path) -> None:
    found = read_run(trained(tmp_path / "some", LOOKING, 'diagnostics.quantities=["conditions"]', epochs=1))
    names = {name.removeprefix("probe_") for name in found.diagnostics if name.startswith("probe_")}
    assert names == {"epoch", "samples", "converged", "condition_one", "condition_two", "null_space_ratio"}


@pytest.mark.parametrize("method", ["bp", "dfa", "gn"])
def test_methods_without_a_controller_have_no_steady_state(method: str, tmp_path: Path) -> None:
    seen = examine(trained(tmp_path / method, method=method, epochs=1))
    (row, _) = (look.row for look in seen.looks.values())
    assert "converged" not in row and "stable" not in row and "condition_two" not in row
    assert np.isfinite([row["angle_to_bp"], row["condition_one"]]).all()
    assert method != "bp" or row["angle_to_bp"] < 1e-5


def test_a_look_at_a_loop_that_diverges_leaves_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = DivergedError(5, 0.1, 2)

    def diverging(*args: Any, **options: Any) -> None:
        raise error

    looked = read_run(trained(tmp_path / "looked", LOOKING))
    monkeypatch.setattr("controlnet.experiments.probe.alignment", diverging)
    watcher = Remarks()
    plan = resolve("digits", method="dfc-ss", epochs=3, overrides=(*SMALL, LOOKING))
    run_experiment(plan, folder=tmp_path / "less", watcher=watcher)
    less = read_run(tmp_path / "less")
    assert less.complete and less.weights.keys() == looked.weights.keys()
    assert all(np.array_equal(less.weights[name], array) for name, array in looked.weights.items())
    missing = {name for name in looked.diagnostics if "angle_to_" in name and name.startswith("probe_")}
    assert missing and looked.diagnostics.keys() - less.diagnostics.keys() == missing
    assert watcher.remarks == [f"dfc-ss, epoch {k}: no alignment: {error}" for k in (0, 2, 3)]
    assert examine(tmp_path / "less").as_dict()["verdicts"]["3"][-1] == f"no alignment: {error}"


# --- afterwards


def same_rows(first: Examined, second: Examined) -> bool:
    rows = [[look.row for look in each.looks.values()] for each in (first, second)]
    return rows[0] == rows[1]


def test_what_is_seen_of_the_stored_network_is_what_was_recorded(run: Path) -> None:
    recorded = {name.removeprefix("probe_"): a for name, a in read_run(run).diagnostics.items() if "probe_" in name}
    seen = examine(run)
    assert list(seen.looks) == [0, 3]
    for place, epoch in ((0, 0), (2, 3)):
        for name, value in seen.looks[epoch].row.items():
            assert value == recorded[name][place], name


def test_an_epoch_between_is_trained_up_to_once_more(run: Path) -> None:
    recorded = read_run(run).diagnostics
    row = examine(run, at=2).looks[2].row
    assert all(value == recorded[f"probe_{name}"][1] for name, value in row.items())


def test_the_numbers_are_those_of_the_analysis(run: Path) -> None:
    seen = examine(run, samples=5)
    loop, look = seen.loops[3], seen.looks[3]
    assert look.steady is not None and look.whole is not None
    voltages = loop.plant.voltages(look.steady.inputs)
    share = condition_two(loop.plant.jacobian(voltages), loop.plant.stacked_feedback())
    assert look.row["condition_two"] == pytest.approx(share.mean(), rel=1e-12)
    whole = stability(loop, look.steady.part(slice(4)), seen.settings.simulation.dt)
    assert look.row["loop_abscissa_worst"] == pytest.approx(whole.max_real_eigenvalue.max(), rel=1e-9)
    assert look.row["samples"] == len(look.steady.u) == 5


def test_threads_change_nothing(run: Path) -> None:
    assert same_rows(examine(run, threads=1), examine(run, threads=3))


def test_no_look_takes_more_threads_than_asked_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("controlnet._parallel.default_threads", lambda: asked.append(1) or 1)
    examine(run, threads=1)
    assert not asked


# --- in words


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"condition_one": 0.05}, "condition 1 holds"),
        ({"condition_one": 0.2}, "condition 1 nearly holds"),
        ({"condition_one": 0.5}, "condition 1 does not hold"),
        ({"condition_two": 0.99}, "condition 2 holds: 99% of Q"),
        ({"condition_two": 0.8}, "condition 2 nearly holds"),
        ({"condition_two": 0.3}, "condition 2 does not hold"),
        ({"condition_two": float("nan")}, "condition 2 does not hold"),
        ({"stable": 4, "converged": 4, "samples": 4}, "condition 3 holds: 4 of 4"),
        ({"stable": 1, "converged": 3, "samples": 4}, "condition 3 does not hold: 1 of 4"),
    ],
)
def test_verdicts(row: dict[str, float], words: str) -> None:
    (sentence,) = verdicts(row)
    assert sentence.startswith(words)


def test_samples_without_a_steady_state_are_counted() -> None:
    (sentence,) = verdicts({"stable": 1, "converged": 3, "samples": 4})
    assert sentence.endswith("2 unstable, 1 without one")


# --- on the command line


def test_the_table_and_the_verdicts(run: Path) -> None:
    result = command(run)
    assert result.exit_code == 0
    for text in ("epoch 0", "epoch 3", "condition 2: share of Q", "epoch 3: condition 3", "3 looks"):
        assert text in result.output


def test_json_is_one_object_with_the_same_numbers(run: Path) -> None:
    found = json.loads(command(run, "--json", "--samples", 5).output)
    assert found["epochs"]["3"]["samples"] == 5
    assert found["epochs"]["3"] == {name: value for name, value in examine(run, samples=5).looks[3].row.items()}
    assert len(found["verdicts"]["0"]) == 4 and len(found["recorded"]["epoch"]) == 3


def test_plots(run: Path, tmp_path: Path) -> None:
    found = json.loads(command(run, "--json", "--plot", tmp_path / "plots").output)
    names = {f"{name}.{kind}" for name in ("eigenvalues", "bode", "training") for kind in ("svg", "png")}
    assert {Path(file).name for file in found["files"]} == names
    for file in map(Path, found["files"]):
        assert file.read_bytes().startswith(b"\x89PNG" if file.suffix == ".png" else b"<?xml")


def test_a_run_that_was_not_looked_at_has_fewer_plots(tmp_path: Path) -> None:
    folder = trained(tmp_path / "bp", method="bp", epochs=1)
    assert json.loads(command(folder, "--json", "--plot", tmp_path / "plots").output)["files"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--at", 9), "--at: expected an epoch from 0 to 3"),
        (("--samples", 0), "0 is not in the range x>=1"),
    ],
)
def test_bad_options_are_one_line(run: Path, arguments: tuple[Any, ...], message: str) -> None:
    result = command(run, *arguments)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output


def test_a_file_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run.h5").write_text("no")
    result = command(tmp_path)
    assert result.exit_code == 2 and "is no run file" in result.output


def test_a_stored_run_without_the_table_is_looked_at_too(run: Path) -> None:
    """Runs of earlier versions know no diagnostics."""
    stored: Run = read_run(run)
    stored.settings.pop("diagnostics")
    from controlnet.experiments import from_stored

    assert from_stored(stored.settings).settings.diagnostics.every == 0
