"""Where tasks are done: in this process, in processes of this machine, or by the workers of a Dask scheduler.

An engine is an iterator that gives the outcomes as the tasks finish, in any order. Closed early it cancels what has
not started and ends its own processes. Tasks are idempotent and write their own files, so an engine keeps nothing,
and may do again what it is not sure of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from .._parallel import number_of_threads
from ..errors import ConfigError
from .tasks import Failure, Outcome, Task, attempt

__all__ = ["Failure", "Outcome", "Task", "check_scheduler", "is_open", "run_tasks"]

LOCAL = "local"
"""The scheduler that is started for this one sweep, on this machine."""


def run_tasks(
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    data_dir: Path | None = None,
) -> Iterator[Outcome]:
    """Do tasks.

    Parameters
    ----------
    tasks : sequence of Task
        What to do; each once.
    workers : int, optional
        Number of processes, each with one thread; all cores if not given. One does it all in this process.
    scheduler : str, optional
        Address of a Dask scheduler, or ``local``; without it Dask is not needed.
    data_dir : Path, optional
        Folder with the datasets' files.

    Returns
    -------
    iterator of Outcome
        One for each task, as they finish.

    Raises
    ------
    ConfigError
        If the scheduler is no address, cannot be reached, or Dask is not installed.
    """
    workers = number_of_threads(workers)
    # Workers elsewhere have a working folder of their own.
    tasks = [task._replace(folder=task.folder.absolute()) for task in tasks]
    data_dir = None if data_dir is None else data_dir.absolute()
    if not tasks:
        return iter(())
    if scheduler is not None:
        from ._cluster import on_cluster

        return on_cluster(tasks, check_scheduler(scheduler), workers, data_dir)
    if workers == 1 or len(tasks) == 1:
        return _in_this_process(tasks, workers, data_dir)
    from ._processes import in_processes

    return in_processes(tasks, workers, data_dir)


def _in_this_process(tasks: Sequence[Task], threads: int, data_dir: Path | None) -> Iterator[Outcome]:
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
