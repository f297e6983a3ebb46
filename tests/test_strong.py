"""Strong feedback: the amount of control H = |Q u|^2, its descent, and the loss that falls with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, CrossEntropy, Difference, Lesson, MeanSquaredError, Nudged, SoftmaxDifference, Strong
from controlnet.adaptation import DFC, SGD, ControlDescent, Convergence, SinglePhase, amount_of_control, steady_control
from controlnet.base import AbstractLaw, Array, Parameters
from controlnet.controllers import PI, Integral
from controlnet.errors import InputError
from controlnet.integrators import FilteredNoise, Sequential, WhiteNoise
from controlnet.plants import DeepNetwork

SIZES = (3, 6, 5, 2)
MSE = Strong(MeanSquaredError())
REST = DFC(update="steady-state", rule="voltage-difference", tolerance=1e-12)
"""The steady state to rounding; by itself DFC is content with 1e-8."""


def lesson_of(net: DeepNetwork, batch: int = 4, objective: Any = MSE, seed: int = 0, **grid: Any) -> Lesson:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(batch, net.nexogenous))
    by_class = isinstance(objective.loss, CrossEntropy)
    labels = rng.integers(0, net.noutputs, batch) if by_class else rng.normal(size=(batch, net.noutputs))
    return Lesson(net, inputs, labels, objective, **grid)


def loop_of(net: DeepNetwork, law: AbstractLaw | None = None, controller: Any = None, **options: Any) -> ClosedLoop:
    return ClosedLoop(net, controller or Integral(), law=law or REST, compiled=False, **options)


def control_at_rest(loop: ClosedLoop, lesson: Lesson) -> Array:
    found = loop.equilibrium(lesson.reference, inputs=lesson.inputs, tolerance=1e-12)
    assert found.converged.all()
    return found.u


def slope_of_H(loop: ClosedLoop, lesson: Lesson, direction: Parameters, step: float = 1e-5) -> float:
    """Give the derivative of the mean of H along a direction of W and b; the reference is held."""

    def value(scale: float) -> float:
        moved = {name: loop.plant.parameters[name] + scale * d for name, d in direction.items()}
        net = loop.plant.with_parameters(moved)
        return float(amount_of_control(net, control_at_rest(replace(loop, plant=net), lesson)).mean())

    return (value(step) - value(-step)) / (2 * step)


def directions(net: DeepNetwork, seed: int = 1) -> Parameters:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=value.shape) for name, value in net.parameters.items() if name[0] in "Wb"}


def inner(first: Parameters, second: Parameters) -> float:
    assert first.keys() == second.keys()
    return sum(float(np.vdot(change, second[name])) for name, change in first.items())


@pytest.mark.parametrize(
    ("controller", "objective", "comparator"),
    [
        (Integral(k_i=2.0), MSE, Difference()),
        (Integral(k_i=2.0, leak=0.5), MSE, Difference()),
        (PI(k_p=1.0, leak=0.3), Nudged(MeanSquaredError(), 0.5), Difference()),
        (PI(k_p=1.0, leak=0.3, leak_on="integral"), MSE, Difference()),
        (PI(k_p=1.0, leak=0.3), Strong(CrossEntropy(0.9)), SoftmaxDifference()),
    ],
    ids=str,
)
@pytest.mark.parametrize("activation", ["tanh", "softplus", "linear"])
def test_control_descent_is_minus_the_gradient_of_H(
    activation: str, controller: Any, objective: Any, comparator: Any
) -> None:
    """Along random directions, so that one difference checks all weights and biases."""
    net = DeepNetwork.initialize(SIZES, activation=activation, feedback_noise=0.1, seed=1)
    net = net.with_parameters({f"b{i}": np.random.default_rng(i).normal(size=n) for i, n in enumerate(SIZES[1:])})
    lesson, law = lesson_of(net, objective=objective), ControlDescent()
    loop = loop_of(net, law, controller, comparator=comparator)
    proposal = law.propose(loop, lesson)
    assert proposal.converged.all()
    assert not proposal.diverged.any()
    np.testing.assert_allclose(proposal.control, control_at_rest(loop, lesson), rtol=0, atol=1e-9)
    for seed in range(3):
        direction = directions(net, seed)
        assert -inner(proposal.change, direction) == pytest.approx(slope_of_H(loop, lesson, direction), rel=1e-5)


def misguided(seed: int) -> DeepNetwork:
    """Give a network whose large random feedback fails some samples."""
    net = DeepNetwork.initialize((3, 6, 2), feedback="random", seed=seed)
    return net.with_parameters({"Q0": 6 * net.parameters["Q0"]})


def test_control_descent_leaves_out_samples_without_a_steady_state() -> None:
    """They count in the batch all the same."""
    net = misguided(2)
    lesson, law = lesson_of(net, 8), ControlDescent()
    proposal = law.propose(loop_of(net, law), lesson)
    found = proposal.converged
    assert 0 < found.sum() < 8
    assert not proposal.control[~found].any()
    rest = replace(lesson, inputs=lesson.inputs[found], labels=lesson.labels[found])
    alone = law.propose(loop_of(net, law), rest)
    for name, change in alone.change.items():
        np.testing.assert_allclose(proposal.change[name], change * found.mean(), rtol=0, atol=1e-12)


def test_control_descent_needs_an_invertible_loop() -> None:
    """Softmax ignores a common shift of all outputs, so that without a leak one direction of u is free."""
    net = DeepNetwork.initialize((3, 4, 3), seed=1)
    loop = loop_of(net, ControlDescent(), PI(k_p=0.5), comparator=SoftmaxDifference())
    with pytest.raises(InputError, match="singular: take a leak > 0"):
        loop.law.propose(loop, lesson_of(net, objective=Strong(CrossEntropy(0.9))))


def test_amount_of_control_is_what_the_apical_compartments_hold() -> None:
    net = DeepNetwork.initialize(SIZES, seed=1)
    lesson = lesson_of(net, dt=0.05, steps=600)
    response = lesson.simulate(loop_of(net), record="v_apical", record_every=600)
    held = sum((v[-1] ** 2).sum(axis=1) for v in response.v_apical)
    np.testing.assert_allclose(amount_of_control(net, response.final["u"]), held, rtol=1e-12)
    at_rest = amount_of_control(net, control_at_rest(loop_of(net), lesson))
    np.testing.assert_allclose(held, at_rest, rtol=1e-6)


def test_strong_dfc_is_control_descent_where_the_feedback_is_in_the_row_space() -> None:
    """In a linear network with Q = J^T S and no leak, DFC-SS is minus the gradient of H, its size included."""
    net = DeepNetwork.initialize(SIZES, activation="linear", seed=1)
    J = net.jacobian([np.zeros((1, n)) for n in SIZES[1:]])[0]
    Q = J.T @ np.array([[1.0, 0.3], [-0.2, 0.7]])
    net = net.with_parameters({f"Q{i}": part for i, part in enumerate(np.split(Q, [6, 11]))})
    lesson = lesson_of(net, dt=0.05, steps=1500)
    descent = ControlDescent().propose(loop_of(net), lesson).change
    for law in (REST, replace(REST, rule="nonlinear-difference")):
        change = law.propose(loop_of(net, law), lesson).change
        for name, array in descent.items():
            np.testing.assert_allclose(change[name], array, rtol=0, atol=1e-10, err_msg=name)
    direction = directions(net)
    assert -inner(descent, direction) == pytest.approx(slope_of_H(loop_of(net), lesson, direction), rel=1e-5)


@pytest.mark.parametrize("rule", ["nonlinear-difference", "voltage-difference"])
@pytest.mark.parametrize("leak", [0.0, 0.2])
@given(seed=st.integers(0, 2**16))
def test_strong_dfc_descends_H(rule: Any, leak: float, seed: int) -> None:
    """For one sample of a tanh network whose Q is near J^T."""
    rng, law = np.random.default_rng(seed), DFC("steady-state", rule)
    net = DeepNetwork.initialize((3, 5, 4, 2), seed=seed, soma="instantaneous")
    lesson = lesson_of(net, 1, seed=seed, dt=0.1, steps=200)
    J = net.jacobian(lesson.voltages)[0]
    Q = J.T + 0.05 * rng.normal(size=J.T.shape)
    net = net.with_parameters({f"Q{i}": part for i, part in enumerate(np.split(Q, [5, 9]))})
    lesson = replace(lesson, plant=net, labels=lesson.output + 0.3 * (lesson.labels - lesson.output))
    loop = loop_of(net, law, Integral(leak=leak))
    change = law.propose(loop, lesson).change
    assert slope_of_H(loop, lesson, change) < -0.1 * inner(change, change)


def lipschitz(net: DeepNetwork) -> float:
    """Give a bound of |change of r_L| / |change of all voltages|, for slopes up to 1."""
    gains = [1.0]
    for weight in reversed(net.weights[1:]):
        gains.append(gains[-1] * float(np.linalg.norm(weight, 2)))
    return float(np.linalg.norm(gains))


@given(seed=st.integers(0, 2**16), sizes=st.lists(st.integers(2, 5), min_size=3, max_size=5))
def test_the_loss_is_bounded_by_H(seed: int, sizes: list[int]) -> None:
    """Without a leak the control carries the output to the label: |r* - r_L| <= |dr_L/dv| |Q u|."""
    net = DeepNetwork.initialize(sizes, seed=seed)
    lesson = lesson_of(net, 3, seed=seed)
    found = loop_of(net).equilibrium(lesson.reference, inputs=lesson.inputs)
    H, gap = amount_of_control(net, found.u), np.linalg.norm(lesson.labels - lesson.output, axis=1)
    assert (gap <= lipschitz(net) * np.sqrt(H) + 1e-9)[found.converged].all()
    there = replace(lesson, labels=lesson.output)
    found = loop_of(net).equilibrium(there.reference, inputs=there.inputs)
    assert amount_of_control(net, found.u).max() < 1e-18


@pytest.mark.parametrize("law", [replace(REST, rule="nonlinear-difference"), REST, ControlDescent()], ids=str)
def test_descent_of_H_to_zero_is_descent_of_the_loss_to_zero(law: AbstractLaw) -> None:
    net, course = DeepNetwork.initialize((3, 12, 2), seed=4, soma="instantaneous"), []
    for update in range(61):
        lesson = lesson_of(net, 3, seed=4, dt=0.2, steps=40)
        proposal = law.propose(loop_of(net, law), lesson)
        if update % 20 == 0:
            loss = lesson.objective.loss.value(lesson.output, lesson.labels)
            course.append((amount_of_control(net, proposal.control).mean(), loss))
        new, _ = SGD(learning_rate=0.3).apply(net.parameters, proposal.change, {})
        net = net.with_parameters(new)
    H, loss = np.array(course).T
    assert H[0] > 1 < loss[0]
    assert (H[1:] < 0.1 * H[:-1]).all()
    assert (loss[1:] < 0.1 * loss[:-1]).all()
    assert H[-1] < 1e-10 > loss[-1]


@pytest.mark.parametrize("controller", [Integral(k_i=2.0, leak=0.5), PI(k_p=0.05, k_i=2.0, leak=0.5)], ids=str)
@pytest.mark.parametrize("soma", ["dynamic", "instantaneous"])
def test_steady_control_of_a_linear_network(soma: Any, controller: Any) -> None:
    """u = (J Q + alpha / k_i I)^-1 (r* - r_L), far from the feed-forward output too."""
    net = DeepNetwork.initialize(SIZES, activation="linear", feedback_noise=0.2, seed=1, soma=soma)
    lesson = lesson_of(net, dt=0.05, steps=600)
    lesson = replace(lesson, labels=10 * lesson.labels)
    J, Q = net.jacobian(lesson.voltages)[0], net.stacked_feedback()
    expected = np.linalg.solve(J @ Q + 0.25 * np.eye(2), (lesson.labels - lesson.output).T).T
    np.testing.assert_allclose(control_at_rest(loop_of(net, None, controller), lesson), expected, rtol=1e-10)
    response = lesson.simulate(loop_of(net, None, controller))
    np.testing.assert_allclose(response.final["u"], expected, rtol=1e-7)


def test_strong_feedback_has_no_analytic_updates() -> None:
    net, law = DeepNetwork.initialize(SIZES, seed=1), DFC(update="analytic")
    for objective in (MSE, Strong(CrossEntropy(0.9))):
        with pytest.raises(InputError, match="DFC.update: analytic .* strong feedback leaves far behind"):
            law.propose(loop_of(net, law), lesson_of(net, objective=objective))


NOISES: dict[str, Any] = {"white": WhiteNoise(sigma=1e-3), "filtered": FilteredNoise(sigma=1e-3, tau=0.1)}


@pytest.mark.parametrize("law", [DFC(), SinglePhase()], ids=["DFC", "single phase"])
@pytest.mark.parametrize("kind", NOISES)
def test_a_noisy_loop_settles(kind: str, law: Any) -> None:
    """In the mean of its last quarter, at the control of the loop without noise."""
    net, controller = DeepNetwork.initialize(SIZES, seed=1, tau_apical=0.1), PI(k_p=0.5, leak=0.01)
    loop = loop_of(net, law, controller, integrator=Sequential(noise=NOISES[kind]))
    lesson = lesson_of(net, 6, dt=0.05, steps=300)
    proposal = law.propose(loop, lesson)
    assert proposal.converged.all()
    assert not proposal.diverged.any()
    silent = lesson.simulate(loop_of(net, law, controller))
    np.testing.assert_allclose(proposal.control, silent.final["u"], rtol=0, atol=0.005)
    assert not law.propose(loop, replace(lesson, steps=3)).converged.any()


def test_verdict_on_a_noisy_loop() -> None:
    """By its definition, from the recorded signals, with samples on both sides of both bounds."""
    gaps: list[float] = []
    for seed in (4, 7):
        net = misguided(seed)
        lesson, leak = lesson_of(net, 8, dt=0.05, steps=101), 0.1
        loop = loop_of(net, DFC(), PI(leak=leak), integrator=Sequential(noise=WhiteNoise(sigma=0.01)))
        response = lesson.simulate(loop, record=("u", "e"))
        u, e = response.u[-25:].mean(axis=0), response.e[-25:].mean(axis=0)
        np.testing.assert_allclose(steady_control(loop, response), u, atol=1e-14)
        gap = np.linalg.norm(e - leak * u, axis=1) / np.linalg.norm(lesson.output, axis=1)
        verdict = Convergence.of(loop, lesson, response)
        assert verdict.converged.tolist() == (gap < 0.01).tolist()
        assert verdict.diverged.tolist() == (gap > 1).tolist()
        gaps += gap.tolist()
    assert min(gaps) < 0.01 < sorted(gaps)[4] < 0.02 < 0.7 < sorted(gaps)[-2] < 1 < max(gaps)
