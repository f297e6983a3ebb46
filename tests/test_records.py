"""What is kept of a run: written, read back, never in place of another."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_records import EXPERIMENT, changed, record, run

from controlnet.errors import StorageError, UnreadableError
from controlnet.reproduction.records import read_record, read_records, record_of, write_record


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


def test_a_run_whose_history_holds_no_numbers_is_refused() -> None:
    odd = replace(run(1), history=[{"epoch": 1, "train_loss": "low"}])
    with pytest.raises(StorageError, match=r"history\.train_loss: expected numbers, got 'low'"):
        record_of(odd)


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path, record())
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "bp":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UnreadableError, match="cannot read .*: Permission denied: check that you may read it"):
        read_records(tmp_path)


def test_a_file_is_no_folder_of_records(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is a file: expected the folder of the records"):
        read_records(tmp_path / "file")


@pytest.mark.parametrize("content", ["", "{}", '{"experiment": 3}', "[1, 2]", "\x00\xff"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    path = write_record(tmp_path, record())
    path.write_text(content, encoding="latin-1")
    with pytest.raises(StorageError) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("result", {"test_error_percent": "x"}, "result.test_error_percent: expected a number, got 'x'"),
        ("result", {"seconds": True}, "result.seconds: expected a number, got True"),
        ("result", {"train_loss": 10**400}, "not the record of a run"),
        ("history", {"test_loss": [0.1]}, "history.test_loss: expected 100 numbers, got 1"),
        ("history", {"test_loss": ["x"]}, "not the record of a run"),
        ("epochs", 0, "epochs: expected 1 or more, got 0"),
        ("seed", 7, "seed: expected 0 as in settings, got 7"),
        ("method", "dfa", "method: expected 'bp' as in settings, got 'dfa'"),
        ("note", "\ud800", "not the record of a run"),
    ],
)
def test_a_record_with_other_than_numbers_is_named(tmp_path: Path, name: str, value: Any, words: str) -> None:
    path = write_record(tmp_path, record())
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(StorageError) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("odd", [{"note": "\ud800"}, {"result": {"extension_error": math.nan}}])
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, odd: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match=r"seed0-100epochs.json: cannot keep this run: "):
        write_record(tmp_path, msgspec.structs.replace(record(), **odd))
    assert read_records(tmp_path) == []


def test_a_byte_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = write_record(tmp_path, record(note="here"))
    path.write_bytes(path.read_bytes().replace(b"here", b"\xff"))
    with pytest.raises(StorageError, match=re.escape(str(path))):
        read_records(tmp_path)


def test_what_is_no_number_does_not_spoil_a_record(tmp_path: Path) -> None:
    odd = run()
    odd.history[1]["train_loss"] = math.inf
    odd.history[2]["train_loss"] = math.nan
    write_record(tmp_path, record_of(odd))
    (again,) = read_records(tmp_path)
    assert again.history["train_loss"] == [0.333333, None, None]


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"experiment": None}, "do not name experiment"),
        ({"method": 3}, "do not name method"),
        ({"train": []}, "do not name train"),
    ],
)
def test_a_run_of_no_experiment_is_refused(odd: dict[str, Any], words: str) -> None:
    with pytest.raises(StorageError, match=words):
        record_of(run(**odd))


def test_a_run_whose_results_are_no_numbers_is_refused() -> None:
    odd = run()
    odd.summary["test_error_percent"] = "x"
    with pytest.raises(StorageError, match=r"somewhere/run.h5: result.test_error_percent: expected a number, got 'x'"):
        record_of(odd)


def test_runs_of_other_settings_are_kept_side_by_side(tmp_path: Path) -> None:
    records = [record(), changed(record(), 0.5), changed(record(), 0.25)]
    written = [write_record(tmp_path, each) for each in records]
    names = ["seed0-100epochs.json", "seed0-100epochs-2.json", "seed0-100epochs-3.json"]
    assert [path.name for path in written] == names
    before = [path.read_bytes() for path in written]
    assert [write_record(tmp_path, each) for each in records] == written
    assert [path.read_bytes() for path in written] == before
    assert len(read_records(tmp_path)) == 3


def test_a_run_that_came_out_otherwise_is_kept_beside_the_first(tmp_path: Path) -> None:
    """Such as one of the same settings on other data."""
    other = record()
    other.history["train_loss"][0] = 0.75
    first, second = write_record(tmp_path, record()), write_record(tmp_path, other)
    assert first != second and len(read_records(tmp_path)) == 2


def test_a_run_that_is_taken_again_keeps_its_note(tmp_path: Path) -> None:
    write_record(tmp_path, record(note="few"))
    again = record(seconds=90.0)
    again.history["seconds"] = [0.9] * 100
    write_record(tmp_path, again)
    (kept,) = read_records(tmp_path)
    assert kept.note == "few" and kept.result["seconds"] == 90.0
    write_record(tmp_path, record(note="many"))
    assert [kept.note for kept in read_records(tmp_path)] == ["many"]


def test_no_note_comes_from_another_run(tmp_path: Path) -> None:
    write_record(tmp_path, record(note="few"))
    path = write_record(tmp_path, changed(record(), 0.5))
    assert json.loads(path.read_text())["note"] == ""


@pytest.mark.parametrize(
    ("experiment", "place"),
    [
        ("dfc/mnist/bp", "dfc/mnist/bp"),
        ("mine.toml", "mine"),
        ("{outside}/mine.toml", "mine"),
        ("../mine.toml", "mine"),
        ("{outside}/mine", "{outside}/mine"),
        ("../../mine", "mine"),
        ("a/../../../mine", "a/mine"),
        ("..", "unnamed"),
        ("...toml", "unnamed"),
        ("", "unnamed"),
        ("a\0b\\c:d", "a_b_c_d"),
    ],
)
def test_no_record_lies_outside_its_folder(tmp_path: Path, experiment: str, place: str) -> None:
    outside = tmp_path / "outside"
    experiment, place = (text.format(outside=outside) for text in (experiment, place))
    kept = msgspec.structs.replace(record(), experiment=experiment)
    path = write_record(tmp_path / "kept", kept)
    assert path == tmp_path / "kept" / place.removeprefix("/") / "seed0-100epochs.json"
    assert path.resolve().is_relative_to((tmp_path / "kept").resolve()) and path.is_file()
    assert os.listdir(tmp_path) == ["kept"]


def test_existing_records_keep_their_names() -> None:
    folder = Path(__file__).parent.parent / "reproduction"
    alike: dict[Path, list[Path]] = {}
    for path in folder.rglob("seed*.json"):
        kept = read_record(path)
        alike.setdefault(folder / kept.experiment / f"seed{kept.seed}-{kept.epochs}epochs.json", []).append(path)
    assert alike
    for first, paths in alike.items():
        # Another run of the same seed and length stands beside the first.
        more = [first.with_stem(f"{first.stem}-{k}") for k in range(2, len(paths) + 1)]
        assert sorted(paths) == sorted([first, *more])


def test_a_longer_run_is_read_as_it_was_after_fewer_epochs() -> None:
    whole = record_of(run(5, planned=5, complete=True), note="few")
    short = record_of(run(3, planned=3, complete=True))
    cut = whole.after(3)
    assert (cut.settings, cut.history, cut.epochs) == (short.settings, short.history, 3)
    assert cut.result["train_loss"] == 0.2 and cut.result["seconds"] == 1.5
    assert cut.note == "few; epoch 3 of 5" and whole.after(5) is whole and short.after(5) is short
