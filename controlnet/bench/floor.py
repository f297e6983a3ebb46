"""The matrix-product floor: the time of a minibatch's matrix products alone, as fast as BLAS makes them here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .._parallel import default_threads, pool
from .work import Size, Work

Products: TypeAlias = Callable[[Size, int], Work]
"""``products(size, samples)`` prepares the products of so many samples at a time."""

SHAPES = (16, 32, 64)
WINDOW = 16
"""Steps that are stacked for one product of plasticity."""
TRIAL_STEPS, TRIALS = 64, 3


def forward_and_feedback(size: Size, samples: int, learned: str = "") -> Work:
    """Prepare the products of every step: W r from layer to layer, Q u to every layer, and those of plasticity.

    Parameters
    ----------
    size : Size
        Network, type and number of steps.
    samples : int
        Samples in one product.
    learned : str
        ``W``, ``Q``, ``WQ`` or nothing: which weights learn.

    Returns
    -------
    callable
        The products.
    """
    dtype, widths = np.dtype(size.dtype), size.widths[1:]
    weights = [np.ones((n, m), dtype) for m, n in zip(widths[:-1], widths[1:], strict=True)]
    feedback = [np.ones((n, widths[-1]), dtype) for n in widths]
    rates = [np.ones((n, samples), dtype) for n in widths]
    voltages = [np.empty((n, samples), dtype) for n in widths]
    windows = [np.ones((n, samples * WINDOW), dtype) for n in widths]
    changes = [np.empty_like(weight) for weight in weights] if "W" in learned else []
    feedback_changes = [np.empty_like(Q) for Q in feedback] if "Q" in learned else []

    def work() -> None:
        for step in range(size.steps):
            for i, weight in enumerate(weights):
                np.dot(weight, rates[i], out=voltages[i + 1])
            for i, Q in enumerate(feedback):
                np.dot(Q, rates[-1], out=voltages[i])
            if step % WINDOW == WINDOW - 1:
                for i, change in enumerate(changes):
                    np.dot(windows[i + 1], windows[i].T, out=change)
                for i, change in enumerate(feedback_changes):
                    np.dot(windows[i], windows[-1].T, out=change)

    return work


def backprop(size: Size, samples: int) -> Work:
    """Prepare the products of BP: forward, backward and the gradients.

    Parameters
    ----------
    size : Size
        Network and type.
    samples : int
        Samples in one product.

    Returns
    -------
    callable
        The products.
    """
    dtype, widths = np.dtype(size.dtype), size.widths
    weights = [np.ones((n, m), dtype) for m, n in zip(widths[:-1], widths[1:], strict=True)]
    rates = [np.ones((samples, n), dtype) for n in widths]
    deltas = [np.ones((samples, n), dtype) for n in widths]
    changes = [np.empty_like(weight) for weight in weights]

    def work() -> None:
        for i, weight in enumerate(weights):
            np.dot(rates[i], weight.T, out=rates[i + 1])
        for i in range(len(weights) - 1, -1, -1):
            np.dot(deltas[i + 1].T, rates[i], out=changes[i])
            if i > 0:
                np.dot(deltas[i + 1], weights[i], out=deltas[i])

    return work


def floor(products: Products, size: Size) -> Work:
    """Prepare the products of a whole batch, in the shape in which they are fastest on this machine.

    Call it, and what it gives, with BLAS on one thread.

    Parameters
    ----------
    products : callable
        What is multiplied.
    size : Size
        How much work; its threads share the batch.

    Returns
    -------
    callable
        The products.
    """
    shapes = sorted({samples for samples in (*SHAPES, size.batch) if size.batch % samples == 0})
    trial = size._replace(steps=min(size.steps, TRIAL_STEPS))
    best = min(shapes, key=lambda samples: _quickest(_shared(products, trial, samples))) if shapes[1:] else shapes[0]
    return _shared(products, size, best)


def _shared(products: Products, size: Size, samples: int) -> Work:
    """Share the blocks of a batch among the threads."""
    blocks = [products(size, samples) for _ in range(size.batch // samples)]
    threads = min(size.threads or default_threads(), len(blocks))
    if threads == 1:
        return lambda: [block() for block in blocks]
    return lambda: list(pool(threads).map(lambda block: block(), blocks))


def _quickest(work: Work) -> float:
    return min(seconds_of(work) for _ in range(TRIALS))


def seconds_of(work: Work) -> float:
    """Time a work once.

    Parameters
    ----------
    work : callable
        The work.

    Returns
    -------
    float
        Seconds.
    """
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
