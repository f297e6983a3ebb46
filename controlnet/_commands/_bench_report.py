"""What a person sees of the speed on this machine: times beside their bounds, and how they grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .._display import plain_table, print_plain

BUSY = 0.5
"""Cores; above that the figures of a machine are worth less."""
VERDICTS = {True: "[green]met", False: "[bold red]missed", None: ""}


def show_bench(report: Mapping[str, Any]) -> None:
    """Print the speed figures of this machine.

    Parameters
    ----------
    report : mapping
        As `controlnet.bench.report.report` gives it.
    """
    console, rows = Console(), report["rows"]
    console.print(_speed(rows))
    grid = Table(show_header=False, box=None, padding=(0, 1))
    for row in rows:
        grid.add_row(row["name"], escape(_about(row)))
    console.print(grid)
    words = f"{report['machine']['cpu']}, {report['threads']} threads; medians of at least {report['rounds']} rounds"
    words += " (quick)" if report["quick"] else ""
    words += f"; {report['load']:.1f} cores were busy before" if (report["load"] or 0) > BUSY else ""
    print_plain(words)


def _speed(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = plain_table("speed")
    table.add_column("row", no_wrap=True)
    for heading in ("time", "floor/peer", "ratio", "at most", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(row["name"], *_figures(row), VERDICTS[row["met"]])
    return table


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
    table = plain_table("growth")
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
    for number, peak in memory["mb_by_parameters"].items():
        most = memory["bound_mb_by_parameters"][number]
        words = f"memory of {number} parameters: {peak:.1f} MB, at most {most:.1f}: "
        console.print(words + VERDICTS[peak <= most], highlight=False)
