"""The folder of a run has one writer; what is told of machine and sources."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from storage_runs import equal, example, failing, one_line

from controlnet import provenance
from controlnet.errors import StorageError
from controlnet.provenance import describe_machine
from controlnet.storage import Run, claim_folder, read_run, set_aside, write_run

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


def test_a_run_that_is_set_aside_leaves_its_folder_free(tmp_path: Path) -> None:
    for k in (1, 2):
        with claim_folder(tmp_path):
            write_run(tmp_path, example())
            assert set_aside(tmp_path) == tmp_path / f"run-{k}.h5"
    assert sorted(os.listdir(tmp_path)) == ["run-1.h5", "run-2.h5"]
    assert equal(read_run(tmp_path / "run-1.h5"), example())


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


@pytest.mark.skipif(sys.platform == "win32", reason="locks of Unix")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A marker in place of a lock would outlive a process that was killed, and whoever waits for it waits for ever."""
    monkeypatch.setattr("fcntl.flock", failing(code))
    with pytest.raises(StorageError) as caught, claim_folder(tmp_path / "run"):
        pass
    one_line(caught, "cannot use", str(tmp_path / "run"), "its file system has no locks, choose another folder")


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


def test_the_source_text_is_told_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    found = []
    for names in (["a.py"], ["b.py"], ["a.py", "c/a.py"], ["a.py", "notes.txt"]):
        for file in tmp_path.rglob("*.*"):
            file.unlink()
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("x = 1")
        provenance._source.cache_clear()
        found.append(describe_machine()["source"])
    provenance._source.cache_clear()
    assert found[0] == found[3] and len(set(found)) == 3 and all(len(each) == 16 for each in found)


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
