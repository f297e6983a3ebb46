"""``controlnet table``: a paper's table, our numbers beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DATA_DIR, JSON, SCHEDULER, WORKERS, check_place, echo_json, interruption

if TYPE_CHECKING:
    from ..reproduction.published import PaperTable
    from ..reproduction.tables import Job
    from ..reproduction.texts import Cells
    from ..studies.tasks import Failure


def _names(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(name.strip() for name in value.split(","))


@click.command()
@click.argument("name", metavar="dfc|strong-dfc")
@click.option("--rows", callback=_names, metavar="A,B", help="Only these rows.")
@click.option("--columns", callback=_names, metavar="A,B", help="Only these columns.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Number of seeds.")
@click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs; as published if not given.")
@click.option(
    "--fast",
    is_flag=True,
    help="Root finding, linearised feedback phases, single precision, where these are enough.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reproduction"),
    show_default=True,
    metavar="DIR",
    help="Where a small JSON file of each finished run is kept.",
)
@click.option(
    "--take",
    "taken",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="RUN",
    help="Keep a run that is there already, and run nothing.",
)
@click.option("--note", default="", help="Kept with the runs that are made or taken, and shown beside their numbers.")
@click.option("--print", "print_only", is_flag=True, help="Run nothing, show what there is.")
@WORKERS
@SCHEDULER
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--latex", is_flag=True, help="Print LaTeX.")
@DATA_DIR
@JSON
def table(
    name: str,
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    seeds: int,
    epochs: int | None,
    fast: bool,
    out: Path,
    taken: tuple[Path, ...],
    note: str,
    print_only: bool,
    workers: int | None,
    scheduler: str | None,
    markdown: bool,
    latex: bool,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Reproduce a table of a paper: runs what is missing, keeps what is done, prints ours beside the paper's.

    All that is missing of the whole table takes days: --rows, --columns, --seeds and --epochs ask for less. With
    --print, and with --take, nothing is run.

    What was asked for in an earlier call need not be asked for again: the table is built from the files in DIR.
    """
    from ..reproduction.making import check_samples
    from ..reproduction.published import paper_table
    from ..reproduction.records import read_records
    from ..reproduction.tables import cells, chosen_names, jobs, missing

    form = _form(json=as_json, markdown=markdown, latex=latex)
    paper = paper_table(name)
    place = check_place(workers, scheduler)
    which = chosen_names(rows, paper.rows, "rows"), chosen_names(columns, paper.columns, "columns")
    for path in taken:
        _take(paper, path, out, note, data_dir)
    failed: list[Any] = []
    if not print_only and not taken:
        planned, records = jobs(paper, *which, seeds, epochs, fast), read_records(out)
        check_samples((job.stored for job in planned), records, out, data_dir)
        failed = _made(missing(planned, records), out, note, **place, data_dir=data_dir)
    records = read_records(out)
    if not records and not failed:
        click.echo(f"{out} holds no records: name their folder with --out, or leave out --print to make some", err=True)
    found = cells(paper, *which, records)
    _show(paper, found, form, [str(failure) for failure in failed])
    if failed:
        raise click.exceptions.Exit(3 if any(failure.diverged for failure in failed) else 2)


def _form(**asked: bool) -> str:
    """Give the form in which a table is to be printed; two of them contradict each other."""
    from ..errors import ConfigError

    chosen = [name for name, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        given = " and ".join(f"--{name}" for name in chosen)
        raise ConfigError(f"table: expected one of --json, --markdown and --latex, got {given}")
    return chosen[0] if chosen else "terminal"


def _take(paper: PaperTable, path: Path, folder: Path, note: str, data_dir: Path | None) -> None:
    """Keep a run, and tell if the table will not show it."""
    from ..reproduction.making import take_other
    from ..reproduction.records import read_record
    from ..reproduction.tables import fits

    kept = take_other(path, folder, note, data_dir)
    if not fits(paper, read_record(kept)):
        click.echo(f"{kept}: kept, but table {paper.name} has no cell for a run of these settings", err=True)


def _made(wanted: Sequence[Job], folder: Path, note: str, **where: Any) -> list[Failure]:
    """Do the runs, tell of each, and give why some failed."""
    from ..reproduction.making import make

    if wanted:
        click.echo(f"{len(wanted)} runs are missing", err=True)
    failed, done = [], 0
    try:
        with closing(make(wanted, folder, note=note, **where)) as stream:
            for done, (job, failure) in enumerate(stream, 1):
                said = "" if failure is None else f": {failure}"
                click.echo(f"{done}/{len(wanted)} {job.experiment}, seed {job.seed}{said}", err=True)
                failed += [] if failure is None else [failure]
    except KeyboardInterrupt:
        raise interruption(done - len(failed), len(wanted)) from None
    return failed


def _show(paper: PaperTable, found: Cells, form: str, failed: list[str]) -> None:
    from ..reproduction.texts import as_latex, as_markdown

    forms: dict[str, Callable[[PaperTable, Cells], str]] = {"markdown": as_markdown, "latex": as_latex}
    if form == "json":
        echo_json({"table": paper.name, "cells": [cell.as_dict() for cell in found.values()], "failed": failed})
    elif form in forms:
        click.echo(forms[form](paper, found), nl=False)
    else:
        from ._table_report import show_table

        show_table(paper, found)
