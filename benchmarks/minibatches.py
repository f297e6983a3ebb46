"""The minibatches that are timed; as a script it prints the peak memory of one and its growth, in megabytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np

import controlnet as cn
from controlnet._random import fill_normal, stream
from controlnet.adaptation import DFC, FeedbackLearning, SinglePhase
from controlnet.integrators import FilteredNoise, Sequential, WhiteNoise
from controlnet.objective import OwnOutput

SIZES, STEPS, THREADS = (784, 256, 256, 256, 10), 500, 2


def _lesson(network: Any, batch: int, objective: Any, dt: float, steps: int) -> cn.Lesson:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(batch, SIZES[0])).astype(network.dtype)
    return cn.Lesson(network, inputs, rng.integers(0, SIZES[-1], batch), objective, dt, steps, THREADS)


def _work(loop: cn.ClosedLoop, lesson: cn.Lesson) -> Callable[[], object]:
    return lambda: loop.law.propose(loop, lesson)


def dfc(dtype: str) -> Callable[[], object]:
    """Continuous DFC, 32 samples, 500 steps."""
    network = cn.plants.DeepNetwork.initialize(SIZES, seed=0, dtype=dtype)
    loop = cn.ClosedLoop(network, cn.controllers.PI(k_p=2.0, leak=1.5e-3), law=DFC())
    return _work(loop, _lesson(network, 32, cn.Nudged(cn.CrossEntropy(), 0.1), 0.02, STEPS))


def single_phase(dtype: str = "float64") -> Callable[[], object]:
    """Noisy single-phase Strong-DFC as published for MNIST, 128 samples, 500 steps."""
    network = cn.plants.DeepNetwork.initialize(SIZES, seed=0, dtype=dtype, tau_v=0.0093)
    noise = FilteredNoise(sigma=0.0043, sigma_output=0.0297, tau=0.07)
    loop = cn.ClosedLoop(
        network,
        cn.controllers.PI(k_p=2.0, leak=7.6e-6),
        integrator=Sequential(noise=noise),
        law=SinglePhase(),
        comparator=cn.SoftmaxDifference(),
    )
    return _work(loop, _lesson(network, 128, cn.Strong(cn.CrossEntropy(0.99)), 0.001, STEPS))


def feedback_step(dtype: str = "float64") -> Callable[[], object]:
    """Two-phase feedback learning as published for MNIST, 32 samples, 44 steps."""
    network = cn.plants.DeepNetwork.initialize(SIZES, seed=0, dtype=dtype, tau_v=0.006, tau_apical=0.14)
    loop = cn.ClosedLoop(
        network,
        cn.controllers.PI(k_p=0.07, leak=0.4),
        integrator=Sequential(noise=WhiteNoise(sigma=0.035)),
        law=FeedbackLearning(),
    )
    return _work(loop, _lesson(network, 32, OwnOutput(cn.CrossEntropy()), 0.00114, 44))


def random_numbers(dtype: str = "float64") -> Callable[[], object]:
    """The random numbers of `single_phase` alone, on as many threads."""
    fill = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(_fill)
    streams = [stream(np.random.SeedSequence(0), block) for block in range(128 // 16)]
    out = [np.empty(16 * sum(SIZES[1:]), dtype) for _ in streams]
    pool = ThreadPoolExecutor(THREADS)
    return lambda: list(pool.map(fill, streams, out, [STEPS] * len(streams)))


def _fill(stream: Any, out: Any, steps: int) -> None:
    for step in range(steps):
        fill_normal(stream, step, out)


def _megabytes(line: str) -> float:
    """Give a line of the process's status (Linux): VmRSS is what it holds, VmHWM the most it has held."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{line}:")[1].split()[0]) / 1024


if __name__ == "__main__":
    work = {"single_phase": single_phase, "feedback_step": feedback_step}[sys.argv[1]]()
    work()  # loads the compiled loop
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    data = _megabytes("VmRSS")
    work()
    first = _megabytes("VmHWM")
    for _ in range(int(sys.argv[2])):
        work()
    print(first - data, _megabytes("VmHWM") - first, data)
