"""`controlnet analyze`: the network of a run under control, before learning and after."""

from __future__ import annotations

from pathlib import Path

import click

from .options import DATA_DIR, JSON, THREADS, echo_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--at", type=click.IntRange(min=0), metavar="EPOCH", help="Epoch to look at; the last if not given.")
@click.option("--samples", type=click.IntRange(min=1), help="Training samples to look at; as RUN's settings say.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="DIR", help="Write plots there, as SVG and PNG.")
@DATA_DIR
@THREADS
@JSON
def analyze(
    run: Path,
    at: int | None,
    samples: int | None,
    plot: Path | None,
    data_dir: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Look at the network of RUN under control: conditions, stability and alignment, before learning and after.

    An epoch that is neither the first nor the last is trained up to once more.
    """
    from ..experiments.examining import examine

    if plot is not None:
        from ..pictures.files import prepare

        prepare(plot)
    examined = examine(run, at=at, samples=samples, data_dir=data_dir, threads=threads)
    found = examined.as_dict()
    if plot is not None:
        from ..experiments.examined_plots import draw_all

        found["files"] = [str(file) for file in draw_all(examined, plot)]
    if as_json:
        echo_json(found)
        return
    from ._analyze_report import show_examined

    show_examined(found)
