"""Prints a reproduced table on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..reproduction.published import PaperTable
from ..reproduction.texts import FOOTNOTE, HEADINGS, Cells, lines


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
    for column in dict.fromkeys(column for _, column in cells):
        shown = Table(
            title=escape(paper.columns[column].title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for heading in HEADINGS:
            right = heading not in ("", "remarks")
            shown.add_column(escape(heading), justify="right" if right else "left", no_wrap=heading != "remarks")
        for line in lines(paper, cells, column):
            shown.add_row(*map(escape, line))
        console.print(shown)
    console.print(FOOTNOTE)
