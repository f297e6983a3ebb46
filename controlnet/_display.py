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


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


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
        values = (f"{name} {_number(results[name])}" for name in _columns([results]) if results[name] is not None)
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
    title = f"{summary['experiment']}, seed {summary['seed']}"
    # Nothing is cut at 80 columns: no vertical lines, and the epochs stand below.
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    methods = {summary["method"]: summary, **summary.get("peers", {})}
    names = _columns(list(methods.values()))[1:]
    for name in names:
        table.add_column(HEADINGS[name], justify="right", no_wrap=True)
    for method, results in methods.items():
        table.add_row(escape(str(method)), *(_number(results.get(name)) for name in names))
    console = Console()
    console.print(table)
    console.print(f"after {summary['epochs']} epochs", highlight=False)
    for method, results in methods.items():
        if results.get("simulated"):
            counts = (results[name] for name in ("converged", "diverged", "simulated"))
            words = "{}: the controller settled on {} and ran away on {} of {} training samples of the last epoch"
            console.print(words.format(method, *counts), soft_wrap=True, highlight=False, markup=False)
        if "error" in results:
            console.print(f"{method}: {results['error']}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"run: {summary['run']}", soft_wrap=True, highlight=False, markup=False)


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
        table.add_row(*(_number(row[name]) for name in names))
    Console().print(table)


def show_bench(report: Mapping[str, Any]) -> None:
    """Print the speed figures of this machine.

    Parameters
    ----------
    report : mapping
        As `controlnet.bench.report.report` gives it.
    """
    console, rows = Console(), report["rows"]
    table = Table(title="speed", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("row", no_wrap=True)
    for heading in ("time", "floor/peer", "ratio", "at most", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(row["name"], *_figures(row), VERDICTS[row["met"]])
    console.print(table)
    grid = Table(show_header=False, box=None, padding=(0, 1))
    for row in rows:
        grid.add_row(row["name"], escape(_about(row)))
    console.print(grid)
    words = f"{report['machine']['cpu']}, {report['threads']} threads; medians of at least {report['rounds']} rounds"
    words += " (quick)" if report["quick"] else ""
    words += f"; {report['load']:.1f} cores were busy before" if (report["load"] or 0) > BUSY else ""
    console.print(words, soft_wrap=True, highlight=False, markup=False)


BUSY = 0.5
"""Cores; above that the figures of a machine are worth less."""
VERDICTS = {True: "[green]met", False: "[bold red]missed", None: ""}


def _figures(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Give times, ratio, bound and memory of a row; the bound of a row without floor or peer is a time."""
    against = row["floor_seconds"] or row["peer_seconds"]
    form = _seconds if against is None else _ratio
    return _seconds(row["seconds"]), _seconds(against), _ratio(row["ratio"]), form(row["bound"]), _megabytes(row)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    scale, unit = next(((scale, unit) for scale, unit in ((1, "s"), (1e3, "ms")) if value * scale >= 1), (1e6, "µs"))
    return f"{value * scale:.3g} {unit}"


def _ratio(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value > 0.5 else f"1/{1 / value:.3g}"


def _megabytes(row: Mapping[str, Any]) -> str:
    if row["peak_mb"] is None:
        return "–"
    return f"{row['peak_mb']:.0f}" + (f"/{row['bound_mb']:.0f}" if row["bound_mb"] else "")


def _about(row: Mapping[str, Any]) -> str:
    """Say what a row is, against which other row, how many samples were found, and what stands in the way."""
    words = row["title"] + (f", against {row['against']}" if row["peer_seconds"] else "")
    if row["found_percent"] is not None:
        least = f" (at least {row['bound_found_percent']:g} %)" if row["bound_found_percent"] else ""
        words += f"; found in {row['found_percent']:.4g} % of the samples{least}"
    return words + (f"; limited by {row['limited_by']}" if row["met"] is False and row["limited_by"] else "")


def show_growth(growth: Mapping[str, Any]) -> None:
    """Print how time and memory grow.

    Parameters
    ----------
    growth : mapping
        As `controlnet.bench.growth.Growth.as_dict` gives it.
    """
    table = Table(title="growth", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("time against", "from", "to", "exponent", "bounds"):
        table.add_column(heading, justify="left" if heading == "time against" else "right")
    table.add_column()
    for each in growth["series"]:
        ends = (str(each["numbers"][end]) for end in (0, -1))
        bounds = "{} to {}".format(*growth["bounds"])
        table.add_row(each["name"], *ends, f"{each['exponent']:.2f}", bounds, VERDICTS[each["met"]])
    console, memory = Console(), growth["memory"]
    console.print(table)
    if memory["grown_mb"] is not None:
        least, *_, most = memory["mb_by_steps"]
        words = f"memory from {least} to {most} steps: {memory['grown_mb']:+.1f} MB, "
        console.print(words + f"at most {memory['bound_mb']:g}: {VERDICTS[memory['met']]}", highlight=False)


SEEN = {
    "samples": "samples",
    "converged": "  with a steady state",
    "condition_one": "condition 1: deviation of the norms",
    "condition_two": "condition 2: share of Q in the row space of J",
    "null_space_ratio": "share of Q u in the null space of J",
    "stable": "stable, network at rest: samples",
    "abscissa": "  spectral abscissa, mean",
    "abscissa_worst": "  spectral abscissa, largest",
    "loop_samples": "whole loop: samples",
    "loop_stable": "  stable",
    "loop_abscissa_worst": "  spectral abscissa, largest",
    "loop_radius_worst": "  spectral radius of a step, largest",
    "angle_to_bp": "update to BP, degrees",
    "angle_to_gn": "  to GN",
    "angle_to_mn": "  to MN",
    "feedback_angle_to_transpose": "Q to J^T, degrees",
    "feedback_angle_to_pseudoinverse": "  to J^+",
}


def show_examined(found: Mapping[str, Any]) -> None:
    """Print what was seen of a run, with a verdict for each condition.

    Parameters
    ----------
    found : mapping
        What `Examined.as_dict` gave, with ``files`` if plots were written.
    """
    title = f"{found['experiment']}, {found['method']}, seed {found['seed']}"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    rows = found["epochs"]
    for epoch in rows:
        table.add_column(f"epoch {epoch}", justify="right", no_wrap=True)
    for name, heading in SEEN.items():
        if any(name in row for row in rows.values()):
            whole = name in ("samples", "converged", "stable", "loop_samples", "loop_stable")
            values = (row.get(name) for row in rows.values())
            table.add_row(heading, *(_number(int(v) if whole and v is not None else v) for v in values))
    console = Console()
    console.print(table)
    for epoch, sentences in found["verdicts"].items():
        for sentence in sentences:
            console.print(f"epoch {epoch}: {sentence}", soft_wrap=True, highlight=False, markup=False)
    if found["recorded"]:
        console.print(f"recorded during training: {len(found['recorded']['epoch'])} looks", highlight=False)
    for file in found.get("files", ()):
        console.print(file, soft_wrap=True, highlight=False, markup=False)
