"""A minibatch of BP against PyTorch's in the same run, if PyTorch is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest
from minibatches import SIZES, backprop

from controlnet._parallel import one_blas_thread
from controlnet.bench.floor import seconds_of

CALLS = 20
"""Minibatches in a row."""


def in_torch(dtype: str, weight_decay: float, foreach: bool | None) -> Callable[[], object]:
    """Prepare the same minibatch for PyTorch: its data lie ready, and nothing is checked."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(2)
    number, layers = getattr(torch, dtype), []
    for m, n in zip(SIZES[:-1], SIZES[1:], strict=True):
        layers += [torch.nn.Linear(m, n, dtype=number), torch.nn.Tanh()]
    network, loss = torch.nn.Sequential(*layers[:-1]), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=weight_decay, foreach=foreach)
    rng = np.random.default_rng(1)
    inputs = torch.tensor(rng.normal(size=(128, SIZES[0])), dtype=number)
    labels = torch.tensor(rng.integers(0, SIZES[-1], 128))

    def work() -> None:
        optimizer.zero_grad()
        loss(network(inputs), labels).backward()
        optimizer.step()

    return work


def many(work: Callable[[], object]) -> None:
    for _ in range(CALLS):
        work()


@pytest.mark.parametrize("weight_decay", [0.0, 1e-4])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_minibatch(benchmark: Any, dtype: str, weight_decay: float) -> None:
    peers = [in_torch(dtype, weight_decay, foreach) for foreach in (None, True)]
    times: list[list[float]] = [[] for _ in peers]

    def time_peers() -> None:
        for peer, seconds in zip(peers, times, strict=True):
            seconds.append(seconds_of(lambda peer=peer: many(peer)) / CALLS)
        time.sleep(0.1)  # PyTorch's threads wait for more work before they sleep

    work = backprop(dtype, weight_decay)
    with one_blas_thread():  # of NumPy; PyTorch has its own
        benchmark.pedantic(lambda: many(work), setup=time_peers, rounds=20, warmup_rounds=1)
    seconds, found = min(median(each[1:]) for each in times), benchmark.stats.stats.median / CALLS
    benchmark.extra_info |= {"seconds": found, "torch_seconds": seconds, "ratio": found / seconds}
    figures = f"{found:.4g} s, PyTorch {seconds:.4g} s, ratio {found / seconds:.3g}"
    print(f"\n{dtype}, weight decay {weight_decay}: {figures}")
