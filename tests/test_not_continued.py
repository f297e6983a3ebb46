"""What cannot be continued is refused in one line and left as it is; what has changed since is told and kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from continued_runs import StopAfter, cut, in_pieces, plan
from storage_runs import one_line

from controlnet.errors import ContinuationError, DataError, OtherSamplesError, StorageError
from controlnet.experiments.continuing import changes
from controlnet.experiments.running import continue_experiment, run_experiment
from controlnet.experiments.watching import Remarks
from controlnet.provenance import describe_machine
from controlnet.reproduction.records import record_of
from controlnet.storage import claim_folder, read_run, write_run
from controlnet.studies.comparing import compare


def unchanged(folder: Path, path: Path, error: type[Exception], *words: str) -> None:
    """Assert that continuing is refused in one line, and that everything is left as it is."""
    before = {file: (folder / file).read_bytes() for file in os.listdir(folder)}
    with pytest.raises(error) as caught:
        continue_experiment(path)
    one_line(caught, *words)
    assert {file: (folder / file).read_bytes() for file in os.listdir(folder)} == before


def test_a_folder_without_a_run_stays_empty(tmp_path: Path) -> None:
    unchanged(tmp_path, tmp_path, StorageError, "no run at")
    unchanged(tmp_path, tmp_path / "absent", StorageError, "no run at")


def test_a_complete_run_is_not_continued(tmp_path: Path) -> None:
    run_experiment(plan(epochs=1), folder=tmp_path)
    for path in (tmp_path, tmp_path / "run.h5"):
        unchanged(tmp_path, path, ContinuationError, f"{path} holds a complete run", "--from")


def test_a_run_of_an_older_version_is_not_continued(tmp_path: Path) -> None:
    write_run(tmp_path, replace(cut(plan(), tmp_path), continuation={}))
    unchanged(tmp_path, tmp_path, ContinuationError, "written by a version that kept no", "controlnet run --from")


def test_a_damaged_run_is_not_continued(tmp_path: Path) -> None:
    cut(plan(), tmp_path)
    content = (tmp_path / "run.h5").read_bytes()
    (tmp_path / "run.h5").write_bytes(content[:-500])
    unchanged(tmp_path, tmp_path, StorageError, "damaged")


def test_a_renamed_file_is_not_continued(tmp_path: Path) -> None:
    cut(plan(), tmp_path)
    (tmp_path / "run.h5").rename(tmp_path / "mine.h5")
    unchanged(tmp_path, tmp_path / "mine.h5", ContinuationError, "renamed: expected a file run.h5")


def test_a_run_in_use_is_left_alone(tmp_path: Path) -> None:
    cut(plan(), tmp_path)
    with claim_folder(tmp_path, replace=True):
        unchanged(tmp_path, tmp_path, StorageError, "in use by another run")


def test_without_its_data_nothing_is_lost(tmp_path: Path) -> None:
    run = cut(plan(), tmp_path)
    write_run(tmp_path, replace(run, settings=run.settings | {"data": {"name": "gone.npz", "train_samples": 48}}))
    unchanged(tmp_path, tmp_path, DataError, "gone.npz")


def test_a_file_of_samples_that_has_changed_is_told(tmp_path: Path) -> None:
    rng, file, folder = np.random.default_rng(3), tmp_path / "mine.npz", tmp_path / "run"
    inputs, classes = rng.normal(size=(80, 6)), np.arange(80) % 10
    np.savez(file, X=inputs, y=classes)
    cut(plan(f"data.name={str(file)!r}"), folder)
    for X, y in ((np.nextafter(inputs, 9), classes), (inputs, classes[::-1]), (inputs[:-1], classes[:-1])):
        np.savez(file, X=X, y=y)
        unchanged(folder, folder, OtherSamplesError, "expected the samples that it began with")
    np.savez(file, X=inputs, y=classes)
    continue_experiment(folder)
    assert read_run(folder).complete


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cut(plan(), tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("controlnet._files.os.replace", full)
        unchanged(tmp_path, tmp_path, StorageError, "No space left on device")
    continue_experiment(tmp_path)
    assert read_run(tmp_path).complete


Arrays = dict[str, Any]
SPOILT: dict[str, tuple[str, Callable[[Arrays], Arrays | None], str]] = {
    "a lost moment": ("continuation", lambda a: a.pop("forward.first.W0"), "lacks 'continuation/forward.first.W0'"),
    "all moments lost": (
        "continuation",
        lambda a: [a.pop(name) for name in list(a) if "forward" in name] and None,
        "lacks 'continuation/forward.count.W0'",
    ),
    "another optimiser's": (
        "continuation",
        lambda a: a | {"forward.momentum.W0": a["forward.first.W0"]},
        "unknown 'continuation/forward.momentum.W0'",
    ),
    "another parameter's": (
        "continuation",
        lambda a: a | {"forward.first.Q0": a["forward.first.W0"]},
        "unknown 'continuation/forward.first.Q0'",
    ),
    "a shape": (
        "continuation",
        lambda a: a | {"forward.first.W0": a["forward.first.W0"].T},
        "forward.first.W0: expected float64 of shape (5, 64), got float64 of shape (64, 5)",
    ),
    "a type": (
        "continuation",
        lambda a: a | {"forward.second.b1": a["forward.second.b1"].astype(np.float32)},
        "forward.second.b1: expected float64 of shape (10,), got float32 of shape (10,)",
    ),
    "NaN": (
        "continuation",
        lambda a: a | {"forward.second.b0": a["forward.second.b0"] * np.nan},
        "forward.second.b0: expected no NaN",
    ),
    "a count": (
        "continuation",
        lambda a: a | {"forward.count.b0": np.asarray(-1)},
        "forward.count.b0: expected 3, got -1",
    ),
    "other samples": ("provenance", lambda a: a | {"samples": "12ab"}, "expected the samples that it began with"),
    "no samples": ("provenance", lambda a: a.pop("samples") and None, "expected the samples that it began with"),
    "no pretraining": ("continuation", lambda a: a.pop("pretraining"), "pretraining: expected the number of passes"),
    "passes": ("continuation", lambda a: a | {"pretraining": np.asarray(2)}, "pretraining: expected the number"),
    "half a pass": ("continuation", lambda a: a | {"pretraining": np.asarray(0.0)}, "pretraining: expected the"),
    "seconds": ("continuation", lambda a: a | {"seconds": np.asarray(-1.0)}, "seconds: expected a finite number >= 0"),
    "endless seconds": ("continuation", lambda a: a | {"seconds": np.asarray(np.inf)}, "seconds: expected a finite"),
    "controls": ("continuation", lambda a: a | {"controls": np.zeros((48, 10))}, "unknown 'continuation/controls'"),
    "a weight lost": ("weights", lambda a: a.pop("W1"), "lacks 'weights/W1'"),
    "a weight more": ("weights", lambda a: a | {"W2": a["W1"]}, "unknown 'weights/W2'"),
    "a weight's shape": ("weights", lambda a: a | {"W1": a["W1"][:9]}, "weights/W1: expected float64 of shape (10, 5)"),
    "a weight's type": ("weights", lambda a: a | {"b0": a["b0"].astype(int)}, "weights/b0: expected float64 of shape"),
    "an endless weight": ("weights", lambda a: a | {"b0": a["b0"] + np.inf}, "weights/b0: expected finite numbers"),
    "no looks": ("diagnostics", lambda a: a.clear(), "probe_epoch: expected looks at the epochs [0, 1]"),
    "other looks": ("diagnostics", lambda a: a | {"probe_epoch": np.array([0, 2])}, "probe_epoch: expected looks"),
    "fewer looks": ("diagnostics", lambda a: a | {"probe_epoch": np.array([0])}, "probe_epoch: expected 2 numbers"),
    "complex looks": ("diagnostics", lambda a: a | {"probe_x": np.array([0, 1j])}, "probe_x: expected 2 numbers"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_does_not_fit_is_named(tmp_path: Path, case: str) -> None:
    group, spoil, words = SPOILT[case]
    run = cut(plan("diagnostics.every=1", "diagnostics.samples=4"), tmp_path)
    arrays = dict(getattr(run, group))
    changed = spoil(arrays)
    write_run(tmp_path, replace(run, **{group: changed if isinstance(changed, dict) else arrays}))
    unchanged(tmp_path, tmp_path, ContinuationError, f"{tmp_path} cannot be continued", words, "controlnet run --from")


def test_endless_controls_are_named(tmp_path: Path) -> None:
    """Those that are not known yet are NaN."""
    run = cut(plan("law.warm_start=true", method="dfc-fixed-ss"), tmp_path)
    controls = run.continuation["controls"]
    assert controls.shape == (48, 10) and np.isfinite(controls).all()
    for spoilt in (controls * np.inf, controls[1:]):
        write_run(tmp_path, replace(run, continuation=run.continuation | {"controls": spoilt}))
        unchanged(tmp_path, tmp_path, ContinuationError, "continuation/controls: expected")
    write_run(tmp_path, replace(run, continuation=run.continuation | {"controls": controls * np.nan}))
    continue_experiment(tmp_path)


def test_a_mean_of_squares_may_have_overflowed(tmp_path: Path) -> None:
    """As it does under large gradients in single precision, without stopping a run."""
    run = cut(plan(), tmp_path)
    endless = {"forward.second.b0": run.continuation["forward.second.b0"] + np.inf}
    write_run(tmp_path, replace(run, continuation=run.continuation | endless))
    continue_experiment(tmp_path)
    assert read_run(tmp_path).weights["b0"].tobytes() == run.weights["b0"].tobytes()


Row = dict[str, Any]
ROWS: dict[str, tuple[Callable[[Row], list[Row]], str]] = {
    "a column less": (lambda row: [{k: v for k, v in row.items() if k != "test_loss"}], "got others in 'test_loss'"),
    "a column more": (lambda row: [row | {"mood": 1}], "got others in 'mood'"),
    "another epoch": (lambda row: [row | {"epoch": 2}], "expected epoch 1 in row 1 of its history, got 2"),
    "a text": (lambda row: [row | {"train_loss": "low"}], "expected numbers as train_loss in its history, got 'low'"),
    "no time": (lambda row: [row | {"seconds": "long"}], "expected epoch 1 in row 1"),
    "too many": (lambda row: [row | {"epoch": n} for n in range(1, 5)], "a history of at most 3 epochs, got 4"),
    "one more": (lambda row: [row | {"epoch": n} for n in (1, 2)], "forward.count.W0: expected 6, got 3"),
    "none": (lambda row: [], "unknown 'continuation/forward.count.W0'"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_history_that_does_not_fit_is_named(tmp_path: Path, case: str) -> None:
    spoil, words = ROWS[case]
    run = cut(plan(), tmp_path)
    write_run(tmp_path, replace(run, history=spoil(run.history[0])))
    unchanged(tmp_path, tmp_path, ContinuationError, words)


# --- what has changed since


def test_the_same_machine_has_nothing_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = cut(plan(), tmp_path)
    assert changes(run, describe_machine()) == []
    continue_experiment(tmp_path, watcher=Remarks())
    (part,) = read_run(tmp_path).provenance["continued"]
    assert (part["after_epoch"], part["changed"]) == (1, [])
    assert part["packages"] == describe_machine()["packages"]
    assert capsys.readouterr() == ("", "")


def test_other_versions_are_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = cut(plan(), tmp_path)
    packages = run.provenance["packages"] | {"numpy": "1.0\n"}
    blas = [{"internal_api": "mkl", "version": "2020"}]
    provenance = run.provenance | {"packages": packages, "cpu": "abacus", "blas": blas, "source": "12ab"}
    write_run(tmp_path, replace(run, provenance=provenance))
    continue_experiment(tmp_path, watcher=Remarks())
    out, line = capsys.readouterr()
    assert out == "" and line.count("\n") == 1
    assert line.startswith(f"bp: goes on after epoch 1 with numpy {np.__version__!r} (was '1.0\\n'), cpu ")
    assert "(was 'abacus'), another BLAS library, another source text of controlnet: the last digits may" in line
    kept = read_run(tmp_path).provenance
    assert kept["packages"]["numpy"] == "1.0\n" and kept["cpu"] == "abacus"
    assert len(kept["continued"][0]["changed"]) == 4


def test_each_part_is_held_against_the_one_before(tmp_path: Path) -> None:
    run = cut(plan(epochs=4), tmp_path)
    write_run(tmp_path, replace(run, provenance=run.provenance | {"python": "2.7"}))
    with pytest.raises(KeyboardInterrupt):
        continue_experiment(tmp_path, watcher=StopAfter(1))
    continue_experiment(tmp_path)
    first, second = read_run(tmp_path).provenance["continued"]
    assert [first["after_epoch"], second["after_epoch"]] == [1, 2]
    assert [len(first["changed"]), len(second["changed"])] == [1, 0]


@pytest.mark.parametrize("odd", [{}, {"packages": 5, "blas": 5, "continued": 5}, {"blas": [5], "continued": [5]}])
def test_a_provenance_of_another_program_does_no_harm(tmp_path: Path, odd: dict[str, Any]) -> None:
    run = cut(plan(), tmp_path)
    write_run(tmp_path, replace(run, provenance=odd | {"samples": run.provenance["samples"]}))
    continue_experiment(tmp_path)
    assert len(read_run(tmp_path).provenance["continued"]) == 1


def test_records_and_comparisons_tell_of_an_interruption(tmp_path: Path) -> None:
    run_experiment(plan(), folder=tmp_path / "whole")
    in_pieces(plan(), tmp_path / "pieces", passes=1)
    whole, run = read_run(tmp_path / "whole"), read_run(tmp_path / "pieces")
    found = compare([whole, run])
    assert found.same_weights and found.same_settings
    assert found.machine == {
        "continued.0.after_epoch": [None, 1],
        "continued.0.changed": [None, []],
        "continued.1.after_epoch": [None, 2],
        "continued.1.changed": [None, []],
    }
    assert "continued" not in record_of(whole).machine
    parts = record_of(run).machine["continued"]
    assert [part["after_epoch"] for part in parts] == [1, 2]
    assert all("argv" not in part and part["packages"] for part in parts)
