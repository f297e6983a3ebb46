"""What a person sees of a sweep: progress on stderr, the table over the seeds on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .._display import plain_table, print_plain
from ..experiments.running import named
from ..studies.sweep import Figure, Result, Row, Sweep, as_text, rows

HEADINGS = {
    "test_error_percent": "test %",
    "validation_error_percent": "valid. %",
    "test_loss": "test loss",
    "validation_loss": "valid. loss",
    "train_loss": "loss",
    "seconds": "s",
}
DISPENSABLE = ("seconds", "train_loss", "validation_loss", "validation_error_percent", "identity")
"""Columns that are left out, one after the other, where the terminal is too narrow for all."""
LEGIBLE = 20
"""Letters of a setting's values that go before a dispensable column; longer ones are folded."""


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
    return f"{words}{_seconds(summary.get('seconds', 0))} s" + (" (there already)" if result.already else "")


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
    columns = _axes([row.values for row in found])
    columns.append(_Column("runs", "runs", [_count(row) for row in found]))
    for name in _names(found):
        columns.append(_Column(name, HEADINGS[name], [_figure(name, row.figures.get(name)) for row in found]))
    _print(_title(sweep), columns)
    print_plain(*_lines(sweep, results, folder))


def _print(title: str, columns: Sequence[_Column]) -> None:
    console = Console()
    console.print(_table(title, columns, console.width))


def _title(sweep: Sweep) -> str:
    data = {member.stored["data"]["name"] for member in sweep.members}
    name = " on ".join(named(sweep.experiment, data.pop() if len(data) == 1 else None))
    return ", ".join(part for part in (name, sweep.method) if part)


def _short(paths: Sequence[str]) -> list[str]:
    """Give the last part of each path where no other ends like it."""
    last = [path.rpartition(".")[2] for path in paths]
    return [end if last.count(end) == 1 else path for path, end in zip(paths, last, strict=True)]


class _Column(NamedTuple):
    """A column of a table: cells that stay whole, or values of a setting, which may be folded."""

    name: str
    heading: str
    cells: list[str]
    folds: bool = False
    justify: Literal["left", "right"] = "right"

    @property
    def widest(self) -> int:
        """Letters of the heading or of a cell."""
        return max(map(cell_len, (self.heading, *self.cells)))

    @property
    def needed(self) -> int:
        """Letters that there must be room for."""
        return min(self.widest, LEGIBLE) if self.folds else self.widest


def _axes(values: Sequence[Mapping[str, object]]) -> list[_Column]:
    """Give a column for each setting of the grid."""
    headings = _short(list(values[0]))
    return [
        _Column(path, heading, [as_text(each[path]) for each in values], folds=True, justify="left")
        for path, heading in zip(values[0], headings, strict=True)
    ]


def _table(title: str, columns: Sequence[_Column], width: int) -> Table:
    """Lay columns out within a width, so that the rows can be told apart."""
    for left_out in range(len(DISPENSABLE) + 1):
        shown = [column for column in columns if column.name not in DISPENSABLE[:left_out]]
        # A space after each column, one between two, and one at each end.
        room = width - 2 * len(shown) - 1
        if sum(column.needed for column in shown) <= room:
            break
    room -= sum(column.widest for column in shown if not column.folds)
    widths = iter(_shares([column.widest for column in shown if column.folds], room))
    table = plain_table(title)
    for column in shown:
        own = next(widths) if column.folds else column.widest
        table.add_column(
            escape(column.heading), justify=column.justify, no_wrap=not column.folds, overflow="fold", width=own
        )
    for cells in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*map(escape, cells))
    return table


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Give each the width that it wants, and the widest less where there is no room for all; at least a letter."""
    limit = max(wanted, default=0)
    while limit > 1 and sum(min(each, limit) for each in wanted) > room:
        limit -= 1
    return [min(each, limit) for each in wanted]


def _names(found: Sequence[Row]) -> list[str]:
    """Give the figures that have a column: errors, or losses where no point has errors."""
    known = [name for name in HEADINGS if any(name in row.figures for row in found)]
    if "test_error_percent" in known:
        known = [name for name in known if name not in ("test_loss", "validation_loss")]
    return known


def _count(row: Row) -> str:
    return f"{row.finished}/{row.wanted}" + (f" ({row.failed} failed)" if row.failed else "")


def _figure(name: str, figure: Figure | None) -> str:
    if figure is None:
        return "–"
    if name == "seconds":
        return _seconds(figure.mean)
    return f"{figure.mean:.4g}" + (f" ± {figure.std:.2g}" if figure.std is not None else "")


def _seconds(value: float) -> str:
    """Write three digits, but never as a power of ten."""
    return f"{float(f'{value:.3g}'):.15g}"


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
    members = sweep.members
    columns = [
        _Column("identity", "run", [member.identity for member in members], justify="left"),
        *_axes([member.values for member in members]),
        _Column("seed", "seed", [str(member.seed) for member in members]),
        _Column("state", "", ["finished" if there[member.identity] else "to run" for member in members]),
    ]
    _print(_title(sweep), columns)
    print_plain(f"{sum(there.values())} of {len(there)} runs are finished; runs: {folder}")
