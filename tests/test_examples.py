"""The examples run, and show what they say."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import controlnet.loop

EXAMPLES = Path(__file__).parent.parent / "examples"
EXPECTED = {
    "own_controller": r"angle 0\.7\d+ of 1 rad, largest control 7\.\d+",
    "own_integrator": r"error \d\.\de-04; with steps half as long (3\.[5-9]|4\.[0-5]) times smaller",
    "own_law": r"loss 1\.\d+ before and 0\.[01]\d+ after",
    "own_plant": r"position 1\.0000 under control 1\.0000",
}


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_interpreted(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bind = controlnet.loop.bind
    monkeypatch.setattr(controlnet.loop, "bind", lambda parts, compiled: bind(parts, False))
    module: dict[str, Any] = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert module["__doc__"]
    assert re.fullmatch(EXPECTED[name] + ".*\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_part_takes_less_than_forty_lines(name: str) -> None:
    part = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").split("if __name__")[0]
    assert len(part.rstrip().splitlines()) < 40


def test_compiled_as_a_script() -> None:
    # The one without kernels of its own: those of a script are compiled in each run.
    done = subprocess.run(
        [sys.executable, EXAMPLES / "own_integrator.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(EXPECTED["own_integrator"] + ".*\n", done.stdout)
