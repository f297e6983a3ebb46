"""What a person sees of a search for settings."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape

from .._display import plain_table, print_plain
from ..studies._trials import Trial
from ..studies.search import Search
from ..studies.tuning import Tuned

WORDS = {"validation_error_percent": "validation error {:.4g} %", "validation_loss": "validation loss {:.4g}"}


def line_of(trial: Trial, wanted: int) -> str:
    """Give what is told of a trial as it ends.

    Parameters
    ----------
    trial : Trial
        The trial.
    wanted : int
        Number of trials in all.

    Returns
    -------
    str
        One line.
    """
    point = ", ".join(f"{path}={_text(value)}" for path, value in trial.settings.items())
    return f"trial {trial.number}/{wanted}: {_outcome(trial)}; {point}"


def _outcome(trial: Trial) -> str:
    if trial.value is None or trial.objective is None:
        return f"failed: {trial.error}"
    return WORDS[trial.objective].format(trial.value)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def show_tuned(tuned: Tuned) -> None:
    """Print the best settings beside those before, and where they are.

    Parameters
    ----------
    tuned : Tuned
        What a search found.
    """
    search, settings = tuned.search, tuned.search.base.settings
    table = plain_table(f"{settings.experiment}, {settings.method}, seed {settings.seed}")
    for heading in ("", "searched", "before", "best"):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for path, value in tuned.best.settings.items():
        cells = (str(search.space[path]), _text(_before(search, path, value)), _text(value))
        table.add_row(escape(path), *map(escape, cells))
    Console().print(table)
    print_plain(*_lines(tuned))


def _before(search: Search, path: str, value: Any) -> Any:
    """Give what a setting was before the search; of a table what the one that was found names."""
    if isinstance(value, dict):
        return {name: _before(search, f"{path}.{name}", each) for name, each in value.items()}
    return search.known.get(path)


def _lines(tuned: Tuned) -> list[str]:
    number, failed = len(tuned.trials), tuned.failed
    lines = [f"{_outcome(tuned.best)} in trial {tuned.best.number} of {number}; {len(failed)} failed"]
    if failed:
        lines.append(f"the last that failed, {failed[-1].number}: {failed[-1].error}")
    return [*lines, f"run: {tuned.run}", f"best settings: {tuned.file}"]
