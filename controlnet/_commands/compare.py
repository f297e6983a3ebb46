"""`controlnet compare`: what differs between runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import JSON

if TYPE_CHECKING:
    from ..storage import Run
    from ..studies.comparing import Comparison, Rows

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


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="RUN RUN...")
@click.option("--all", "everything", is_flag=True, help="Show the settings and results too that are the same.")
@JSON
def compare(runs: tuple[Path, ...], everything: bool, as_json: bool) -> None:
    """Show what differs between runs: settings, results beside those of the first, versions and machines.

    RUN is the folder of a run or its run.h5; there are at least two.
    """
    from ..storage import read_run
    from ..studies.comparing import compare as compare_runs

    stored = [read_run(run) for run in runs]
    found = compare_runs(stored, everything=everything)
    if as_json:
        click.echo(json.dumps(_as_dict(runs, found)))
        return
    _show(runs, stored, found)


def _as_dict(runs: tuple[Path, ...], found: Comparison) -> dict[str, Any]:
    largest = None if None in found.weights else max(each for each in found.weights if each is not None)
    return {
        "runs": [str(run) for run in runs],
        "settings": found.settings,
        "results": found.results,
        "machine": found.machine,
        "weights": largest,
        "weights_by_run": found.weights,
        "same_settings": found.same_settings,
        "same_weights": found.same_weights,
    }


def _show(runs: tuple[Path, ...], stored: list[Run], found: Comparison) -> None:
    from rich.console import Console

    console = Console()

    def line(words: str) -> None:
        console.print(words, soft_wrap=True, highlight=False, markup=False)

    for number, (run, each) in enumerate(zip(runs, stored, strict=True), 1):
        line(f"{number}  {run}  ({each.summary.get('method', 'unknown method')}, seed {each.seed})")
    line(_verdict(found))
    _show_table(console, "settings", found.settings, [_settings(row) for row in found.settings.values()])
    results = dict(found.results)
    if any(found.weights):
        results["weights, largest difference"] = [None, *found.weights[1:]]
    _show_table(console, "results", results, [_beside_first(row) for row in results.values()])
    for name, values in found.machine.items():
        line(f"{name}: {' | '.join(_text(value) for value in values)}")


def _verdict(found: Comparison) -> str:
    settings = "same settings" if found.same_settings else "other settings"
    if found.same_weights:
        return f"{settings}, same weights"
    shapes = " of other shapes" if None in found.weights else ""
    return f"{settings}, other weights{shapes}"


def _show_table(console: Any, title: str, rows: Rows, texts: list[list[str]]) -> None:
    """Print a column for each run, in as many tables as it takes, with the first run in each."""
    if not rows:
        return
    runs, room = len(texts[0]), max(1, (console.width - NAMES_WIDTH) // RUN_WIDTH - 1)
    for first in range(1, runs, room):
        shown = [0, *range(first, min(first + room, runs))]
        cells = [[row[number] for number in shown] for row in texts]
        console.print(_table(title, [str(number + 1) for number in shown], list(rows), cells))


def _table(title: str, headings: list[str], names: list[str], rows: list[list[str]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
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
    from ..studies.comparing import difference

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
