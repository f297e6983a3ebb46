"""Runs on disk: they read back as written and survive crashes."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from storage_runs import ON_A_FILE, equal, example, failing, one_line

from controlnet.errors import InputError, StorageError
from controlnet.storage import Run, claim_folder, read_run, write_run

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
    "dots": ({"continuation": {"forward/first": np.zeros(1)}}, "'forward/first' in continuation"),
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
