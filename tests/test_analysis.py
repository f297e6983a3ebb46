"""Looking at networks: Jacobians, condition 2, the linearised loop and its stability, angles of feedback weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop
from controlnet.analysis import angle, condition_two, feedback_angle, jacobian, loop_matrices, spectral_abscissa
from controlnet.base import Array
from controlnet.controllers import PI, Integral
from controlnet.errors import InputError
from controlnet.integrators import Euler
from controlnet.plants import DeepNetwork

SIZES, NEURONS = (3, 5, 4, 2), 11
STEP = 1e-6
ACTIVATIONS = ["tanh", "softplus", "sigmoid", "linear"]


def network(activation: str = "tanh", seed: int = 1, **options: Any) -> DeepNetwork:
    return DeepNetwork.initialize(
        SIZES, activation=activation, **{"feedback": "random", "feedback_noise": 0.2, "seed": seed} | options
    )


def state(batch: int = 3, seed: int = 0) -> list[Array]:
    """Draw voltages that are not those of the feed-forward pass."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(batch, n)) for n in SIZES[1:]]


def split(array: Array) -> list[Array]:
    return np.split(array, [5, 9], axis=-1)


def difference(function: Any, x: Array) -> Array:
    """Give the derivative (batch, rows, columns) of a function of rows, by central differences."""
    return np.stack(
        [(function(x + STEP * unit) - function(x - STEP * unit)) / (2 * STEP) for unit in np.eye(x.shape[1])], axis=2
    )


@pytest.mark.parametrize("of", ["voltages", "rates"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jacobian(activation: str, of: Any) -> None:
    """Against small shifts of the voltages, or of the rates, of one layer that the layers above pass on."""
    net, voltages = network(activation), state()

    def output(shift: Array) -> Array:
        """Give the output when each layer stands at its voltages plus what the shifts below make of it."""
        rates = net.rates(voltages)
        passed = np.zeros_like(voltages[0])
        for i, (v, s) in enumerate(zip(voltages, split(shift), strict=True)):
            before = passed @ net.weights[i].T if i else np.zeros_like(v)
            moved = before + s if of == "voltages" else before
            passed = net.rates([*voltages[:i], v + moved, *voltages[i + 1 :]])[i] - rates[i]
            passed = passed if of == "voltages" else passed + s
        return passed

    expected = difference(output, np.zeros((3, NEURONS)))
    np.testing.assert_allclose(jacobian(net, voltages, of), expected, rtol=0, atol=1e-8)


def test_jacobians_agree_where_phi_is_linear() -> None:
    net = network("linear")
    assert np.array_equal(jacobian(net, state(), "rates"), jacobian(net, state()))


def test_jacobian_of_what() -> None:
    with pytest.raises(InputError, match="jacobian of: expected voltages or rates, got 'weights'"):
        jacobian(network(), state(), of="weights")  # type: ignore[arg-type]


@given(seed=st.integers(0, 2**16))
def test_condition_two_is_the_share_of_Q_in_the_row_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    J, Q = rng.normal(size=(3, 2, NEURONS)), rng.normal(size=(NEURONS, 2))
    found = condition_two(J, Q)
    for each, share in zip(J, found, strict=True):
        basis = np.linalg.qr(each.T)[0]
        assert share == pytest.approx(np.linalg.norm(basis.T @ Q) / np.linalg.norm(Q), rel=1e-10)
        assert condition_two(each[np.newaxis], each.T @ rng.normal(size=(2, 2)))[0] == pytest.approx(1, abs=1e-12)
        outside = Q - basis @ (basis.T @ Q)
        assert condition_two(each[np.newaxis], outside)[0] < 1e-7
    assert (found > 0).all()
    assert (found < 1).all()
    mixed = condition_two(rng.normal(size=(2, 2)) @ J, -3 * Q)
    np.testing.assert_allclose(mixed, found, rtol=1e-6)


def test_condition_two_of_random_weights() -> None:
    """About the root of n_L / n; in a small network with its identity at the output somewhat more."""
    rng = np.random.default_rng(0)
    J, Q = rng.normal(size=(50, 10, 400)), rng.normal(size=(400, 10))
    assert condition_two(J, Q).mean() == pytest.approx(np.sqrt(10 / 400), rel=0.05)
    net = network()
    shares = condition_two(net.jacobian(state()), net.stacked_feedback())
    assert ((shares > 0.1) & (shares < 0.9)).all()


def test_condition_two_holds_for_linear_networks_with_weight_product() -> None:
    net = network("linear", feedback="weight-product", feedback_noise=0.0)
    np.testing.assert_allclose(condition_two(net.jacobian(state()), net.stacked_feedback()), 1, atol=1e-12)


LEAK, K_P = 0.3, 0.4
MATRICES = ("separated", "integral", "steady", "proportional-integral")


def one_minus_forward(net: DeepNetwork, voltages: list[Array]) -> Array:
    """Give I - F: how the voltages of a layer, less what the layer below passes on, depend on all voltages."""

    def own(v: Array) -> Array:
        layers = split(v)
        passed = [
            np.zeros_like(layers[0]),
            *(r @ w.T for r, w in zip(net.rates(layers), net.weights[1:], strict=False)),
        ]
        return v - np.concatenate(passed, axis=1)

    return difference(own, np.concatenate(voltages, axis=1))


def vector_field(net: DeepNetwork, x: Array, u: Array) -> Array:
    """Give dv/dt of the network by its kernels."""
    out, y, w, p = np.zeros_like(x.T), np.zeros_like(u.T), np.zeros((SIZES[0], len(x))), net.params(len(x))
    net.set_input(w, p)
    net.output(0.0, x.T.copy(), u.T.copy(), w, p, y)
    net.set_control(x.T.copy(), u.T.copy(), p)
    net.dynamics(0.0, x.T.copy(), u.T.copy(), w, p, out)
    return out.T


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_integral_matrix_is_the_derivative_of_the_loop(activation: str) -> None:
    net, voltages = network(activation, tau_v=0.13), state()
    v, u = np.concatenate(voltages, axis=1), np.random.default_rng(1).normal(size=(3, 2))
    rows = [
        difference(lambda x: vector_field(net, x, u), v),
        difference(lambda u: vector_field(net, v, u), u),
        difference(lambda x: -x[:, 9:], v),
        difference(lambda u: -LEAK * u, u),
    ]
    expected = np.concatenate([np.concatenate(rows[:2], axis=2), np.concatenate(rows[2:], axis=2)], axis=1)
    np.testing.assert_allclose(loop_matrices(net, voltages, leak=LEAK)["integral"], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_separated_matrix_is_the_derivative_of_the_network_at_rest(activation: str) -> None:
    net, u = network(activation), np.random.default_rng(1).normal(size=(3, 2))
    x = np.random.default_rng(2).normal(size=(3, SIZES[0]))
    voltages = net.voltages(x, split(u @ net.stacked_feedback().T))
    expected = difference(lambda u: -net.at_rest(u, x).y - LEAK * u, u)
    np.testing.assert_allclose(loop_matrices(net, voltages, leak=LEAK)["separated"], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_matrices_are_one_loop_in_two_coordinates(activation: str) -> None:
    """With T = I - F on the voltages, `steady` is T `integral` T^-1; `proportional-integral` is it for k_p = 0."""
    net, voltages = network(activation), state()
    T = np.tile(np.eye(NEURONS + 2), (3, 1, 1))
    T[:, :NEURONS, :NEURONS] = one_minus_forward(net, voltages)
    plain, pi = (loop_matrices(net, voltages, leak=LEAK, k_p=k_p) for k_p in (0.0, K_P))
    expected = T @ plain["integral"] @ np.linalg.inv(T)
    np.testing.assert_allclose(plain["steady"], expected, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(plain["proportional-integral"], plain["steady"])
    for name in MATRICES[:3]:
        np.testing.assert_array_equal(pi[name], plain[name])


@pytest.mark.parametrize("name", MATRICES)
def test_linear_loop_follows_its_matrix(name: str) -> None:
    """Deviations from the equilibrium are multiplied by 1 + dt M at every step of Euler's method, u included."""
    separated, dt, steps = name == "separated", 0.01, 40
    net = network("linear", soma="instantaneous" if separated else "dynamic", tau_v=0.13)
    controller = PI(k_p=K_P if name == "proportional-integral" else 0.0, leak=LEAK)
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(3, SIZES[0])), rng.normal(size=(3, 2))
    loop = ClosedLoop(net, controller, integrator=Euler(), compiled=False)
    start = None if separated else rng.normal(size=(3, NEURONS))
    response = loop.simulate(r, inputs=x, dt=dt, steps=steps, initial_state=start, record=("x", "u"))
    rest = loop.equilibrium(r, inputs=x)
    M = loop_matrices(net, state(), leak=LEAK, k_p=K_P)[name]
    deviation = response.u - rest.u
    if not separated:
        own = response.x - rest.x
        if name != "integral":
            own = np.einsum("bij,tbj->tbi", one_minus_forward(net, state()), own)
        deviation = np.concatenate([own, deviation], axis=2)
    expected = deviation[0]
    for k in range(steps + 1):
        np.testing.assert_allclose(deviation[k], expected, rtol=0, atol=1e-8)
        expected = expected + dt * np.einsum("bij,bj->bi", M, expected)


@given(seed=st.integers(0, 2**16), turns=st.lists(st.floats(-2, 2), min_size=1, max_size=4))
def test_spectral_abscissa(seed: int, turns: list[float]) -> None:
    """The largest real part of known eigenvalues a +- ib, hidden by a change of coordinates."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((2 * len(turns), 2 * len(turns)))
    for i, a in enumerate(turns):
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[a, -3.0 - i], [3.0 + i, a]]
    basis = np.linalg.qr(rng.normal(size=matrix.shape))[0]
    hidden = basis @ matrix @ basis.T
    found = spectral_abscissa(np.stack([hidden, hidden - np.eye(len(matrix))]))
    np.testing.assert_allclose(found, [max(turns), max(turns) - 1], rtol=0, atol=1e-9)
    assert found.dtype == np.float64


@given(seed=st.integers(0, 2**16))
def test_separated_loop_is_stable_where_the_equilibrium_says_so(seed: int) -> None:
    rng, net = np.random.default_rng(seed), network(seed=seed)
    net = net.with_parameters({f"Q{i}": 3 * rng.normal(size=q.shape) for i, q in enumerate(net.feedback or ())})
    x, r = rng.normal(size=(4, SIZES[0])), rng.normal(size=(4, 2))
    rest = ClosedLoop(net, Integral(leak=LEAK)).equilibrium(r, inputs=x)
    matrices = loop_matrices(net, split(rest.x), leak=LEAK)["separated"]
    assert rest.stable.tolist() == (spectral_abscissa(matrices) < 0).tolist()


@given(seed=st.integers(0, 2**16), scale=st.floats(0.01, 100))
def test_feedback_angle(seed: int, scale: float) -> None:
    """It depends on directions alone, is turned with both, and is the angle of the arrays as vectors."""
    rng = np.random.default_rng(seed)
    Q, J = rng.normal(size=(NEURONS, 2)), rng.normal(size=(3, NEURONS, 2))
    found = feedback_angle(Q, J)
    np.testing.assert_allclose(feedback_angle(scale * Q, J / scale), found, rtol=1e-10)
    np.testing.assert_allclose(feedback_angle(-Q, J), 180 - found, rtol=1e-10)
    turn, mix = np.linalg.qr(rng.normal(size=(NEURONS, NEURONS)))[0], np.linalg.qr(rng.normal(size=(2, 2)))[0]
    np.testing.assert_allclose(feedback_angle(turn @ Q @ mix, turn @ J @ mix), found, rtol=1e-9)
    np.testing.assert_allclose([angle({"Q": Q}, {"Q": each}) for each in J], found, rtol=1e-9)
    orthogonal = J - (J * Q).sum(axis=(1, 2), keepdims=True) / (Q * Q).sum() * Q
    np.testing.assert_allclose(feedback_angle(Q, orthogonal), 90, rtol=1e-12)
    assert feedback_angle(Q, Q[np.newaxis])[0] < 1e-5
