"""The matrix-product floor that benchmarks are held against, measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

SIZES = (784, 256, 256, 256, 10)
STEPS, SAMPLES, THREADS, WINDOW = 500, 16, 2, 16


def _products(dtype: np.dtype) -> float:
    """Give the seconds that the matrix products alone of 16 samples take: forward, feedback, plasticity."""
    widths = SIZES[1:]
    weights = [np.ones((n, m), dtype) for m, n in zip(SIZES[1:-1], widths[1:], strict=True)]
    feedback = [np.ones((n, widths[-1]), dtype) for n in widths]
    rates = [np.ones((n, SAMPLES), dtype) for n in widths]
    voltages = [np.empty((n, SAMPLES), dtype) for n in widths]
    windows = [np.ones((n, SAMPLES * WINDOW), dtype) for n in widths]
    changes = [np.empty_like(weight) for weight in weights]
    start = time.perf_counter()
    for step in range(STEPS):
        for i, weight in enumerate(weights):
            np.dot(weight, rates[i], out=voltages[i + 1])
        for i, Q in enumerate(feedback):
            np.dot(Q, rates[-1], out=voltages[i])
        if step % WINDOW == WINDOW - 1:
            for i, change in enumerate(changes):
                np.dot(windows[i + 1], windows[i].T, out=change)
    return time.perf_counter() - start


@pytest.fixture
def floor() -> Callable[[str], float]:
    """The floor of a continuous DFC minibatch of 32 samples and 500 steps, on two threads, in seconds."""

    def measure(dtype: str) -> float:
        with threadpool_limits(1), ThreadPoolExecutor(THREADS) as pool:
            rounds = [max(pool.map(_products, [np.dtype(dtype)] * THREADS)) for _ in range(5)]
        return median(rounds)

    return measure
