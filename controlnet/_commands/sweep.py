"""`controlnet sweep`: an experiment over a grid of settings and seeds."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    DATA_DIR,
    EPOCHS,
    JSON,
    METHOD,
    QUIET,
    SCHEDULER,
    SET,
    WORKERS,
    check_place,
    echo_json,
    interruption,
)

if TYPE_CHECKING:
    from ..studies.sweep import Result, Sweep


@click.command()
@click.argument("experiment")
@click.option(
    "--grid",
    multiple=True,
    metavar="A.B=VALUE,VALUE",
    help="Values of one setting; may be repeated for others: all combinations are run.",
)
@click.option("--seeds", metavar="0:5", help="Seeds, such as 0:5, 0,3,7 or 4; the experiment's if not given.")
@METHOD
@EPOCHS
@SET
@WORKERS
@SCHEDULER
@click.option(
    "--keep-going/--fail-fast", default=True, help="Whether the others are run after one failed; they are by default."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the sweep; sweeps/EXPERIMENT if not given.",
)
@DATA_DIR
@JSON
@QUIET
@click.option("--dry-run", is_flag=True, help="Print the tasks and stop.")
def sweep(
    experiment: str,
    grid: tuple[str, ...],
    seeds: str | None,
    workers: int | None,
    scheduler: str | None,
    keep_going: bool,
    out: Path | None,
    data_dir: Path | None,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
    **changes: Any,
) -> None:
    """Run EXPERIMENT, a name of `controlnet list` or a TOML file, over a grid of settings and seeds.

    The same command again, or with more values, runs what is missing; a finished run is never repeated. Methods of
    train.compare_with are left out: compare with --grid method=dfc,bp.
    """
    from ..studies.grid import read_seeds
    from ..studies.sweep import default_folder, plan_sweep

    plan = plan_sweep(experiment, grid, None if seeds is None else read_seeds(seeds), **changes)
    place = check_place(workers, scheduler)
    folder = out or default_folder(plan)
    if dry_run:
        _show_plan(plan, folder, data_dir, as_json)
        return
    results = _run(plan, folder, keep_going, quiet, **place, data_dir=data_dir)
    if as_json:
        echo_json({"folder": str(folder), "tasks": _as_list(plan, results)})
    else:
        from ._sweep_report import show_sweep

        show_sweep(plan, results, folder)
    errors = [result.error for result in results if result.error is not None]
    if errors:
        raise click.exceptions.Exit(3 if any(error.diverged for error in errors) else 2)


def _run(plan: Sweep, folder: Path, keep_going: bool, quiet: bool, **where: Any) -> list[Result]:
    from ..studies.sweep import run_sweep
    from ._sweep_report import Bar, Lines, Silence

    watch = Silence() if quiet else Bar(plan) if sys.stderr.isatty() else Lines(plan)
    results: list[Result] = []
    try:
        with watch, closing(run_sweep(plan, folder, **where)) as stream:
            for result in stream:
                results.append(result)
                watch.tell(result)
                if result.error is not None and not keep_going:
                    break
    except KeyboardInterrupt:
        done = sum(result.summary is not None for result in results)
        raise interruption(done, len(plan.members)) from None
    return results


def _as_list(plan: Sweep, results: list[Result]) -> list[dict[str, Any]]:
    """Give the tasks in their order; one that was not run has neither summary nor error."""
    by_name = {result.member.identity: result for result in results}
    tasks = []
    for member in plan.members:
        task: dict[str, Any] = {"identity": member.identity, "values": member.values, "seed": member.seed}
        result = by_name.get(member.identity)
        if result is not None and result.summary is not None:
            task |= {"already": result.already, "summary": result.summary}
        elif result is not None and result.error is not None:
            task["error"] = result.error._asdict()
        tasks.append(task)
    return tasks


def _show_plan(plan: Sweep, folder: Path, data_dir: Path | None, as_json: bool) -> None:
    from ..studies.sweep import done

    there = {name: summary is not None for name, summary in done(plan, folder, data_dir).items()}
    if as_json:
        tasks = [
            {name: getattr(member, name) for name in ("identity", "values", "seed")}
            | {"finished": there[member.identity], "settings": member.stored}
            for member in plan.members
        ]
        echo_json({"folder": str(folder), "tasks": tasks})
        return
    from ._sweep_report import show_plan

    show_plan(plan, there, folder)
