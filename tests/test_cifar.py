"""CIFAR-10: records, splits, folders, the downloaded archive, and every way a file can be wrong."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlnet.data import catalog, load
from controlnet.data.cifar import CIFAR10, FOLDER, PARTS, PIXELS
from controlnet.errors import DataError

SAMPLES = 4
TRAIN = 5 * SAMPLES


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each file have four records; the network is refused."""

    def refuse(*args: object, **options: object) -> None:
        raise requests.exceptions.ConnectionError("name or service not known")

    monkeypatch.delenv("CONTROLNET_DATA", raising=False)
    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(catalog, "CIFAR10", replace(CIFAR10, samples=SAMPLES))


def records(part: int) -> bytes:
    """Build one file: all pixels of image k of all files are k, its class is k mod 10."""
    numbers = np.arange(part * SAMPLES, (part + 1) * SAMPLES, dtype=np.uint8)
    return np.column_stack([numbers % 10, *[numbers] * PIXELS]).tobytes()


FILES = {name: records(part) for part, name in enumerate(PARTS)}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        load("cifar10", seed=0, data_dir=folder)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_the_official_files_are_known() -> None:
    assert CIFAR10.samples * (1 + PIXELS) == 30_730_000
    assert CIFAR10.url + CIFAR10.archive == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert CIFAR10.md5 == "c32a1d4ab5d03f1284b67883e8d87530"


@pytest.mark.parametrize("subfolder", ["", FOLDER])
def test_images_are_scaled_and_keep_their_classes(tmp_path: Path, subfolder: str) -> None:
    put(tmp_path / subfolder, FILES)
    data = load("cifar10", seed=1, data_dir=tmp_path)
    assert (data.name, data.outputs, data.by_class) == ("cifar10", 10, True)
    assert [split.inputs.shape for split in (data.train, data.validation, data.test)] == [
        (18, PIXELS),
        (2, PIXELS),
        (SAMPLES, PIXELS),
    ]
    learned = np.concatenate([data.train.inputs, data.validation.inputs])[:, 0]
    images = np.rint((learned * 0.5 + 0.5) * 255).astype(int)
    assert sorted(images) == list(range(TRAIN))
    assert np.array_equal(np.concatenate([data.train.targets, data.validation.targets]), images % 10)
    assert np.allclose(data.test.inputs[0], (TRAIN / 255 - 0.5) / 0.5, rtol=1e-15)
    assert data.test.targets.tolist() == [number % 10 for number in range(TRAIN, TRAIN + SAMPLES)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**64))
def test_the_seed_decides_the_split(tmp_path: Path, seed: int) -> None:
    put(tmp_path, FILES)
    first, again, other = (load("cifar10", seed=each, data_dir=tmp_path) for each in (seed, seed, seed + 1))
    assert first.train.inputs.tobytes() == again.train.inputs.tobytes()
    assert first.train.inputs.tobytes() != other.train.inputs.tobytes()


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_named(tmp_path: Path, part: str) -> None:
    put(tmp_path, {name: content for name, content in FILES.items() if name != part})
    refused(tmp_path, str(tmp_path), part, "binary version", "--data-dir")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "absent", str(tmp_path / "absent"), "--data-dir", "CONTROLNET_DATA")


WHOLE = FILES["data_batch_3.bin"]
DAMAGED = {
    "empty": (b"", "got only 0"),
    "short": (WHOLE[:-1], "got only 12291"),
    "a record less": (WHOLE[: -(1 + PIXELS)], "got only 9219"),
    "long": (WHOLE + b"\0", "got more"),
    "text": (b"<html>not found</html>", "expected 4 records of 3073 bytes, 12292 bytes in all"),
    "class": (b"\x0a" + WHOLE[1:], "expected classes 0 to 9, got 10"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named_with_what_was_expected(tmp_path: Path, case: str) -> None:
    content, words = DAMAGED[case]
    put(tmp_path, FILES | {"data_batch_3.bin": content})
    refused(tmp_path, str(tmp_path / "data_batch_3.bin"), words)


def test_a_folder_in_the_place_of_a_file_is_missing(tmp_path: Path) -> None:
    put(tmp_path, {name: content for name, content in FILES.items() if name != "test_batch.bin"})
    (tmp_path / "test_batch.bin").mkdir()
    refused(tmp_path, "test_batch.bin")


# --- the downloaded archive


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> list[str]:
    """Answer requests with an archive that counts as the official one; give the list of addresses asked for."""
    asked: list[str] = []

    def answer(url: str, **options: object) -> requests.Response:
        asked.append(url)
        response = requests.Response()
        response.status_code, response.raw = 200, io.BytesIO(content)
        return response

    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(catalog, "CIFAR10", replace(CIFAR10, samples=SAMPLES, md5=digest))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setattr(requests, "get", answer)
    return asked


def test_a_download_is_the_same_as_its_files_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, tmp_path, archive({"readme.html": b"hello", **FILES}))
    first, again = load("cifar10", seed=2), load("cifar10", seed=2)
    assert asked == [CIFAR10.url + CIFAR10.archive]
    unpacked = load("cifar10", seed=2, data_dir=put(tmp_path / "files", FILES))
    for data in (again, unpacked):
        assert data.train.inputs.tobytes() == first.train.inputs.tobytes()
        assert data.test.targets.tobytes() == first.test.targets.tobytes()


LACKING = {name: content for name, content in FILES.items() if name != "data_batch_5.bin"}
ARCHIVES = {
    "lacks a file": (archive(LACKING), "expected data_batch_5.bin"),
    "short file": (archive(FILES | {"test_batch.bin": b"\0"}), "test_batch.bin is damaged"),
    "short archive": (archive(FILES)[:-40], "damaged"),
    "no archive": (b"<html></html>", "expected a whole archive"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_damaged_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    content, words = ARCHIVES[case]
    serve(monkeypatch, tmp_path, content)
    with pytest.raises(DataError) as caught:
        load("cifar10", seed=0)
    assert CIFAR10.archive in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)


def test_without_network_both_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    with pytest.raises(DataError, match="cannot download cifar10 .no network connection.*--data-dir DIR"):
        load("cifar10", seed=0)
