"""Feedback learning in the linearised loop: what the output sees is the simulated loop's, exactly in linear networks.

Else it is for little noise; what the output does not see has the same distribution.
"""

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
from controlnet._random import fill_normal, stream
from controlnet.adaptation import FeedbackLearning, LinearFeedbackLearning
from controlnet.base import Parameters
from controlnet.controllers import PI
from controlnet.errors import ConfigError, DimensionError, DivergedError, InputError
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


def square(**options: Any) -> DeepNetwork:
    """As many neurons in every layer as outputs, so that the output sees all of the noise."""
    defaults = {"feedback": "random", "seed": 1, "tau_apical": 0.1, "activation": "linear"}
    return DeepNetwork.initialize((4, 2, 2, 2), **defaults | options)


def _numbers(lesson: Lesson) -> Any:
    plant: Any = lesson.plant
    return np.random.default_rng(4).normal(size=(lesson.steps, len(lesson.inputs), plant.nneurons))


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


def under_the_same_noise(lesson: Lesson, loop: ClosedLoop) -> list[Parameters]:
    """Give the change in the linearised and in the simulated loop."""
    integrator: Any = loop.integrator
    numbers = _numbers(lesson)
    law = loop.law if isinstance(loop.law, FeedbackLearning) else SIMULATED
    changes = []
    for each, recorded in ((LinearFeedbackLearning(law), along(lesson, numbers)[0]), (law, numbers)):
        noise = replace(integrator.noise, recorded=recorded)
        each_loop = replace(loop, law=each, integrator=replace(integrator, noise=noise))
        changes.append(each.propose(each_loop, lesson).change)
    return changes


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize(("steps", "batch"), [*SHAPES, (2, 17)])
def test_a_linear_network_learns_the_same(steps: int, batch: int, kind: str) -> None:
    lesson = lesson_of(square(), batch, steps)
    assert_same(*under_the_same_noise(lesson, loop_of(lesson.plant, SIMULATED, NOISES[kind])), 1e-11)


@pytest.mark.parametrize("control", ["new", "old"])
@pytest.mark.parametrize("dynamics", DYNAMICS, ids=str)
def test_a_linear_network_of_other_dynamics_learns_the_same(dynamics: dict[str, Any], control: Any) -> None:
    lesson = lesson_of(square(**dynamics))
    loop = loop_of(lesson.plant, SIMULATED, integrator=Sequential(control, WHITE))
    assert_same(*under_the_same_noise(lesson, loop), 1e-11)


@pytest.mark.parametrize("controller", MILD_CONTROLLERS)
def test_a_linear_network_under_each_controller_learns_the_same(controller: str) -> None:
    lesson = lesson_of(square())
    loop = replace(loop_of(lesson.plant, SIMULATED), controller=MILD_CONTROLLERS[controller])
    assert_same(*under_the_same_noise(lesson, loop), 1e-11)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 1, 1), (2, 3, 3, 3, 3, 3), (3, 2, 4), (3, 2, 2, 5)])
def test_depth_and_width(sizes: tuple[int, ...]) -> None:
    net = DeepNetwork.initialize(sizes, activation="linear", feedback="random", tau_apical=0.1, seed=2)
    assert_same(*under_the_same_noise(lesson_of(net), loop_of(net, SIMULATED)), 1e-11)


@pytest.mark.parametrize("rule", [{"output_layer": False}, {"layer_scaling": 0.5}], ids=str)
def test_options_of_the_rule(rule: dict[str, Any]) -> None:
    lesson = lesson_of(square())
    assert_same(*under_the_same_noise(lesson, loop_of(lesson.plant, FeedbackLearning(**rule))), 1e-11)


def test_noise_of_another_strength_in_the_output_layer() -> None:
    lesson = lesson_of(square(), 20)
    loop = loop_of(lesson.plant, SIMULATED, WhiteNoise(sigma=0.1, sigma_output=0.3))
    assert_same(*under_the_same_noise(lesson, loop), 1e-11)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("sizes", [(4, 5, 4, 2), (3, 7, 3), (3, 6, 2, 4)])
def test_what_the_output_sees_is_the_same_in_wide_layers(sizes: tuple[int, ...], kind: str) -> None:
    net = DeepNetwork.initialize(sizes, activation="linear", feedback="random", tau_apical=0.1, seed=2)
    lesson = lesson_of(net, batch=1)
    linearised, simulated = under_the_same_noise(lesson, loop_of(net, SIMULATED, NOISES[kind]))
    jacobian = net.by_layer(net.jacobian(net.voltages(lesson.inputs))[0], axis=1)
    seen = [{f"Q{i}": J @ change[f"Q{i}"] for i, J in enumerate(jacobian)} for change in (linearised, simulated)]
    assert_same(*seen, 1e-11)
    assert np.linalg.norm(linearised["Q0"] - simulated["Q0"]) > 0.1 * np.linalg.norm(simulated["Q0"])


@pytest.mark.parametrize("kind", NOISES)
def test_what_it_does_not_see_is_distributed_alike(kind: str) -> None:
    """Under the same control, the change has the mean and the covariance of the simulated loop's."""
    lesson, draws = lesson_of(network(activation="linear"), batch=2, steps=6), 3000
    mean, covariance = _across_in_the_simulated_loop(lesson, NOISES[kind])
    seen = along(lesson, _numbers(lesson))[0]
    loop = loop_of(lesson.plant, LINEARISED, replace(NOISES[kind], recorded=seen), compiled=True)
    found: dict[str, list[Any]] = {name: [] for name in mean}
    for seed in range(draws):
        change = LINEARISED.propose(loop, replace(lesson, seed=seed)).change
        for name in mean:
            found[name].append(change[name].ravel())
    for name, expected in mean.items():
        scale = np.sqrt(np.diag(covariance[name]))
        off = (np.mean(found[name], axis=0) - expected) / scale
        assert np.abs(off).max() < 4 / np.sqrt(draws), name
        spread = (np.cov(found[name], rowvar=False) - covariance[name]) / np.outer(scale, scale)
        assert np.abs(spread).max() < 4 * np.sqrt(2 / draws), name


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("tau_apical", [0.1, None])
@pytest.mark.parametrize("control", ["new", "old"])
def test_what_it_does_not_see_is_a_root_of_that_covariance(kind: str, tau_apical: float | None, control: Any) -> None:
    noise = replace(NOISES[kind], sigma_output=0.3)
    lesson = lesson_of(network(activation="linear", tau_apical=tau_apical), batch=1, steps=6)
    mean, covariance = _across_in_the_simulated_loop(lesson, noise, control)
    seen, directions = along(lesson, _numbers(lesson))
    scheme = Sequential(control, replace(noise, recorded=seen))
    change = change_of(LINEARISED, lesson, integrator=scheme)
    drawn = np.zeros((9, 2))
    fill_normal(stream(np.random.SeedSequence(lesson.seed, spawn_key=(0,)), 0), 0, drawn.reshape(-1))
    for i, (A, Z) in enumerate(zip(directions, (drawn[:5], drawn[5:]), strict=False)):
        across = np.eye(len(Z)) - A[0].T @ A[0]
        by_neuron = covariance[f"Q{i}"].reshape(len(Z), 2, len(Z), 2)
        root = np.linalg.cholesky(np.einsum("jcjd->cd", by_neuron) / (len(Z) - 2))
        # What is wanted is minus the correlation of noise and control.
        expected = mean[f"Q{i}"].reshape(-1, 2) - across @ Z @ root.T
        np.testing.assert_allclose(change[f"Q{i}"], expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def _across_in_the_simulated_loop(lesson: Lesson, noise: Any, control: Any = "new") -> tuple[Any, Any]:
    """Give mean and covariance of the change over the noise across what the output sees, one number after the other."""
    numbers = _numbers(lesson)
    _, directions = along(lesson, numbers)
    across = [np.eye(A.shape[2]) - A.swapaxes(1, 2) @ A for A in directions[:-1]]
    base = numbers.copy()
    first = 0
    for P in across:
        base[..., first : first + len(P[0])] -= np.einsum("bnk,tbk->tbn", P, numbers[..., first : first + len(P[0])])
        first += len(P[0])

    def change(recorded: Any) -> Parameters:
        return change_of(SIMULATED, lesson, integrator=Sequential(control, replace(noise, recorded=recorded)))

    mean = change(base)
    covariance = {f"Q{i}": np.zeros((mean[f"Q{i}"].size,) * 2) for i in range(len(across))}
    first = 0
    for i, P in enumerate(across):
        for step, sample, neuron in np.ndindex(*numbers.shape[:2], len(P[0])):
            pushed = base.copy()
            pushed[step, sample, first : first + len(P[0])] += P[sample, :, neuron]
            effect = change(pushed)[f"Q{i}"] - mean[f"Q{i}"]
            covariance[f"Q{i}"] += np.outer(effect, effect)
        first += len(P[0])
    return {name: mean[name].ravel() for name in covariance}, covariance


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus"])
@given(tau_v=st.floats(0.03, 1), k_p=st.floats(0, 2), leak=st.floats(0, 1), seed=st.integers(0, 99))
def test_what_differs_falls_with_the_noise(activation: str, tau_v: float, k_p: float, leak: float, seed: int) -> None:
    net = square(activation=activation, tau_v=tau_v, seed=seed)
    lesson, off = own_output(net), []
    for sigma in (1e-3, 1e-5):
        scheme = Sequential(noise=WhiteNoise(sigma=sigma))
        change = under_the_same_noise(lesson, ClosedLoop(net, PI(k_p=k_p, leak=leak), scheme, SIMULATED))
        off.append(max(np.linalg.norm(change[0][q] - c) / np.linalg.norm(c) for q, c in change[1].items()))
    assert off[0] < 0.1 and off[1] < max(off[0] / 30, 1e-7)


def test_machine_code_threads_and_single_precision() -> None:
    lesson = own_output(network(), 40)
    plain, one, two = (
        change_of(LINEARISED, replace(lesson, threads=threads), compiled=compiled)
        for threads, compiled in ((1, False), (1, True), (2, True))
    )
    assert_same(one, plain)
    assert_same(one, two, 0)
    single = lesson_of(square(dtype=np.float32), 40)
    changes = under_the_same_noise(single, loop_of(single.plant, SIMULATED, compiled=True))
    assert_same(*changes, 1e-4)
    assert all(change.dtype == np.float32 for change in changes[0].values())


@pytest.mark.parametrize("sizes", [(4, 30, 20, 3), (3, 40, 2, 4)])
def test_single_precision_in_wide_layers(sizes: tuple[int, ...]) -> None:
    changes = []
    for dtype in (np.float64, np.float32):
        net = DeepNetwork.initialize(sizes, feedback="random", tau_apical=0.1, seed=2, dtype=dtype)
        changes.append(change_of(LINEARISED, own_output(net, 40), WhiteNoise(sigma=0.05), compiled=True))
    # A pivot that should be zero is so but for the root of the precision.
    assert_same(changes[1], changes[0], 5e-3)


def test_each_block_has_its_own_noise_across() -> None:
    net = network(activation="linear")
    lesson = lesson_of(net, batch=32, steps=4)
    same = replace(lesson, inputs=np.tile(lesson.inputs[:1], (32, 1)), labels=np.tile(lesson.labels[:1], (32, 1)))
    recorded = np.repeat(np.random.default_rng(0).normal(size=(4, 1, 6)), 32, axis=1)
    halves = []
    for part in (slice(0, 16), slice(0, 32)):
        noise = WhiteNoise(sigma=0.05, recorded=recorded[:, part])
        halves.append(change_of(LINEARISED, replace(same, inputs=same.inputs[part], labels=same.labels[part]), noise))
    assert np.linalg.norm(halves[1]["Q0"] - halves[0]["Q0"]) > 1e-3 * np.linalg.norm(halves[0]["Q0"])


def test_divergence_is_reported() -> None:
    net = square(soma="instantaneous", tau_apical=None)
    lesson, found = own_output(net), []
    numbers = _numbers(lesson)
    for law, recorded in ((SIMULATED, numbers), (LINEARISED, along(lesson, numbers)[0])):
        loop = replace(loop_of(net, law, WhiteNoise(sigma=0.05, recorded=recorded)), controller=PI(k_p=1e3))
        with pytest.raises(DivergedError) as error:
            loop.law.propose(loop, lesson)
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
    with pytest.raises(DimensionError, match=r"recorded: expected shape \(20, 3, 6\), got \(20, 3, 11\)"):
        change_of(LINEARISED, lesson, WhiteNoise(sigma=0.1, recorded=np.zeros((20, 3, 11))))
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
    small = ("data.name=digits", "network.hidden=[10, 10]", "train.compare_with=[]", "feedback.linearized=false")
    settings = resolve(experiment, overrides=small).settings
    trainer = Trainer(settings, dataset_of(settings), threads=1)
    loop = trainer.sleep.loop(trainer.plant)
    change = under_the_same_noise(trainer.lesson(trainer.sleep, loop, np.arange(32)), loop)
    for name, expected in change[1].items():
        assert np.linalg.norm(change[0][name] - expected) < 0.05 * np.linalg.norm(expected), name
