"""Where tasks are done: in this process, in processes of this machine, or by the workers of a Dask scheduler.

An engine takes tasks and gives an iterator over the outcomes as they finish, in any order. Once it is closed, what has
not started is cancelled and its own processes end. Tasks are idempotent and write their own files, so an engine keeps
nothing, and may do again what it is not sure of.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .._parallel import number_of_threads
from ..data.files import is_file_name
from ..data.folders import data_folder, expanded
from ..errors import ConfigError
from .tasks import Outcome, Task, attempt

Outcomes = Generator[Outcome, None, None]
Engine = Callable[[Sequence[Task]], Outcomes]

LOCAL = "local"
"""The scheduler that is started for this one command, on this machine."""


def run_tasks(tasks: Sequence[Task], **where: Any) -> Outcomes:
    """Do tasks.

    Parameters
    ----------
    tasks : sequence of Task
        What to do; each once.
    **where : workers, scheduler, data_dir
        As for `engine`.

    Yields
    ------
    Outcome
        One for each task, as they finish.

    Raises
    ------
    ConfigError
        If the scheduler is no address, cannot be reached, or Dask is not installed.
    """
    if tasks:
        with engine(len(tasks), **where) as do, closing(do(tasks)) as outcomes:
            yield from outcomes


@contextmanager
def engine(
    most: int, *, workers: int | None = None, scheduler: str | None = None, data_dir: Path | None = None
) -> Iterator[Engine]:
    """Open an engine, which may be given tasks several times.

    Parameters
    ----------
    most : int
        How many tasks there are at a time, at most.
    workers : int, optional
        Number of processes, each with one thread; all cores if not given. One does it all in this process, as it does
        where there is one task at a time, which then has so many threads.
    scheduler : str, optional
        Address of a Dask scheduler, or ``local``; without it Dask is not needed.
    data_dir : Path, optional
        Folder with the datasets' files.

    Yields
    ------
    callable
        Takes tasks, each once, and gives a generator of their outcomes.

    Raises
    ------
    ConfigError
        If the scheduler is no address, cannot be reached, or Dask is not installed.
    """
    workers = number_of_threads(workers)
    # Workers elsewhere have a working folder and an environment of their own.
    place = data_folder(data_dir)
    place = None if place is None else place.absolute()
    elsewhere = scheduler not in (None, LOCAL)

    def do(tasks: Sequence[Task]) -> Outcomes:
        if elsewhere and place is None:
            _require_known_everywhere(tasks)
        return opened([task._replace(folder=task.folder.absolute()) for task in tasks], place)

    with _opened(most, workers, scheduler) as opened:
        yield do


def _require_known_everywhere(tasks: Sequence[Task]) -> None:
    """Refuse files of samples that each worker would look for in its own folder."""
    for task in tasks:
        name = task.stored["data"]["name"]
        if is_file_name(name) and not expanded(name).is_absolute():
            raise ConfigError(
                f"data.name: expected a path from the root, as the scheduler's workers have folders of their own, "
                f"got {name!r}: name it so, or its folder with --data-dir"
            )


@contextmanager
def _opened(
    most: int, workers: int, scheduler: str | None
) -> Iterator[Callable[[Sequence[Task], Path | None], Outcomes]]:
    if scheduler is not None:
        from ._cluster import cluster, on_cluster

        with cluster(check_scheduler(scheduler), min(workers, most)) as client:
            yield partial(on_cluster, client)
    elif workers == 1 or most == 1:
        yield partial(_in_this_process, workers)
    else:
        from ._processes import in_processes, processes

        with processes(min(workers, most)) as everyone:
            yield partial(in_processes, everyone)


def _in_this_process(threads: int, tasks: Sequence[Task], data_dir: Path | None) -> Outcomes:
    for task in tasks:
        yield attempt(task, data_dir, threads)


def check_scheduler(scheduler: str) -> str:
    """Refuse what is no scheduler, and any where Dask is not installed.

    Parameters
    ----------
    scheduler : str
        ``local``, or ``tcp://host:port`` or ``tls://host:port``.

    Returns
    -------
    str
        The same.

    Raises
    ------
    ConfigError
        With what was expected.
    """
    from ._cluster import require_dask

    if scheduler != LOCAL:
        try:
            parts = urlsplit(scheduler)
            known = parts.scheme in ("tcp", "tls") and bool(parts.hostname and parts.port)
        except ValueError:
            known = False
        if not known:
            raise ConfigError(f"--scheduler: expected local, tcp://host:port or tls://host:port, got {scheduler!r}")
    require_dask()
    return scheduler


def is_open(scheduler: str) -> bool:
    """Say whether a scheduler listens without encryption to more than its own machine.

    Parameters
    ----------
    scheduler : str
        As `check_scheduler` accepts it.

    Returns
    -------
    bool
        True for ``tcp`` to a host that is not this one's loopback: whoever reaches its port can run code there.
    """
    parts = urlsplit(scheduler)
    if parts.scheme != "tcp":
        return False
    try:
        return not ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname != "localhost"
