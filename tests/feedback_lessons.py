"""Feedback learning of a small network: lessons, loops and noises that its tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from controlnet import ClosedLoop, Lesson, MeanSquaredError, Strong
from controlnet.base import AbstractLaw, Parameters
from controlnet.controllers import PI
from controlnet.integrators import FilteredNoise, Sequential, WhiteNoise
from controlnet.plants import DeepNetwork

NOISES: dict[str, Any] = {"white": WhiteNoise(sigma=0.05), "filtered": FilteredNoise(sigma=0.05, tau=0.07)}
WHITE = NOISES["white"]
# Steps and batches that fill the windows of 8 steps and the blocks of 16 samples, and that do not.
SHAPES = [(1, 1), (5, 3), (16, 16), (17, 2), (32, 3), (40, 20)]


def lesson_of(net: DeepNetwork, batch: int = 3, steps: int = 20, seed: int = 3) -> Lesson:
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(batch, net.nexogenous)), rng.normal(size=(batch, net.noutputs))
    return Lesson(net, inputs, labels, Strong(MeanSquaredError()), 0.02, steps, seed=seed)


def loop_of(plant: Any, law: AbstractLaw, noise: Any = WHITE, **options: Any) -> ClosedLoop:
    return ClosedLoop(
        plant, PI(k_p=0.5, leak=0.1), **{"compiled": False, "law": law, "integrator": Sequential(noise=noise)} | options
    )


def network(**options: Any) -> DeepNetwork:
    return DeepNetwork.initialize((4, 5, 4, 2), **{"feedback": "random", "seed": 1, "tau_apical": 0.1} | options)


def change_of(law: AbstractLaw, lesson: Lesson, noise: Any = WHITE, **options: Any) -> Parameters:
    return law.propose(loop_of(lesson.plant, law, noise, **options), lesson).change


def assert_same(first: Parameters, second: Parameters, tolerance: float = 1e-12) -> None:
    assert first.keys() == second.keys()
    for name, change in first.items():
        atol = tolerance * np.abs(second[name]).max()
        np.testing.assert_allclose(change, second[name], rtol=0, atol=atol, err_msg=name)
