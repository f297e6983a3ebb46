"""The package agrees with a plain NumPy implementation of the same work."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import controlnet as cn
from controlnet.adaptation import DFC, FeedbackLearning, SinglePhase
from controlnet.base import Parameters
from controlnet.integrators import FilteredNoise, Sequential, WhiteNoise
from controlnet.objective import OwnOutput

FILE = Path(__file__).parents[1] / "benchmarks" / "reference.py"
SIZES, BATCH, STEPS = (5, 7, 6, 3), 4, 37
"""More than two windows of steps, and one that is not full."""


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    if not FILE.is_file():
        pytest.skip(f"{FILE} is not there")
    spec = importlib.util.spec_from_file_location("numpy_reference", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


RNG = np.random.default_rng(5)
X, LABELS = RNG.normal(size=(BATCH, SIZES[0])), RNG.integers(0, SIZES[-1], BATCH)
NUMBERS = RNG.normal(size=(STEPS, BATCH, sum(SIZES[1:])))


def network(**dynamics: Any) -> cn.plants.DeepNetwork:
    drawn = cn.plants.DeepNetwork.initialize(SIZES, seed=3, feedback="random", **dynamics)
    rng = np.random.default_rng(6)
    biases = {f"b{i}": rng.normal(size=n) for i, n in enumerate(SIZES[1:])}
    return drawn.with_parameters(biases)


def same_network(plain: ModuleType, net: cn.plants.DeepNetwork) -> Any:
    return plain.Network(net.weights, net.biases, net.stacked_feedback(), net.tau_v, net.tau_apical)


def assert_close(found: Parameters, expected: Parameters) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.abs(array).max() > 0, name
        assert np.abs(found[name] - array).max() < 1e-10 * np.abs(array).max(), name


@pytest.mark.parametrize("update", ["continuous", "last-step"])
def test_dfc(plain: ModuleType, update: Any) -> None:
    net, pi, dt = network(), cn.controllers.PI(k_p=2.0, k_i=1.5, leak=0.1), 0.02
    loop = cn.ClosedLoop(net, pi, law=DFC(update))
    lesson = cn.Lesson(net, X, LABELS, cn.Nudged(cn.CrossEntropy(), 0.1), dt, STEPS)
    learn = {"continuous": plain.dfc, "last-step": plain.dfc_last_step}[update]
    control = plain.Control(pi.k_p, pi.k_i, pi.leak, dt, STEPS)
    assert_close(loop.law.propose(loop, lesson).change, learn(same_network(plain, net), control, X, lesson.reference))


def test_noisy_single_phase(plain: ModuleType) -> None:
    net, pi, dt = network(tau_v=0.05), cn.controllers.PI(k_p=2.0, leak=1e-3), 0.01
    noise = FilteredNoise(sigma=0.05, sigma_output=0.1, tau=0.07, recorded=NUMBERS)
    parts = {"integrator": Sequential(noise=noise), "law": SinglePhase(), "comparator": cn.SoftmaxDifference()}
    loop = cn.ClosedLoop(net, pi, **parts)
    lesson = cn.Lesson(net, X, LABELS, cn.Strong(cn.CrossEntropy(0.99)), dt, STEPS)
    control = plain.Control(pi.k_p, pi.k_i, pi.leak, dt, STEPS)
    numbers = plain.Noise(NUMBERS, np.repeat((0.05, 0.1), (13, 3)), 0.07)
    expected = plain.single_phase(same_network(plain, net), control, X, lesson.reference, numbers, high_pass=0.5)
    assert_close(loop.law.propose(loop, lesson).change, expected)


def test_feedback_step(plain: ModuleType) -> None:
    net, pi, dt = network(tau_v=0.05, tau_apical=0.14), cn.controllers.PI(k_p=0.07, leak=0.4), 0.01
    noise = WhiteNoise(sigma=0.035, recorded=NUMBERS)
    loop = cn.ClosedLoop(net, pi, integrator=Sequential(noise=noise), law=FeedbackLearning())
    lesson = cn.Lesson(net, X, LABELS, OwnOutput(cn.CrossEntropy()), dt, STEPS)
    control = plain.Control(pi.k_p, pi.k_i, pi.leak, dt, STEPS)
    expected = plain.feedback_step(same_network(plain, net), control, X, plain.Noise(NUMBERS, np.full(16, 0.035)))
    assert_close(loop.law.propose(loop, lesson).change, expected)
