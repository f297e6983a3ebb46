"""Many runs of one experiment: a grid of settings times seeds, each point run once and kept.

Every task is known by its resolved settings and has a folder of that name, so a sweep that was stopped, or gets more
values, goes on with what is missing. A task that failed left no run and is tried again by the next call, one that
diverged too: with the same settings it will diverge again, unless another version of the package knows better.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import msgspec

from .._folder import named_errors, put
from ..errors import ConfigError, StorageError
from ..experiments.config import Plan, resolve, to_store
from .engines import Failure, Task, run_tasks
from .grid import Choice, read_grid
from .tasks import finished, identity

LIST_FILE = "sweep.json"
NO_PEERS = "train.compare_with=[]"


class Member(NamedTuple):
    """A task of a sweep: its name, the values that the grid gave it, its seed, and its settings as plain data."""

    identity: str
    values: dict[str, Any]
    seed: int
    stored: dict[str, Any]

    def __str__(self) -> str:
        return ", ".join([*(f"{path}={as_text(value)}" for path, value in self.values.items()), f"seed {self.seed}"])


class Result(NamedTuple):
    """What came of a member: a summary or an error; `already` where the run was there before."""

    member: Member
    summary: dict[str, Any] | None = None
    error: Failure | None = None
    already: bool = False


class Sweep(NamedTuple):
    """All members of a sweep, and how many more were asked for that are the same as one of these."""

    experiment: str
    method: str | None
    members: tuple[Member, ...]
    repeated: int = 0


def as_text(value: Any) -> str:
    """Write a value of a grid in short.

    Parameters
    ----------
    value : object
        As TOML gave it.

    Returns
    -------
    str
        A string as it is, anything else as JSON.
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def plan_sweep(
    experiment: str,
    grid: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    *,
    method: str | None = None,
    epochs: int | None = None,
    overrides: Sequence[str] = (),
) -> Sweep:
    """Resolve the settings of every task before any of them runs.

    Methods that the experiment names for comparison are not trained beside each task, unless an override or the grid
    says so with ``train.compare_with``: a grid over ``method`` compares.

    Parameters
    ----------
    experiment : str
        Name of the catalogue, or path of a TOML file.
    grid : sequence of str
        ``a.b=value,value``, one for each setting.
    seeds : sequence of int, optional
        The seeds; the experiment's if not given.
    method, epochs : optional
        Instead of the experiment's.
    overrides : sequence of str
        ``a.b=value``, for all tasks.

    Returns
    -------
    Sweep
        Its members in the order of the product, the seeds running fastest.

    Raises
    ------
    ConfigError
        If any setting is unknown, of the wrong type or out of range, or given twice.
    """
    points = read_grid(grid)
    given = {"--method": ("method", method), "--seeds": ("seed", seeds), "--epochs": ("train.epochs", epochs)}
    fixed = {path: option for option, (path, value) in given.items() if value is not None}
    fixed |= dict.fromkeys((_path(text) for text in overrides), "--set")
    _refuse_twice([choice.path for choice in points[0]], fixed)
    members: dict[str, Member] = {}
    wanted, methods = 0, set()
    for point in points:
        chosen = (NO_PEERS, *overrides, *(choice.assignment for choice in point))
        plan = resolve(experiment, method=method, epochs=epochs, overrides=chosen)
        methods.add(plan.settings.method)
        for seed in (plan.settings.seed,) if seeds is None else seeds:
            wanted += 1
            member = _member(_with_seed(plan, seed), point)
            members.setdefault(member.identity, member)
    name = plan.settings.experiment
    one = methods.pop() if len(methods) == 1 else None
    return Sweep(name, one, tuple(members.values()), wanted - len(members))


def _path(assignment: str) -> str:
    return ".".join(part.strip() for part in assignment.partition("=")[0].split("."))


def _refuse_twice(axes: Sequence[str], fixed: Mapping[str, str]) -> None:
    """Refuse two sources of one setting, of which only one would count."""
    for number, path in enumerate(axes):
        other = "another --grid" if path in axes[:number] else fixed.get(path)
        if other is not None:
            raise ConfigError(f"{path}: given by --grid and by {other}: expected one of them")


def _with_seed(plan: Plan, seed: int) -> Plan:
    """Give the plan that `resolve` would give for another seed, without reading the experiment again."""
    return Plan(*(_seeded(part, seed) for part in plan))


def _seeded(part: Any, seed: int) -> Any:
    if isinstance(part, tuple):
        return tuple(_seeded(each, seed) for each in part)
    return msgspec.structs.replace(part, seed=seed)


def _member(plan: Plan, point: tuple[Choice, ...]) -> Member:
    stored = to_store(plan)
    return Member(identity(stored), {choice.path: choice.value for choice in point}, plan.settings.seed, stored)


def default_folder(sweep: Sweep) -> Path:
    """Give the folder of a sweep for which none is named.

    Parameters
    ----------
    sweep : Sweep
        The sweep.

    Returns
    -------
    Path
        ``sweeps/EXPERIMENT``, the same for each call.
    """
    return Path("sweeps") / Path(sweep.experiment).stem


def run_sweep(
    sweep: Sweep,
    folder: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    data_dir: Path | None = None,
) -> Generator[Result, None, None]:
    """Run the members of a sweep that have not been run.

    Parameters
    ----------
    sweep : Sweep
        What to run.
    folder : Path
        Where the list of the members goes, and the folder of each run.
    workers, scheduler, data_dir : optional
        As `run_tasks` takes them.

    Yields
    ------
    Result
        First those of the runs that are there already, then each as it finishes; an error is one of them. Closed
        early, nothing more is begun.

    Raises
    ------
    ControlNetError
        If the folder cannot be used, or the scheduler cannot be reached.
    """
    write_list(folder, sweep)
    left: dict[str, Member] = {}
    for member in sweep.members:
        summary = finished(folder / member.identity, member.stored)
        if summary is None:
            left[member.identity] = member
        else:
            yield Result(member, summary, already=True)
    tasks = [Task(name, member.stored, folder / name) for name, member in left.items()]
    for task, summary, error in run_tasks(tasks, workers=workers, scheduler=scheduler, data_dir=data_dir):
        yield Result(left[task.identity], summary, error)


def write_list(folder: Path, sweep: Sweep) -> Path:
    """Write which tasks a folder holds, those of earlier calls too.

    Parameters
    ----------
    folder : Path
        The folder; created with its parents.
    sweep : Sweep
        The sweep.

    Returns
    -------
    Path
        ``sweep.json``.

    Raises
    ------
    StorageError
        If it cannot be written, or holds something else.
    """
    file = folder / LIST_FILE
    entries = {
        member.identity: {
            "identity": member.identity,
            "experiment": sweep.experiment,
            "values": member.values,
            "seed": member.seed,
        }
        for member in sweep.members
    }
    with named_errors("write to", folder):
        folder.mkdir(parents=True, exist_ok=True)
        before = {entry["identity"]: entry for entry in _read_list(file)}
        text = json.dumps({"tasks": list((before | entries).values())}, indent=1, default=str)
        return put(file, text.encode() + b"\n")


def _read_list(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    try:
        return [{**entry, "identity": str(entry["identity"])} for entry in json.loads(file.read_bytes())["tasks"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StorageError(f"{file} is not the list of a sweep: remove it or choose another folder") from None


class Figure(NamedTuple):
    """Mean over the finished seeds, and their standard deviation where there are several."""

    mean: float
    std: float | None


class Row(NamedTuple):
    """A point of the grid over its seeds: how many were wanted, finished and failed, and figures by name."""

    values: dict[str, Any]
    wanted: int
    finished: int
    failed: int
    figures: dict[str, Figure]


FIGURES = (
    "test_error_percent",
    "validation_error_percent",
    "test_loss",
    "validation_loss",
    "train_loss",
    "seconds",
)
"""What is told of a point; of data without classes, which have no errors, the losses."""


def rows(sweep: Sweep, results: Iterable[Result]) -> list[Row]:
    """Sum a sweep up over the seeds.

    Parameters
    ----------
    sweep : Sweep
        The sweep.
    results : iterable of Result
        What has come of it so far.

    Returns
    -------
    list of Row
        One for each point of the grid.
    """
    by_name = {result.member.identity: result for result in results}
    points: dict[str, list[Member]] = {}
    for member in sweep.members:
        points.setdefault(json.dumps(member.values, default=str), []).append(member)
    return [
        _row(members, [by_name.get(member.identity, Result(member)) for member in members])
        for members in points.values()
    ]


def _row(members: list[Member], results: list[Result]) -> Row:
    summaries = [result.summary for result in results if result.summary is not None]
    figures = {}
    for name in FIGURES:
        values = [summary[name] for summary in summaries if summary.get(name) is not None]
        if values:
            figures[name] = Figure(fmean(values), stdev(values) if len(values) > 1 else None)
    failed = sum(result.error is not None for result in results)
    return Row(members[0].values, len(members), len(summaries), failed, figures)
