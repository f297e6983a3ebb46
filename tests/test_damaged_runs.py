"""Damaged and foreign run files are refused in one line, before they are read."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_runs import ON_A_FILE, equal, example, failing, one_line

from controlnet import _hdf5
from controlnet.errors import StorageError
from controlnet.storage import read_run, write_run


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


def continuation_a_text(tree: _hdf5.Tree) -> None:
    tree["continuation/source"] = np.array(b"x")


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
    continuation_a_text,
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
