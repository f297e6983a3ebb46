"""Writes a figure: all of its files are made in memory first, then put in place one by one."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .._folder import named_errors
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
        _put(folder / f".probe-{uuid4().hex}", b"").unlink()


def write(folder: Path, name: str, table: Table, figure: Figure) -> list[Path]:
    """Write a figure and its data.

    Parameters
    ----------
    folder : Path
        The existing folder.
    name : str
        Name of the files, without their endings.
    table : Table
        The data.
    figure : Figure
        The picture.

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
    contents = {"csv": table.as_csv()} | {kind: _rendered(figure, kind) for kind in METADATA}
    with named_errors("write to", folder):
        return [_put(folder / f"{name}.{kind}", content) for kind, content in contents.items()]


def _rendered(figure: Figure, kind: str) -> bytes:
    import matplotlib

    stream = io.BytesIO()
    # Names inside an SVG are random without a salt.
    with matplotlib.rc_context({"svg.hashsalt": "controlnet"}):
        figure.savefig(stream, format=kind, dpi=DPI, metadata=METADATA[kind])
    return stream.getvalue()


def _put(target: Path, content: bytes) -> Path:
    """Replace a file as a whole."""
    temporary = target.with_name(f".{target.name}-{uuid4().hex}.part")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
        os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target
