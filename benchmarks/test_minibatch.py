"""A continuous DFC minibatch of 784-256-256-256-10 against the matrix-product floor of the same run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import SIZES, STEPS, THREADS

import controlnet as cn


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_continuous_dfc(benchmark: Any, floor: Callable[[str], float], dtype: str) -> None:
    rng = np.random.default_rng(1)
    network = cn.plants.DeepNetwork.initialize(SIZES, seed=0, dtype=dtype)
    loop = cn.ClosedLoop(network, cn.controllers.PI(k_p=2.0, leak=1.5e-3), law=cn.adaptation.DFC())
    inputs, labels = rng.normal(size=(32, SIZES[0])).astype(dtype), rng.integers(0, SIZES[-1], 32)
    lesson = cn.Lesson(
        network, inputs, labels, cn.Nudged(cn.CrossEntropy(), 0.1), dt=0.02, steps=STEPS, threads=THREADS
    )
    loop.law.propose(loop, lesson)  # compiles
    before = floor(dtype)
    benchmark.pedantic(loop.law.propose, args=(loop, lesson), rounds=10, warmup_rounds=1)
    seconds = (before + floor(dtype)) / 2
    benchmark.extra_info |= {"floor_seconds": seconds, "ratio_to_floor": benchmark.stats.stats.median / seconds}
    print(f"\n{dtype}: floor {seconds:.3f} s, ratio {benchmark.extra_info['ratio_to_floor']:.2f}")
