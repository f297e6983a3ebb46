"""`controlnet bench`: the speed on this machine, or how time and memory grow."""

from __future__ import annotations

from pathlib import Path

import click

from .options import JSON, Failure, echo_json


@click.command()
@click.option(
    "--quick", is_flag=True, help="Fewer rows and rounds, memory only where it has a bound; less than a minute."
)
@click.option("--rows", "names", multiple=True, metavar="NAME[,NAME...]", help="Only these rows; may be repeated.")
@click.option("--threads", type=click.IntRange(min=1), help="Number of threads; all cores if not given.")
@click.option(
    "--growth",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Measure how time and memory grow instead, and write growth.svg, .png and .csv there.",
)
@JSON
def bench(quick: bool, names: tuple[str, ...], threads: int | None, growth: Path | None, as_json: bool) -> None:
    """Measure the speed on this machine.

    Each time is held against that of the same matrix products alone, or of a peer, taken in turn on the same threads.
    A missed bound is marked; the exit code stays 0.
    """
    if growth is None:
        _rows(names, threads, quick, as_json)
    elif names:
        raise Failure("--growth measures growth alone: no --rows with it", 2)
    else:
        _growth(growth, threads, quick, as_json)


def _rows(names: tuple[str, ...], threads: int | None, quick: bool, as_json: bool) -> None:
    from ..bench.report import report

    def tell(name: str, number: int, rows: int) -> None:
        click.echo(f"bench: {number}/{rows} {name}", err=True)

    found = report(",".join(names).split(",") if names else (), threads=threads, quick=quick, on_row=tell)
    if as_json:
        echo_json(found)
        return
    from ._bench_report import show_bench

    show_bench(found)


def _growth(folder: Path, threads: int | None, quick: bool, as_json: bool) -> None:
    from ..bench.growth import grow, write
    from ..pictures.files import prepare

    prepare(folder)
    growth = grow(threads, quick=quick, on_series=lambda name: click.echo(f"bench: {name}", err=True))
    files = [str(file) for file in write(growth, folder)]
    if as_json:
        echo_json(growth.as_dict() | {"files": files})
        return
    from ._bench_report import show_growth

    show_growth(growth.as_dict())
    click.echo("\n".join(files))
