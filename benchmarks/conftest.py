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


def _products(dtype: np.dtype, steps: int, blocks: int, learned: str) -> float:
    """Give the seconds of the matrix products alone, 16 samples at a time: forward, feedback, plasticity."""
    widths = SIZES[1:]
    weights = [np.ones((n, m), dtype) for m, n in zip(SIZES[1:-1], widths[1:], strict=True)]
    feedback = [np.ones((n, widths[-1]), dtype) for n in widths]
    rates = [np.ones((n, SAMPLES), dtype) for n in widths]
    voltages = [np.empty((n, SAMPLES), dtype) for n in widths]
    windows = [np.ones((n, SAMPLES * WINDOW), dtype) for n in widths]
    changes = [np.empty_like(weight) for weight in weights]
    feedback_changes = [np.empty_like(Q) for Q in feedback]
    start = time.perf_counter()
    for step in range(steps * blocks):
        for i, weight in enumerate(weights):
            np.dot(weight, rates[i], out=voltages[i + 1])
        for i, Q in enumerate(feedback):
            np.dot(Q, rates[-1], out=voltages[i])
        if step % WINDOW == WINDOW - 1:
            for i, change in enumerate(changes if "W" in learned else ()):
                np.dot(windows[i + 1], windows[i].T, out=change)
            for i, change in enumerate(feedback_changes if "Q" in learned else ()):
                np.dot(windows[i], windows[-1].T, out=change)
    return time.perf_counter() - start


Floor = Callable[..., float]


@pytest.fixture
def floor() -> Floor:
    """Give ``floor(dtype, batch, steps, learned)``, the seconds of a minibatch's matrix products on two threads."""

    def measure(dtype: str, batch: int = 32, steps: int = STEPS, learned: str = "W") -> float:
        blocks = batch // SAMPLES // THREADS
        work = (np.dtype(dtype), steps, blocks, learned)
        with threadpool_limits(1), ThreadPoolExecutor(THREADS) as pool:
            rounds = [max(pool.map(lambda _: _products(*work), range(THREADS))) for _ in range(5)]
        return median(rounds)

    return measure


@pytest.fixture
def against_floor(benchmark, floor: Floor) -> Callable[..., None]:  # type: ignore[no-untyped-def]
    """Give ``against_floor(work, dtype, batch, ...)``: time the work between two measurements of its floor."""

    def measure(work: Callable[[], object], *where: object, rounds: int = 10, **what: object) -> None:
        work()  # compiles
        before = floor(*where, **what)
        benchmark.pedantic(work, rounds=rounds, warmup_rounds=1)
        seconds = (before + floor(*where, **what)) / 2
        ratio = benchmark.stats.stats.median / seconds
        benchmark.extra_info |= {"floor_seconds": seconds, "ratio_to_floor": ratio}
        print(f"\n{where}: {benchmark.stats.stats.median:.4f} s, floor {seconds:.4f} s, ratio {ratio:.2f}")

    return measure
