"""Feedback learning under a wide output layer: in the coordinates of the layer below it is what all outputs give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import MILD_CONTROLLERS
from feedback_lessons import assert_same

from controlnet import ClosedLoop, Lesson, MeanSquaredError, SoftmaxDifference, Strong
from controlnet.adaptation import FeedbackLearning
from controlnet.adaptation._narrow import narrowed
from controlnet.controllers import PI, PID
from controlnet.errors import DimensionError
from controlnet.integrators import FilteredNoise, Sequential, WhiteNoise
from controlnet.objective import OwnOutput
from controlnet.plants import DeepNetwork

STEPS, BATCH, SIZES = 21, 20, (6, 5, 3, 4, 9)
RECORDED = np.random.default_rng(1).normal(size=(STEPS, BATCH, sum(SIZES[1:])))
NOISES: dict[str, Any] = {
    "white": WhiteNoise(sigma=0.3, sigma_output=0.0, recorded=RECORDED),
    "filtered": FilteredNoise(sigma=0.3, sigma_output=0.0, tau=0.07, recorded=RECORDED),
}
HIDDEN = FeedbackLearning(output_layer=False)


def network(identity: float = 1.0, sizes: tuple[int, ...] = SIZES, **options: Any) -> DeepNetwork:
    options = {"activation": "tanh", "feedback": "random", "seed": 1, "tau_apical": 0.1} | options
    net = DeepNetwork.initialize(sizes, **options)
    rng, last = np.random.default_rng(7), len(sizes) - 2
    biases = {f"b{i}": rng.normal(size=n) for i, n in enumerate(sizes[1:])}
    return net.with_parameters(biases | {f"Q{last}": identity * np.eye(sizes[-1])})


def pair(net: DeepNetwork, noise: Any = NOISES["white"], law: Any = HIDDEN, **parts: Any) -> tuple[ClosedLoop, Lesson]:
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(BATCH, net.nexogenous)), rng.normal(size=(BATCH, net.noutputs))
    options: dict[str, Any] = {"integrator": Sequential(noise=noise), "law": law, "compiled": False} | parts
    loop = ClosedLoop(net, **{"controller": PI(k_p=0.5, leak=0.1)} | options)
    return loop, Lesson(net, inputs, targets, OwnOutput(MeanSquaredError()), 0.02, STEPS, seed=3)


def assert_exact(loop: ClosedLoop, lesson: Lesson) -> None:
    law: Any = loop.law
    assert narrowed(loop, lesson) is not None
    wide = law.scaled(loop, lesson.simulate(loop).change)
    assert_same(law.propose(loop, lesson).change, wide, 1e-12)
    assert all(np.abs(change).max() > 1e-3 for change in wide.values())


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("control", ["new", "old"])
@pytest.mark.parametrize(
    "dynamics",
    [{}, {"tau_apical": None}, {"soma": "instantaneous"}, {"transmission": "delayed"}, {"tau_control": 0.1}],
    ids=str,
)
def test_what_is_learned_is_exact(dynamics: dict[str, Any], control: Any, kind: str) -> None:
    noise = NOISES[kind]
    assert_exact(*pair(network(**dynamics), noise, integrator=Sequential(control, noise)))


@pytest.mark.parametrize("identity", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("activation", [["tanh", "linear", "tanh"], ["relu", "sigmoid", "softplus"]], ids=str)
def test_other_activations_and_feedback_to_the_output(activation: list[str], identity: float) -> None:
    assert_exact(*pair(network(identity, activation=activation)))


@pytest.mark.parametrize("controller", [*MILD_CONTROLLERS.values(), PID(k_p=1.0, k_i=0.5, k_d=0.05)], ids=str)
def test_linear_controllers_stay_in_the_range_of_the_weights(controller: Any) -> None:
    loop, lesson = pair(network(), controller=controller)
    if controller.linear:
        assert_exact(loop, lesson)
    else:
        assert narrowed(loop, lesson) is None


def test_high_pass_and_layer_scaling() -> None:
    law = FeedbackLearning(output_layer=False, high_pass=0.1, layer_scaling=0.5)
    assert_exact(*pair(network(), law=law))


def test_drawn_noise_in_machine_code() -> None:
    """The numbers are others than with all outputs, as there are fewer; their mean effect is the same."""
    net, noise = network(), WhiteNoise(sigma=0.3, sigma_output=0.0)
    loop, lesson = pair(net, noise, compiled=True)
    lesson = replace(lesson, inputs=np.tile(lesson.inputs, (4000, 1)), labels=np.tile(lesson.labels, (4000, 1)))
    law: Any = loop.law
    wide, narrow = law.scaled(loop, lesson.simulate(loop).change), law.propose(loop, lesson).change
    for name, expected in wide.items():
        assert np.linalg.norm(narrow[name] - expected) < 0.3 * np.linalg.norm(expected), name
        assert narrow[name].tobytes() != expected.tobytes()


@pytest.mark.parametrize(
    "other",
    [
        {"noise": WhiteNoise(sigma=0.3)},
        {"comparator": SoftmaxDifference()},
        {"net": network(sizes=(6, 5, 9, 9))},
        {"objective": Strong(MeanSquaredError())},
    ],
    ids=str,
)
def test_where_the_control_leaves_that_range(other: dict[str, Any]) -> None:
    other = dict(other)
    net, objective = other.pop("net", network()), other.pop("objective", None)
    loop, lesson = pair(net, **other)
    assert narrowed(loop, replace(lesson, objective=objective) if objective else lesson) is None


def test_recorded_noise_of_another_network_is_refused() -> None:
    other = WhiteNoise(sigma=0.3, sigma_output=0.0, recorded=RECORDED[..., :7])
    with pytest.raises(DimensionError, match=r"WhiteNoise.recorded: expected shape \(21, 20, 21\), got \(21, 20, 7\)"):
        HIDDEN.propose(*pair(network(), other))


def test_an_output_layer_that_learns_is_simulated() -> None:
    loop, lesson = pair(network(), law=FeedbackLearning())
    law: Any = loop.law
    assert_same(law.propose(loop, lesson).change, law.scaled(loop, lesson.simulate(loop).change), 0)
