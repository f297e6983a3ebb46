"""`controlnet tune`: a search for settings with a small validation error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DATA_DIR, EPOCHS, JSON, METHOD, QUIET, SCHEDULER, SET, WORKERS, Failure, check_place, echo_json

if TYPE_CHECKING:
    from ..studies._trials import Trial
    from ..studies.search import Search


@click.command()
@click.argument("experiment")
@click.option("--trials", type=click.IntRange(min=1), required=True, help="Number of trials in all.")
@click.option(
    "--search",
    "searched",
    multiple=True,
    metavar="A.B=LOW..HIGH",
    help="Search this setting, or a choice A.B=x,y,z; may be repeated. What the papers searched if not given.",
)
@METHOD
@EPOCHS
@SET
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the trainings and of the search.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the search; runs/tune-EXPERIMENT-METHOD-sSEED if not given.",
)
@click.option(
    "--together",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Choose N trials at a time and learn them side by side; the result depends on it.",
)
@WORKERS
@SCHEDULER
@DATA_DIR
@JSON
@QUIET
def tune(
    experiment: str,
    trials: int,
    searched: tuple[str, ...],
    overrides: tuple[str, ...],
    out: Path | None,
    together: int,
    workers: int | None,
    scheduler: str | None,
    data_dir: Path | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Search for settings of EXPERIMENT with a small validation error; the test samples have no say.

    The same command goes on where it was interrupted, and makes more trials if --trials is larger. The best settings
    are an experiment of their own, DIR/best.toml. Needs Optuna: install controlnet[tune].
    """
    from ..studies.search import Search
    from ..studies.tuning import tune as search_settings
    from ._tune_report import line_of, show_tuned

    place = check_place(workers, scheduler)
    search = Search(experiment, searched, overrides, **given)
    folder = out or _folder(search)

    def tell(trial: Trial) -> None:
        if not quiet:
            click.echo(line_of(trial, trials), err=True)

    try:
        tuned = search_settings(search, folder, trials, together=together, on_trial=tell, data_dir=data_dir, **place)
    except KeyboardInterrupt:
        raise Failure(f"interrupted; the same command goes on with the trials in {folder}", 130) from None
    if as_json:
        echo_json(tuned.as_dict())
        return
    show_tuned(tuned)


def _folder(search: Search) -> Path:
    from ..experiments.running import in_folders

    settings = search.base.settings
    return Path("runs") / f"tune-{in_folders(settings.experiment)}-{settings.method}-s{settings.seed}"
