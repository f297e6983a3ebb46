"""Runs on disk: they read back as written, survive crashes, and a bad file ends in one line."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from controlnet import _hdf5
from controlnet.errors import InputError, StorageError
from controlnet.provenance import describe_machine
from controlnet.storage import Run, claim_folder, read_run, write_run

ON_A_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def example(scale: float = 1.0) -> Run:
    """Make a small run with something in every part."""
    return Run(
        settings={"dataset": "digits", "layers": [64, 32, 10], "noise": None},
        seed=2**130,
        summary={"accuracy": 0.5 * scale},
        history=[{"epoch": 0, "loss": scale, "note": "début"}, {"epoch": 1, "loss": None, "note": ""}],
        weights={"W0": scale * np.arange(6.0).reshape(2, 3), "b0": np.zeros(2), "Q0": np.zeros((0, 3))},
        diagnostics={"angle": np.linspace(0, 90, 4, dtype=np.float32), "poles": np.array([1j, -1j])},
        provenance={"argv": ["controlnet", "\udcff"]},
        complete=True,
    )


def equal(first: Run, second: Run) -> bool:
    """Compare two runs, arrays with their types."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.shape, value.tobytes())
        if isinstance(value, dict):
            return [(key, plain(item)) for key, item in value.items()]
        if isinstance(value, list):
            return [plain(item) for item in value]
        return (type(value), repr(value))

    return all(plain(getattr(first, f.name)) == plain(getattr(second, f.name)) for f in fields(Run))


def one_line(caught: pytest.ExceptionInfo[Exception], *words: str) -> None:
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


# --- what is written is read


def test_a_run_reads_back_from_its_folder_and_its_file(tmp_path: Path) -> None:
    path = write_run(tmp_path, example())
    assert path == tmp_path / "run.h5"
    assert equal(read_run(tmp_path), example())
    assert equal(read_run(path), example())
    assert os.listdir(tmp_path) == ["run.h5"]


NAMES = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=8).filter(
    lambda name: "/" not in name and name != "."
)
NUMBERS = st.sampled_from(["<f8", ">f4", "<i8", "|u1", "|b1", "<c16", "<f2"]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
CELLS = [st.integers(-(2**63), 2**63 - 1), st.floats(), TEXTS]


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw rows whose columns each hold one type, with gaps."""
    columns = draw(st.dictionaries(NAMES, st.sampled_from(CELLS), min_size=1, max_size=3))
    rows = draw(st.lists(st.tuples(*(st.none() | cells for cells in columns.values())), max_size=5))
    return [dict(zip(columns, row, strict=True)) for row in rows]


@ON_A_FILE
@given(weights=st.dictionaries(NAMES, NUMBERS, max_size=4), history=histories(), complete=st.booleans())
def test_any_weights_and_history_read_back(
    tmp_path: Path, weights: dict[str, Any], history: list[dict[str, Any]], complete: bool
) -> None:
    run = Run({}, 0, history=history, weights=weights, complete=complete)
    write_run(tmp_path, run)
    assert equal(read_run(tmp_path), run)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@ON_A_FILE
@given(values=st.dictionaries(st.text(), JSON, max_size=4), seed=st.integers(0, 2**256))
def test_any_settings_read_back(tmp_path: Path, values: dict[str, Any], seed: int) -> None:
    run = Run(values, seed, summary=values, provenance=values)
    write_run(tmp_path, run)
    assert equal(read_run(tmp_path), run)


def test_settings_longer_than_an_attribute_may_be_read_back(tmp_path: Path) -> None:
    run = Run({"text": "x" * 200_000}, 0)
    write_run(tmp_path, run)
    assert equal(read_run(tmp_path), run)


def test_numbers_that_json_lacks_become_none_and_arrays_keep_them(tmp_path: Path) -> None:
    summary = {"loss": np.float64("nan"), "best": [float("inf"), np.int64(3), np.True_], "at": (1, 2)}
    row: dict[str, Any] = {"loss": float("nan"), "gap": None, "top": np.float32(0.5)}
    write_run(tmp_path, Run({}, 0, summary=summary, history=[row]))
    back = read_run(tmp_path)
    assert back.summary == {"loss": None, "best": [None, 3, True], "at": [1, 2]}
    assert repr(back.history) == "[{'loss': nan, 'gap': None, 'top': 0.5}]"


def test_other_programs_can_read_the_file(tmp_path: Path) -> None:
    with h5py.File(write_run(tmp_path, example()), "r") as file:
        assert file["settings"].asstr()[()].startswith('{"dataset": "digits"')
        assert file["history/note"].asstr()[0] == "début"
        assert file["history/epoch"][:].tolist() == [0, 1]
        assert np.isnan(file["history/loss"][1])
        assert file.attrs["complete"] and file.attrs["schema"] == 2


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "keys": ({"history": [{"a": 1}, {"b": 2}]}, "row 1 of history"),
    "no keys": ({"history": [{}]}, "row 0 of history"),
    "mixture": ({"history": [{"a": 1}, {"a": "x"}]}, "column 'a'"),
    "cell": ({"history": [{"a": [1]}]}, "column 'a'"),
    "size": ({"history": [{"a": 2**63}]}, "column 'a'"),
    "NUL": ({"history": [{"a": "x\0"}]}, "column 'a'"),
    "surrogate": ({"history": [{"a": "\udcff"}]}, "column 'a'"),
    "slash": ({"weights": {"a/b": np.zeros(1)}}, "'a/b' in weights"),
    "dot": ({"weights": {".": np.zeros(1)}}, "'.' in weights"),
    "no name": ({"diagnostics": {"": np.zeros(1)}}, "in diagnostics"),
    "objects": ({"weights": {"W0": np.array([None])}}, "'W0' in weights"),
    "text": ({"weights": {"W0": np.array(["x"])}}, "'W0' in weights"),
    "json": ({"summary": {"x": [object()]}}, "summary.x[0]"),
    "key": ({"settings": {"a": {1: 2}}}, "settings.a"),
    "list": ({"settings": []}, "settings"),
    "seed": ({"seed": -1}, "seed"),
    "float seed": ({"seed": 1.0}, "seed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path: Path, case: str) -> None:
    part, words = REFUSED[case]
    options: dict[str, Any] = {"settings": {}, "seed": 0} | part
    with pytest.raises(InputError) as caught:
        write_run(tmp_path, Run(**options))
    one_line(caught, words)
    assert os.listdir(tmp_path) == []


# --- failures while writing


def failing(code: int) -> Any:
    def fail(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("name", ["os.fsync", "os.replace", "pathlib.Path.open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_a_failed_write_says_why_and_leaves_the_old_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    write_run(tmp_path, example())
    with monkeypatch.context() as patch, pytest.raises(StorageError) as caught:
        patch.setattr(name, failing(code))
        write_run(tmp_path, example(2))
    one_line(caught, str(tmp_path), os.strerror(code), "choose" if code != errno.EIO else "check")
    assert os.listdir(tmp_path) == ["run.h5"]
    assert equal(read_run(tmp_path), example())


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from controlnet.errors import StorageError
from controlnet.storage import Run, write_run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_run(Path(sys.argv[1]), Run({}, 0, weights={"W0": np.ones(10_000)}))
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_write_that_the_system_cuts_off_half_way_leaves_the_old_run(tmp_path: Path) -> None:
    write_run(tmp_path, example())
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith(f"cannot write to {tmp_path}: File too large")
    assert os.listdir(tmp_path) == ["run.h5"]
    assert equal(read_run(tmp_path), example())


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        write_run(tmp_path / "file", example())
    one_line(caught, str(tmp_path / "file"), "Not a directory", "choose another folder")
    with pytest.raises(StorageError, match="No such file or directory"):
        write_run(tmp_path / "absent", example())


WRITER = """
import sys
from itertools import count
from pathlib import Path
import numpy as np
from controlnet.storage import Run, claim_folder, write_run
with claim_folder(Path(sys.argv[1])) as folder:
    for epoch in count():
        weights = {f"W{i}": np.full(2000, float(epoch)) for i in range(4)}
        write_run(folder, Run({}, epoch, weights=weights))
        print(epoch, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_killed_writer_leaves_a_whole_run_and_a_folder_that_can_be_claimed(tmp_path: Path) -> None:
    draw = random.Random(0)
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            last = [int(writer.stdout.readline()) for _ in range(draw.randint(1, 8))][-1]
            for _ in range(draw.randint(0, 200_000)):  # lands anywhere inside the next writes
                pass
            writer.kill()
        run = read_run(folder)
        assert run.seed >= last
        assert all(np.array_equal(run.weights[f"W{i}"], np.full(2000, run.seed)) for i in range(4))
        with claim_folder(folder, replace=True):
            assert {name for name in os.listdir(folder) if name.endswith(".part")} == set()


# --- damaged and foreign files


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent" / "run.h5"):
        with pytest.raises(StorageError) as caught:
            read_run(path)
        one_line(caught, f"no run at {path}", "run.h5")


def test_a_run_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, example())
    monkeypatch.setattr("pathlib.Path.open", failing(errno.EACCES))
    with pytest.raises(StorageError, match="cannot read .*Permission denied: check that you may read it"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.h5").write_bytes(content)
    with pytest.raises(StorageError, match="no run file: expected HDF5"):
        read_run(tmp_path)


@pytest.mark.parametrize("share", [0.002, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_truncated_run_is_refused(tmp_path: Path, share: float) -> None:
    path = write_run(tmp_path, example())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StorageError) as caught:
        read_run(tmp_path)
    one_line(caught, str(path), "damaged")


@settings(ON_A_FILE, max_examples=200)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path, place: float, flip: int) -> None:
    path = write_run(tmp_path, example())
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    try:
        assert equal(read_run(path), example())
    except StorageError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    path = write_run(tmp_path, example())
    with h5py.File(path, "a") as file:
        file["weights/W0"][0, 0] = 1e-9
    with pytest.raises(StorageError, match="damaged: expected content"):
        read_run(path)


def test_a_changed_complete_flag_is_noticed(tmp_path: Path) -> None:
    path = write_run(tmp_path, example())
    with h5py.File(path, "a") as file:
        file.attrs.modify("complete", np.uint8(0))
    with pytest.raises(StorageError, match="damaged: expected content"):
        read_run(path)


def test_a_weight_of_another_shape_or_type_is_noticed(tmp_path: Path) -> None:
    weight = example().weights["W0"]
    for changed in (weight.reshape(3, 2), weight.view(np.int64)):
        path = write_run(tmp_path, example())
        with h5py.File(path, "a") as file:
            del file["weights/W0"]
            file["weights/W0"] = changed
        with pytest.raises(StorageError, match="damaged: expected content"):
            read_run(path)


def external_link(file: h5py.File, other: Path) -> None:
    file["weights/stolen"] = h5py.ExternalLink(str(other), "/secret")


def soft_link(file: h5py.File, other: Path) -> None:
    file["weights/stolen"] = h5py.SoftLink("/settings")


def linked_group(file: h5py.File, other: Path) -> None:
    del file["weights"]
    file["weights"] = h5py.ExternalLink(str(other), "/")


def external_storage(file: h5py.File, other: Path) -> None:
    file["weights"].create_dataset("stolen", (8,), "u1", external=[(str(other), 0, 8)])


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(other), "secret", (3,))
    file["weights"].create_virtual_dataset("stolen", layout)


def bomb(file: h5py.File, other: Path) -> None:
    file["weights"].create_dataset("huge", (2**40,), "f8")


def packed_bomb(file: h5py.File, other: Path) -> None:
    file["weights"].create_dataset("huge", (2**40,), "f8", chunks=(2**20,), compression="gzip")


def many_times_the_file(file: h5py.File, other: Path) -> None:
    file["weights/W1"] = file["weights/W0"]
    file["weights"].create_dataset("big", data=np.zeros(20_000))
    for index in range(3):
        file[f"weights/again{index}"] = file["weights/big"]


def texts_of_any_length(file: h5py.File, other: Path) -> None:
    file["weights"].create_dataset("texts", data=["a", "b"], dtype=h5py.string_dtype())


def references(file: h5py.File, other: Path) -> None:
    file["weights"].create_dataset("refs", data=[file.ref], dtype=h5py.ref_dtype)


def records(file: h5py.File, other: Path) -> None:
    file["weights"].create_dataset("records", data=np.zeros(2, [("a", "f8"), ("b", "i4")]))


def nothing_inside(file: h5py.File, other: Path) -> None:
    file["weights"].create_dataset("none", data=h5py.Empty("f8"))


def deeper_group(file: h5py.File, other: Path) -> None:
    file.create_group("weights/more")


def unknown_group(file: h5py.File, other: Path) -> None:
    file.create_group("extra")


def array_for_group(file: h5py.File, other: Path) -> None:
    del file["weights"]
    file["weights"] = np.zeros(2)


def wide_attribute(file: h5py.File, other: Path) -> None:
    file.attrs["sha256"] = np.full(1000, b"x")


def no_schema(file: h5py.File, other: Path) -> None:
    del file.attrs["schema"]


def no_hash(file: h5py.File, other: Path) -> None:
    del file.attrs["sha256"]


def newer_schema(file: h5py.File, other: Path) -> None:
    file.attrs["schema"] = 99


CRAFTED = {
    external_link: "a link at 'stolen'",
    soft_link: "a link at 'stolen'",
    linked_group: "a link at 'weights'",
    external_storage: "'weights/stolen' in a form",
    virtual: "'weights/stolen' in a form",
    bomb: "more data than it is long",
    packed_bomb: "'weights/huge' in a form",
    many_times_the_file: "more data than it is long",
    texts_of_any_length: "'weights/texts' in a form",
    references: "'weights/refs' in a form",
    records: "'weights/records' in a form",
    nothing_inside: "'weights/none' in a form",
    deeper_group: "no array at 'weights/more'",
    unknown_group: "an unknown 'extra'",
    array_for_group: "an unknown 'weights'",
    wide_attribute: "malformed attribute 'sha256'",
    no_schema: "damaged",
    no_hash: "not a run of controlnet",
    newer_schema: "newer schema 99: expected 2",
}


@pytest.mark.parametrize("craft", CRAFTED, ids=lambda craft: craft.__name__)
def test_a_crafted_file_is_refused_before_it_is_read(tmp_path: Path, craft: Any) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.arange(3.0)
    path = write_run(tmp_path, example())
    with h5py.File(path, "a") as file:
        craft(file, other)
    with pytest.raises(StorageError) as caught:
        read_run(path)
    one_line(caught, str(path), CRAFTED[craft])


def without_settings(tree: _hdf5.Tree) -> None:
    del tree["settings"]


def settings_no_json(tree: _hdf5.Tree) -> None:
    tree["settings"] = np.array(b"{")


def settings_a_list(tree: _hdf5.Tree) -> None:
    tree["settings"] = np.array(b"[]")


def settings_a_number(tree: _hdf5.Tree) -> None:
    tree["settings"] = np.array(10**12)


def settings_very_deep(tree: _hdf5.Tree) -> None:
    tree["settings"] = np.array(b"[" * 100_000)


def seed_a_text(tree: _hdf5.Tree) -> None:
    tree["seed"] = np.array(b'"1"')


def weights_a_text(tree: _hdf5.Tree) -> None:
    tree["weights/W0"] = np.array([b"x"])


def uneven_history(tree: _hdf5.Tree) -> None:
    tree["history/epoch"] = np.arange(3)


def mask_without_column(tree: _hdf5.Tree) -> None:
    tree["missing/other"] = np.zeros(2, bool)


def history_a_number(tree: _hdf5.Tree) -> None:
    tree["history/epoch"] = np.array(3)


def history_no_text(tree: _hdf5.Tree) -> None:
    tree["history/note"] = np.array([b"\xff", b""])


WRONG_TREES = [
    without_settings,
    settings_no_json,
    settings_a_list,
    settings_a_number,
    settings_very_deep,
    seed_a_text,
    weights_a_text,
    uneven_history,
    mask_without_column,
    history_a_number,
    history_no_text,
]


@pytest.mark.parametrize("spoil", WRONG_TREES, ids=lambda spoil: spoil.__name__)
def test_a_well_signed_file_that_is_no_run_is_refused(tmp_path: Path, spoil: Any) -> None:
    from controlnet import storage

    tree = storage._to_tree(example())
    spoil(tree)
    (tmp_path / "run.h5").write_bytes(_hdf5.dump(tree, complete=True))
    with pytest.raises(StorageError) as caught:
        read_run(tmp_path)
    one_line(caught, str(tmp_path), "lacks a part of a run")


# --- claiming a folder


def test_a_claimed_folder_takes_several_writes_and_no_second_writer(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with claim_folder(folder) as claimed:
        write_run(claimed, example(1))
        with pytest.raises(StorageError) as caught, claim_folder(folder, replace=True):
            pass
        one_line(caught, str(folder), "in use by another run")
        write_run(claimed, example(2))
    assert os.listdir(folder) == ["run.h5"]
    assert equal(read_run(folder), example(2))


def test_a_second_process_cannot_claim_the_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from controlnet.storage import claim_folder\n"
        "try:\n    with claim_folder(Path(sys.argv[1])): print('claimed')\n"
        "except Exception as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with claim_folder(tmp_path):
        assert "in use by another run" in subprocess.run(command, capture_output=True, text=True).stdout
    assert subprocess.run(command, capture_output=True, text=True).stdout == "claimed\n"


def test_a_folder_with_a_run_is_claimed_only_to_replace_it(tmp_path: Path) -> None:
    write_run(tmp_path, example())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError) as caught, claim_folder(tmp_path):
        pass
    one_line(caught, str(tmp_path), "holds a run already")
    with claim_folder(tmp_path, replace=True):
        assert equal(read_run(tmp_path), example())
    assert sorted(os.listdir(tmp_path)) == ["notes.txt", "run.h5"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StorageError) as caught, claim_folder(tmp_path, replace=replace):
        pass
    one_line(caught, str(tmp_path), "'thesis.tex'")
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_stale_temporary_files_go_and_files_with_like_names_stay(tmp_path: Path) -> None:
    write_run(tmp_path, example())
    stale, like = tmp_path / f".run-{'0' * 32}.part", tmp_path / ".run-mine.part"
    stale.touch()
    like.touch()
    with claim_folder(tmp_path, replace=True):
        assert not stale.exists() and like.exists()


def test_a_folder_whose_first_write_was_cut_off_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / f".run-{'0' * 32}.part").touch()
    with claim_folder(tmp_path):
        assert os.listdir(tmp_path) == [".run.lock"]


def test_a_claim_ends_with_an_error_in_its_body(tmp_path: Path) -> None:
    with pytest.raises(KeyError), claim_folder(tmp_path):
        raise KeyError
    with claim_folder(tmp_path) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("name", ["pathlib.Path.mkdir", "filelock.FileLock.acquire"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_claimed_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    monkeypatch.setattr(name, failing(code))
    with pytest.raises(StorageError) as caught, claim_folder(tmp_path / "run"):
        pass
    one_line(caught, "cannot use", str(tmp_path / "run"), os.strerror(code), "choose")


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(StorageError) as caught, claim_folder(folder):
            pass
        one_line(caught, str(folder), "a file is in the way")


# --- provenance


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_machine_is_described_in_plain_values_that_a_run_keeps(tmp_path: Path) -> None:
    machine = describe_machine()
    write_run(tmp_path, Run({}, 0, provenance=machine))
    assert read_run(tmp_path).provenance == machine
    assert machine["argv"] == sys.argv
    assert machine["packages"]["numpy"] == np.__version__
    assert machine["time"].endswith("+00:00")


def test_the_commit_and_open_changes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_machine()["git"] is None
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "first")
    assert describe_machine()["git"] == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "file").touch()
    assert describe_machine()["git"]["dirty"] is True


def test_a_machine_without_git_is_described_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert describe_machine()["git"] is None
