"""Times the rows of `controlnet bench` with pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from controlnet._parallel import default_threads, one_blas_thread
from controlnet.bench.floor import seconds_of
from controlnet.bench.measure import works
from controlnet.bench.rows import ROWS


@pytest.fixture
def against(benchmark) -> Callable[..., None]:  # type: ignore[no-untyped-def]
    """Give ``against(name, rounds)``: time a row, and its floor or peer before each round."""

    def measure(name: str, rounds: int = 10) -> None:
        times: list[float] = []
        with one_blas_thread():
            work, reference = works(ROWS[name], default_threads())
            benchmark.pedantic(work, setup=lambda: times.append(seconds_of(reference)), rounds=rounds, warmup_rounds=1)
        seconds, found = median(times[1:]), benchmark.stats.stats.median
        benchmark.extra_info |= {"reference_seconds": seconds, "ratio": found / seconds}
        print(f"\n{name}: {found:.4g} s, floor or peer {seconds:.4g} s, ratio {found / seconds:.3g}")

    return measure
