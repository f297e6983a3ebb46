"""Feedback learning in the linearised loop: the simulated loop's, exactly in linear networks, else for little noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import MILD_CONTROLLERS
from feedback_lessons import NOISES, SHAPES, WHITE, assert_same, change_of, lesson_of, loop_of, network
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, CrossEntropy, Lesson, SoftmaxDifference
from controlnet.adaptation import FeedbackLearning, LinearFeedbackLearning
from controlnet.controllers import PI
from controlnet.errors import ConfigError, DivergedError, InputError
from controlnet.experiments import resolve
from controlnet.experiments.running import dataset_of
from controlnet.experiments.training import Trainer
from controlnet.integrators import FilteredNoise, Sequential, WhiteNoise
from controlnet.objective import OwnOutput
from controlnet.plants import DeepNetwork

SIMULATED, LINEARISED = FeedbackLearning(), LinearFeedbackLearning()
DYNAMICS: list[dict[str, Any]] = [
    {},
    {"soma": "instantaneous"},
    {"transmission": "delayed"},
    {"tau_apical": None},
    {"tau_control": 0.1},
    {"soma": "instantaneous", "tau_apical": None},
]


def own_output(net: DeepNetwork, batch: int = 5, steps: int = 20) -> Lesson:
    lesson = lesson_of(net, batch, steps)
    return replace(lesson, objective=OwnOutput(CrossEntropy()), labels=np.zeros(batch, int))


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize(("steps", "batch"), [*SHAPES, (8, 2), (9, 2), (2, 17)])
def test_a_linear_network_learns_the_same(steps: int, batch: int, kind: str) -> None:
    lesson = lesson_of(network(activation="linear"), batch, steps)
    assert_same(*(change_of(law, lesson, NOISES[kind]) for law in (LINEARISED, SIMULATED)), 1e-11)


@pytest.mark.parametrize("control", ["new", "old"])
@pytest.mark.parametrize("dynamics", DYNAMICS, ids=str)
def test_a_linear_network_of_other_dynamics_learns_the_same(dynamics: dict[str, Any], control: Any) -> None:
    lesson = lesson_of(network(activation="linear", **dynamics))
    scheme = {"integrator": Sequential(control, WHITE)}
    assert_same(*(change_of(law, lesson, **scheme) for law in (LINEARISED, SIMULATED)), 1e-11)


@pytest.mark.parametrize("controller", MILD_CONTROLLERS)
def test_a_linear_network_under_each_controller_learns_the_same(controller: str) -> None:
    lesson = lesson_of(network(activation="linear"))
    loops = (
        replace(loop_of(lesson.plant, law), controller=MILD_CONTROLLERS[controller]) for law in (LINEARISED, SIMULATED)
    )
    assert_same(*(loop.law.propose(loop, lesson).change for loop in loops), 1e-11)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 1), (2, 3, 4, 5, 6, 3)])
def test_depth_and_width(sizes: tuple[int, ...]) -> None:
    net = DeepNetwork.initialize(sizes, activation="linear", feedback="random", tau_apical=0.1, seed=2)
    assert_same(*(change_of(law, lesson_of(net)) for law in (LINEARISED, SIMULATED)), 1e-11)


@pytest.mark.parametrize("rule", [{"output_layer": False}, {"layer_scaling": 0.5}], ids=str)
def test_options_of_the_rule(rule: dict[str, Any]) -> None:
    law = FeedbackLearning(**rule)
    lesson = lesson_of(network(activation="linear"))
    assert_same(*(change_of(each, lesson) for each in (LinearFeedbackLearning(law), law)), 1e-11)


def test_recorded_noise() -> None:
    noise = WhiteNoise(sigma=0.1, sigma_output=0.3, recorded=np.random.default_rng(1).normal(size=(20, 20, 11)))
    lesson = lesson_of(network(activation="linear"), 20)
    assert_same(*(change_of(law, lesson, noise) for law in (LINEARISED, SIMULATED)), 1e-11)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus"])
@given(tau_v=st.floats(0.03, 1), k_p=st.floats(0, 2), leak=st.floats(0, 1), seed=st.integers(0, 99))
def test_what_differs_falls_with_the_noise(activation: str, tau_v: float, k_p: float, leak: float, seed: int) -> None:
    net = network(activation=activation, tau_v=tau_v, seed=seed)
    lesson, off = own_output(net), []
    for sigma in (1e-3, 1e-5):
        noise, change = WhiteNoise(sigma=sigma), []
        for law in (SIMULATED, LINEARISED):
            loop = ClosedLoop(net, PI(k_p=k_p, leak=leak), Sequential(noise=noise), law)
            change.append(loop.law.propose(loop, lesson).change)
        off.append(max(np.linalg.norm(change[1][q] - c) / np.linalg.norm(c) for q, c in change[0].items()))
    assert off[0] < 0.1 and off[1] < max(off[0] / 30, 1e-7)


def test_machine_code_threads_and_single_precision() -> None:
    lesson = own_output(network(), 40)
    plain, one, two = (
        change_of(LINEARISED, replace(lesson, threads=threads), compiled=compiled)
        for threads, compiled in ((1, False), (1, True), (2, True))
    )
    assert_same(one, plain)
    assert_same(one, two, 0)
    single = own_output(network(dtype=np.float32), 40)
    changes = [change_of(law, single, WhiteNoise(sigma=1e-3), compiled=True) for law in (LINEARISED, SIMULATED)]
    assert_same(*changes, 0.05)
    assert all(change.dtype == np.float32 for change in changes[0].values())


def test_divergence_is_reported() -> None:
    net = network(activation="linear", soma="instantaneous", tau_apical=None)
    loops = [replace(loop_of(net, law), controller=PI(k_p=1e3)) for law in (SIMULATED, LINEARISED)]
    found = []
    for loop in loops:
        with pytest.raises(DivergedError) as error:
            loop.law.propose(loop, own_output(net))
        found.append((error.value.step, error.value.sample))
    assert found[0] == found[1]


def test_what_the_linearised_loop_needs() -> None:
    lesson = lesson_of(network())
    with pytest.raises(InputError, match=r"expected e = r - y, got SoftmaxDifference"):
        change_of(LINEARISED, lesson, comparator=SoftmaxDifference())
    with pytest.raises(InputError, match="DeepNetwork has no feedback weights Q to learn"):
        change_of(LINEARISED, lesson_of(network(feedback="jacobian-transpose")))
    with pytest.raises(InputError, match="give the integrator some"):
        change_of(LINEARISED, lesson, None)
    with pytest.raises(InputError, match="tau: expected at least dt"):
        change_of(LINEARISED, lesson, FilteredNoise(sigma=0.1, tau=0.01))
    with pytest.raises(InputError, match="dt: expected at most"):
        change_of(LINEARISED, lesson_of(network(tau_v=0.01)))
    with pytest.raises(InputError, match="make a new Lesson"):
        LINEARISED.propose(loop_of(network(), LINEARISED), lesson)
    with pytest.raises(InputError, match="without high_pass"):
        LinearFeedbackLearning(FeedbackLearning(high_pass=0.1))


@pytest.mark.parametrize(
    ("method", "override", "message"),
    [
        ("strong-dfc-2phase", (), "false under strong feedback"),
        ("strong-dfc", (), "false, as single-phase learning"),
        ("dfc", ("feedback.learning=single-phase",), "false, as single-phase learning"),
    ],
)
def test_where_settings_refuse_it(method: str, override: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"feedback.linearized: expected {message}.* got true"):
        resolve("digits", method=method, overrides=("feedback.linearized=true", *override))


PUBLISHED = ["dfc/mnist/dfc", "dfc/fashion-mnist/dfc", "dfc/mnist-train-loss/dfc", "strong-dfc/mnist/dfc"]


@pytest.mark.parametrize("experiment", [*PUBLISHED, "strong-dfc/fashion-mnist/dfc"])
def test_the_published_noise_is_little(experiment: str) -> None:
    """One minibatch in the linearised loop wants what it wants in the simulated one, to a few per cent."""
    change = []
    for choice in ("false", "true"):
        small = ("data.name=digits", "network.hidden=[24, 24]", "train.compare_with=[]")
        settings = resolve(experiment, overrides=(*small, f"feedback.linearized={choice}")).settings
        trainer = Trainer(settings, dataset_of(settings), threads=1)
        loop = trainer.sleep.loop(trainer.plant)
        change.append(loop.law.propose(loop, trainer.lesson(trainer.sleep, loop, np.arange(32))).change)
    for name, expected in change[0].items():
        assert np.linalg.norm(change[1][name] - expected) < 0.05 * np.linalg.norm(expected), name
