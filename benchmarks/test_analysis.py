"""Eigenvalues of networks under control, against the bare eigenvalue problems of the same size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controlnet import ClosedLoop
from controlnet.analysis import separated_eigenvalues, stability
from controlnet.base import Array
from controlnet.controllers import PI
from controlnet.equilibrium import Equilibrium
from controlnet.plants import DeepNetwork


@pytest.fixture(scope="module")
def task() -> tuple[ClosedLoop, Equilibrium]:
    """Give 784-256-256-256-10 at the steady states of 10,000 samples."""
    net = DeepNetwork.initialize((784, 256, 256, 256, 10), seed=0)
    inputs = np.random.default_rng(0).normal(size=(10_000, 784))
    loop = ClosedLoop(net, PI(k_p=2.0, leak=1.5e-3))
    steady = loop.equilibrium(net.predict(inputs) + 0.1, inputs=inputs)
    assert steady.converged.all()
    return loop, steady


def matrices(batch: int, n: int) -> Array:
    return np.random.default_rng(0).normal(size=(batch, n, n))


def test_whole_loop_of_a_sample(benchmark: Any, task: tuple[ClosedLoop, Equilibrium]) -> None:
    loop, steady = task
    one = steady.sample(0)
    assert benchmark(stability, loop, one).stable.all()


def test_bare_eigenvalues_of_the_same_size(benchmark: Any) -> None:
    benchmark(np.linalg.eigvals, matrices(1, 788))


def test_jq_of_ten_thousand_samples(benchmark: Any, task: tuple[ClosedLoop, Equilibrium]) -> None:
    found = benchmark.pedantic(separated_eigenvalues, task, rounds=5, warmup_rounds=1)
    assert (found.real < 0).all()


def test_ten_thousand_bare_eigenvalues(benchmark: Any) -> None:
    benchmark(np.linalg.eigvals, matrices(10_000, 10))
