"""What a person sees of runs beside each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .._display import plain_table, print_plain
from ..storage import Run
from ..studies.comparing import Comparison, Rows, difference

NAMES = {
    "test_error_percent": "test error %",
    "test_loss": "test loss",
    "validation_error_percent": "validation error %",
    "validation_loss": "validation loss",
    "train_loss": "training loss",
    "amount_of_control": "H",
    "converged_percent": "converged %",
    "diverged_percent": "diverged %",
    "complete": "came to its end",
}
NAMES_WIDTH, RUN_WIDTH = 28, 16
"""Room for the names and for a run, about, in characters."""


def show_comparison(paths: Sequence[Path], runs: Sequence[Run], found: Comparison) -> None:
    """Print the runs, a verdict, settings and results in tables, and a line for each difference of the machines.

    Parameters
    ----------
    paths : sequence of Path
        Where the runs are.
    runs : sequence of Run
        What they hold.
    found : Comparison
        What differs between them.
    """
    for number, (path, run) in enumerate(zip(paths, runs, strict=True), 1):
        print_plain(f"{number}  {path}  ({run.summary.get('method', 'unknown method')}, seed {run.seed})")
    print_plain(_verdict(found))
    _show_rows("settings", found.settings, [_settings(row) for row in found.settings.values()])
    results = dict(found.results)
    if any(found.weights):
        results["weights, largest difference"] = [None, *found.weights[1:]]
    _show_rows("results", results, [_beside_first(row) for row in results.values()])
    for name, values in found.machine.items():
        print_plain(f"{name}: {' | '.join(_text(value) for value in values)}")


def _verdict(found: Comparison) -> str:
    settings = "same settings" if found.same_settings else "other settings"
    if found.same_weights:
        return f"{settings}, same weights"
    shapes = " of other shapes" if None in found.weights else ""
    return f"{settings}, other weights{shapes}"


def _show_rows(title: str, rows: Rows, texts: list[list[str]]) -> None:
    """Print a column for each run, in as many tables as it takes, with the first run in each."""
    if not rows:
        return
    console = Console()
    runs, room = len(texts[0]), max(1, (console.width - NAMES_WIDTH) // RUN_WIDTH - 1)
    for first in range(1, runs, room):
        shown = [0, *range(first, min(first + room, runs))]
        cells = [[row[number] for number in shown] for row in texts]
        console.print(_table(title, [str(number + 1) for number in shown], list(rows), cells))


def _table(title: str, headings: list[str], names: list[str], rows: list[list[str]]) -> Table:
    table = plain_table(title)
    table.add_column("", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for name, cells in zip(names, rows, strict=True):
        table.add_row(escape(NAMES.get(name, name)), *map(escape, cells))
    return table


def _settings(values: list[Any]) -> list[str]:
    """Write settings, floats with as many digits as it takes to tell them apart."""
    short = [f"{value:.6g}" if isinstance(value, float) else _text(value) for value in values]
    full = [_text(value) for value in values]
    return short if len(set(short)) == len(set(full)) else full


def _beside_first(values: list[Any]) -> list[str]:
    """Write results, each with its difference to the first."""
    cells = [_result(values[0])]
    for value in values[1:]:
        more = difference(values[0], value)
        cells.append(_result(value) + (f" ({more:+.3g})" if more else ""))
    return cells


def _result(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value)
