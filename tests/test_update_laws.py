"""Laws that need no simulation beside backpropagation: direct feedback, minimum-norm and Gauss-Newton updates."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, CrossEntropy, Lesson, MeanSquaredError, Nudged, Strong
from controlnet.activations import rate, slope
from controlnet.adaptation import (
    DFA,
    DFC,
    Backprop,
    ControlDescent,
    FeedbackLearning,
    GaussNewton,
    MinimumNorm,
    SinglePhase,
    minimum_norm,
)
from controlnet.base import AbstractLaw, Array, Parameters
from controlnet.controllers import PI
from controlnet.errors import InputError
from controlnet.integrators import Sequential, WhiteNoise
from controlnet.plants import DeepNetwork

NONLINEAR = "nonlinear-difference"
LAWS: dict[str, AbstractLaw] = {
    "DFA": DFA(),
    "DFA without slopes": DFA(derivative=False),
    "GN": GaussNewton(),
    "GN, damped": GaussNewton(0.3),
    "MN": MinimumNorm(),
    "MN, damped, nonlinear": MinimumNorm(0.3, NONLINEAR),
    "descent on H": ControlDescent(),
}
"""Without noise."""
NOISY: dict[str, AbstractLaw] = {"feedback": FeedbackLearning(), "single phase": SinglePhase()}
LOSSES = {"mse": MeanSquaredError(), "cross-entropy": CrossEntropy(0.9)}


def network(activation: str = "tanh", seed: int = 1, **options: Any) -> DeepNetwork:
    """Draw a network with biases and with feedback weights that are no transposed ones."""
    rng = np.random.default_rng(seed)
    net = DeepNetwork.initialize((4, 6, 5, 3), activation=activation, feedback_noise=0.2, seed=seed, **options)
    biases = {f"b{i}": rng.normal(size=n) for i, n in enumerate((6, 5, 3))}
    return net.with_parameters({**biases, "Q2": np.eye(3) + 0.2 * rng.normal(size=(3, 3))})


def lesson_of(net: DeepNetwork, batch: int = 5, loss: Any = LOSSES["mse"], seed: int = 0) -> Lesson:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(batch, 4))
    by_class = isinstance(loss, CrossEntropy)
    labels = rng.integers(0, 3, batch) if by_class else rng.normal(size=(batch, 3))
    return Lesson(net, inputs, labels, Nudged(loss, 0.5), 0.05, 20)


def change_of(law: AbstractLaw, lesson: Lesson) -> Parameters:
    noise = WhiteNoise(sigma=0.1) if law in NOISY.values() else None
    loop = ClosedLoop(lesson.plant, PI(k_p=1.0, leak=0.1), integrator=Sequential(noise=noise), law=law, compiled=False)
    return law.propose(loop, lesson).change


def assert_same(first: Parameters, second: Parameters, tolerance: float = 1e-12) -> None:
    assert first.keys() == second.keys()
    for name, change in first.items():
        np.testing.assert_allclose(change, second[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("derivative", [True, False])
def test_direct_feedback_alignment(derivative: bool, loss: str) -> None:
    """One sample and one neuron at a time."""
    net = network()
    lesson = lesson_of(net, loss=LOSSES[loss])
    expected = {name: np.zeros_like(value) for name, value in net.parameters.items() if name[0] != "Q"}
    for x, label in zip(lesson.inputs, lesson.labels, strict=True):
        below, voltages = x, [v[0] for v in net.voltages(x[np.newaxis])]
        error = LOSSES[loss].gradient(voltages[-1][np.newaxis], np.asarray(label)[np.newaxis])[0]
        for i, v in enumerate(voltages):
            for j in range(len(v)):
                sent = error[j] if i == 2 else error @ net.feedback[i][j]
                delta = sent * (1 - math.tanh(v[j]) ** 2) if derivative and i < 2 else sent
                expected[f"W{i}"][j] -= delta * below / len(lesson.inputs)
                expected[f"b{i}"][j] -= delta / len(lesson.inputs)
            below = np.tanh(v)
    assert_same(change_of(DFA(derivative), lesson), expected)


@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus", "sigmoid", "linear"])
@given(seed=st.integers(0, 2**16))
def test_direct_feedback_is_backprop_where_it_comes_through_the_transposed_weights(activation: str, seed: int) -> None:
    net = DeepNetwork.initialize((4, 7, 3), activation=activation, feedback="random", seed=seed)
    lesson = lesson_of(net, seed=seed)
    backprop = change_of(Backprop(), lesson)
    assert np.abs(change_of(DFA(), lesson)["W0"] - backprop["W0"]).max() > 1e-3
    net = net.with_parameters({"Q0": net.weights[1].T})
    assert_same(change_of(DFA(), replace(lesson, plant=net)), backprop)


def columns(lesson: Lesson) -> tuple[Array, Array]:
    """Give J in all voltages and the gradient of each sample's loss."""
    return lesson.plant.jacobian(lesson.voltages), lesson.output_gradient


@given(seed=st.integers(0, 2**16))
def test_minimum_norm_is_the_least_change_that_corrects_the_output(seed: int) -> None:
    lesson = lesson_of(network(seed=seed), seed=seed)
    J, g = columns(lesson)
    found = np.concatenate(minimum_norm(lesson), axis=1)
    np.testing.assert_allclose(np.einsum("bij,bj->bi", J, found), -g, rtol=0, atol=1e-12)
    for a, jacobian, gradient in zip(found, J, g, strict=True):
        np.testing.assert_allclose(a, np.linalg.lstsq(jacobian, -gradient, rcond=None)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("damping", [1e-3, 0.3, 20.0])
def test_damped_minimum_norm_weighs_change_against_error(damping: float) -> None:
    """The minimum of |J a + g|^2 + gamma |a|^2."""
    lesson = lesson_of(network())
    found = np.concatenate(minimum_norm(lesson, damping), axis=1)
    for a, jacobian, gradient in zip(found, *columns(lesson), strict=True):
        matrix = np.vstack([jacobian, math.sqrt(damping) * np.eye(14)])
        expected = np.linalg.lstsq(matrix, -np.concatenate([gradient, np.zeros(14)]), rcond=None)[0]
        np.testing.assert_allclose(a, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["voltage-difference", NONLINEAR])
def test_minimum_norm_update(rule: Any) -> None:
    net = network()
    lesson = lesson_of(net)
    below, expected = [lesson.inputs, *net.rates(lesson.voltages)], {}
    for i, (v, delta) in enumerate(zip(lesson.voltages, minimum_norm(lesson, 0.1), strict=True)):
        if rule == NONLINEAR:
            delta = rate(net.activations[i], v + delta) - rate(net.activations[i], v)
        expected |= {f"W{i}": np.einsum("bi,bj->ij", delta, below[i]) / 5, f"b{i}": delta.sum(axis=0) / 5}
    assert_same(change_of(MinimumNorm(0.1, rule), lesson), expected)


def test_rules_of_minimum_norm_differ_by_the_slope_for_small_gradients() -> None:
    lesson = lesson_of(network(), 1)
    near = replace(lesson, labels=lesson.output + 1e-7 * (lesson.labels - lesson.output))
    by_voltage, by_rate = (change_of(MinimumNorm(rule=rule), near) for rule in ("voltage-difference", NONLINEAR))
    for i, v in enumerate(lesson.voltages):
        expected = slope(lesson.plant.activations[i], v)[0] * by_voltage[f"b{i}"]
        np.testing.assert_allclose(by_rate[f"b{i}"], expected, rtol=1e-5)


def flat(parameters: Parameters) -> Array:
    return np.concatenate([parameters[f"{letter}{i}"].ravel() for i in range(3) for letter in "Wb"])


def parameter_jacobian(net: DeepNetwork, x: Array) -> Array:
    """Give the derivative of one output in every weight and bias, by central differences."""
    step, columns = 1e-6, []
    for i in range(3):
        for letter in "Wb":
            value = net.parameters[f"{letter}{i}"]
            for unit in np.eye(value.size).reshape(-1, *value.shape):
                up, down = (net.with_parameters({f"{letter}{i}": value + s * step * unit}) for s in (1, -1))
                columns.append((up.predict(x[np.newaxis])[0] - down.predict(x[np.newaxis])[0]) / (2 * step))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_gauss_newton_is_the_pseudo_inverse_of_the_parameter_jacobian(activation: str, loss: str) -> None:
    net = network(activation)
    lesson = lesson_of(net, 3, LOSSES[loss])
    each = [parameter_jacobian(net, x) for x in lesson.inputs]
    for damping in (0.0, 0.3):
        steps = [J.T @ np.linalg.inv(J @ J.T + damping * np.eye(3)) for J in each]
        if not damping:
            np.testing.assert_allclose(steps, [np.linalg.pinv(J) for J in each], atol=1e-10)
        expected = -np.mean([step @ g for step, g in zip(steps, lesson.output_gradient, strict=True)], axis=0)
        np.testing.assert_allclose(flat(change_of(GaussNewton(damping), lesson)), expected, rtol=0, atol=1e-8)


@given(seed=st.integers(0, 2**16))
def test_gauss_newton_moves_one_output_down_its_gradient(seed: int) -> None:
    net = network(seed=seed)
    lesson = lesson_of(net, 1, seed=seed)
    change, step = change_of(GaussNewton(), lesson), 1e-6
    moved = net.with_parameters({name: net.parameters[name] + step * array for name, array in change.items()})
    slope_of_output = (moved.predict(lesson.inputs) - lesson.output) / step
    np.testing.assert_allclose(slope_of_output, -lesson.output_gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [GaussNewton, MinimumNorm])
def test_strong_damping_is_backprop(kind: Any) -> None:
    """gamma J^T (J J^T + gamma I)^-1 goes to J^T as 1 / gamma."""
    lesson = lesson_of(network())
    backprop = flat(change_of(Backprop(), lesson))
    errors = [np.abs(damping * flat(change_of(kind(damping), lesson)) - backprop).max() for damping in (1e3, 1e5, 1e7)]
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("kind", [GaussNewton, MinimumNorm])
def test_weak_damping_is_none(kind: Any) -> None:
    lesson = lesson_of(network())
    assert_same(change_of(kind(1e-9), lesson), change_of(kind(), lesson), 1e-7)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_order_of_the_batch_does_not_matter(law: AbstractLaw) -> None:
    lesson = lesson_of(network(), 20)
    order = np.random.default_rng(1).permutation(20)
    shuffled = replace(lesson, inputs=lesson.inputs[order], labels=lesson.labels[order])
    assert_same(change_of(law, lesson), change_of(law, shuffled))


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_batch_is_the_mean_of_its_samples(law: AbstractLaw) -> None:
    lesson = lesson_of(network(), 7)
    each = [
        change_of(law, replace(lesson, inputs=lesson.inputs[b : b + 1], labels=lesson.labels[b : b + 1]))
        for b in range(7)
    ]
    mean = {name: sum(one[name] for one in each) / 7 for name in each[0]}
    assert_same(change_of(law, lesson), mean)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_perfect_output_changes_nothing(law: AbstractLaw) -> None:
    lesson = lesson_of(network())
    there = replace(lesson, labels=lesson.output)
    assert all(np.abs(change).max() < 1e-12 for change in change_of(law, there).values())
    assert all(np.abs(change).max() > 1e-3 for change in change_of(law, lesson).values())


UPDATES: tuple[Any, ...] = ("continuous", "steady-state", "last-step", "analytic")
EVERY = {**LAWS, **NOISY, "BP": Backprop(), **{f"DFC, {update}": DFC(update) for update in UPDATES}}


@pytest.mark.parametrize("law", [pytest.param(law, id=name) for name, law in EVERY.items()])
def test_single_precision_stays(law: AbstractLaw) -> None:
    """And the numbers are those of double precision, to its rounding."""
    double = network()
    single = network(dtype=np.float32)
    lesson = lesson_of(single)
    lesson = replace(lesson, inputs=lesson.inputs.astype(np.float32), labels=lesson.labels.astype(np.float32))
    found, expected = change_of(law, lesson), change_of(law, replace(lesson, plant=double))
    for name, change in found.items():
        assert change.dtype == np.float32
        np.testing.assert_allclose(change, expected[name], rtol=0, atol=2e-4 * np.abs(expected[name]).max())


@pytest.mark.parametrize("law", EVERY)
def test_no_law_takes_more_threads_than_its_lesson_says(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("controlnet._parallel.default_threads", lambda: asked.append(law) or 1)
    change_of(EVERY[law], replace(lesson_of(network()), threads=1))
    assert not asked


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_lesson_is_for_one_state_of_the_network(law: AbstractLaw) -> None:
    lesson = lesson_of(network())
    with pytest.raises(InputError, match="make a new Lesson"):
        law.propose(ClosedLoop(network(seed=2), PI(), law=law, compiled=False), lesson)


@pytest.mark.parametrize("law", [DFA(), ControlDescent()], ids=str)
def test_laws_that_need_feedback_weights(law: AbstractLaw) -> None:
    net = DeepNetwork.initialize((4, 6, 5, 3), feedback="jacobian-transpose")
    with pytest.raises(InputError, match="no feedback weights Q"):
        change_of(law, lesson_of(net))


@pytest.mark.parametrize("loss", LOSSES)
def test_objectives_without_a_step_of_their_own_give_the_same_gradient(loss: str) -> None:
    """These laws see the loss alone, not the reference."""
    lesson = lesson_of(network(), loss=LOSSES[loss])
    strong = replace(lesson, objective=Strong(LOSSES[loss]))
    for law in (DFA(), GaussNewton(), MinimumNorm(), Backprop()):
        assert_same(change_of(law, lesson), change_of(law, strong), 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussNewton(-0.1), "GaussNewton.damping: expected a number >= 0, got -0.1"),
        (lambda: GaussNewton(math.nan), "GaussNewton.damping: .* got nan"),
        (lambda: MinimumNorm(math.inf), "MinimumNorm.damping: expected a finite number, got inf"),
        (lambda: MinimumNorm(rule="oja"), "MinimumNorm.rule: expected voltage-difference or nonlinear-difference"),
    ],
)
def test_bad_values(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
