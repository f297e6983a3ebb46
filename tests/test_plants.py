"""The plants: shapes, Jacobian, rest point, initialisation, bad input; linear plant and pendulum against SciPy."""

from __future__ import annotations

from typing import Any

import control
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from controlnet import ClosedLoop
from controlnet.activations import ACTIVATIONS
from controlnet.base import AbstractPlant, Array
from controlnet.controllers import Proportional
from controlnet.errors import DimensionError, InputError
from controlnet.integrators import RK4
from controlnet.plants import PLANTS, DeepNetwork, LinearPlant, Pendulum
from controlnet.plants.initialization import INITIALIZATIONS, weight_product

SMOOTH = ("linear", "tanh", "sigmoid", "softplus")
W, B, Q = (np.ones((4, 3)), np.ones((2, 4))), (np.ones(4), np.ones(2)), (np.ones((4, 2)), np.eye(2))


def network(**changes: Any) -> DeepNetwork:
    """Build a 3-4-2 network from arrays."""
    return DeepNetwork(**{"weights": W, "biases": B, "feedback": Q, "activations": ("tanh", "linear"), **changes})


def derivative(plant: AbstractPlant, x: Array, u: Array, w: Array) -> Array:
    """Call the kernels of a plant in the order of the loop; x, u, w and the result are batch first."""
    x, u, w = (np.ascontiguousarray(a.T) for a in (x, u, w))
    p, y, dx = plant.params(x.shape[1]), np.empty((plant.noutputs, x.shape[1]), plant.dtype), np.empty_like(x)
    plant.set_input(w, p)
    plant.output(0.0, x, u, w, p, y)
    plant.set_control(x, u, p)
    plant.dynamics(0.0, x, u, w, p, dx)
    return dx.T


def test_registry_matches_the_small_examples(plant: AbstractPlant) -> None:
    assert type(plant) in PLANTS.values()
    x = np.ones((5, plant.nstates))
    assert derivative(plant, x, np.ones((5, plant.ninputs)), np.ones((5, plant.nexogenous))).shape == x.shape
    assert plant.initial_state(np.zeros((5, plant.nexogenous))).shape == x.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", range(1, 6))
def test_network_shapes(depth: int, activation: str, dtype: type) -> None:
    sizes = (3, 5, 4, 6, 5)[:depth] + (2,)
    net = DeepNetwork.initialize(sizes, activation=activation, dtype=dtype, tau_apical=0.5, tau_control=0.3)
    assert (net.sizes, net.nneurons, net.dtype) == (sizes, sum(sizes[1:]), dtype)
    assert (net.nexogenous, net.ninputs, net.noutputs) == (3, 2, 2)
    assert net.nstates == 2 * net.nneurons + 2
    x = np.ones((7, 3), dtype)
    voltages = net.voltages(x)
    assert [v.shape for v in voltages] == [r.shape for r in net.rates(voltages)] == [(7, n) for n in sizes[1:]]
    assert net.jacobian(voltages).shape == (7, 2, net.nneurons)
    assert net.stacked_feedback().shape == (net.nneurons, 2)
    arrays = [*voltages, net.jacobian(voltages), net.predict(x), net.initial_state(x), net.params(7).signals]
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}
    assert len(net.parameters) == 3 * depth


def test_activation_of_each_hidden_layer() -> None:
    net = DeepNetwork.initialize((3, 4, 4, 2), activation=("relu", "sigmoid"))
    assert net.activations == ("relu", "sigmoid", "linear")
    r = net.rates([np.full((1, n), -1.0) for n in (4, 4, 2)])
    np.testing.assert_allclose([layer[0, 0] for layer in r], [0, 1 / (1 + np.e), -1])


@given(depth=st.integers(1, 4), seed=st.integers(0, 2**16), activation=st.sampled_from(SMOOTH))
def test_jacobian(depth: int, seed: int, activation: str) -> None:
    rng = np.random.default_rng(seed)
    sizes = tuple(rng.integers(1, 5, depth + 1))
    net = DeepNetwork.initialize(sizes, activation=activation, seed=seed)
    x, step = rng.normal(size=(2, sizes[0])), 1e-6
    edges = np.cumsum((0, *net.sizes[1:]))

    def output(shift: Array) -> Array:
        parts = [np.tile(shift[a:z], (2, 1)) for a, z in zip(edges[:-1], edges[1:], strict=True)]
        return net.voltages(x, parts)[-1]

    columns = [(output(step * unit) - output(-step * unit)) / (2 * step) for unit in np.eye(net.nneurons)]
    np.testing.assert_allclose(net.jacobian(net.voltages(x)), np.stack(columns, axis=2), atol=1e-8)


@pytest.mark.parametrize("feedback", ["weight-product", "jacobian-transpose"])
@pytest.mark.parametrize("tau_apical", [None, 0.7])
@pytest.mark.parametrize("tau_control", [None, 0.3])
def test_feed_forward_state_is_at_rest(feedback: str, tau_apical: float | None, tau_control: float | None) -> None:
    net = DeepNetwork.initialize((3, 4, 5, 2), feedback=feedback, tau_apical=tau_apical, tau_control=tau_control)
    x = np.random.default_rng(0).normal(size=(6, 3))
    at_rest = derivative(net, net.initial_state(x), np.zeros((6, 2)), x)
    np.testing.assert_allclose(at_rest, np.zeros((6, net.nstates)), atol=1e-13)
    pushed = derivative(net, net.initial_state(x), np.ones((6, 2)), x)
    assert np.abs(pushed).max() > 0.1


def test_jacobian_feedback_is_the_transposed_jacobian() -> None:
    net = DeepNetwork.initialize((3, 4, 5, 2), feedback="jacobian-transpose", tau_v=0.5)
    x, u = np.random.default_rng(0).normal(size=(6, 3)), np.random.default_rng(1).normal(size=(6, 2))
    J = net.jacobian(net.voltages(x))
    expected = np.einsum("bon,bo->bn", J, u) / 0.5
    np.testing.assert_allclose(derivative(net, net.initial_state(x), u, x), expected, atol=1e-12)
    with pytest.raises(InputError, match="no feedback weights Q"):
        net.stacked_feedback()


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_initialization_variance_and_seed(name: str) -> None:
    draw = INITIALIZATIONS[name]
    a, b, c = (draw((200, 300), np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.allclose(a, c)
    variance = 6 / 500 / 300 if name == "orthogonal" else 2 / 500
    assert a.var() == pytest.approx(variance, rel=0.03)
    assert abs(a.mean()) < 4 * np.sqrt(variance / a.size)


def test_uniform_bound() -> None:
    w = INITIALIZATIONS["xavier-uniform"]((200, 300), np.random.default_rng(0))
    assert 0.99 * np.sqrt(6 / 500) < np.abs(w).max() <= np.sqrt(6 / 500)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4)])
def test_orthogonal(shape: tuple[int, int]) -> None:
    w = INITIALIZATIONS["orthogonal"](shape, np.random.default_rng(0))
    gram = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 6 / sum(shape) * np.eye(min(shape)), atol=1e-14)


def test_weight_product() -> None:
    rng = np.random.default_rng(0)
    w = [rng.normal(size=shape) for shape in ((5, 3), (4, 5), (2, 4))]
    q = weight_product(w)
    for got, expected in zip(q, (w[1].T @ w[2].T, w[2].T, np.eye(2)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-14)
    net = DeepNetwork.initialize((3, 5, 4, 2), activation="linear")
    np.testing.assert_allclose(net.jacobian(net.voltages(np.ones((1, 3))))[0].T, net.stacked_feedback(), atol=1e-14)


@pytest.mark.parametrize("feedback", ["weight-product", "random"])
def test_feedback_and_its_noise(feedback: str) -> None:
    sizes, options = (10, 300, 200, 20), {"feedback": feedback, "seed": 3}
    clean, again = (DeepNetwork.initialize(sizes, **options) for _ in range(2))
    noisy = DeepNetwork.initialize(sizes, feedback_noise=0.1, **options)
    assert all(np.array_equal(value, again.parameters[name]) for name, value in clean.parameters.items())
    assert not np.allclose(clean.weights[0], DeepNetwork.initialize(sizes, feedback=feedback, seed=4).weights[0])
    for q, p in zip(clean.feedback[:-1], noisy.feedback[:-1], strict=True):
        assert (p - q).std() == pytest.approx(0.1, rel=0.05)
    assert np.array_equal(noisy.feedback[-1], np.eye(20))


def test_parameters_take_the_precision_of_the_network() -> None:
    for dtype, other in ((np.float64, np.float32), (np.float32, np.float64)):
        net = DeepNetwork.initialize([3, 4, 2], dtype=dtype)
        changed = net.with_parameters({"W0": net.weights[0].astype(other)})
        assert changed.dtype == dtype and {array.dtype for array in changed.parameters.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("inputs", [np.zeros(3), np.zeros((5, 4)), np.zeros((5, 3, 1))])
def test_inputs_that_are_no_batch_for_a_network_are_named(inputs: Array) -> None:
    net = DeepNetwork.initialize([3, 4, 2])
    with pytest.raises(DimensionError, match=r"inputs: expected shape \(batch, 3\), got \("):
        net.predict(inputs)


def test_a_system_of_python_control_is_taken() -> None:
    system = control.ss(control.tf([1, 2], [1, 3, 4]))
    plant = LinearPlant.from_statespace(system)
    assert all(np.array_equal(getattr(plant, name), getattr(system, name)) for name in "ABCD")
    with pytest.raises(InputError, match="continuous time, got one of steps, dt = 0.1"):
        LinearPlant.from_statespace(control.ss(system.A, system.B, system.C, system.D, 0.1))
    with pytest.raises(InputError, match="with A, B, C and D, got one without A, B, C, D"):
        LinearPlant.from_statespace(control.tf([1], [1, 1]))


def test_a_column_and_a_row_may_be_given_as_vectors() -> None:
    short, full = LinearPlant([[0, 1], [-2, -3]], [0, 1], [1, 0]), LinearPlant([[0, 1], [-2, -3]], [[0], [1]], [[1, 0]])
    assert np.array_equal(short.B, full.B) and np.array_equal(short.C, full.C) and np.array_equal(short.D, full.D)


def test_with_parameters_replaces_only_what_is_named() -> None:
    net, new = network(), np.full((4, 3), 7.0)
    changed = net.with_parameters({"W0": new})
    assert np.array_equal(changed.weights[0], new)
    assert np.array_equal(net.weights[0], W[0])
    assert np.array_equal(changed.weights[1], W[1])
    with pytest.raises(InputError, match="no parameter is named X0"):
        net.with_parameters({"X0": new})
    with pytest.raises(InputError, match="Pendulum has no parameters"):
        Pendulum().with_parameters({"W0": new})


def test_a_network_takes_locked_arrays_and_copies_all_others() -> None:
    net, new = network(), np.full((4, 3), 7.0)
    changed = net.with_parameters({"W0": new})
    assert all(changed.parameters[name] is array for name, array in net.parameters.items() if name != "W0")
    new[:] = 0
    assert (changed.weights[0] == 7).all()
    new.flags.writeable = False
    assert net.with_parameters({"W0": new}).weights[0] is new
    larger = np.ones((5, 3))
    view = larger[1:]
    view.flags.writeable = False
    for other in (view, np.asfortranarray(new), np.broadcast_to(0.0, (4, 3))):
        other.flags.writeable = False
        taken = net.with_parameters({"W0": other}).weights[0]
        assert not np.shares_memory(taken, other) and np.array_equal(taken, other)
        assert taken.flags.c_contiguous and not taken.flags.writeable


@pytest.mark.parametrize("value", [1e200, -1e308])
def test_large_numbers_are_finite(value: float) -> None:
    """Although the sum of their squares is not."""
    assert network(biases=(np.full(4, value), np.ones(2))).biases[0][0] == value


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"weights": (np.ones((4, 3)), np.ones((2, 5)))}, DimensionError, r"W1: expected shape \(2, 4\), got \(2, 5\)"),
        ({"biases": (np.ones(4), np.ones(3))}, DimensionError, r"b1: expected shape \(2,\), got \(3,\)"),
        ({"feedback": (np.ones((4, 3)), np.eye(2))}, DimensionError, r"Q0: expected shape \(4, 2\), got \(4, 3\)"),
        ({"biases": (np.ones(4),)}, DimensionError, "biases: expected one for each of 2 layers, got 1"),
        ({"activations": ("tanh",)}, DimensionError, "activations: expected one for each of 2 layers, got 1"),
        ({"biases": (np.full(4, np.nan), np.ones(2))}, InputError, "b0: expected finite numbers"),
        ({"weights": (np.ones((4, 3), int), np.ones((2, 4), int))}, InputError, "expected weights of type float64"),
        ({"activations": ("gelu", "linear")}, InputError, "activation: expected one of .* got 'gelu'"),
        ({"activations": ("tanh", "tanh")}, InputError, "linear output layer, got 'tanh'"),
        ({"soma": "slow"}, InputError, "soma: expected one of dynamic, instantaneous, got 'slow'"),
        ({"transmission": "slow"}, InputError, "transmission: expected one of"),
        ({"tau_v": 0.0}, InputError, "tau_v: expected a number > 0, got 0.0"),
        ({"tau_apical": -1.0}, InputError, "tau_apical: expected a number > 0"),
        ({"tau_control": np.inf}, InputError, "tau_control: expected a number > 0"),
        ({"soma": "instantaneous", "feedback": None}, InputError, "needs a dynamic soma"),
        ({"soma": "instantaneous", "transmission": "delayed"}, InputError, "needs instantaneous transmission"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_bad_network(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        network(**changes)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((3,), {}, r"sizes: expected at least two widths >= 1, got \(3,\)"),
        ((3, 0, 2), {}, "sizes"),
        ((3, 4, 2), {"feedback": "none"}, "feedback: expected one of .* got 'none'"),
        ((3, 4, 2), {"initialization": "he"}, "initialization: expected one of .* got 'he'"),
        ((3, 4, 2), {"activation": ("tanh", "tanh")}, "activations: expected one for each of 2 layers, got 3"),
    ],
)
def test_bad_initialization(sizes: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises((DimensionError, InputError), match=message):
        DeepNetwork.initialize(sizes, **options)


A2, B2, C2 = np.array([[0.0, 1.0], [-4.0, -0.8]]), np.array([[0.0], [1.5]]), np.array([[1.0, 0.2]])


def test_linear_plant_without_control() -> None:
    x0 = np.array([[1.0, -0.5], [0.2, 2.0]])
    loop = ClosedLoop(LinearPlant(A2, B2, C2), Proportional(0.0), integrator=RK4(), compiled=False)
    response = loop.simulate([0.0], initial_state=x0, dt=0.01, steps=150)
    np.testing.assert_allclose(response.x[-1], x0 @ expm(1.5 * A2).T, atol=1e-8)
    np.testing.assert_allclose(response.y[-1], response.x[-1] @ C2.T, atol=1e-14)


def test_linear_plant_under_control_and_disturbance() -> None:
    loop = ClosedLoop(LinearPlant(A2, B2, C2), Proportional(2.0), integrator=RK4(), compiled=False)
    response = loop.simulate([1.0], inputs=[0.3, -0.1], dt=0.01, steps=200)
    closed = control.ss(A2 - 2 * B2 @ C2, np.hstack([2 * B2, np.eye(2)]), C2, np.zeros((1, 3)))
    inputs = np.tile([[1.0], [0.3], [-0.1]], (1, 201))
    expected = control.forced_response(closed, response.t, inputs)
    np.testing.assert_allclose(response.y[:, 0], expected.outputs.T, atol=1e-8)


@pytest.mark.parametrize(
    ("matrices", "error", "message"),
    [
        ({"A": np.ones((2, 3))}, DimensionError, r"LinearPlant.A: expected shape \(2, 2\).*got \(2, 3\)"),
        ({"B": np.ones((3, 1))}, DimensionError, r"LinearPlant.B: expected shape \(2, 1\).*got \(3, 1\)"),
        ({"C": np.ones((1, 3))}, DimensionError, "LinearPlant.C"),
        ({"D": np.ones((2, 1))}, DimensionError, "LinearPlant.D"),
        ({"C": np.array([[np.nan, 0]])}, InputError, "LinearPlant.C: expected finite numbers"),
    ],
)
def test_bad_linear_plant(matrices: dict[str, Array], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LinearPlant(**{"A": A2, "B": B2, "C": C2, **matrices})


def test_pendulum() -> None:
    plant = Pendulum(length=0.7, damping=0.3)
    loop = ClosedLoop(plant, Proportional(0.0), integrator=RK4(), compiled=False)
    response = loop.simulate([0.0], inputs=[0.5], initial_state=[2.0, -1.0], dt=0.005, steps=400)

    def slope(t: float, x: Array) -> list[float]:
        return [x[1], -9.81 / 0.7 * np.sin(x[0]) - 0.3 * x[1] + 0.5]

    exact = solve_ivp(slope, (0, 2), [2.0, -1.0], rtol=1e-11, atol=1e-11, t_eval=response.t)
    np.testing.assert_allclose(response.x[:, 0], exact.y.T, atol=1e-7)


@pytest.mark.parametrize(("name", "value"), [("length", 0.0), ("length", np.nan), ("damping", -0.1)])
def test_bad_pendulum(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"Pendulum.{name}: expected a number"):
        Pendulum(**{name: value})
