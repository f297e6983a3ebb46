"""The speed figures: what is measured, what it is held against, and how it is printed."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from controlnet._commands._bench_report import show_bench
from controlnet._parallel import one_blas_thread
from controlnet.bench import growth as growth_module
from controlnet.bench import start, work
from controlnet.bench.child import run_python
from controlnet.bench.floor import backprop, floor, forward_and_feedback, seconds_of
from controlnet.bench.growth import Growth, Series, exponent
from controlnet.bench.measure import Effort, Figure, alternate, measure, works
from controlnet.bench.memory import peak_memory
from controlnet.bench.report import about, as_dict
from controlnet.bench.rows import ROWS, Row, chosen
from controlnet.bench.work import Size
from controlnet.cli import main
from controlnet.errors import ControlNetError, InputError

SMALL = Size(batch=16, steps=2, widths=(5, 4, 3))
NUMBERS = {"seconds", "floor_seconds", "peer_seconds", "ratio", "bound", "peak_mb", "found_percent"}


def bench(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["bench", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def failed(*arguments: str) -> str:
    """Give the one line with which the command fails."""
    result = bench(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return line


# --- the command


def test_json_is_one_object_with_the_figures() -> None:
    result = bench("--quick", "--rows", "bp,dfc-ssa", "--threads", "1", "--json")
    assert result.exit_code == 0 and result.stdout.count("\n") == 1
    assert [line.split()[-1] for line in result.stderr.splitlines()] == ["dfc-ssa", "bp"]
    found = json.loads(result.stdout)
    assert found["threads"] == 1 and found["quick"] is True
    assert {"cpu", "cores", "blas", "platform"} <= set(found["machine"])
    assert {"python", "numpy", "numba", "controlnet"} <= set(found["versions"])
    ssa, bp = found["rows"]
    assert (ssa["against"], bp["against"]) == ("bp", "floor")
    assert isinstance(ssa["met"], bool) and bp["met"] is None
    for row in (ssa, bp):
        assert set(row) >= {"name", "title", "met", *NUMBERS}
        numbers = [row[name] for name in NUMBERS if row[name] is not None]
        assert all(math.isfinite(number) and number > 0 for number in numbers)
        reference = row["floor_seconds"] or row["peer_seconds"]
        assert row["ratio"] == pytest.approx(row["seconds"] / reference)


def test_a_table_is_printed() -> None:
    result = bench("--quick", "--rows", "bp")
    assert result.exit_code == 0
    assert ROWS["bp"].title in result.stdout and "(quick)" in result.stdout
    assert ROWS["dfc"].title not in result.stdout


def test_a_bad_row_is_refused_and_the_choices_named() -> None:
    line = failed("--rows", "dfc", "--rows", "fast")
    assert line.startswith("Error: rows: expected names among dfc, ") and line.endswith("got 'fast'")


def test_growth_takes_no_rows(tmp_path: Path) -> None:
    assert "no --rows" in failed("--growth", str(tmp_path), "--rows", "bp")


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in failed("--growth", str(tmp_path / "file"))


# --- rows and figures


def test_rows_are_well_formed() -> None:
    for name, row in ROWS.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) and row.title
        assert (row.products is not None) + (row.peer is not None) + (row.starts > 0) == 1
        assert row.peer is None or (row.peer in ROWS and ROWS[row.peer].products is not None)
        assert row.bound is None or row.limited_by
        assert row.starts or getattr(work, row.build.__name__) is row.build


def test_a_quick_run_leaves_rows_out_unless_they_are_asked_for() -> None:
    assert [row.name for row in chosen((), quick=False)] == [*ROWS]
    assert [row.name for row in chosen((), quick=True)] == [row.name for row in ROWS.values() if row.quick]
    assert not any(row.quick for row in ROWS.values() if row.starts)
    assert [row.name for row in chosen(("start-warm",), quick=True)] == ["start-warm"]


@pytest.mark.parametrize(
    ("bounds", "figures", "met"),
    [
        ({}, {}, None),
        ({"bound": 2.0}, {}, True),
        ({"bound": 1.9}, {}, False),
        ({"bound": 2.0, "most_mb": 10.0}, {"peak_mb": 11.0}, False),
        ({"bound": 2.0, "most_mb": 10.0}, {"peak_mb": None}, True),
        ({"bound": 2.0, "least_found": 99.0}, {"found_percent": 98.0}, False),
        ({"bound": 2.0, "least_found": 0}, {"found_percent": 98.0}, True),
    ],
)
def test_every_bound_counts(bounds: Any, figures: Any, met: bool | None) -> None:
    assert Figure(Row("row", "title", work.dfc, **bounds), 4.0, 2.0, **figures).met is met


def test_without_floor_or_peer_the_bound_is_a_time() -> None:
    row = Row("row", "title", work.dfc, bound=1.5, starts=1)
    assert Figure(row, 1.4).met is True and Figure(row, 1.6).met is False
    with pytest.raises(InputError, match="neither a floor nor a peer"):
        works(row, 1)


def test_the_table_fits_80_columns_and_marks_what_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    figures = [as_dict(Figure(row, 123.456, 1.234, 1234.5, 99.99)) for row in ROWS.values()]
    show_bench(about(2, quick=False) | {"rows": figures})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    bounded = [row for row in ROWS.values() if row.bound is not None]
    assert sum(line.rstrip().endswith("missed") for line in lines) == len(bounded)
    assert not any("…" in line for line in lines)


# --- floor and time


@pytest.mark.parametrize("products", [forward_and_feedback, backprop])
def test_the_floor_grows_with_the_work(products: Any) -> None:
    size = Size(batch=16, steps=20, widths=(64, 64, 64), threads=1)
    larger = size._replace(batch=256, steps=200)
    with one_blas_thread():
        little, much = (floor(products, each) for each in (size, larger))
        assert min(seconds_of(much) for _ in range(3)) > 2 * min(seconds_of(little) for _ in range(3))


def test_a_batch_that_no_block_divides_is_one_product() -> None:
    floor(forward_and_feedback, SMALL._replace(batch=5, threads=2))()


def test_works_alternate_after_each_has_run_once() -> None:
    calls: list[str] = []
    seconds = alternate([lambda: calls.append("a"), lambda: calls.append("b")], Effort(2, 2, 10.0))
    assert "".join(calls) == "ababab" and len(seconds) == 2


def test_a_start_is_timed_as_often_as_it_says() -> None:
    calls: list[str] = []
    row = Row("row", "title", lambda size: lambda: calls.append("started"), starts=3)
    assert measure(row, 1).seconds < 1 and len(calls) == 3


def test_a_start_ends_at_the_first_forward_minibatch(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float | None] = []

    def train(plan: Any, folder: Path, watcher: Any) -> None:
        assert (plan.settings.method, plan.peers, folder.exists()) == ("dfc", (), False)
        for loss in (None, None, 0.5, 0.4):
            losses.append(loss)
            watcher.on_batch(1, loss)

    monkeypatch.setattr(start, "run_experiment", train)
    start.begin()
    assert losses == [None, None, 0.5]


# --- memory


def test_the_memory_of_a_work_is_measured_in_another_process() -> None:
    found = [peak_memory(work.backprop, Size(batch=batch, widths=(50, 40, 10)), 2) for batch in (16, 16384)]
    little, much = (memory for memory in found if memory is not None)
    assert little.program_mb > 10 and 0 <= little.above_mb < 10
    assert much.above_mb > 5 and 0 <= much.grown_mb < 50


def test_a_process_that_fails_is_one_line() -> None:
    with pytest.raises(ControlNetError, match=r"^trying: the process failed: ValueError: no$"):
        run_python("raise ValueError('no')", "trying")
    with pytest.raises(ControlNetError, match=r"exit code 3$"):
        run_python("raise SystemExit(3)", "trying")
    assert run_python("import os; print(os.environ['ONE'])", "trying", {"ONE": "1"}) == "1\n"


# --- growth


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_large_end(power: float) -> None:
    numbers = (10, 30, 100, 300, 1000, 3000, 10000)
    assert exponent(numbers, [max(1e-3, 1e-3 * (n / 1000) ** power) for n in numbers]) == pytest.approx(power)


def test_series_cover_three_decades() -> None:
    for name, points in growth_module.SERIES.items():
        numbers = [number for number, _ in points]
        assert numbers == sorted(numbers) and numbers[-1] / numbers[0] > 900, name


def test_growth_writes_a_table_and_two_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    points = [(n, Size(steps=n, batch=n, widths=(5, 4, 3))) for n in (16, 64, 256)]
    monkeypatch.setattr(growth_module, "SERIES", {"steps": points, "parameters": points})
    monkeypatch.setattr(growth_module, "dfc", work.backprop)  # nothing to compile
    result = bench("--quick", "--growth", str(tmp_path / "new"), "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [series["name"] for series in found["series"]] == ["steps", "parameters"]
    assert found["memory"]["grown_mb"] is not None and found["memory"]["met_by_parameters"] is not None
    assert {Path(file).name for file in found["files"]} == {"growth.csv", "growth.svg", "growth.png"}
    assert all(Path(file).stat().st_size > 0 for file in found["files"])
    assert len((tmp_path / "new" / "growth.csv").read_text().splitlines()) == 1 + 2 * 3 + 3 + 2 * 2


def test_growth_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    series = [Series("steps", (10, 100, 1000), (0.1, 1.0, 10.0)), Series("samples", (1, 10, 100), (1.0, 2.0, 4.0))]
    peaks = {1000: (1.0, 2.0), 10000: (3.0, 2.5)}
    monkeypatch.setattr(growth_module, "grow", lambda *args, **options: Growth(series, {10: 1.0, 1000: 30.0}, peaks))
    printed = bench("--growth", str(tmp_path)).stdout
    assert re.search(r"steps +10 +1000 +1\.00 +0\.8 to 1\.1 +met", printed)
    assert re.search(r"samples .* 0\.30 .* missed", printed)
    assert "+29.0 MB, at most 5: missed" in printed and "growth.png" in printed
    assert "memory of 1000 parameters: 1.0 MB, at most 2.0: met" in printed
    assert "memory of 10000 parameters: 3.0 MB, at most 2.5: missed" in printed


def test_the_bound_of_the_memory_holds() -> None:
    number, size = growth_module.SERIES["parameters"][4]
    most = growth_module.most_memory_mb(size)
    assert number == 100243 and most == pytest.approx(2 + 8 * (100243 * 6 + 72 * 612 * 32) / 2**20, rel=1e-3)
    peak = peak_memory(work.dfc, size._replace(steps=5))
    assert peak is None or most / 2 < peak.above_mb < most
