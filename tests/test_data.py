"""The data room: splits, IDX files, folders, downloads, and every way a file can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from idx_files import idx

from controlnet.data import DATASETS, Dataset, Split, catalog, load
from controlnet.data import mnist as mnist_module
from controlnet.data.dataset import stratified_indices
from controlnet.data.idx import read_idx
from controlnet.errors import DataError, DimensionError, InputError

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = mnist_module.PARTS


def small_files(suffix: str = "", train: int = 24, test: int = 6) -> dict[str, bytes]:
    """Build the four files of a small dataset whose images all differ."""
    pack = gzip.compress if suffix else bytes
    files = {}
    for stem, count, offset in (("train", train, 0), ("t10k", test, 100)):
        images = np.arange(offset, offset + count, dtype=np.uint8)[:, None, None] + np.zeros((1, 2, 3), np.uint8)
        files[f"{stem}-images-idx3-ubyte{suffix}"] = pack(idx(images))
        files[f"{stem}-labels-idx1-ubyte{suffix}"] = pack(idx(np.arange(count, dtype=np.uint8) % 10))
    return files


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def one_line(caught: pytest.ExceptionInfo[Exception], *words: str) -> None:
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.fixture
def no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Use an empty cache and no data folder; the network is refused."""

    def refuse(*args: object, **options: object) -> None:
        raise requests.exceptions.ConnectionError("name or service not known")

    monkeypatch.delenv("CONTROLNET_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setattr(requests, "get", refuse)
    return tmp_path / "cache" / "controlnet"


# --- splits and the embedded digits


@settings(deadline=None)
@given(
    labels=arrays.arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 4)),
    seed=st.integers(0, 2**64),
)
def test_stratified_parts_hold_every_sample_once_in_the_right_mix(labels: np.ndarray, seed: int) -> None:
    fractions = (0.7, 0.15, 0.15)
    parts = stratified_indices(labels, fractions, np.random.default_rng(seed))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(labels.size))
    for label in np.unique(labels):
        total = np.sum(labels == label)
        for part, share in zip(parts, fractions, strict=True):
            assert abs(np.sum(labels[part] == label) - share * total) <= 1


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (1.2, -0.2)])
def test_fractions_that_are_no_shares_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="add up to 1"):
        stratified_indices(np.zeros(4, np.int64), fractions, np.random.default_rng(0))


def test_a_split_needs_one_target_per_sample() -> None:
    with pytest.raises(DimensionError, match="one target per row"):
        Split(np.zeros((3, 2)), np.zeros(2, np.int64))


def test_digits_are_the_known_ones_standardised_by_the_training_split() -> None:
    data = load("digits", seed=7)
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [1258, 270, 269]
    assert data.train.inputs.shape[1] == 64 and data.train.inputs.dtype == np.float64
    assert data.train.inputs.mean() == pytest.approx(0, abs=1e-12)
    assert data.train.inputs.std() == pytest.approx(1)
    labels = np.concatenate([data.train.targets, data.validation.targets, data.test.targets])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(data.test.targets, minlength=data.outputs).min() >= 26


@pytest.mark.parametrize("number", [1, 40, 1258])
def test_fewer_training_samples_are_the_first_ones(number: int) -> None:
    data = load("digits", seed=7)
    fewer = data.with_train_samples(number)
    assert np.array_equal(fewer.train.inputs, data.train.inputs[:number])
    assert np.array_equal(fewer.train.targets, data.train.targets[:number])
    assert (fewer.validation, fewer.test) == (data.validation, data.test)
    assert (fewer.name, fewer.outputs) == ("digits", 10)
    assert len(data.train.targets) == 1258


@pytest.mark.parametrize("number", [-1, 0, 1259])
def test_more_training_samples_than_there_are_are_refused(number: int) -> None:
    with pytest.raises(InputError) as caught:
        load("digits", seed=7).with_train_samples(number)
    assert str(caught.value) == f"train_samples: expected 1 to 1258 of digits, got {number}"


def test_digits_can_be_told_apart_by_their_class_means() -> None:
    data = load("digits", seed=0)
    means = np.stack([data.train.inputs[data.train.targets == label].mean(0) for label in range(10)])
    distance = ((data.test.inputs[:, None] - means) ** 2).sum(-1)
    assert np.mean(distance.argmin(1) == data.test.targets) > 0.85


def same(first: Dataset, second: Dataset) -> bool:
    return all(
        np.array_equal(getattr(first, part).inputs, getattr(second, part).inputs)
        for part in ("train", "validation", "test")
    )


def test_the_seed_decides_the_split() -> None:
    sequence = np.random.SeedSequence(3)
    assert same(load("digits", seed=3), load("digits", seed=sequence))
    assert same(load("digits", seed=sequence), load("digits", seed=sequence))
    assert not same(load("digits", seed=3), load("digits", seed=4))


def test_an_unknown_name_lists_the_choices_and_a_close_one() -> None:
    with pytest.raises(InputError) as caught:
        load("fashion_mnist", seed=0)
    one_line(caught, "'fashion_mnist'", *DATASETS, "did you mean 'fashion-mnist'?")


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InputError, match="seed must be 0 or more, got -1"):
        load("digits", seed=-1)


def test_the_data_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, controlnet.data as data; data.load('digits', seed=0); "
        "print([m for m in ('numba', 'h5py', 'pooch', 'requests') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# --- IDX files


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(array=arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=3)), packed=st.booleans())
def test_idx_files_read_back_as_written_whatever_their_suffix(tmp_path: Path, array: np.ndarray, packed: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    assert np.array_equal(read_idx(path, array.ndim), array)


WHOLE = idx(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
PACKED = gzip.compress(WHOLE)
DAMAGED = {
    "empty": (b"", "nothing"),
    "text": (b"<html>not found</html>", "expected it to start with 00000803"),
    "labels for images": (idx(np.zeros(5, np.uint8)), "got 00000801"),
    "signed bytes": (WHOLE[:2] + b"\x09" + WHOLE[3:], "got 00000903"),
    "short header": (WHOLE[:9], "got 5 bytes"),
    "short": (WHOLE[:-1], "expected 60 bytes of data, got only 59"),
    "extra": (WHOLE + b"\0", "expected 60 bytes of data, got more"),
    "no samples": (WHOLE[:4] + struct.pack(">3I", 0, 4, 3), "(0, 4, 3)"),
    "terabytes": (WHOLE[:4] + struct.pack(">3I", *[2**32 - 1] * 3), "expected 1 to"),
    "truncated gzip": (PACKED[:-9], "whole gzip file"),
    "gzip header only": (PACKED[:10], "whole gzip file"),
    "bad checksum": (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "whole gzip file"),
    "bad deflate": (PACKED[:10] + b"\xff" * 20, "whole gzip file"),
    "gzip of extra": (gzip.compress(WHOLE + b"\0"), "got more"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_idx_file_is_named_with_what_was_expected(tmp_path: Path, case: str) -> None:
    content, words = DAMAGED[case]
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path, 3)
    one_line(caught, str(path), "expected", words)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, len(PACKED) - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_of_a_packed_file_is_noticed_or_harmless(tmp_path: Path, position: int, flip: int) -> None:
    content = bytearray(PACKED)
    content[position] ^= flip
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    try:
        assert read_idx(path, 3).tobytes() == WHOLE[16:]
    except DataError as error:
        assert str(path) in str(error)


def test_an_unreadable_idx_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read .*: Is a directory"):
        read_idx(tmp_path, 3)


# --- MNIST and Fashion-MNIST from a folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_folder_of_idx_files_loads(tmp_path: Path, suffix: str, name: str, nested: bool) -> None:
    put(tmp_path / name if nested else tmp_path, small_files(suffix))
    data = load(name, seed=1, data_dir=tmp_path)
    assert data.name == name and data.outputs == 10
    assert data.train.inputs.shape == (22, 6)
    assert data.validation.inputs.shape == (2, 6)
    assert data.test.targets.tolist() == [0, 1, 2, 3, 4, 5]


def test_pixels_are_scaled_as_documented_and_labels_stay_with_their_images(tmp_path: Path) -> None:
    put(tmp_path, small_files())
    mnist, fashion = (load(name, seed=5, data_dir=tmp_path) for name in ("mnist", "fashion-mnist"))
    pixels = np.arange(100, 106)[:, None] / 255 + np.zeros((1, 6))
    assert np.allclose(fashion.test.inputs, pixels, rtol=1e-15)
    assert np.allclose(mnist.test.inputs, (pixels - 0.1307) / 0.3081, rtol=1e-14)
    inputs = np.concatenate([fashion.train.inputs, fashion.validation.inputs])[:, 0]
    labels = np.concatenate([fashion.train.targets, fashion.validation.targets])
    images = np.rint(inputs * 255).astype(int)
    assert sorted(images) == list(range(24))
    assert np.array_equal(labels, images % 10)
    assert not np.array_equal(images, np.sort(images))


def test_the_other_spelling_and_the_variable_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, {name.replace("-idx", ".idx"): content for name, content in small_files().items()})
    monkeypatch.setenv("CONTROLNET_DATA", str(tmp_path))
    assert same(load("mnist", seed=2), load("mnist", seed=2, data_dir=tmp_path))
    assert not same(load("mnist", seed=2), load("mnist", seed=3))


def test_an_argument_goes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, small_files())
    monkeypatch.setenv("CONTROLNET_DATA", str(tmp_path / "absent"))
    assert load("mnist", seed=2, data_dir=tmp_path).outputs == 10
    with pytest.raises(DataError, match="no folder .*absent"):
        load("mnist", seed=2)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load("mnist", seed=0, data_dir=tmp_path / "absent")
    one_line(caught, str(tmp_path / "absent"), "--data-dir", "CONTROLNET_DATA")


@pytest.mark.parametrize("part", mnist_module.PARTS)
def test_a_missing_file_is_named_with_the_names_looked_for(tmp_path: Path, part: str) -> None:
    put(tmp_path, small_files())
    (tmp_path / part).unlink()
    with pytest.raises(DataError) as caught:
        load("mnist", seed=0, data_dir=tmp_path)
    one_line(caught, str(tmp_path), part, f"{part}.gz", part.replace("-idx", ".idx"))


LABEL_OUT_OF_RANGE = idx(np.full(24, 10, np.uint8))
MISFITS = {
    "count": ({LABELS: idx(np.zeros(23, np.uint8))}, "expected 24 labels, got 23"),
    "label": ({LABELS: LABEL_OUT_OF_RANGE}, "expected 0 to 9, got 10"),
    "test label": ({TEST_LABELS: idx(np.full(6, 255, np.uint8))}, "expected 0 to 9, got 255"),
    "pixels": ({TEST_IMAGES: idx(np.zeros((6, 3, 3), np.uint8))}, "expected images of 6 pixels, got 9"),
    "one": (
        {IMAGES: idx(np.zeros((1, 2, 3), np.uint8)), LABELS: idx(np.zeros(1, np.uint8))},
        "expected at least 2",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_files_that_do_not_fit_each_other_are_refused(tmp_path: Path, case: str) -> None:
    changed, words = MISFITS[case]
    put(tmp_path, small_files() | changed)
    with pytest.raises(DataError) as caught:
        load("mnist", seed=0, data_dir=tmp_path)
    one_line(caught, str(tmp_path / next(iter(changed))), words)


def test_a_folder_of_the_other_dataset_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, small_files())
    digest = hashlib.md5((np.arange(24, dtype=np.uint8) % 10).tobytes()).hexdigest()
    monkeypatch.setattr(mnist_module, "MNIST", replace(mnist_module.MNIST, labels_md5=(digest, "")))
    with pytest.raises(DataError, match="belongs to mnist: expected fashion-mnist"):
        load("fashion-mnist", seed=0, data_dir=tmp_path)
    assert load("mnist", seed=0, data_dir=tmp_path).name == "mnist"


def test_a_folder_tells_whether_its_samples_are_the_official_ones(tmp_path: Path) -> None:
    put(tmp_path, small_files())
    images, labels, test_images, test_labels = (tmp_path / name for name in small_files())
    one, two = (hashlib.md5(read_idx(file, 1).tobytes()).hexdigest() for file in (labels, test_labels))
    learned, tested = (int(read_idx(file, 3).sum(dtype=np.int64)) for file in (images, test_images))
    own = replace(mnist_module.MNIST, labels_md5=(one, two), pixels=(learned, tested))
    for source, official in (
        (own, True),
        (replace(own, pixels=(learned + 1, tested)), False),
        (replace(own, pixels=(learned, tested + 1)), False),
        (replace(own, labels_md5=("", two)), False),
        (replace(own, labels_md5=(one, "")), False),
    ):
        data = mnist_module.load_idx_dataset(source, 0, tmp_path)
        assert data.official is mnist_module.as_autoencoder(data).official is official
    assert load("digits", seed=0).official is None


# --- downloads, without a network


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_without_network_one_line_names_both_ways_out(no_folder: Path, name: str) -> None:
    pooch.get_logger().setLevel("INFO")
    with pytest.raises(DataError) as caught:
        load(name, seed=0)
    one_line(caught, name, "no network", "--data-dir DIR", "CONTROLNET_DATA=DIR", "connect and try again")
    assert not pooch.get_logger().isEnabledFor(logging.ERROR)


def serve(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], broken: tuple[str, ...] = ()) -> list[str]:
    """Answer requests from memory, and give back the list of the addresses asked for."""
    asked: list[str] = []

    def answer(url: str, **options: object) -> requests.Response:
        asked.append(url)
        assert options["timeout"] == (4.0, 20.0)
        response = requests.Response()
        response.status_code = 503 if url.startswith(broken) else 200
        response.raw = io.BytesIO(files[url.rpartition("/")[2]])
        return response

    monkeypatch.setattr(requests, "get", answer)
    return asked


def official(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Take these files for the official ones of MNIST."""
    one, two, three, four = (hashlib.md5(files[f"{part}.gz"]).hexdigest() for part in mnist_module.PARTS)
    source = replace(mnist_module.MNIST, md5=(one, two, three, four))
    monkeypatch.setattr(catalog, "MNIST", source)


def test_a_download_is_kept_and_a_damaged_copy_is_fetched_again(
    no_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_files(".gz")
    official(monkeypatch, files)
    asked = serve(monkeypatch, files)
    first = load("mnist", seed=0)
    assert len(asked) == 4 and asked[0] == mnist_module.MNIST.urls[0] + f"{IMAGES}.gz"
    assert same(load("mnist", seed=0), first) and len(asked) == 4
    (no_folder / "mnist" / f"{LABELS}.gz").write_bytes(b"damaged")
    assert same(load("mnist", seed=0), first) and asked[4:] == [mnist_module.MNIST.urls[0] + f"{LABELS}.gz"]


def test_the_second_source_helps_when_the_first_fails(no_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = small_files(".gz")
    official(monkeypatch, files)
    asked = serve(monkeypatch, files, broken=(mnist_module.MNIST.urls[0],))
    assert load("mnist", seed=0).train.inputs.shape == (22, 6)
    assert len(asked) == 8


FAILURES = {
    "checksum": (None, "expected checksum"),
    "server": (requests.exceptions.HTTPError("503"), "server refused"),
    "timeout": (requests.exceptions.ConnectTimeout(), "no network"),
    "disk": (PermissionError(13, "Permission denied"), "cannot write to"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_every_failed_download_says_why(no_folder: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    failure, words = FAILURES[case]

    def fail(*args: object, **options: object) -> str:
        raise failure or ValueError("MD5 hash of downloaded file does not match:\nexpected ...")

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(DataError) as caught:
        load("mnist", seed=0)
    one_line(caught, words, "--data-dir DIR")


def test_a_file_with_a_wrong_checksum_is_not_kept(no_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, small_files(".gz"))
    with pytest.raises(DataError, match="checksum"):
        load("mnist", seed=0)
    assert not [path for path in no_folder.rglob("*") if path.is_file()]
