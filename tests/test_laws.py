"""The adaptation laws: gradients, alignment of DFC with backpropagation, fixed points, and limits of the updates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, CrossEntropy, Lesson, MeanSquaredError, Nudged, SoftmaxDifference, Strong
from controlnet.activations import ACTIVATIONS, slope
from controlnet.adaptation import DFC, Backprop, analytic_control
from controlnet.adaptation._analytic_control import LARGE, solve_loop
from controlnet.analysis import angle, angles_by_layer
from controlnet.base import AbstractLaw, Array, Parameters
from controlnet.controllers import PI, Integral
from controlnet.errors import DimensionError, InputError
from controlnet.plants import DeepNetwork, LinearPlant

LOSSES = {
    "mse": MeanSquaredError(),
    "cross-entropy": CrossEntropy(),
    "soft cross-entropy": CrossEntropy(0.9),
}
UPDATES = ("continuous", "steady-state", "last-step", "analytic")
RULES = ("nonlinear-difference", "voltage-difference")


def lesson_of(net: DeepNetwork, batch: int, objective: Any = None, seed: int = 0, **grid: Any) -> Lesson:
    """Draw inputs, and classes or target vectors."""
    rng = np.random.default_rng(seed)
    objective = objective or Nudged(MeanSquaredError(), 0.1)
    inputs = rng.normal(size=(batch, net.nexogenous))
    by_class = isinstance(objective.loss, CrossEntropy)
    labels = rng.integers(0, net.noutputs, batch) if by_class else rng.normal(size=(batch, net.noutputs))
    return Lesson(net, inputs, labels, objective, **grid)


def loop_of(net: DeepNetwork, law: AbstractLaw, **controller: float) -> ClosedLoop:
    return ClosedLoop(net, PI(**{"k_p": 1.0, "leak": 0.05, **controller}), law=law, compiled=False)


def change_of(net: DeepNetwork, law: AbstractLaw, lesson: Lesson, **controller: float) -> Parameters:
    return law.propose(loop_of(net, law, **controller), lesson).change


def assert_same(first: Parameters, second: Parameters, tolerance: float) -> None:
    assert first.keys() == second.keys()
    for name, change in first.items():
        np.testing.assert_allclose(change, second[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(sizes=st.lists(st.integers(2, 5), min_size=2, max_size=5), seed=st.integers(0, 2**16))
def test_backprop_is_minus_the_gradient(activation: str, loss: str, sizes: list[int], seed: int) -> None:
    """Along a random direction, so that one difference checks all weights and biases."""
    rng, step = np.random.default_rng(seed), 1e-6
    net = DeepNetwork.initialize(sizes, activation=activation, seed=seed)
    # Biases, because without them a layer above dead ReLUs stands exactly at its kink.
    net = net.with_parameters({f"b{i}": rng.normal(size=n) for i, n in enumerate(sizes[1:])})
    lesson = lesson_of(net, 3, Nudged(LOSSES[loss]), seed)
    change = change_of(net, Backprop(), lesson)
    direction = {name: rng.normal(size=np.shape(value)) for name, value in change.items()}

    def loss_at(scale: float) -> float:
        moved = {name: net.parameters[name] + scale * d for name, d in direction.items()}
        return LOSSES[loss].value(net.with_parameters(moved).predict(lesson.inputs), lesson.labels)

    expected = (loss_at(step) - loss_at(-step)) / (2 * step)
    along = sum(float(np.vdot(change[name], d)) for name, d in direction.items())
    assert -along == pytest.approx(expected, rel=1e-6, abs=1e-7)


LAST_STEP = DFC(update="last-step", rule="voltage-difference")
"""What root finding has not: feedback through the Jacobian."""


@pytest.mark.parametrize("activation", ["tanh", "softplus", "sigmoid"])
def test_weak_nudging_aligns_with_backprop(activation: str) -> None:
    """With one output and one sample u is a number, so J^T u points along the gradient up to terms of order lambda."""
    net = DeepNetwork.initialize((4, 6, 5, 1), activation=activation, feedback="jacobian-transpose", seed=1)
    angles = []
    for stepsize in (1.0, 0.1, 0.01):
        lesson = lesson_of(net, 1, Nudged(MeanSquaredError(), stepsize), dt=0.05, steps=300)
        angles.append(angle(change_of(net, LAST_STEP, lesson), change_of(net, Backprop(), lesson)))
    assert angles[2] < 0.5
    assert angles[1] / angles[2] == pytest.approx(10, rel=0.1)
    assert angles[0] > 5 * angles[1]


def test_strong_leak_aligns_a_batch_with_backprop() -> None:
    """u = (J J^T + alpha I)^-1 (r* - r) goes to (r* - r) / alpha, and J^T (r* - r) is what backpropagation sends."""
    net = DeepNetwork.initialize((4, 6, 5, 3), feedback="jacobian-transpose", seed=1)
    lesson = lesson_of(net, 8, dt=0.05, steps=200)
    bp = change_of(net, Backprop(), lesson)
    strong, weak = (change_of(net, LAST_STEP, lesson, k_p=0.0, k_i=k_i, leak=4.0) for k_i in (0.004, 4.0))
    assert angle(strong, bp) < 0.5 < angle(weak, bp)
    assert max(angles_by_layer(strong, bp).values()) < 0.5


@pytest.mark.parametrize("update", ["steady-state", "last-step"])
def test_nonlinear_rule_carries_the_slope_once_more(update: Any) -> None:
    """phi(v) - phi(v_ff) = phi' (v - v_ff) for weak nudging, and J^T u holds a phi' already."""
    net = DeepNetwork.initialize((4, 6, 5, 3), seed=1)
    lesson = lesson_of(net, 1, Nudged(MeanSquaredError(), 1e-6), dt=0.05, steps=100)
    by_rate, by_voltage = (change_of(net, DFC(update=update, rule=rule), lesson) for rule in RULES)
    for i, v in enumerate(lesson.voltages):
        expected = slope(net.activations[i], v)[0] * by_voltage[f"b{i}"]
        np.testing.assert_allclose(by_rate[f"b{i}"], expected, rtol=1e-5)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("rule", RULES)
@given(seed=st.integers(0, 2**16), sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_controller_at_its_target_changes_nothing(update: str, rule: str, seed: int, sizes: list[int]) -> None:
    net = DeepNetwork.initialize(sizes, seed=seed)
    inputs = np.random.default_rng(seed).normal(size=(3, sizes[0]))
    lesson = Lesson(net, inputs, net.predict(inputs), Nudged(MeanSquaredError(), 0.5), dt=0.05, steps=10)
    change = change_of(net, DFC(update=update, rule=rule), lesson)
    assert_same(change, {name: np.zeros_like(value) for name, value in change.items()}, 1e-12)
    away = replace(lesson, labels=lesson.labels + 1.0)
    assert np.abs(change_of(net, DFC(update=update, rule=rule), away)["b0"]).max() > 1e-5


@pytest.mark.parametrize("law", [Backprop(), *(DFC(update=update) for update in UPDATES)], ids=str)
def test_order_of_the_batch_does_not_matter(law: AbstractLaw) -> None:
    net = DeepNetwork.initialize((4, 6, 5, 3), seed=1)
    lesson = lesson_of(net, 20, dt=0.05, steps=20)
    order = np.random.default_rng(1).permutation(20)
    shuffled = replace(lesson, inputs=lesson.inputs[order], labels=lesson.labels[order])
    assert_same(change_of(net, law, lesson), change_of(net, law, shuffled), 1e-12)


def test_a_batch_is_the_mean_of_its_samples() -> None:
    net = DeepNetwork.initialize((4, 6, 3), seed=1)
    lesson = lesson_of(net, 18, dt=0.05, steps=20)
    parts = [replace(lesson, inputs=lesson.inputs[i : i + 1], labels=lesson.labels[i : i + 1]) for i in range(18)]
    for law in (Backprop(), *(DFC(update=update) for update in UPDATES)):
        each = [change_of(net, law, part) for part in parts]
        mean = {name: sum(one[name] for one in each) / 18 for name in each[0]}
        assert_same(change_of(net, law, lesson), mean, 1e-12)


SETTLED = {"root finding": DFC(update="steady-state", tolerance=1e-12), "last step": DFC(update="last-step")}
"""The steady state to rounding, if the simulation is long; by itself root finding stops at 1e-8."""


@pytest.mark.parametrize("law", SETTLED.values(), ids=list(SETTLED))
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("objective", [Nudged(MeanSquaredError(), 0.2), Strong(CrossEntropy(0.9))], ids=str)
def test_steady_state_is_what_continuous_updates_add_at_rest(rule: Any, objective: Any, law: DFC) -> None:
    """Once the loop has settled, every further step adds the same: (sum to 2N - sum to N) / N."""
    net = DeepNetwork.initialize((4, 6, 5, 3), seed=1)
    n, gains = 300, {"k_i": 4.0, "leak": 2.0}
    lesson = lesson_of(net, 5, objective, dt=0.05, steps=n)
    once, twice = (change_of(net, DFC(rule=rule), replace(lesson, steps=k * n), **gains) for k in (1, 2))
    added = {name: (twice[name] * (2 * n + 1) - once[name] * (n + 1)) / n for name in once}
    assert_same(added, change_of(net, replace(law, rule=rule), lesson, **gains), 1e-9)


def test_rules_agree_where_phi_is_linear() -> None:
    net = DeepNetwork.initialize((4, 6, 5, 3), activation="linear", seed=1)
    lesson = lesson_of(net, 5, dt=0.05, steps=30)
    for update in UPDATES:
        by_rate, by_voltage = (change_of(net, DFC(update=update, rule=rule), lesson) for rule in RULES)
        assert_same(by_rate, by_voltage, 1e-14)


@pytest.mark.parametrize("law", SETTLED.values(), ids=list(SETTLED))
@pytest.mark.parametrize("feedback", ["weight-product", "random"])
def test_analytic_is_steady_state_of_a_linear_network(feedback: str, law: DFC) -> None:
    net = DeepNetwork.initialize((4, 6, 5, 3), activation="linear", feedback=feedback, seed=2)
    lesson = lesson_of(net, 5, dt=0.05, steps=1500)
    leak = 2.0
    loop = loop_of(net, law, leak=leak)
    J, Q = net.jacobian(lesson.voltages)[0], net.stacked_feedback()
    u = np.linalg.solve(J @ Q + leak * np.eye(3), (lesson.reference - lesson.output).T).T
    np.testing.assert_allclose(analytic_control(loop, lesson), u, atol=1e-13)
    simulated = loop.simulate(lesson.reference, inputs=lesson.inputs, dt=0.05, steps=1500, record=())
    np.testing.assert_allclose(simulated.final["u"], u, atol=1e-9)
    assert_same(law.propose(loop, lesson).change, change_of(net, DFC(update="analytic"), lesson, leak=leak), 1e-9)
    shift = u @ Q[:6].T
    np.testing.assert_allclose(law.propose(loop, lesson).change["W0"], 2 / 5 * shift.T @ lesson.inputs, atol=1e-9)


def test_analytic_control_needs_an_invertible_loop() -> None:
    net = DeepNetwork.initialize((4, 6, 3), seed=1)
    dead = net.with_parameters({"Q0": np.zeros((6, 3)), "Q1": np.zeros((3, 3))})
    with pytest.raises(InputError, match="J Q \\+ alpha I is singular: take a leak > 0"):
        change_of(dead, DFC(update="analytic"), lesson_of(dead, 2), leak=0.0)
    through_jacobian = DeepNetwork.initialize((4, 6, 3), feedback="jacobian-transpose")
    with pytest.raises(InputError, match="no feedback weights Q"):
        change_of(through_jacobian, DFC(update="analytic"), lesson_of(through_jacobian, 2))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [2, LARGE - 1, LARGE, 70])
def test_systems_of_every_size_are_solved_or_called_singular(n: int, dtype: str) -> None:
    rng, tolerance = np.random.default_rng(n), 1e-11 if dtype == "float64" else 1e-3
    matrix, right = rng.normal(size=(5, n, n)).astype(dtype), rng.normal(size=(5, n, 1)).astype(dtype)
    found = solve_loop(matrix, right)
    assert found.dtype == dtype
    np.testing.assert_allclose(matrix @ found, right, atol=tolerance * np.abs(found).max())
    np.testing.assert_allclose(
        solve_loop(matrix.swapaxes(1, 2), right), solve_loop(matrix.swapaxes(1, 2).copy(), right)
    )
    matrix[3, :, 0] = matrix[3, :, 1]
    with pytest.raises(InputError, match="singular"):
        solve_loop(matrix, right)
    matrix[3, 0, 0] = np.nan
    with pytest.raises(InputError, match="singular"):
        solve_loop(matrix, right)


@pytest.mark.parametrize("update", ["continuous", "last-step"])
def test_only_converged_samples(update: str) -> None:
    net = DeepNetwork.initialize((4, 6, 3), seed=1)
    law, early = DFC(update=update, converged_only=True), lesson_of(net, 4, dt=0.05, steps=5)
    proposal = law.propose(loop_of(net, law), early)
    assert not proposal.converged.any()
    assert not proposal.diverged.any()
    assert all(not change.any() for change in proposal.change.values())
    late = replace(early, steps=1500)
    proposal = law.propose(loop_of(net, law), late)
    assert proposal.converged.all()
    assert_same(proposal.change, change_of(net, replace(law, converged_only=False), late), 0)


def test_depth_one() -> None:
    """Without hidden layers DFC-SSA is the delta rule: dv = u = (r* - r) / (1 + alpha)."""
    net = DeepNetwork.initialize((4, 3), seed=1)
    lesson = lesson_of(net, 5)
    dfc = change_of(net, DFC(update="analytic"), lesson, leak=1.0)
    expected = (lesson.reference - lesson.output).T @ lesson.inputs / 5
    np.testing.assert_allclose(dfc["W0"], expected, atol=1e-14)
    assert angle(dfc, change_of(net, Backprop(), lesson)) < 1e-6


def test_softmax_difference_drives_the_probabilities() -> None:
    net = DeepNetwork.initialize((4, 6, 3), seed=1)
    lesson = lesson_of(net, 5, Strong(CrossEntropy(0.8)))
    comparator = SoftmaxDifference()
    loop = ClosedLoop(net, Integral(k_i=2.0), comparator=comparator, law=DFC(), compiled=False)
    response = loop.simulate(lesson.reference, inputs=lesson.inputs, dt=0.05, steps=3000, record_every=3000)
    probabilities = np.exp(response.final["y"]) / np.exp(response.final["y"]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, lesson.reference, atol=1e-6)
    np.testing.assert_allclose(response.e[0], comparator.compare(lesson.reference, lesson.output), atol=1e-14)


def numeric_gradient(function: Any, y: Array) -> Array:
    """Give the gradient of a function of rows, by row."""
    step = 1e-6
    columns = [(function(y + step * unit) - function(y - step * unit)) / (2 * step) for unit in np.eye(y.shape[1])]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_gradient_is_per_sample(loss: str) -> None:
    y = np.random.default_rng(0).normal(size=(6, 4))
    labels = np.arange(6) % 4
    each = [numeric_gradient(lambda v, k=k: LOSSES[loss].value(v, labels[k : k + 1]), y[k : k + 1]) for k in range(6)]
    np.testing.assert_allclose(LOSSES[loss].gradient(y, labels), np.vstack(each), atol=1e-8)
    assert LOSSES[loss].value(y, LOSSES[loss].targets(labels, 4)) == LOSSES[loss].value(y, labels)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DFC(update="never"), InputError, "DFC.update: expected one of continuous.* got 'never'"),
        (lambda: DFC(rule="oja"), InputError, "DFC.rule: expected one of nonlinear-difference"),
        (lambda: Nudged(MeanSquaredError(), 0.0), InputError, "Nudged.stepsize: expected a number > 0, got 0.0"),
        (lambda: CrossEntropy(1.5), InputError, r"CrossEntropy.target_value: expected a number in \(0, 1\], got 1.5"),
        (lambda: CrossEntropy().targets(np.array([0, 3]), 3), InputError, "expected classes 0 to 2, got 0 to 3"),
        (lambda: MeanSquaredError().targets(np.ones((2, 4)), 3), DimensionError, "labels: expected 3 columns"),
        (lambda: angle({"W0": np.ones(2)}, {"W1": np.ones(2)}), InputError, "no array in common"),
    ],
)
def test_bad_values(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 30.0, 90.0, 179.999999, 180.0])
def test_angle(degrees: float) -> None:
    a = {"W0": np.array([[2.0, 0.0]]), "b0": np.zeros(1)}
    b = {"W0": 3 * np.array([[np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]]), "b0": np.zeros(1)}
    assert angle(a, b) == pytest.approx(degrees, rel=1e-9, abs=1e-12)
    assert angles_by_layer(a, b)["W0"] == pytest.approx(degrees, rel=1e-9, abs=1e-12)
    assert np.isnan(angles_by_layer(a, b)["b0"])


def test_a_law_refuses_inputs_that_vary_in_time() -> None:
    loop = ClosedLoop(DeepNetwork.initialize((3, 2)), PI(), law=DFC(), compiled=False)
    with pytest.raises(InputError, match="constant in time"):
        loop.simulate([0.0, 0.0], inputs=np.zeros((6, 1, 3)), steps=5)


@pytest.mark.parametrize("name", ["inputs", "labels"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_lesson_holds_finite_numbers(name: str, value: float) -> None:
    given = {"inputs": np.zeros((5, 3)), "labels": np.zeros((5, 2))}
    given[name][3, 1] = value
    with pytest.raises(InputError, match=f"Lesson: {name} hold a NaN or an infinity"):
        Lesson(DeepNetwork.initialize([3, 4, 2]), given["inputs"], given["labels"], Nudged(MeanSquaredError()))


def test_a_lesson_is_for_a_network_of_the_width_of_its_inputs() -> None:
    net, objective = DeepNetwork.initialize([3, 4, 2]), Nudged(MeanSquaredError())
    with pytest.raises(DimensionError, match=r"Lesson: expected inputs \(batch, 3\) and as many labels, got \(5, 4\)"):
        Lesson(net, np.zeros((5, 4)), np.zeros((5, 2)), objective)
    with pytest.raises(InputError, match="Lesson: expected a DeepNetwork as plant, got LinearPlant"):
        Lesson(LinearPlant([[-1.0]], [1.0], [1.0]), np.zeros((5, 1)), np.zeros((5, 1)), objective)
    plain, listed = (Lesson(net, give([[0.1, 0.2, 0.3]]), give([[0.5, 1.0]]), objective) for give in (np.array, list))
    assert np.array_equal(plain.reference, listed.reference)


def test_a_lesson_is_for_one_state_of_the_network() -> None:
    network = DeepNetwork.initialize((3, 2))
    lesson = Lesson(network, np.zeros((1, 3)), np.array([0]), Nudged(CrossEntropy()), steps=2)
    changed = network.with_parameters({"b0": np.ones(2)})
    for law in (DFC(), Backprop()):
        with pytest.raises(InputError, match="make a new Lesson"):
            law.propose(ClosedLoop(changed, PI(), law=law, compiled=False), lesson)


def test_a_network_keeps_its_own_arrays() -> None:
    W = np.ones((2, 3))
    network = DeepNetwork((W,), (np.zeros(2),), (np.eye(2),), ("linear",))
    W[:] = 0
    assert (network.weights[0] == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        network.weights[0][0] = 5
