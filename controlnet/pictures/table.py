"""The data of a figure: named columns, one row a point; the picture is drawn from them alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..base import Array


@dataclass(frozen=True, eq=False)
class Table:
    """Rows under named columns.

    Parameters
    ----------
    columns : sequence of str
        The names.
    rows : list of tuple
        Texts and numbers, as many a row as there are names; NaN where there is nothing to say.
    """

    columns: Sequence[str]
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, **values: Any) -> None:
        """Add a row.

        Parameters
        ----------
        **values : str or float
            The values by column.
        """
        self.rows.append(tuple(values[name] for name in self.columns))

    def select(self, **where: Any) -> dict[str, Array]:
        """Give the columns of some rows.

        Parameters
        ----------
        **where : str or float
            What the rows hold in these columns; all rows if not given.

        Returns
        -------
        dict of array
            The columns by name.
        """
        places = {self.columns.index(name): value for name, value in where.items()}
        chosen = [row for row in self.rows if all(row[i] == value for i, value in places.items())]
        return {name: np.array([row[i] for row in chosen]) for i, name in enumerate(self.columns)}

    def kinds(self, column: str) -> list[Any]:
        """Give the different values of a column.

        Parameters
        ----------
        column : str
            Its name.

        Returns
        -------
        list
            In the order in which they come.
        """
        return list(dict.fromkeys(row[self.columns.index(column)] for row in self.rows))

    def as_csv(self) -> bytes:
        """Give the table as CSV: numbers with nine digits, empty cells for NaN.

        Returns
        -------
        bytes
            UTF-8, lines ended by a line feed.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        return text.getvalue().encode()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.9g}"
