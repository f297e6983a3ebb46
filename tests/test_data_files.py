"""Datasets in files of one's own: what is read, how it is split, and every way a file can be wrong."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from controlnet.data import Dataset, files, load
from controlnet.errors import DataError, InputError, UnreadableError

SUFFIXES = ("npz", "h5", "hdf5")
ON_A_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTROLNET_DATA", raising=False)


def write(path: Path, **content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **content)
        return path
    with h5py.File(path, "w") as file:
        for name, array in content.items():
            file.create_dataset(name, data=array)
    return path


def numbered(samples: int = 100, classes: int = 4) -> dict[str, np.ndarray]:
    """Give samples whose first feature is their number, and their class that modulo the number of classes."""
    number = np.arange(samples)
    return {"X": np.column_stack([number, -number]).astype(float), "y": number % classes}


def parts(data: Dataset) -> list[np.ndarray]:
    return [split.inputs[:, 0].astype(int) for split in (data.train, data.validation, data.test)]


def refused(path: Path | str, *words: str, seed: int = 0, data_dir: Path | None = None) -> None:
    with pytest.raises(DataError) as caught:
        load(str(path), seed=seed, data_dir=data_dir)
    assert "\n" not in str(caught.value)
    for word in (Path(path).name, *words):
        assert word in str(caught.value)


# --- what is read


@pytest.mark.parametrize("suffix", SUFFIXES)
@ON_A_FILE
@given(
    y=arrays.arrays(np.int16, st.integers(10, 120), elements=st.integers(0, 4)),
    seed=st.integers(0, 2**64),
)
def test_every_sample_is_in_one_split_and_every_class_in_its_share(
    tmp_path: Path, suffix: str, y: np.ndarray, seed: int
) -> None:
    y = np.unique(np.append(y[2:], (5, 6)), return_inverse=True)[1]
    path = write(tmp_path / f"mine.{suffix}", X=np.arange(float(len(y)))[:, None], y=y)
    data = load(str(path), seed=seed)
    dealt = parts(data)
    assert np.array_equal(np.sort(np.concatenate(dealt)), np.arange(len(y)))
    assert data.outputs == len(np.unique(y)) and data.by_class and data.train.targets.dtype == np.int64
    for numbers, split in zip(dealt, (data.train, data.validation, data.test), strict=True):
        assert np.array_equal(split.targets, y[numbers])
    for numbers, share in zip(dealt, (0.8, 0.1, 0.1), strict=True):
        assert abs(len(numbers) - share * len(y)) < 2
        for label in np.unique(y):
            assert abs((y[numbers] == label).sum() - share * (y == label).sum()) < 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_target_vectors_are_taken_as_they_are(tmp_path: Path, suffix: str) -> None:
    X, y = np.arange(40, dtype=np.float32).reshape(20, 2), np.linspace(-5, 5, 60).reshape(20, 3)
    data = load(str(write(tmp_path / f"mine.{suffix}", X=X, y=y)), seed=0)
    assert (data.outputs, data.by_class) == (3, False)
    assert [len(split.inputs) for split in (data.train, data.validation, data.test)] == [16, 2, 2]
    for split in (data.train, data.validation, data.test):
        rows = (split.inputs[:, 0] / 2).astype(int)
        assert np.array_equal(split.inputs, X[rows]) and np.array_equal(split.targets, y[rows])
        assert split.inputs.dtype == split.targets.dtype == np.float64


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["u1", ">i2", "<f4", ">f8", "f2", "?"])
def test_numbers_of_every_type_become_float64(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = write(tmp_path / f"mine.{suffix}", X=np.ones((12, 3), dtype), y=np.arange(12) % 2)
    data = load(str(path), seed=0)
    assert data.train.inputs.dtype == np.float64 and (data.train.inputs == 1).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_test_samples_of_the_file_stay_apart(tmp_path: Path, suffix: str) -> None:
    own = numbered(100)
    path = write(tmp_path / f"mine.{suffix}", **own, X_test=own["X"][:7] + 1000, y_test=own["y"][:7])
    data = load(str(path), seed=4)
    train, validation, test = parts(data)
    assert (len(train), len(validation)) == (90, 10)
    assert sorted([*train, *validation]) == list(range(100)) and test.tolist() == list(range(1000, 1007))


def test_the_seed_decides_the_split_and_its_order(tmp_path: Path) -> None:
    path = str(write(tmp_path / "mine.npz", **numbered()))
    first, again, other = (parts(load(path, seed=seed)) for seed in (3, np.random.SeedSequence(3), 4))
    for part in range(3):
        assert np.array_equal(first[part], again[part]) and not np.array_equal(first[part], other[part])
    assert not np.array_equal(first[0], np.sort(first[0]))


def test_packed_and_chunked_files_are_read(tmp_path: Path) -> None:
    own = numbered()
    np.savez_compressed(tmp_path / "mine.npz", **own)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for name, array in own.items():
            file.create_dataset(name, data=array, chunks=True, compression="gzip")
        file.create_group("notes")
    first, second = (load(str(tmp_path / f"mine.{suffix}"), seed=0) for suffix in ("npz", "h5"))
    assert np.array_equal(first.train.inputs, second.train.inputs)


def test_a_path_begins_in_the_working_directory_and_else_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, folder = tmp_path / "here", tmp_path / "data"
    write(folder / "sub" / "mine.npz", **numbered(20))
    here.mkdir()
    monkeypatch.chdir(here)
    assert len(load("sub/mine.npz", seed=0, data_dir=folder).train.inputs) == 16
    write(here / "sub" / "mine.npz", **numbered(30))
    assert len(load("sub/mine.npz", seed=0, data_dir=folder).train.inputs) == 24
    monkeypatch.setenv("CONTROLNET_DATA", str(folder))
    refused("absent.h5", str(here / "absent.h5"), str(folder / "absent.h5"), "data.name", "--data-dir")


# --- what is refused


GOOD = {"X": np.ones((20, 3)), "y": np.arange(20) % 2}
HOLE = np.where(np.arange(60).reshape(20, 3) == 15, np.nan, 1.0)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no y": ({"X": GOOD["X"]}, "lacks y"),
    "neither": ({"Z": GOOD["X"]}, "lacks X and y: expected arrays X of shape (samples, features)"),
    "test without targets": ({**GOOD, "X_test": GOOD["X"]}, "lacks y_test"),
    "targets without test": ({**GOOD, "y_test": GOOD["y"]}, "lacks X_test"),
    "NaN": ({**GOOD, "X": HOLE}, "a NaN or an infinity in row 5 of X"),
    "infinity": ({**GOOD, "X": np.where(np.isnan(HOLE), -np.inf, HOLE)}, "in row 5 of X"),
    "NaN target": ({**GOOD, "y": HOLE}, "in row 5 of y"),
    "NaN in the test": ({**GOOD, "X_test": HOLE, "y_test": GOOD["y"]}, "in row 5 of X_test"),
    "images": ({**GOOD, "X": np.ones((20, 3, 3))}, "X float64 (20, 3, 3)"),
    "one feature": ({**GOOD, "X": np.ones(20)}, "reshape"),
    "no features": ({**GOOD, "X": np.ones((20, 0))}, "(20, 0)"),
    "lengths": ({**GOOD, "y": GOOD["y"][:-1]}, "y int64 (19,): expected"),
    "float classes": ({**GOOD, "y": GOOD["y"] / 1.0}, "y float64 (20,)"),
    "integer vectors": ({**GOOD, "y": np.ones((20, 2), int)}, "y int64 (20, 2)"),
    "no outputs": ({**GOOD, "y": np.ones((20, 0))}, "(20, 0)"),
    "scalar": ({**GOOD, "y": np.array(3)}, "y int64 ()"),
    "complex": ({**GOOD, "X": np.ones((20, 3), complex)}, "complex128 as X"),
    "text": ({**GOOD, "y": np.array([b"cat", b"dog"] * 10)}, "|S3 as y"),
    "negative": ({**GOOD, "y": GOOD["y"] - 1}, "-1 to 0 as y"),
    "large class": ({**GOOD, "y": GOOD["y"] * 10**9}, "0 to 1000000000 as y"),
    "largest class": ({**GOOD, "y": np.full(20, 2**64 - 1, np.uint64)}, "fewer than the 20 samples"),
    "one class": ({**GOOD, "y": GOOD["y"] * 0}, "one class alone in y: expected at least 2"),
    "counted from 1": ({**GOOD, "y": GOOD["y"] + 1}, "no sample of class 0 in y: expected some of each from 0 to 2"),
    "gaps": ({**GOOD, "y": GOOD["y"] * 7}, "no sample of class 1, 2, 3, 4, 5, ... in y"),
    "few": ({name: array[:9] for name, array in GOOD.items()}, "9 samples in X: expected at least 10"),
    "none": ({name: array[:0] for name, array in GOOD.items()}, "0 samples in X"),
    "no test": ({**GOOD, "X_test": GOOD["X"][:0], "y_test": GOOD["y"][:0]}, "no samples in X_test"),
    "wide test": ({**GOOD, "X_test": np.ones((20, 4)), "y_test": GOOD["y"]}, "X_test (20, 4) beside (20, 3)"),
    "vector test": ({**GOOD, "X_test": GOOD["X"], "y_test": np.ones((20, 2))}, "y_test (20, 2) beside (20,)"),
    "new class": ({**GOOD, "X_test": GOOD["X"], "y_test": GOOD["y"] + 1}, "class 2 in y_test: expected 0 to 1"),
}


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_named_with_what_was_expected(tmp_path: Path, suffix: str, case: str) -> None:
    content, words = WRONG[case]
    refused(write(tmp_path / f"mine.{suffix}", **content), words, "expected")


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / f"mine.{suffix}", **GOOD)

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableError, match=f"cannot read .*mine.{suffix}: Permission denied: check that you may"):
        load(str(path), seed=0)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


X = npy(GOOD["X"])
Y = npy(GOOD["y"])
DAMAGED = {
    "empty": b"",
    "text": b"hello\nworld",
    "no array": packed(X=b"hello", y=Y),
    "short array": packed(X=X[:-1], y=Y),
    "long array": packed(X=X + b"\0", y=Y),
    "header": packed(X=X.replace(b"'shape': (20, 3)", b"'shape': (-1, 3)"), y=Y),
    "terabytes": packed(X=X.replace(b"(20, 3), }" + 8 * b" ", b"(2000000000, 3), }"), y=Y),
    "half": packed(X=X, y=Y)[:400],
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_named(tmp_path: Path, suffix: str, case: str) -> None:
    path = tmp_path / f"mine.{suffix}"
    path.write_bytes(DAMAGED[case])
    refused(path, str(path), "expected")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("unpickled",))

    path = tmp_path / "mine.npz"
    trap = np.array([Trap()] * 20, dtype=object)
    np.savez(path, X=GOOD["X"], y=trap)
    refused(path, "Python objects as y", "expected an array of numbers")


@ON_A_FILE
@given(position=st.integers(0, len(packed(X=X, y=Y)) - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path, position: int, flip: int) -> None:
    content = bytearray(packed(X=X, y=Y))
    content[position] ^= flip
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    try:
        data = load(str(path), seed=0)
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert (data.train.inputs == 1).all() and data.outputs == 2


def test_too_much_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        # Nothing of it is in the file.
        file.create_dataset("X", (10**9, 1000), "f8", chunks=(1000, 1000))
        file["y"] = GOOD["y"]
    refused(tmp_path / "mine.h5", "declares 8000000000000 bytes for 'X'")
    monkeypatch.setattr(files, "LARGEST", 100)
    refused(write(tmp_path / "mine.npz", **GOOD), "declares 480 bytes for X: expected at most 100")


LINKS = {
    "soft": lambda file: file.__setitem__("X", h5py.SoftLink("/other")),
    "external": lambda file: file.__setitem__("X", h5py.ExternalLink("other.h5", "X")),
    "group": lambda file: file.create_group("X"),
    "raw": lambda file: file.create_dataset("X", (20, 3), "f8", external=[("/etc/passwd", 0, 480)]),
    "text": lambda file: file.create_dataset("X", data=["text"] * 20),
    "void": lambda file: file.create_dataset("X", data=h5py.Empty("f8")),
}


@pytest.mark.parametrize("case", [*LINKS, "virtual"])
def test_an_hdf5_file_holds_its_arrays_itself(tmp_path: Path, case: str) -> None:
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["y"], file["other"] = GOOD["y"], GOOD["X"]
        if case == "virtual":
            layout = h5py.VirtualLayout((20, 3), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "X", (20, 3))
            file.create_virtual_dataset("X", layout)
        else:
            LINKS[case](file)
    refused(tmp_path / "mine.h5", "X")


def test_a_folder_and_a_name_too_long_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").mkdir()
    refused(tmp_path / "mine.npz", "no file")
    refused(tmp_path / f"{'x' * 5000}.npz", "no file")


def test_other_suffixes_are_names() -> None:
    with pytest.raises(InputError, match="unknown dataset 'mine.csv': expected one of .* or a file ending in .npz"):
        load("mine.csv", seed=0)
