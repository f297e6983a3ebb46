"""The command line: parses, calls the experiments, prints.

Exit codes: 0 done, 2 bad input or an unusable file, 3 the loop or the training diverged, 130 interrupted.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from . import __version__
from ._commands.analyze import analyze
from ._commands.bench import bench
from ._commands.compare import compare
from ._commands.options import DATA_DIR, EPOCHS, JSON, METHOD, QUIET, SET, THREADS, Failure, echo_json
from ._commands.sweep import sweep
from ._commands.table import table
from ._commands.tune import tune
from .errors import ControlNetError, DivergedError, LearningDivergedError

if TYPE_CHECKING:
    from .experiments.config import Plan
    from .storage import Run


class _Commands(click.Group):
    """Turns the package's errors into one line and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # Not every terminal or pipe has a sign for ± or σ.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (DivergedError, LearningDivergedError) as error:
            raise Failure(str(error), 3) from None
        except ControlNetError as error:
            raise Failure(str(error), 2) from None
        except KeyboardInterrupt:
            raise Failure("interrupted", 130) from None
        except MemoryError as error:
            raise Failure(f"out of memory: {error or 'take a smaller network or batch'}", 2) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(f"{error.filename or 'file'}: {error.strerror or error}", 2) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="controlnet")
def main() -> None:
    """Learning as control: train networks by feedback control, and look at what came out.

    Exit codes: 0 done, 2 bad input or an unusable file, 3 diverged, 130 interrupted.
    """


@main.command()
@click.argument("experiment", default="digits")
@METHOD
@click.option("--seed", type=click.IntRange(min=0), help="Seed instead of the experiment's.")
@EPOCHS
@SET
@click.option("--from", "source", type=click.Path(path_type=Path), metavar="RUN", help="Run again what a run holds.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with an interrupted run after its last complete epoch, as if it had never been interrupted.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run; new below runs/ if not given."
)
@DATA_DIR
@THREADS
@JSON
@QUIET
@click.option("--dry-run", is_flag=True, help="Print the resolved settings and stop.")
def run(
    experiment: str,
    method: str | None,
    seed: int | None,
    epochs: int | None,
    overrides: tuple[str, ...],
    source: Path | None,
    resume: Path | None,
    out: Path | None,
    data_dir: Path | None,
    threads: int | None,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
) -> None:
    """Train EXPERIMENT: a name of `controlnet list`, or a TOML file. Without it, the embedded digits."""
    from .experiments import as_toml, to_store
    from .experiments.running import continue_experiment, new_folder, run_experiment

    if resume and (source or out):
        raise Failure("--resume goes on in the folder of the run: no --from or --out with it", 2)
    before = _before(source, resume, method, seed, epochs, overrides)
    plan = _plan(experiment, before, method=method, seed=seed, epochs=epochs, overrides=overrides)
    if dry_run and as_json:
        echo_json(to_store(plan))
        return
    if dry_run:
        click.echo(as_toml(plan), nl=False)
        return
    folder = resume or out or new_folder(plan.settings)
    try:
        with _watcher(quiet) as watcher:
            if resume:
                summary = continue_experiment(resume, watcher=watcher, data_dir=data_dir, threads=threads)
            else:
                samples = before.provenance.get("samples") if before else None
                summary = run_experiment(
                    plan, folder=folder, watcher=watcher, data_dir=data_dir, threads=threads, samples=samples
                )
    except KeyboardInterrupt:
        raise Failure(f"interrupted{_kept(folder)}", 130) from None
    if as_json:
        echo_json(summary)
    else:
        from ._display import show_summary

        show_summary(summary)


def _kept(folder: Path) -> str:
    """Say what an interruption leaves, and how to go on with it."""
    from .storage import RUN_FILE

    if not folder.is_file() and not (folder / RUN_FILE).exists():
        return ""
    given = click.get_current_context().get_parameter_source("data_dir") == ParameterSource.COMMANDLINE
    more = ["--data-dir", str(click.get_current_context().params["data_dir"])] if given else []
    return f"; the complete epochs are in {folder}: `{_resuming(folder, *more)}` goes on"


def _resuming(run: Path, *more: str) -> str:
    import shlex

    return shlex.join(["controlnet", "run", "--resume", str(run), *more])


def _before(source: Path | None, resume: Path | None, *changes: Any) -> Run | None:
    """Give the run that is to be repeated, or gone on with."""
    from .storage import read_run

    path = resume or source
    if path is None:
        return None
    given = click.get_current_context().get_parameter_source("experiment") == ParameterSource.COMMANDLINE
    if given or any(value not in (None, ()) for value in changes):
        does = "--resume goes on with" if resume else "--from repeats"
        raise Failure(f"{does} a run as it was: no EXPERIMENT, --method, --seed, --epochs or --set with it", 2)
    return read_run(path)


def _plan(experiment: str, before: Run | None, *, overrides: Sequence[str], **options: Any) -> Plan:
    from .experiments import from_stored, resolve
    from .experiments._assignments import given_by_options, given_by_set, refuse_twice
    from .experiments.config import rehearsed

    if before is not None:
        return from_stored(before.settings)
    refuse_twice([*given_by_options(**options), *(given for text in overrides for given in given_by_set(text))])
    return rehearsed(resolve(experiment, overrides=overrides, **options))


def _watcher(quiet: bool) -> Any:
    from contextlib import nullcontext

    from ._display import Bars, Lines
    from .experiments.watching import Remarks

    if quiet:
        return nullcontext(Remarks())
    return Bars() if sys.stderr.isatty() else nullcontext(Lines())


@main.command(name="list")
@JSON
def list_(as_json: bool) -> None:
    """List experiments, methods, datasets, figures, plants and controllers."""
    from .controllers import CONTROLLERS
    from .data import DATASETS
    from .experiments import METHODS, catalogue
    from .figures import FIGURES
    from .plants import PLANTS

    def first_line(thing: Any) -> str:
        return (thing.__doc__ or "").strip().splitlines()[0]

    everything = {
        "experiments": catalogue(),
        "methods": {name: method.description for name, method in METHODS.items()},
        "datasets": {name: entry.description for name, entry in DATASETS.items()},
        "figures": {name: entry.description for name, entry in FIGURES.items()},
        "plants": {name: first_line(plant) for name, plant in PLANTS.items()},
        "controllers": {name: first_line(controller) for name, controller in CONTROLLERS.items()},
    }
    if as_json:
        echo_json(everything)
        return
    from ._display import show_rows

    for title, rows in everything.items():
        show_rows(title, rows)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@JSON
def show(run: Path, as_json: bool) -> None:
    """Show settings, history and summary of RUN, a folder or its run.h5."""
    from .experiments import as_toml, from_stored
    from .storage import read_run

    stored = read_run(run)
    if as_json:
        names = ("settings", "seed", "summary", "history", "provenance", "complete")
        echo_json({name: getattr(stored, name) for name in names})
        return
    if missing := {"experiment", "method", "seed"} - stored.summary.keys():
        raise Failure(f"{run}: not made by `controlnet run`: its summary lacks {', '.join(sorted(missing))}", 2)
    from ._display import show_history, show_summary

    click.echo(as_toml(from_stored(stored.settings)))
    show_history(stored.history)
    if not stored.complete:
        more = f" `{_resuming(run)}` goes on with it." if stored.continuation else ""
        click.echo(f"This run did not come to its end.{more}")
    show_summary({**stored.summary, "run": str(run)})


@main.command()
@click.argument("name", default="all")
@click.option("--quick", is_flag=True, help="Shorter trainings on fewer samples, which show the same.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="figures", metavar="DIR", help="Where; figures/ if not given."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of networks and data; 0 if not given.")
@THREADS
def figure(name: str, quick: bool, out: Path, seed: int, threads: int | None) -> None:
    """Draw a figure of the papers as SVG, PNG and PDF, its data beside it as CSV: NAME, or all of them.

    Names are listed by `controlnet list`.
    """
    from .figures import FIGURES, draw

    for each in FIGURES if name == "all" else (name,):
        for file in draw(each, out, quick, threads, seed):
            click.echo(file)


for command in (analyze, bench, compare, sweep, table, tune):
    main.add_command(command)

if __name__ == "__main__":
    main()
