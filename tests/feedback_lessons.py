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


def along(lesson: Lesson, recorded: Any) -> tuple[Any, list[Any]]:
    """Give recorded noise in the coordinates that the output sees, A_i^T of its parts, and A_i^T by layer.

    J_i = L_i A_i^T with a positive diagonal of L_i; where there are fewer neurons than outputs the last rows are zero.
    """
    plant: Any = lesson.plant
    m, seen, directions = plant.noutputs, [], []
    for J, part in zip(
        plant.by_layer(plant.jacobian(plant.voltages(lesson.inputs)), axis=2),
        plant.by_layer(recorded, axis=2),
        strict=True,
    ):
        A, R = np.linalg.qr(J.swapaxes(1, 2))
        along = np.zeros((len(J), m, J.shape[2]))
        along[:, : A.shape[2]] = (A * np.sign(np.diagonal(R, axis1=1, axis2=2))[:, np.newaxis]).swapaxes(1, 2)
        directions.append(along)
        seen.append(np.einsum("ben,tbn->tbe", along, part))
    return np.concatenate(seen, axis=2), directions


def assert_same(first: Parameters, second: Parameters, tolerance: float = 1e-12) -> None:
    assert first.keys() == second.keys()
    for name, change in first.items():
        atol = tolerance * np.abs(second[name]).max()
        np.testing.assert_allclose(change, second[name], rtol=0, atol=atol, err_msg=name)
