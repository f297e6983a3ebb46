"""What a person sees of a run that was examined: a column for each epoch, and a verdict for each condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from .._display import number, plain_table, print_plain

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
COUNTS = {"samples", "converged", "stable", "loop_samples", "loop_stable"}
"""What is counted, and shown as a whole number."""


def show_examined(found: Mapping[str, Any]) -> None:
    """Print what was seen of a run, with a verdict for each condition.

    Parameters
    ----------
    found : mapping
        What `Examined.as_dict` gave, with ``files`` if plots were written.
    """
    Console().print(_table(found))
    for epoch, sentences in found["verdicts"].items():
        print_plain(*(f"epoch {epoch}: {sentence}" for sentence in sentences))
    if found["recorded"]:
        print_plain(f"recorded during training: {len(found['recorded']['epoch'])} looks")
    print_plain(*found.get("files", ()))


def _table(found: Mapping[str, Any]) -> Table:
    table = plain_table(f"{found['experiment']}, {found['method']}, seed {found['seed']}")
    table.add_column("", no_wrap=True)
    rows = found["epochs"]
    for epoch in rows:
        table.add_column(f"epoch {epoch}", justify="right", no_wrap=True)
    for name, heading in SEEN.items():
        if any(name in row for row in rows.values()):
            table.add_row(heading, *(_cell(name, row.get(name)) for row in rows.values()))
    return table


def _cell(name: str, value: float | None) -> str:
    return number(int(value) if name in COUNTS and value is not None else value)
