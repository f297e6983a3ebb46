"""Which figures there are; each is computed by one module, which loads when it is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError


class Entry(NamedTuple):
    """A figure: what it shows, and the module with its ``compute`` and ``picture``."""

    description: str
    module: str


FIGURES = {
    "fig1d": Entry("control and output of a small network on their way to the reference", "dynamics"),
    "fig2": Entry("feedback weights before and after learning, against the row space of J", "components"),
    "fig3": Entry(
        "condition 2, stability and angles of the updates while a student learns from a teacher", "conditions"
    ),
    "feedback-learning": Entry("feedback weights that learn alone: condition 2, angles to J^T and J^+", "feedback"),
}


def draw(name: str, folder: Path, quick: bool = False, threads: int | None = None, seed: int = 0) -> list[Path]:
    """Compute a figure and write it as SVG, PNG and PDF, with its data as CSV beside.

    Parameters
    ----------
    name : str
        A key of `FIGURES`.
    folder : Path
        Where the files go; made if it is not there.
    quick : bool
        Shorter runs on fewer samples, which show the same; about 20 s at most.
    threads : int, optional
        Number of threads; all cores if not given. The data do not depend on it.
    seed : int
        The same seed gives the same data, bit by bit.

    Returns
    -------
    list of Path
        The files: each is complete or not there.

    Raises
    ------
    InputError
        If there is no such figure, or the seed is negative.
    StorageError
        If the folder cannot be written to.
    """
    if name not in FIGURES:
        raise InputError(f"figure: expected one of {', '.join(FIGURES)}, got {name!r}")
    if seed < 0:
        raise InputError(f"seed: expected a number >= 0, got {seed}")
    from .._parallel import one_blas_thread
    from ..pictures.files import prepare, write

    module = import_module(f".{FIGURES[name].module}", __package__)
    prepare(folder)
    with one_blas_thread():
        table = module.compute(quick, threads, seed)
    return write(folder, name, module.picture(table), table)
