"""`controlnet tune`: a search for settings with a small validation error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DATA_DIR, JSON, SCHEDULER, WORKERS, check_place

if TYPE_CHECKING:
    from ..studies._trials import Trial
    from ..studies.tuning import Search, Tuned

WORDS = {"validation_error_percent": "validation error {:.4g} %", "validation_loss": "validation loss {:.4g}"}


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
@click.option("--method", "-m", help="Method instead of the experiment's; see `controlnet list`.")
@click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs instead of the experiment's.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change one setting; may be repeated.")
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
@click.option("--quiet", "-q", is_flag=True, help="Print no progress.")
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
    from ..studies.tuning import Search
    from ..studies.tuning import tune as search_settings

    place = check_place(workers, scheduler)
    search = Search(experiment, searched, overrides, **given)
    folder = out or _folder(search)

    def tell(trial: Trial) -> None:
        if not quiet:
            click.echo(f"trial {trial.number}/{trials}: {_outcome(trial)}; {_point(trial)}", err=True)

    try:
        tuned = search_settings(search, folder, trials, together=together, on_trial=tell, data_dir=data_dir, **place)
    except KeyboardInterrupt:
        failure = click.ClickException(f"interrupted; the same command goes on with the trials in {folder}")
        failure.exit_code = 130  # type: ignore[misc]  # of the class only as far as click's types go
        raise failure from None
    if as_json:
        click.echo(json.dumps(tuned.as_dict()))
        return
    _show(tuned)


def _folder(search: Search) -> Path:
    settings = search.base.settings
    return Path("runs") / f"tune-{Path(settings.experiment).stem}-{settings.method}-s{settings.seed}"


def _outcome(trial: Trial) -> str:
    if trial.value is None or trial.objective is None:
        return f"failed: {trial.error}"
    return WORDS[trial.objective].format(trial.value)


def _point(trial: Trial) -> str:
    return ", ".join(f"{path}={_text(value)}" for path, value in trial.settings.items())


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _show(tuned: Tuned) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    search, settings = tuned.search, tuned.search.base.settings
    title = f"{settings.experiment}, {settings.method}, seed {settings.seed}"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", "searched", "before", "best"):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for path, value in tuned.best.settings.items():
        cells = (str(search.space[path]), _text(search.known.get(path)), _text(value))
        table.add_row(escape(path), *map(escape, cells))
    console = Console()
    console.print(table)
    for line in _lines(tuned):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _lines(tuned: Tuned) -> list[str]:
    number, failed = len(tuned.trials), tuned.failed
    lines = [f"{_outcome(tuned.best)} in trial {tuned.best.number} of {number}; {len(failed)} failed"]
    if failed:
        lines.append(f"the last that failed, {failed[-1].number}: {failed[-1].error}")
    return [*lines, f"run: {tuned.run}", f"best settings: {tuned.file}"]
