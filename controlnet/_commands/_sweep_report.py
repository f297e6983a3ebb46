"""What a person sees of a sweep: progress on stderr, the table over the seeds on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..studies.sweep import Figure, Result, Row, Sweep, as_text, rows

HEADINGS = {
    "test_error_percent": "test %",
    "validation_error_percent": "valid. %",
    "test_loss": "test loss",
    "validation_loss": "valid. loss",
    "train_loss": "loss",
    "seconds": "s",
}


class Silence(AbstractContextManager["Silence"]):
    """Hears of every result and says nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def tell(self, result: Result) -> None:
        """Hear of a result."""


class Lines(Silence):
    """Progress as a line for each task, for logs."""

    def __init__(self, sweep: Sweep) -> None:
        self._number, self._all, self._already = 0, len(sweep.members), 0

    def tell(self, result: Result) -> None:
        self._number += 1
        if result.already:
            self._already += 1
            return
        if self._already:
            self._say(f"{self._already} of {self._all} runs are there already")
            self._already = 0
        self._say(f"{self._number}/{self._all} {result.member}: {_outcome(result)}")

    def _say(self, text: str) -> None:
        print(f"sweep: {text}", file=sys.stderr, flush=True)


class Bar(Silence):
    """Progress as a live bar."""

    def __init__(self, sweep: Sweep) -> None:
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
        self._progress = Progress(*columns, TimeRemainingColumn(compact=True), console=Console(stderr=True))
        self._task = self._progress.add_task("starting", total=len(sweep.members))
        self._failed = 0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, result: Result) -> None:
        self._failed += result.error is not None
        words = f"{self._failed} failed  " if self._failed else ""
        self._progress.update(self._task, advance=1, description=f"{words}{result.member}: {_outcome(result)}")


def _outcome(result: Result) -> str:
    if result.summary is None:
        return f"failed: {result.error}"
    summary = result.summary
    name = "test_loss" if summary.get("test_error_percent") is None else "test_error_percent"
    value, unit = summary.get(name), "" if name == "test_loss" else " %"
    words = "" if value is None else f"{HEADINGS[name].removesuffix(' %')} {value:.4g}{unit}, "
    return f"{words}{summary.get('seconds', 0):.3g} s" + (" (there already)" if result.already else "")


def show_sweep(sweep: Sweep, results: Sequence[Result], folder: Path) -> None:
    """Print a row for each point of the grid, and a line for each task that failed.

    Parameters
    ----------
    sweep : Sweep
        The sweep.
    results : sequence of Result
        What came of it.
    folder : Path
        Where the runs are.
    """
    found = rows(sweep, results)
    paths = list(found[0].values)
    names = _names(found)
    table = _table(_title(sweep), _short(paths), ["runs", *(HEADINGS[name] for name in names)])
    for row in found:
        cells = [_count(row), *(_figure(row.figures.get(name), name != "seconds") for name in names)]
        table.add_row(*(escape(as_text(value)) for value in row.values.values()), *cells)
    console = Console()
    console.print(table)
    for line in _lines(sweep, results, folder):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _title(sweep: Sweep) -> str:
    return ", ".join(part for part in (sweep.experiment, sweep.method) if part)


def _short(paths: Sequence[str]) -> list[str]:
    """Give the last part of each path where no other ends like it."""
    last = [path.rpartition(".")[2] for path in paths]
    return [end if last.count(end) == 1 else path for path, end in zip(paths, last, strict=True)]


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in left:
        table.add_column(escape(heading), overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _names(found: Sequence[Row]) -> list[str]:
    """Give the figures that have a column: errors, or losses where no point has errors."""
    known = [name for name in HEADINGS if any(name in row.figures for row in found)]
    if "test_error_percent" in known:
        known = [name for name in known if name not in ("test_loss", "validation_loss")]
    return known


def _count(row: Row) -> str:
    return f"{row.finished}/{row.wanted}" + (f" ({row.failed} failed)" if row.failed else "")


def _figure(figure: Figure | None, spread: bool) -> str:
    if figure is None:
        return "–"
    return f"{figure.mean:.4g}" + (f" ± {figure.std:.2g}" if spread and figure.std is not None else "")


def _lines(sweep: Sweep, results: Sequence[Result], folder: Path) -> list[str]:
    done = sum(result.summary is not None for result in results)
    already = sum(result.already for result in results)
    lines = [f"finished: {done} of {len(sweep.members)} runs, {already} of them were there already"]
    if sweep.repeated:
        lines.append(f"{sweep.repeated} more points of the grid have the same settings as one of these")
    lines += [f"failed: {result.member}: {result.error}" for result in results if result.error is not None]
    if left := len(sweep.members) - len(results):
        lines.append(f"not run: {left}; the same command runs them")
    return [*lines, f"runs: {folder}"]


def show_plan(sweep: Sweep, there: Mapping[str, bool], folder: Path) -> None:
    """Print the tasks of a sweep before they are run.

    Parameters
    ----------
    sweep : Sweep
        The sweep.
    there : mapping of bool
        Whether the run is finished, by identity.
    folder : Path
        Where the runs go.
    """
    paths = list(sweep.members[0].values)
    table = _table(_title(sweep), ["run", *_short(paths)], ["seed", ""])
    for member in sweep.members:
        values = (escape(as_text(value)) for value in member.values.values())
        table.add_row(member.identity, *values, str(member.seed), "finished" if there[member.identity] else "to run")
    console = Console()
    console.print(table)
    words = f"{sum(there.values())} of {len(there)} runs are finished; runs: {folder}"
    console.print(words, soft_wrap=True, highlight=False, markup=False)
