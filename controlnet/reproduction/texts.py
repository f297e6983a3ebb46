"""A reproduced table as text: for a terminal, as Markdown, as LaTeX."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import TypeAlias

from .published import PaperTable
from .tables import BP, Cell

Cells: TypeAlias = Mapping[tuple[str, str], Cell]

LIKE = "†"
FOOTNOTE = (
    "best: at the best validation; last: at the last epoch; ours: whichever of the two the paper reports. "
    f"σ: the paper's standard deviation. to bp: distance from BP, ours and in brackets the paper's. "
    f"{LIKE}: of the method that this one varies, as the paper reports none of its own."
)
HEADINGS = ("", "ours", "best", "last", "seeds", "paper", "off [σ]", "to bp (paper)", "time", "remarks")
MARKDOWN = str.maketrans({sign: rf"\{sign}" for sign in r"\|`*_<~"})
NAMED = {"\\": "backslash", "^": "asciicircum", "~": "asciitilde", "|": "bar", "<": "less", ">": "greater"}
LATEX = str.maketrans(
    {sign: rf"\{sign}" for sign in "%_&#${}"}
    | {sign: rf"\text{name}{{}}" for sign, name in NAMED.items()}
    | {"±": r"$\pm$", "–": "--", "σ": r"$\sigma$", LIKE: r"$\dagger$"}
)


def columns_of(cells: Cells) -> list[str]:
    """Give the columns of which there are cells.

    Parameters
    ----------
    cells : dict of Cell
        What has come out, by row and column.

    Returns
    -------
    list of str
        Their names, once each.
    """
    return list(dict.fromkeys(column for _, column in cells))


def lines(table: PaperTable, cells: Cells, column: str) -> list[tuple[str, ...]]:
    """Give the rows of one column of a table as texts under `HEADINGS`.

    Parameters
    ----------
    table : PaperTable
        The table.
    cells : dict of Cell
        What has come out, by row and column.
    column : str
        Which column.

    Returns
    -------
    list of tuple of str
        A row each.
    """
    return [_line(table, cell) for (_, of), cell in cells.items() if of == column]


def _line(table: PaperTable, cell: Cell) -> tuple[str, ...]:
    row, percent = table.rows[cell.row], table.columns[cell.column].quantity.endswith("percent")
    paper = f"{_number(cell.paper.mean, percent)} ± {_number(cell.paper.std, percent)}"
    if not row.own:
        paper += LIKE
    if not cell.ours:
        return row.title, "–", "–", "–", "0", paper, "–", "–", "–", ""
    ours = _number(cell.mean, percent) + (f" ± {_number(cell.std, percent)}" if cell.std is not None else "")
    return (
        row.title,
        ours,
        _number(_mean(cell.chosen), percent),
        _number(_mean(cell.values), percent),
        str(len(cell.ours)),
        paper,
        f"{cell.deviation:+.1f}" if abs(cell.deviation) < 1000 else f"{cell.deviation:+.2g}",
        _to_bp(cell, percent),
        _duration(cell.seconds),
        _remarks(cell),
    )


def _mean(values: Iterable[float]) -> float:
    """Give the mean of the numbers that are known."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def _to_bp(cell: Cell, percent: bool) -> str:
    if cell.row == BP or math.isnan(cell.to_bp):
        return "–"
    ours, paper = ("+-"[value < 0] + _number(abs(value), percent) for value in (cell.to_bp, cell.paper_to_bp))
    return f"{ours} ({paper})"


def _number(value: float, percent: bool) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" if percent else f"{value:.3g}" if value >= 1e-4 else f"{value:.2e}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    unit, name = next(((unit, name) for unit, name in ((3600, "h"), (60, "min")) if seconds >= unit), (1, "s"))
    return f"{seconds / unit:.3g} {name}"


def _remarks(cell: Cell) -> str:
    said = ["fast variant"] if cell.fast else []
    if cell.epochs < cell.planned:
        said.append(f"{cell.epochs} of {cell.planned} epochs")
    return "; ".join((*said, *(_plain(note) for note in cell.notes)))


def _plain(note: str) -> str:
    """Give a note, which may be anybody's, in one line of signs that can be seen."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in note).split())


def as_markdown(table: PaperTable, cells: Cells) -> str:
    """Write a table as Markdown.

    Parameters
    ----------
    table : PaperTable
        The table.
    cells : dict of Cell
        What has come out, by row and column.

    Returns
    -------
    str
        A heading and a table for each column.
    """
    parts = []
    for column in columns_of(cells):
        found = [tuple(text.translate(MARKDOWN) for text in row) for row in lines(table, cells, column)]
        rows = [HEADINGS, ("---",) * len(HEADINGS), *found]
        body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"**{table.columns[column].title}** ({table.title})\n\n{body}\n")
    return "\n".join((*parts, f"{FOOTNOTE}\n"))


def as_latex(table: PaperTable, cells: Cells) -> str:
    """Write a table for LaTeX with the package booktabs.

    Parameters
    ----------
    table : PaperTable
        The table.
    cells : dict of Cell
        What has come out, by row and column.

    Returns
    -------
    str
        A ``tabular`` for each column.
    """
    parts = []
    for column in columns_of(cells):
        heading, *rows = (
            " & ".join(text.translate(LATEX) for text in row) + r" \\"
            for row in (HEADINGS, *lines(table, cells, column))
        )
        title = f"{table.columns[column].title} ({table.title})".translate(LATEX)
        body = [
            r"\begin{tabular}{lrrrrrrrrl}",
            r"\toprule",
            heading,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
        ]
        parts.append("\n".join([f"% {title}", *body]) + "\n")
    return "\n".join((*parts, f"% {FOOTNOTE.translate(LATEX)}\n"))
