"""Does tasks in processes of this machine that die with the one that started them."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

from .tasks import Failure, Outcome, Task, attempt

ATTEMPTS = 3
"""How often a task is tried whose worker dies."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""What keeps libraries from starting threads of their own; they read it as they are loaded."""

DIED = f"its worker died {ATTEMPTS} times (killed, or out of memory): see what ends it, or take fewer workers"


@contextmanager
def processes(number: int) -> Iterator[list[Worker]]:
    """Hold new processes, which start with their first task.

    Parameters
    ----------
    number : int
        How many.

    Yields
    ------
    list of Worker
        They end with the context.
    """
    everyone = [Worker() for _ in range(number)]
    try:
        yield everyone
    finally:
        for worker in everyone:
            worker.let_go()
        for worker in everyone:
            worker.bury()


def in_processes(
    everyone: Sequence[Worker], tasks: Sequence[Task], data_dir: Path | None
) -> Generator[Outcome, None, None]:
    """Do tasks, one at a time in each process.

    Parameters
    ----------
    everyone : sequence of Worker
        The processes.
    tasks : sequence of Task
        What to do.
    data_dir : Path or None
        Folder with the datasets' files.

    Yields
    ------
    Outcome
        One for each task. A task whose worker dies is tried again.
    """
    waiting = deque((task, 1) for task in tasks)
    idle, running = list(everyone), dict[Future[Outcome], tuple[Worker, Task, int]]()
    while waiting or running:
        while waiting and idle:
            worker, (task, number) = idle.pop(), waiting.popleft()
            running[worker.submit(task, data_dir)] = worker, task, number
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            worker, task, number = running.pop(future)
            idle.append(worker)
            try:
                outcome = future.result()
            except BrokenProcessPool:
                if number < ATTEMPTS:
                    waiting.append((task, number + 1))
                    continue
                outcome = Outcome(task, error=Failure("WorkerDied", DIED))
            yield outcome


class Worker:
    """A process, or the next one in its place.

    Each has a pool of its own: where several share one, the death of one worker fails the tasks of all.
    """

    def __init__(self) -> None:
        self._open()

    def _open(self) -> None:
        # The worker ends as soon as nobody holds the other end: when it is let go, or when this process is gone.
        context = get_context("spawn")
        held, self._leash = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_start, initargs=(held,))

    def submit(self, task: Task, data_dir: Path | None) -> Future[Outcome]:
        try:
            return self._submit(task, data_dir)
        except BrokenProcessPool:
            self.let_go()
            self.bury()
            self._open()
            return self._submit(task, data_dir)

    def _submit(self, task: Task, data_dir: Path | None) -> Future[Outcome]:
        # The first task starts the process.
        with _environment(), without_interrupts():
            return self._pool.submit(attempt, task, data_dir)

    def let_go(self) -> None:
        self._leash.close()

    def bury(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _start(held: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_follow, args=(held,), daemon=True).start()


def _follow(held: Connection) -> None:
    try:
        held.recv_bytes()
    except (EOFError, OSError):
        # Nothing is lost: files are replaced as a whole, and the system lets go of locks.
        os._exit(1)


@contextmanager
def _environment() -> Iterator[None]:
    """Set for processes that start meanwhile what they must find before they load NumPy."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Start processes and threads that never see Ctrl-C, which a terminal sends to all; this one sees it afterwards.

    Yields
    ------
    None
        While SIGINT waits.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # It lets signals through again when it starts, so it must have been started before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
