"""Does tasks by the workers of a Dask scheduler; the only file that knows Dask, which is loaded when it is used."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ._processes import ATTEMPTS, ONE_THREAD, without_interrupts
from .tasks import Failure, Outcome, Task, attempt

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_TIMEOUT = 10.0
"""Seconds that a scheduler has to answer."""

GREETING_TIMEOUT = 5.0
"""Seconds more that it has to greet once it is reached."""

DIED = "the workers that had it died (killed, or out of memory): see what ended them"


def require_dask() -> None:
    """Refuse to go on without Dask.

    Raises
    ------
    ConfigError
        That says how to install it.
    """
    if find_spec("distributed") is None:
        raise ConfigError("--scheduler needs Dask: install controlnet[cluster]")


@contextmanager
def cluster(scheduler: str, workers: int) -> Iterator[Client]:
    """Hold the connection to a scheduler.

    Parameters
    ----------
    scheduler : str
        Its address; ``local`` for one that is started here and ends with the context.
    workers : int
        Number of workers of the latter.

    Yields
    ------
    Client
        The connection.

    Raises
    ------
    ConfigError
        If there is no scheduler at the address.
    """
    with _quiet(), _client(scheduler, workers) as client:
        yield client


def on_cluster(client: Client, tasks: Sequence[Task], data_dir: Path | None) -> Generator[Outcome, None, None]:
    """Do tasks by the workers of a scheduler.

    Parameters
    ----------
    client : Client
        The connection to it.
    tasks : sequence of Task
        What to do.
    data_dir : Path or None
        Folder with the datasets' files.

    Yields
    ------
    Outcome
        One for each task. Dask gives the tasks of a dead worker to another.
    """
    from distributed import as_completed

    futures = {
        client.submit(attempt, task, data_dir, key=_key(task), retries=ATTEMPTS - 1, pure=False): task for task in tasks
    }
    try:
        for future in as_completed(list(futures), loop=client.loop):
            yield _outcome(future, futures.pop(future))
    finally:
        client.cancel(list(futures))


def _key(task: Task) -> str:
    """Name a task of a scheduler: two sweeps may do the same one, each into its own folder."""
    return f"controlnet-{task.identity}-{hashlib.sha256(str(task.folder).encode()).hexdigest()[:8]}"


def _outcome(future: Future[Outcome], task: Task) -> Outcome:
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker:
        error = Failure("WorkerDied", DIED)
    except CancelledError:
        error = Failure("Cancelled", "the scheduler went away, or dropped the task: is it still there?")
    except Exception as unforeseen:
        # Such as a worker without the package, or with another version of it.
        error = Failure(type(unforeseen).__name__, " ".join(str(unforeseen).split()) or repr(unforeseen))
    return Outcome(task, error=error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's tracebacks about lost connections to itself: each task says what came of it."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _client(scheduler: str, workers: int) -> Iterator[Client]:
    from distributed import Client

    if scheduler == "local":
        with _own_cluster(workers) as address, Client(address, set_as_default=False) as client:
            yield client
        return
    try:
        asyncio.run(_reach(scheduler))
        client = Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or "what is there does not answer as a Dask scheduler does"
        advice = "check the address, and that the scheduler is there"
        raise ConfigError(f"--scheduler {scheduler}: cannot connect: {reason}: {advice}") from None
    with client:
        yield client


async def _reach(scheduler: str) -> None:
    """Greet a scheduler once: a client would wait for ever for a greeting that does not come."""
    from distributed import Security
    from distributed.comm.core import connect

    greeting = connect(scheduler, timeout=CONNECT_TIMEOUT, **Security().get_connection_args("client"))
    comm = await asyncio.wait_for(greeting, CONNECT_TIMEOUT + GREETING_TIMEOUT)
    comm.abort()


@contextmanager
def _own_cluster(workers: int) -> Iterator[object]:
    """Start scheduler and workers that nobody else can reach, and that end with this process."""
    import dask
    from distributed import LocalCluster

    # As many attempts as without Dask; a worker may use what memory there is.
    settings = {
        "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
        "distributed.nanny.pre-spawn-environ": ONE_THREAD,
    }
    with dask.config.set(settings):
        # Without a dashboard too Dask serves a page about its health: on any free port, not always on the same.
        with without_interrupts():
            own = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
        with own:
            yield own
