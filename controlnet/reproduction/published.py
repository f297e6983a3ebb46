"""The papers' tables: what they report, and which experiments reproduce it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

from ..errors import InputError


class Published(NamedTuple):
    """Mean and standard deviation of a paper, in the unit of its column."""

    mean: float
    std: float


class Column(NamedTuple):
    """A column: what it is called, which quantity of a run it holds, and whether at the best validation or the end."""

    name: str
    title: str
    quantity: str
    at_best: bool


class Row(NamedTuple):
    """A row: what it is called, and the paper's numbers by column; `own` is false where they are of a like method."""

    name: str
    title: str
    values: Mapping[str, Published]
    own: bool


class PaperTable(NamedTuple):
    """A table of a paper.

    Parameters
    ----------
    name : str
        As on the command line; its experiments are ``NAME/COLUMN/ROW`` of the catalogue.
    title : str
        Where it comes from.
    columns : dict of Column
        By name.
    rows : dict of Row
        By name.
    """

    name: str
    title: str
    columns: dict[str, Column]
    rows: dict[str, Row]

    def experiment(self, row: str, column: str) -> str:
        """Give the experiment of a cell.

        Parameters
        ----------
        row, column : str
            Their names.

        Returns
        -------
        str
            Its name in the catalogue.
        """
        return f"{self.name}/{column}/{row}"


def paper_table(name: str) -> PaperTable:
    """Give a table by name.

    Parameters
    ----------
    name : str
        ``dfc`` or ``strong-dfc``.

    Returns
    -------
    PaperTable
        What the paper reports.

    Raises
    ------
    InputError
        If there is no such table.
    """
    text = (resources.files(__package__) / "published.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    if name not in tables:
        raise InputError(f"table: expected one of {', '.join(tables)}, got {name!r}")
    table = tables[name]
    columns = {key: Column(name=key, **({"at_best": False} | each)) for key, each in table["columns"].items()}
    given = {row["name"]: row for row in table["rows"]}
    rows = {key: _row(row, given, columns) for key, row in given.items()}
    return PaperTable(name, table["title"], columns, rows)


def _row(row: dict[str, Any], given: dict[str, Any], columns: Mapping[str, Column]) -> Row:
    source = given[row.get("like", row["name"])]
    values = {column: Published(*source[column]) for column in columns}
    return Row(row["name"], row.get("title", row["name"]), values, "like" not in row)
