"""The plain NumPy implementation at full size: it finds what the package finds, and this is what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Any

import numpy as np
import pytest
import reference as plain

from controlnet._parallel import one_blas_thread
from controlnet.adaptation import DFC, FeedbackLearning, SinglePhase
from controlnet.bench.floor import seconds_of
from controlnet.bench.rows import ROWS
from controlnet.bench.work import FILTERED, WHITE, Size, Task, asleep, strong, weak
from controlnet.integrators import FilteredNoise, WhiteNoise

STRENGTHS = {"sigma": FILTERED.sigma, "sigma_output": FILTERED.sigma_output, "tau": FILTERED.tau}


def numbers(size: Size) -> Iterator[np.ndarray]:
    """Draw the noise while it is used, as the package does."""
    rng, shape = np.random.default_rng(2), (size.batch, sum(size.widths[1:]))
    return (rng.standard_normal(shape, size.dtype) for _ in range(size.steps))


def in_numpy(task: Task, size: Size) -> Callable[[], dict[str, np.ndarray]]:
    """Prepare the same task for the NumPy implementation."""
    net, pi, noise = task.loop.plant, task.loop.controller, task.loop.integrator.noise
    network = plain.Network(net.weights, net.biases, net.stacked_feedback(), net.tau_v, net.tau_apical)

    def work() -> dict[str, np.ndarray]:
        lesson = task.lesson()
        x, control = lesson.inputs, plain.Control(pi.k_p, pi.k_i, pi.leak, lesson.dt, lesson.steps)
        if noise is None:
            return plain.dfc(network, control, x, lesson.reference)
        sigma = np.repeat(noise.strengths, (net.nneurons - net.noutputs, net.noutputs)).astype(size.dtype)
        drawn = numbers(size) if noise.recorded is None else noise.recorded
        if isinstance(noise, WhiteNoise):
            return plain.feedback_step(network, control, x, plain.Noise(drawn, sigma))
        return plain.single_phase(network, control, x, lesson.reference, plain.Noise(drawn, sigma, noise.tau), 0.5)

    return work


def task(name: str, size: Size, recorded: Any = None) -> Task:
    if name.startswith("dfc"):
        return weak(size, DFC())
    if name.startswith("single-phase"):
        return strong(size, SinglePhase(), FilteredNoise(**STRENGTHS, recorded=recorded))
    return asleep(size, WhiteNoise(sigma=WHITE.sigma, recorded=recorded), FeedbackLearning())


@pytest.mark.parametrize("name", ["dfc", "single-phase-float64", "feedback-step"])
def test_same_change(benchmark: Any, name: str) -> None:
    size = ROWS[name].size._replace(steps=20)
    same = task(name, size, np.stack([*numbers(size)]))
    found, expected = same.propose().change, benchmark.pedantic(in_numpy(same, size), rounds=1)
    assert found.keys() == expected.keys()
    for parameter, array in expected.items():
        assert np.abs(found[parameter] - array).max() < 1e-10 * np.abs(array).max(), parameter


def best_threads(trial: Callable[[], object]) -> Callable[[], AbstractContextManager[Any]]:
    """Choose BLAS on all threads or on one, whichever is faster: on a busy machine its threads wait for each other."""

    def seconds(limit: Callable[[], AbstractContextManager[Any]]) -> float:
        with limit():
            return min(seconds_of(trial) for _ in range(2))

    return min((nullcontext, one_blas_thread), key=seconds)


@pytest.mark.parametrize("name", ["dfc", "dfc-float32", "single-phase", "feedback-step"])
def test_times(benchmark: Any, name: str) -> None:
    size = ROWS[name].size
    same, short = task(name, size), size._replace(steps=20)
    slow, times = in_numpy(same, size), [seconds_of(same.propose)]
    with best_threads(in_numpy(task(name, short), short))():
        benchmark.pedantic(slow, setup=lambda: times.append(seconds_of(same.propose)), rounds=3)
    found, seconds = benchmark.stats.stats.median, median(times[1:])
    benchmark.extra_info |= {"package_seconds": seconds, "times_slower": found / seconds}
    print(f"\n{name}: NumPy {found:.4g} s, package {seconds:.4g} s, {found / seconds:.1f} times slower")
