"""The examples run, and show what they say."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

import controlnet.loop

EXAMPLES = Path(__file__).parent.parent / "examples"
PARTS = {
    "own_controller": r"angle 0\.7\d+ of 1 rad, largest control 7\.\d+",
    "own_integrator": r"error \d\.\de-04; with steps half as long (3\.[5-9]|4\.[0-5]) times smaller",
    "own_law": r"loss 1\.\d+ before and 0\.[01]\d+ after",
    "own_plant": r"position 1\.0000 under control 1\.0000",
}
MAP_ROW = r"tau_v +\d+\.\d{3}  #{%s}\.{%s}\n"
STABLE_ROWS, LAST_ROWS = MAP_ROW % (0, 25), MAP_ROW % ("8,9", "16,17")
MARGINS = (
    "{} +{}: gain margin {}, phase margin {} degrees, bandwidth +{}, slowest pole -0\\.[3-9]\\d\\d, 0 encirclements\n"
)
STUDIES = {
    "alignment": r"weight-product feedback: condition 1 0\.2\d \(0 where it holds\), condition 2 0\.9\d \(1\)\n"
    r"degrees +bp +gn +mn\nDFC +2\d\.\d +1\d\.\d +1\d\.\d\nDFA +1\d\.\d +3\d\.\d +2\d\.\d\n"
    r"random feedback: condition 1 0\.2\d \(0 where it holds\), condition 2 0\.5\d \(1\)\n"
    r"degrees +bp +gn +mn\nDFC +7\d\.\d +7\d\.\d +7\d\.\d\nDFA +5\d\.\d +5\d\.\d +5\d\.\d\n",
    "eigenvalues_of_jq": "".join(
        rf"{name} +feedback: J Q positive for {share}% of samples, spectral abscissa of -J Q +{abscissa}, "
        rf"{angle} degrees from J\^T\n"
        for name, share, abscissa, angle in [
            ("weight-product", "100", r"-1\.0\d\d", r"2\d"),
            ("random", r" 6\d", r"0\.[78]\d\d", r"7\d"),
            ("learned", "100", r"-2\.\d{3}", r"4\d"),
        ]
    ),
    # With a tenfold k_i somas a tenth as slow are too slow.
    "stability_map": r"k_i = 1: 8[4-6]% of the map stable \(\.\), the rest not \(#\)\n"
    f"({STABLE_ROWS}){{6}}({MAP_ROW % ('3,7', '18,22')}){{3}}({LAST_ROWS}){{4}}"
    r"k_i = 10: 7[3-5]% of the map stable \(\.\), the rest not \(#\)\n"
    f"({STABLE_ROWS}){{2}}({MAP_ROW % ('3,7', '18,22')}){{3}}({LAST_ROWS}){{8}}"
    r"k_p from 0\.1 on the left to 100 on the right\n",
    "linearise_and_bode": "".join(
        MARGINS.format(*row)
        for row in [
            ("I", "before", r"1\.6\d", "1[67]", r"4\.\d"),
            ("PI", "before", " inf", "4[67]", r"9\.\d"),
            ("I", "after ", r"2\.[34]\d", r"2\d", r"3\.\d"),
            ("PI", "after ", " inf", r"5\d", r"8\.\d"),
        ]
    ),
}
DRAWN = ("eigenvalues_of_jq", "stability_map", "linearise_and_bode")


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """Run an example, with its kernels as plain Python."""
    bind = controlnet.loop.bind
    monkeypatch.setattr(controlnet.loop, "bind", lambda parts, compiled: bind(parts, False))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == PARTS.keys() | STUDIES.keys()


@pytest.mark.parametrize("name", PARTS)
def test_interpreted(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, monkeypatch)["__doc__"]
    assert re.fullmatch(PARTS[name] + ".*\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", STUDIES)
def test_study(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    monkeypatch.chdir(tmp_path)
    assert run(name, monkeypatch, *([str(path)] if name in DRAWN else []))["__doc__"]
    printed = capsys.readouterr().out
    assert re.fullmatch(STUDIES[name], printed), printed
    assert list(tmp_path.iterdir()) == ([path] if name in DRAWN else [])
    assert name not in DRAWN or is_picture(path)


def is_picture(path: Path) -> bool:
    """Tell whether a file is a PNG in which something is drawn."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = matplotlib.image.imread(path)
    return min(pixels.shape[:2]) > 300 and pixels[..., :3].std() > 0.05


def test_nothing_is_drawn_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run("eigenvalues_of_jq", monkeypatch)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PARTS)
def test_a_part_takes_less_than_forty_lines(name: str) -> None:
    part = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").split("if __name__")[0]
    assert len(part.rstrip().splitlines()) < 40


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_takes_less_than_sixty_lines(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 60


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
    assert re.fullmatch(PARTS["own_integrator"] + ".*\n", done.stdout)
