"""`controlnet compare`: what differs between runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import JSON, echo_json

if TYPE_CHECKING:
    from ..studies.comparing import Comparison


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
        echo_json(_as_dict(runs, found))
        return
    from ._compare_report import show_comparison

    show_comparison(runs, stored, found)


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
