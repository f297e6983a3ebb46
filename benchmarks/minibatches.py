"""Work that is timed beside the rows of `controlnet bench`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from controlnet._random import fill_normal, stream
from controlnet.bench.rows import ROWS
from controlnet.bench.work import Size, bp_minibatch

SIZES = Size().widths


def random_numbers(dtype: str = "float64", threads: int = 2) -> Callable[[], object]:
    """Prepare the random numbers of the row `single-phase` alone."""
    fill = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(_fill)
    size = ROWS["single-phase"].size
    streams = [stream(np.random.SeedSequence(0), block) for block in range(size.batch // 16)]
    out = [np.empty(16 * sum(size.widths[1:]), dtype) for _ in streams]
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(fill, streams, out, [size.steps] * len(streams)))


def _fill(stream: Any, out: Any, steps: int) -> None:
    for step in range(steps):
        fill_normal(stream, step, out)


def backprop(dtype: str = "float32", weight_decay: float = 0.0, threads: int = 2) -> Callable[[], object]:
    """Prepare a minibatch of BP, to be called with BLAS on one thread as in a training."""
    return bp_minibatch(Size(dtype, batch=128, threads=threads), weight_decay)
