"""Options that commands share, the error that ends a command, and what the commands on many runs have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

METHOD = click.option("--method", "-m", help="Method instead of the experiment's; see `controlnet list`.")
EPOCHS = click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs instead of the experiment's.")
SET = click.option(
    "--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change one setting; may be repeated."
)
DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="CONTROLNET_DATA",
    show_envvar=True,
    metavar="DIR",
    help="Folder with the dataset's files.",
)
THREADS = click.option(
    "--threads", type=click.IntRange(min=1), help="Number of threads; the result does not depend on it."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
QUIET = click.option("--quiet", "-q", is_flag=True, help="Print no progress.")
WORKERS = click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes, or threads of one run alone; as many as cores if not given.",
)
SCHEDULER = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Use Dask: tcp://HOST:PORT or tls://HOST:PORT, or local. Needs controlnet[cluster].",
)


class Failure(click.ClickException):
    """An error that a person can act on, in one line.

    Parameters
    ----------
    message : str
        What went wrong, and what to do.
    exit_code : int
        What the command ends with.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # of the class only as far as click's types go


def echo_json(value: Any) -> None:
    """Print one JSON object.

    Parameters
    ----------
    value : object
        Plain data; a number that is not finite is printed as null, because JSON knows none, a path as text.
    """
    click.echo(json.dumps(_finite(value), default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_place(workers: int | None, scheduler: str | None) -> dict[str, Any]:
    """Refuse what names no place to run at, and warn of one that others can reach.

    Parameters
    ----------
    workers : int, optional
        What ``--workers`` says.
    scheduler : str, optional
        What ``--scheduler`` says.

    Returns
    -------
    dict
        Both, for `run_tasks`.

    Raises
    ------
    ConfigError
        With what was expected.
    """
    from ..errors import ConfigError
    from ..studies.engines import LOCAL, check_scheduler, is_open

    if scheduler is not None and check_scheduler(scheduler) != LOCAL:
        if workers is not None:
            raise ConfigError("--workers: a running scheduler has its own workers: expected --workers or its address")
        if is_open(scheduler):
            words = "whoever reaches that port can run code on the workers: take tls://, or a network of your own"
            click.echo(f"Warning: {scheduler} is not encrypted: {words}", err=True)
    return {"workers": workers, "scheduler": scheduler}


def interruption(done: int, wanted: int) -> Failure:
    """Give the error of a command on many runs that was stopped.

    Parameters
    ----------
    done, wanted : int
        How many runs are finished, and how many there were to be.

    Returns
    -------
    Failure
        One line and the exit code 130.
    """
    words = f"interrupted: {done} of {wanted} runs are finished; the same command goes on with the rest"
    return Failure(words, 130)
