"""Does pieces of work on threads; what comes out does not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from .errors import InputError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

BLOCK, BLOCK_IN_SINGLE_PRECISION = 16, 32
"""Samples in a block: fixed, so that the same bits come out whatever the number of threads."""

LEAST_IN_BLOCK, MOST_IN_BLOCK = 32, 64
"""Samples in a block whose work NumPy does: short calls hold Python's lock, so few and large blocks are faster."""

LEAST_COST, LEAST_ROWS = 2**21, 64
"""Multiplications and rows of the smallest piece that is worth a thread."""


def default_threads() -> int:
    """Give the number of cores that this process may use.

    Returns
    -------
    int
        The number of threads used where none is asked for.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def number_of_threads(threads: int | None) -> int:
    """Give the number of threads that is asked for, all cores for none.

    Parameters
    ----------
    threads : int or None
        What is asked for.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InputError
        If it is no whole number, or not positive.
    """
    if threads is not None and (not isinstance(threads, int | np.integer) or threads < 1):
        raise InputError(f"threads: expected a whole number >= 1, got {threads!r}")
    return threads or default_threads()


def block_size(batch: int, dtype: np.dtype[Any]) -> int:
    """Give the number of samples that the compiled loop steps together.

    Parameters
    ----------
    batch : int
        Number of samples in all.
    dtype : dtype
        Precision of the signals.

    Returns
    -------
    int
        16, or 32 in single precision if that leaves work for a second thread.
    """
    large = dtype == np.float32 and batch >= 2 * BLOCK_IN_SINGLE_PRECISION
    return BLOCK_IN_SINGLE_PRECISION if large else BLOCK


def blocks(batch: int, size: int) -> list[slice]:
    """Cut a batch into blocks.

    Parameters
    ----------
    batch : int
        Number of samples.
    size : int
        Number of samples in a block.

    Returns
    -------
    list of slice
        The blocks, the last of which may be smaller.
    """
    return [slice(a, min(a + size, batch)) for a in range(0, batch, size)]


@lru_cache(maxsize=4)
def pool(threads: int) -> ThreadPoolExecutor:
    """Give a pool that is kept.

    Parameters
    ----------
    threads : int
        Number of threads.

    Returns
    -------
    ThreadPoolExecutor
        The pool.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix="controlnet")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


class _OneBlasThread:
    """The number of BLAS threads is one for all Python threads, and comes back when the last has left."""

    def __init__(self) -> None:
        self.inside, self.lock = 0, Lock()
        self.limiter: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.limiter = _libraries().limit(limits=1, user_api="blas")
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limiter.restore_original_limits()


_ONE_BLAS_THREAD = _OneBlasThread()


def one_blas_thread() -> AbstractContextManager[None]:
    """Keep matrix products on one thread: their bits depend on the number of threads.

    Returns
    -------
    context manager
        Restores the former number at its end.
    """
    return _ONE_BLAS_THREAD


def on_threads(
    work: Callable[[slice], Outcome], batch: int, threads: int | None = None, size: int | None = None
) -> list[Outcome]:
    """Do the same work for every block of a batch.

    Parameters
    ----------
    work : callable
        ``work(part)`` for a slice of samples.
    batch : int
        Number of samples.
    threads : int, optional
        Number of threads; all cores if not given.
    size : int, optional
        Number of samples in a block; one that suits work done by NumPy if not given.

    Returns
    -------
    list
        What the work gave, in the order of the samples; the blocks do not depend on the number of threads.
    """
    parts = blocks(batch, size or min(max(LEAST_IN_BLOCK, -(-batch // 2)), MOST_IN_BLOCK))
    workers = min(number_of_threads(threads), len(parts))
    with one_blas_thread():
        return list(pool(workers).map(work, parts) if workers > 1 else map(work, parts))


def cut(rows: int, cost: int) -> list[slice]:
    """Cut rows into pieces that are worth a thread each.

    Parameters
    ----------
    rows : int
        Number of rows.
    cost : int
        Number of multiplications that all rows need.

    Returns
    -------
    list of slice
        The pieces; they do not depend on the number of threads, and so the bits of a matrix product do not either.
    """
    pieces = max(1, min(cost // LEAST_COST, rows // LEAST_ROWS))
    edges = [rows * k // pieces for k in range(pieces + 1)]
    return [slice(a, z) for a, z in zip(edges[:-1], edges[1:], strict=True)]


def in_parallel(work: Callable[[Item], object], items: Iterable[Item], cost: int, threads: int | None = None) -> None:
    """Do some work for every item; a thread that is free takes the next.

    Parameters
    ----------
    work : callable
        ``work(item)``, which puts its result in a place of its own.
    items : iterable
        What it is done for; a generator runs in one thread at a time.
    cost : int
        Number of multiplications of all the work.
    threads : int, optional
        Number of threads, this one among them; all cores if not given.
    """
    queue, lock = iter(items), Lock()

    def help() -> None:
        while True:
            with lock:
                item = next(queue, None)
            if item is None:
                return
            work(item)

    # A context of its own lets a helper ignore the overflows that its caller ignores.
    helpers = min(number_of_threads(threads), cost // LEAST_COST) - 1
    with one_blas_thread():
        helping = [pool(helpers).submit(copy_context().run, help) for _ in range(helpers)]
        help()
        for helper in helping:
            if not helper.cancel():
                helper.result()
