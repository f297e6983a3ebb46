"""Minibatches of 784-256-256-256-10 against the matrix-product floor or a peer of the same run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from minibatches import random_numbers

from controlnet.bench.memory import Memory, peak_memory
from controlnet.bench.rows import ROWS


@pytest.mark.parametrize("name", [row.name for row in ROWS.values() if not row.starts])
def test_row(against: Callable[..., None], name: str) -> None:
    row = ROWS[name]
    against(name, rounds=10 if row.size.batch * row.size.steps > 10000 else 50)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_numbers(benchmark: Any, dtype: str) -> None:
    """What the noise of the single-phase minibatch costs by itself."""
    work = random_numbers(dtype)
    work()
    benchmark.pedantic(work, rounds=10)


@pytest.mark.parametrize(("name", "calls"), [("single-phase-float64", 3), ("feedback-step", 300)])
def test_memory(benchmark: Any, name: str, calls: int) -> None:
    """Peak of a process of its own: above what program, weights and data need, and its growth over many calls."""
    row = ROWS[name]
    memory: Memory | None = benchmark.pedantic(peak_memory, args=(row.build, row.size, calls), rounds=1)
    if memory is not None:
        benchmark.extra_info |= memory._asdict()
        words = "{:.0f} MB of program and data, {:.0f} MB above, {:.1f} MB more after {} calls"
        print(f"\n{name}: " + words.format(*memory, calls))
