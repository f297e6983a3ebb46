"""Prints a reproduced table on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from .._display import plain_table
from ..reproduction.published import PaperTable
from ..reproduction.texts import FOOTNOTE, HEADINGS, Cells, columns_of, lines

DISPENSABLE = ("last", "best", "time", "to bp (paper)", "seeds")
"""Columns that are left out, one after the other, where the terminal is too narrow for whole numbers."""


def show_table(paper: PaperTable, cells: Cells) -> None:
    """Print a table for each column.

    Parameters
    ----------
    paper : PaperTable
        The paper's table.
    cells : dict of Cell
        What has come out, by row and column.
    """
    console = Console()
    console.print(paper.title, markup=False, highlight=False)
    for column in columns_of(cells):
        rows = [dict(zip(HEADINGS, line, strict=True)) for line in lines(paper, cells, column)]
        empty = () if any(row["remarks"] for row in rows) else ("remarks",)
        for left_out in range(len(DISPENSABLE) + 1):
            headings = [name for name in HEADINGS if name not in (*DISPENSABLE[:left_out], *empty)]
            shown = _table(paper.columns[column].title, headings, rows)
            if Measurement.get(console, console.options.update_width(1000), shown).minimum <= console.width:
                break
        console.print(shown)
    console.print(FOOTNOTE)


def _table(title: str, headings: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Table:
    shown = plain_table(title)
    for heading in headings:
        whole = heading != "remarks"
        widest = max(len(line) for line in (heading, *(row[heading] for row in rows))) if whole else None
        right = whole and heading != ""
        shown.add_column(escape(heading), justify="right" if right else "left", no_wrap=whole, min_width=widest)
    for row in rows:
        shown.add_row(*(escape(row[heading]) for heading in headings))
    return shown
