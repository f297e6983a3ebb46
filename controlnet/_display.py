"""What a person sees in the terminal: progress, tables, a run.

Columns: loss of the method's own objective and amount of control H, means over the training samples; validation and
test error, or losses where the targets are vectors; share of training samples whose controller converged to its steady
state or diverged from it; seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from .experiments import METHODS
from .experiments.running import named
from .experiments.watching import Epoch, Remarks

HEADINGS = {
    "epoch": "epoch",
    "train_loss": "loss",
    "amount_of_control": "H",
    "validation_error_percent": "valid. %",
    "test_error_percent": "test %",
    "validation_loss": "valid.",
    "test_loss": "test",
    "converged_percent": "conv. %",
    "diverged_percent": "div. %",
    "simulated_steps": "steps",
    "seconds": "s",
}


def _compiles(method: str) -> bool:
    """Say whether a method simulates anything as a rule, so that a loop may have to be compiled."""
    return METHODS[method].simulates or METHODS[method].steady or METHODS[method].learning[0] != "none"


def number(value: Any) -> str:
    """Write a value as tables show it: floats with four digits, a dash for None.

    Parameters
    ----------
    value : object
        Number, text or None.

    Returns
    -------
    str
        The text.
    """
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def plain_table(title: str) -> Table:
    """Give an empty table with no vertical lines, so that much goes into 80 columns.

    Parameters
    ----------
    title : str
        What stands above, as it is.

    Returns
    -------
    Table
        To be filled.
    """
    return Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def print_plain(*lines: str) -> None:
    """Print lines as they are: not broken at the terminal's edge, not coloured, brackets no markup.

    Parameters
    ----------
    *lines : str
        One after the other.
    """
    console = Console()
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)


class Lines(Remarks):
    """Progress as plain lines, for logs."""

    def on_continue(self, method: str, epoch: int, changed: Sequence[str]) -> None:
        if not changed:
            print(f"{method}: goes on after epoch {epoch}", file=sys.stderr, flush=True)
        super().on_continue(method, epoch, changed)

    def on_start(self, method: str, epochs: int, batches: int) -> None:
        self._method = method
        note = " (a loop that was never used before is compiled first)" if _compiles(method) else ""
        print(f"{method}: {epochs} epochs, {batches} minibatches{note}", file=sys.stderr, flush=True)

    def on_epoch(self, epoch: Epoch) -> None:
        results = epoch._asdict()
        values = (f"{name} {number(results[name])}" for name in _columns([results]) if results[name] is not None)
        print(f"{self._method}: {', '.join(values)}", file=sys.stderr, flush=True)


class Bars(Remarks, AbstractContextManager["Bars"]):
    """Progress as a live bar for each method."""

    def __init__(self) -> None:
        columns = (
            TextColumn("[bold]{task.fields[method]:>8}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
        )
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = TaskID(0)
        self._error = ""

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def on_start(self, method: str, epochs: int, batches: int) -> None:
        words = "starting; compiles the loop if it is new" if _compiles(method) else "starting"
        self._error, self._epochs = "", epochs
        self._task = self._progress.add_task(words, total=batches, method=method)

    def on_batch(self, epoch: int, loss: float | None) -> None:
        what = "feedback weights" if loss is None else f"loss {loss:.4f}"
        words = f"epoch {epoch}/{self._epochs}  {what}{self._error}"
        self._progress.update(self._task, advance=1, description=words)

    def on_epoch(self, epoch: Epoch) -> None:
        error = epoch.validation_error_percent
        judged = f"loss {epoch.validation_loss:.4f}" if error is None else f"error {error:.2f} %"
        self._error = f"  validation {judged}"
        words = f"epoch {epoch.epoch}/{self._epochs}  loss {epoch.train_loss:.4f}{self._error}"
        self._progress.update(self._task, description=words)


def _columns(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give the columns of a table: losses only where there are no errors, steps only where samples may be extended."""

    def known(name: str) -> bool:
        return any(each.get(name) is not None for each in results)

    # Runs of old have no test loss, and those that were stopped have neither.
    vectors = known("test_loss") and not known("test_error_percent")
    hidden = {"validation_error_percent", "test_error_percent"} if vectors else {"validation_loss", "test_loss"}
    return [name for name in HEADINGS if name not in hidden and (name != "simulated_steps" or known(name))]


def show_summary(summary: Mapping[str, Any]) -> None:
    """Print what a run brought, beside its peers.

    Parameters
    ----------
    summary : mapping
        As stored in the run.
    """
    title = f"{' on '.join(named(summary['experiment'], summary.get('data')))}, seed {summary['seed']}"
    table = plain_table(title)  # the epochs stand below, so that nothing is cut at 80 columns
    table.add_column("method", no_wrap=True)
    methods = {summary["method"]: summary, **summary.get("peers", {})}
    names = _columns(list(methods.values()))[1:]
    for name in names:
        table.add_column(HEADINGS[name], justify="right", no_wrap=True)
    for method, results in methods.items():
        table.add_row(escape(str(method)), *(number(results.get(name)) for name in names))
    Console().print(table)
    print_plain(f"after {summary['epochs']} epochs")
    for method, results in methods.items():
        if results.get("simulated"):
            counts = (results[name] for name in ("converged", "diverged", "simulated"))
            words = "{}: the controller settled on {} and ran away on {} of {} training samples of the last epoch"
            print_plain(words.format(method, *counts))
        if "error" in results:
            print_plain(f"{method}: {results['error']}")
    print_plain(f"run: {summary['run']}")


def show_rows(title: str, rows: Mapping[str, str]) -> None:
    """Print names with a line about each.

    Parameters
    ----------
    title : str
        What they are.
    rows : mapping of str
        Line by name.
    """
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, line in rows.items():
        table.add_row(f"[bold]{name}", escape(line))
    Console().print(table)


def show_history(history: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each epoch.

    Parameters
    ----------
    history : sequence of mapping
        As stored in the run.
    """
    if not history:
        return
    table = Table(title="history", title_justify="left")
    names = [name for name in _columns(history) if name in history[0]]
    for name in names:
        table.add_column(HEADINGS[name], justify="right")
    for row in history:
        table.add_row(*(number(row[name]) for name in names))
    Console().print(table)
