"""Plants near a state: their matrices against differences of their kernels, and how good the differences are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet import kernel
from controlnet.base import AbstractPlant, Array
from controlnet.controllers import PI, PID, Integral, Proportional
from controlnet.errors import InputError
from controlnet.linear import Linear, controller_step, derivative, linear_controller, linear_plant, plant_step
from controlnet.plants import DeepNetwork, LinearPlant, Pendulum

SIZES, BATCH = (3, 4, 3, 2), 3
TIMES = {"tau_apical": (None, 0.15), "tau_control": (None, 0.3)}
DYNAMICS: list[dict[str, Any]] = [
    {"soma": soma, "tau_apical": apical, "tau_control": filtered}
    for soma, apical, filtered in product(("dynamic", "instantaneous"), *TIMES.values())
]
ACTIVATIONS = ["tanh", "softplus", "sigmoid", "linear", "relu"]
A, B = np.array([[-1.0, 0.5], [0.2, -2.0]]), np.array([[1.0, 0.3], [0.0, 1.5]])
C, D = np.array([[1.0, -0.4], [0.3, 1.0]]), np.array([[0.2, 0.0], [-0.7, 0.4]])
OTHERS = {
    "linear": LinearPlant(A, B, C),
    "linear with feedthrough": LinearPlant(A, B, C, D),
    "pendulum": Pendulum(length=0.7, damping=0.3),
}


def network(activation: str = "tanh", **options: Any) -> DeepNetwork:
    """Give a network with biases, whose feedback weights are no product of the others."""
    net = DeepNetwork.initialize(
        SIZES, activation=activation, **{"feedback": "random", "feedback_noise": 0.3, "seed": 3} | options
    )
    rng = np.random.default_rng(4)
    return net.with_parameters({f"b{i}": rng.normal(size=bias.shape) for i, bias in enumerate(net.biases)})


def somewhere(plant: AbstractPlant, seed: int = 0) -> tuple[Array, Array, Array]:
    """Draw state, control and input: no rest."""
    rng = np.random.default_rng(seed)
    x, u, w = (rng.normal(size=(BATCH, n)) for n in (plant.nstates, plant.ninputs, plant.nexogenous))
    return x.astype(plant.dtype), u.astype(plant.dtype), w.astype(plant.dtype)


def resting(plant: AbstractPlant, seed: int = 0) -> tuple[Array, Array, Array]:
    _, u, w = somewhere(plant, seed)
    return plant.at_rest(u, w).x, u, w


def assert_same(found: Linear, expected: Linear, atol: float) -> None:
    for name in "ABCD":
        one, other = getattr(found, name), getattr(expected, name)
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("options", DYNAMICS, ids=lambda options: "-".join(map(str, options.values())))
def test_network(options: dict[str, Any], activation: str) -> None:
    net = network(activation, **options)
    at = somewhere(net)
    found, differences = net.linearize(*at), linear_plant(net, *at)
    assert_same(found, differences, 1e-9)
    assert found.A.shape == (BATCH, net.nstates, net.nstates)
    np.testing.assert_array_equal(found.error, 0)
    assert differences.error.shape == (BATCH,)


@pytest.mark.parametrize("name", OTHERS)
def test_other_plants(name: str) -> None:
    plant = OTHERS[name]
    at = somewhere(plant)
    found = plant.linearize(*at)
    assert_same(found, linear_plant(plant, *at), 1e-9)
    np.testing.assert_array_equal(found.error, 0)


@pytest.mark.parametrize("times", list(product(*TIMES.values())))
def test_feedback_through_the_jacobian(times: tuple[Any, Any]) -> None:
    """Where the layers are linear J^T is a constant Q; else A has also what J changes with the state."""
    options = {"tau_apical": times[0], "tau_control": times[1]}
    linear = network("linear", feedback="jacobian-transpose", **options)
    at = somewhere(linear)
    J = linear.jacobian([np.zeros((1, n)) for n in SIZES[1:]])[0]
    same = DeepNetwork(
        linear.weights, linear.biases, tuple(np.split(J.T, [4, 7])), linear.activations, linear.tau_v, *times
    )
    assert_same(linear.linearize(*at), same.linearize(*at), 1e-9)
    bent = network("tanh", feedback="jacobian-transpose", **options)
    found = bent.linearize(*at)
    if times == (None, None):
        J = bent.jacobian(np.split(at[0], [4, 7], axis=1))
        np.testing.assert_allclose(found.B, J.swapaxes(1, 2) / bent.tau_v, rtol=0, atol=1e-9)
    assert (found.error < 1e-4).all()
    assert (found.error > 0).all()


@pytest.mark.parametrize("options", DYNAMICS, ids=lambda options: "-".join(map(str, options.values())))
def test_single_precision(options: dict[str, Any]) -> None:
    single, double = (network(dtype=dtype, **options) for dtype in (np.float32, np.float64))
    at = somewhere(single)
    found, differences = single.linearize(*at), linear_plant(single, *at)
    assert {getattr(found, name).dtype for name in "ABCD"} == {np.dtype(np.float32)}
    assert_same(found, double.linearize(*(part.astype(float) for part in at)), 3e-6)
    for name in "ABCD":
        wrong = np.abs(getattr(differences, name) - getattr(found, name)).max(axis=(1, 2), initial=0)
        assert (wrong <= differences.error + 2e-4).all()


STEPPED = [*({**options, "transmission": "instantaneous"} for options in DYNAMICS)]
STEPPED += [{**options, "transmission": "delayed"} for options in DYNAMICS if options["soma"] == "dynamic"]


@pytest.mark.parametrize("options", STEPPED, ids=lambda options: "-".join(map(str, options.values())))
def test_step_of_a_network_at_rest(options: dict[str, Any]) -> None:
    net = network("tanh", **options)
    at = resting(net)
    found = net.linearize_step(0.05, *at)
    assert_same(found, plant_step(net, 0.05, *at), 1e-9)
    if options["transmission"] == "delayed":  # then no new rates are used, and the matrices hold anywhere
        at = somewhere(net)
        assert_same(net.linearize_step(0.05, *at), plant_step(net, 0.05, *at), 1e-9)


@pytest.mark.parametrize("options", STEPPED[:4], ids=lambda options: "-".join(map(str, options.values())))
def test_short_steps_follow_the_dynamics(options: dict[str, Any]) -> None:
    net, dt = network("tanh", **options), 1e-6
    at = resting(net)
    step, rates = net.linearize_step(dt, *at), net.linearize(*at)
    np.testing.assert_allclose((step.A - np.eye(net.nstates)) / dt, rates.A, rtol=0, atol=3e-4)
    # Soma, apical compartment and filter follow each other within a step.
    np.testing.assert_allclose(step.B / dt, rates.B, rtol=0, atol=3e-4)


def test_step_of_a_linear_plant() -> None:
    plant, dt = OTHERS["linear with feedthrough"], 0.1
    found = plant.linearize_step(dt, *somewhere(plant))
    F, G = np.eye(2) + dt * A, dt * B
    expected = Linear(*(np.stack([matrix] * BATCH) for matrix in (F, G, C @ F, C @ G + D)), np.zeros(BATCH))
    assert_same(found, expected, 1e-11)


def test_instantaneous_somas_transmit_at_once() -> None:
    with pytest.raises(InputError, match="an instantaneous soma needs instantaneous transmission"):
        network(soma="instantaneous", transmission="delayed")


@pytest.mark.parametrize("options", DYNAMICS, ids=lambda options: "-".join(map(str, options.values())))
def test_names_of_states(options: dict[str, Any]) -> None:
    net = network(**options)
    names = net.state_names
    assert len(names) == len(set(names)) == net.nstates
    kinds = {"v": options["soma"] == "dynamic", "v_apical": options["tau_apical"] is not None}
    expected = [f"{kind}{i}[{j}]" for kind, there in kinds.items() if there for i in (1, 2, 3) for j in range(SIZES[i])]
    expected += [f"u_filtered[{j}]" for j in range(2)] if options["tau_control"] else []
    assert names == tuple(expected)


def test_names_of_states_of_others() -> None:
    assert OTHERS["linear"].state_names == ("x[0]", "x[1]")
    assert OTHERS["pendulum"].state_names == ("angle", "rate")


class BentParams(NamedTuple):
    """What the kernels know."""

    a: float
    b: float


@kernel
def _bent_dynamics(t: float, x: Any, u: Any, w: Any, p: BentParams, dx: Any) -> None:
    for s in range(x.shape[1]):
        dx[0, s] = np.sin(p.a * x[0, s]) + x[1, s] ** 5
        dx[1, s] = np.exp(p.b * x[0, s]) * u[0, s] + w[0, s] * x[1, s]


@kernel
def _bent_output(t: float, x: Any, u: Any, w: Any, p: BentParams, y: Any) -> None:
    for s in range(x.shape[1]):
        y[0, s] = x[0, s] * x[1, s] + np.cos(p.b * u[0, s])


@dataclass(frozen=True)
class Bent(AbstractPlant):
    """A plant of one's own, smooth, that leaves its derivatives to differences."""

    a: float = 1.0
    b: float = 0.5
    nstates, ninputs, noutputs, nexogenous, feedthrough = 2, 1, 1, 1, True
    dynamics, output = staticmethod(_bent_dynamics), staticmethod(_bent_output)

    def params(self, batch: int) -> BentParams:
        return BentParams(self.a, self.b)

    def exact(self, x: Array, u: Array, w: Array) -> Linear:
        """Give its derivatives, found by hand."""
        (x0, x1), u0, w0, zero = x.T, u[:, 0], w[:, 0], np.zeros(len(x))
        growth = np.exp(self.b * x0)
        rows = [[self.a * np.cos(self.a * x0), 5 * x1**4], [self.b * growth * u0, w0]]
        inner = np.array([[zero], [growth]]).transpose(2, 0, 1)
        outer = -self.b * np.sin(self.b * u0)[:, np.newaxis, np.newaxis]
        return Linear(np.array(rows).transpose(2, 0, 1), inner, np.stack([x1, x0], axis=1)[:, np.newaxis], outer, zero)


@given(seed=st.integers(0, 2**16), a=st.floats(0.3, 3), b=st.floats(0.1, 2), spread=st.floats(0.1, 2))
def test_differences_know_their_error(seed: int, a: float, b: float, spread: float) -> None:
    plant, rng = Bent(a, b), np.random.default_rng(seed)
    x, u, w = spread * rng.normal(size=(8, 2)), rng.normal(size=(8, 1)), rng.normal(size=(8, 1))
    found, exact = plant.linearize(x, u, w), plant.exact(x, u, w)
    wrong = np.max([np.abs(getattr(found, n) - getattr(exact, n)).max(axis=(1, 2)) for n in "ABCD"], axis=0)
    largest = np.max([np.abs(getattr(exact, n)).max(axis=(1, 2)) for n in "ABCD"], axis=0)
    rounding = 1e-11 * (1 + largest)
    assert (wrong <= found.error + rounding).all()
    # The bound is that of the second order, from which the result is one extrapolation away.
    assert (wrong <= 1e-4 * found.error + rounding).all()
    assert (found.error < 1e-4 * (1 + largest)).all()


def test_step_of_a_plant_of_ones_own() -> None:
    plant, dt = Bent(), 0.05
    at = somewhere(plant)
    found, rates = plant.linearize_step(dt, *at), plant.exact(*at)
    np.testing.assert_allclose(found.A, np.eye(2) + dt * rates.A, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.B, dt * rates.B, rtol=0, atol=1e-9)


@given(
    at=st.lists(st.floats(-5, 5), min_size=1, max_size=4),
    coefficients=st.lists(st.floats(-3, 3), min_size=5, max_size=5),
)
def test_derivative_of_polynomials(at: list[float], coefficients: list[float]) -> None:
    """Exact up to the fourth degree; the estimate is what the third and fourth do to differences of second order."""
    points, polynomial = np.array(at), np.polynomial.Polynomial(coefficients)
    found, error = derivative(lambda x: polynomial(x), points[np.newaxis])
    slope, third = polynomial.deriv()(points), polynomial.deriv(3)(points)
    rounding = 1e-11 * (1 + np.abs(coefficients).sum() * np.maximum(1, np.abs(points)) ** 4)
    assert found.shape == (len(at), 1, 1)
    assert (np.abs(found[:, 0, 0] - slope) <= rounding).all()
    steps = np.finfo(float).eps ** 0.2 * np.maximum(1, np.abs(points))
    assert (np.abs(error - np.abs(third) * steps**2 / 24) <= rounding).all()


def test_derivative_has_a_row_for_each_output_and_a_column_for_each_input() -> None:
    matrix = np.arange(6.0).reshape(2, 3)
    found, error = derivative(lambda x: matrix @ x, np.ones((3, 4)))
    np.testing.assert_allclose(found, np.stack([matrix] * 4), rtol=0, atol=1e-11)
    assert (error < 1e-11).all()
    nothing, none = derivative(lambda x: np.ones((2, 4)), np.ones((0, 4)))
    assert nothing.shape == (4, 2, 0)
    np.testing.assert_array_equal(none, np.zeros(4))


CONTROLLERS: dict[str, tuple[Any, Array]] = {
    "proportional": (Proportional(1.5), np.array([[1.5]])),
    "integral": (Integral(k_i=0.8, leak=0.3), np.array([[-0.3, 0.8], [1, 0]])),
    "leak on the control": (PI(k_p=1.5, k_i=0.8, leak=0.3), np.array([[-0.3, 0.8 - 0.3 * 1.5], [1, 1.5]])),
    "leak on the integral": (
        PI(k_p=1.5, k_i=0.8, leak=0.3, leak_on="integral"),
        np.array([[-0.3, 0.8], [1, 1.5]]),
    ),
    "pid": (
        PID(k_p=1.5, k_i=0.8, k_d=0.6, derivative_filter=0.2),
        np.array([[0, 0, 0.8], [0, -5, 5], [1, -3, 1.5 + 3]]),
    ),
}


@pytest.mark.parametrize("name", CONTROLLERS)
def test_controllers(name: str) -> None:
    """[[A, B], [C, D]] by hand."""
    controller, expected = CONTROLLERS[name]
    rng, n = np.random.default_rng(0), controller.nstates(1)
    found = linear_controller(controller, rng.normal(size=(2, n)), rng.normal(size=(2, 1)))
    joined = np.block([[found.A, found.B], [found.C, found.D]])
    np.testing.assert_allclose(joined, np.stack([expected] * 2), rtol=0, atol=1e-10)
    assert (found.error < 1e-10).all()


def test_a_limited_control_does_not_move() -> None:
    controller = PID(k_p=2.0, k_i=1.0, k_d=0.5, lower=-1.0, upper=1.0, tracking_time=0.5)
    found = linear_controller(controller, np.zeros((1, 2)), np.array([[3.0]]))
    np.testing.assert_array_equal(found.C, 0)
    np.testing.assert_array_equal(found.D, 0)
    np.testing.assert_allclose(found.A[0, 0], [-2, 2 * 0.5 / 0.01], rtol=1e-9)


def test_steps_of_controllers() -> None:
    """Explicit Euler, and the derivative's filter by implicit Euler; with respect to z, e and u."""
    z, e, u, dt = np.zeros((1, 2)), np.ones((1, 1)), np.ones((1, 1)), 0.1
    pid, _ = controller_step(PID(k_p=1.5, k_i=0.8, k_d=0.6, derivative_filter=0.2), dt, z, e, u)
    gain = 0.5 / 1.5
    np.testing.assert_allclose(pid[0], [[1, 0, 0.08, 0], [0, 1 - gain, gain, 0]], rtol=0, atol=1e-11)
    pi, _ = controller_step(PI(k_p=1.5, k_i=0.8, leak=0.3), dt, z[:, :1], e, u)
    np.testing.assert_allclose(pi[0], [[1, 0.08, -0.03]], rtol=0, atol=1e-11)
