"""Minibatches of 784-256-256-256-10 against the matrix-product floor of the same run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from minibatches import dfc, feedback_step, random_numbers, single_phase


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_continuous_dfc(against_floor: Callable[..., None], dtype: str) -> None:
    against_floor(dfc(dtype), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_noisy_single_phase(against_floor: Callable[..., None], dtype: str) -> None:
    against_floor(single_phase(dtype), dtype, 128, learned="WQ", rounds=5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_numbers(benchmark: Any, dtype: str) -> None:
    """What the noise of the single-phase minibatch costs by itself."""
    work = random_numbers(dtype)
    work()
    benchmark.pedantic(work, rounds=10)


def test_feedback_step(against_floor: Callable[..., None]) -> None:
    against_floor(feedback_step("float64"), "float64", 32, 44, "Q", rounds=50)


@pytest.mark.parametrize(("work", "calls"), [("single_phase", 3), ("feedback_step", 300)])
def test_memory(benchmark: Any, work: str, calls: int) -> None:
    """Peak of a process of its own: above what program, weights and data need, and its growth over many calls."""
    script = Path(__file__).parent / "minibatches.py"
    output = benchmark.pedantic(
        subprocess.check_output,
        args=([sys.executable, str(script), work, str(calls)],),
        kwargs={"text": True},
        rounds=1,
    )
    above, growth, data = map(float, output.split())
    benchmark.extra_info |= {"megabytes_above_data": above, "megabytes_grown": growth}
    print(f"\n{work}: {above:.0f} MB above {data:.0f} MB of program and data, {growth:.1f} MB more after {calls} calls")
