"""Many runs of one experiment: a grid of settings times seeds, each point run once and kept.

Every task is known by its resolved settings and has a folder of that name, so a sweep that was stopped, or gets more
values, goes on with what is missing. A task that failed left no run and is tried again by the next call, one that
diverged too: with the same settings it will diverge again, unless another version of the package knows better.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import msgspec

from ..experiments._assignments import Given, given_by_options, given_by_set, refuse_twice
from ..experiments.config import Plan, rehearsed, resolve, to_store
from ..experiments.running import in_folders
from .engines import run_tasks
from .grid import AxisValue, read_grid
from .samples import Samples
from .sweep_list import write_list
from .tasks import Failure, Task, finished, identity

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
    """Resolve the settings of every task before any of them runs, and see that its parts fit each other.

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
        If any setting is unknown, of the wrong type or out of range, contradicts another one, or is given twice: a
        table and a setting in it too.
    """
    points = read_grid(grid)
    given = [Given(value.path, "--grid") for value in points[0]]
    given += given_by_options(method=method, seeds=seeds, epochs=epochs)
    refuse_twice([*given, *chain.from_iterable(map(given_by_set, overrides))])
    members: dict[str, Member] = {}
    wanted, methods = 0, set()
    for point in points:
        chosen = (NO_PEERS, *overrides, *(value.assignment for value in point))
        plan = rehearsed(resolve(experiment, method=method, epochs=epochs, overrides=chosen))
        methods.add(plan.settings.method)
        for seed in (plan.settings.seed,) if seeds is None else seeds:
            wanted += 1
            member = _member(_with_seed(plan, seed), point)
            members.setdefault(member.identity, member)
    name = plan.settings.experiment
    one = methods.pop() if len(methods) == 1 else None
    return Sweep(name, one, tuple(members.values()), wanted - len(members))


def _with_seed(plan: Plan, seed: int) -> Plan:
    """Give the plan that `resolve` would give for another seed, without reading the experiment again."""
    return Plan(*(_seeded(part, seed) for part in plan))


def _seeded(part: Any, seed: int) -> Any:
    if isinstance(part, tuple):
        return tuple(_seeded(each, seed) for each in part)
    return msgspec.structs.replace(part, seed=seed)


def _member(plan: Plan, point: tuple[AxisValue, ...]) -> Member:
    stored = to_store(plan)
    return Member(identity(stored), {each.path: each.value for each in point}, plan.settings.seed, stored)


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
    return Path("sweeps") / in_folders(sweep.experiment)


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
    there, by_name = done(sweep, folder, data_dir), {member.identity: member for member in sweep.members}
    write_list(folder, (_entry(member, sweep.experiment) for member in sweep.members))
    yield from (Result(member, there[name], already=True) for name, member in by_name.items() if there[name])
    tasks = [Task(name, member.stored, folder / name) for name, member in by_name.items() if not there[name]]
    for task, summary, error in run_tasks(tasks, workers=workers, scheduler=scheduler, data_dir=data_dir):
        yield Result(by_name[task.identity], summary, error)


def done(sweep: Sweep, folder: Path, data_dir: Path | None = None) -> dict[str, dict[str, Any] | None]:
    """Give what a folder holds of a sweep already.

    Parameters
    ----------
    sweep : Sweep
        The sweep.
    folder : Path
        Where the runs are.
    data_dir : Path, optional
        Folder with the datasets' files.

    Returns
    -------
    dict
        By identity the summary of the run, None if it is not finished.

    Raises
    ------
    OtherSamplesError
        If a run learned other samples than those that are here.
    """
    samples = Samples(data_dir)
    return {member.identity: finished(folder / member.identity, member.stored, samples) for member in sweep.members}


def _entry(member: Member, experiment: str) -> dict[str, Any]:
    return {
        "identity": member.identity,
        "experiment": experiment,
        "values": member.values,
        "seed": member.seed,
    }


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
