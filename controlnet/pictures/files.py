"""Writes pictures and their data: all files are made in memory first, then put in place one by one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import named_errors, put, try_folder
from .table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {}, "pdf": {"CreationDate": None}}
"""Formats of the pictures, and what keeps the time of day out of them."""
DPI = 150


def prepare(folder: Path) -> None:
    """Make a folder, before anything is computed for it.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    StorageError
        If it cannot be made or written to.
    """
    with named_errors("use", folder):
        folder.mkdir(parents=True, exist_ok=True)
        try_folder(folder)


def write(
    folder: Path, name: str, figure: Figure, table: Table | None = None, formats: Sequence[str] = tuple(METADATA)
) -> list[Path]:
    """Write a figure, and its data if there are some.

    Parameters
    ----------
    folder : Path
        The existing folder.
    name : str
        Name of the files, without their endings.
    figure : Figure
        The picture.
    table : Table, optional
        The data.
    formats : sequence of str
        Of ``svg``, ``png`` and ``pdf``.

    Returns
    -------
    list of Path
        The CSV, then the pictures.

    Raises
    ------
    StorageError
        If the folder cannot be written to.
    """
    # The layout is found once for all formats.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    contents = {} if table is None else {"csv": table.as_csv()}
    contents |= {kind: _rendered(figure, kind) for kind in formats}
    with named_errors("write to", folder):
        return [put(folder / f"{name}.{kind}", content) for kind, content in contents.items()]


def _rendered(figure: Figure, kind: str) -> bytes:
    import matplotlib

    stream = io.BytesIO()
    # Names inside an SVG are random without a salt.
    with matplotlib.rc_context({"svg.hashsalt": "controlnet"}):
        figure.savefig(stream, format=kind, dpi=DPI, metadata=METADATA[kind])
    return stream.getvalue()
