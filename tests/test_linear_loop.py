"""Loops near their steady state: against python-control, against their kernels, and against what simulations do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import control
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controlnet import ClosedLoop, SoftmaxDifference
from controlnet.analysis import loop_matrices, spectral_abscissa
from controlnet.base import AbstractController, AbstractIntegrator, AbstractPlant, Array
from controlnet.controllers import PI, PID, Integral, Proportional
from controlnet.equilibrium import Equilibrium
from controlnet.errors import DivergedError, InputError
from controlnet.integrators import RK4, AbstractRungeKutta, Euler, Heun, Sequential
from controlnet.linear import Linear
from controlnet.linear_loop import controller_state, linear_loop, step_matrices
from controlnet.plants import DeepNetwork, LinearPlant, Pendulum

S = control.tf("s")
PLANT = control.ss([[0.0, 1.0], [-2.0, -1.2]], [[0.0], [1.5]], [[1.0, 0.3]], [[0.0]])
DIRECT = control.ss(PLANT.A, PLANT.B, PLANT.C, [[0.4]])
LAGS = control.ss([[-1.0, 0.4], [0.2, -0.5]], [[1.0, 0.3], [0.0, 1.0]], np.eye(2), np.zeros((2, 2)))
CONTROLLERS: dict[str, tuple[AbstractController, Any]] = {
    "P": (Proportional(1.7), control.tf([1.7], [1])),
    "I": (Integral(k_i=0.8), 0.8 / S),
    "I, leak": (Integral(k_i=0.8, leak=0.3), 0.8 / (S + 0.3)),
    "PI": (PI(k_p=1.3, k_i=0.8), 1.3 + 0.8 / S),
    "PI, leak on u": (PI(k_p=1.3, k_i=0.8, leak=0.3), (1.3 * S + 0.8) / (S + 0.3)),
    "PI, leak on z": (PI(k_p=1.3, k_i=0.8, leak=0.3, leak_on="integral"), 1.3 + 0.8 / (S + 0.3)),
    "PID": (PID(k_p=1.3, k_i=0.8, k_d=0.6, derivative_filter=0.1), 1.3 + 0.8 / S + 0.6 * S / (1 + 0.1 * S)),
}
FREQUENCIES = (0.0, 0.03, 0.7, 2.0, 30.0)


def plant_of(system: control.StateSpace) -> LinearPlant:
    return LinearPlant(system.A, system.B, system.C, system.D)


def at_rest(plant: AbstractPlant, controller: AbstractController, **parts: Any) -> tuple[ClosedLoop, Equilibrium]:
    loop = ClosedLoop(plant, controller, **parts)
    return loop, loop.equilibrium(np.linspace(0.5, -0.2, plant.noutputs))


def system_of(matrices: Linear, rows: slice = slice(None)) -> control.StateSpace:
    return control.ss(matrices.A[0], matrices.B[0], matrices.C[0][rows], matrices.D[0][rows])


def assert_same_system(found: control.StateSpace, expected: Any) -> None:
    """Compare poles, so that none is hidden, and the response at some frequencies but those of poles."""
    expected = control.ss(expected)
    np.testing.assert_allclose(np.sort_complex(found.poles()), np.sort_complex(expected.poles()), rtol=0, atol=1e-9)
    for w in FREQUENCIES if np.abs(expected.poles()).min(initial=1) > 1e-6 else FREQUENCIES[1:]:
        np.testing.assert_allclose(found(1j * w, squeeze=False), expected(1j * w, squeeze=False), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("plant", [PLANT, DIRECT], ids=["lag", "feedthrough"])
@pytest.mark.parametrize("name", CONTROLLERS)
def test_one_channel(name: str, plant: control.StateSpace) -> None:
    controller, transfer = CONTROLLERS[name]
    parts = linear_loop(*at_rest(plant_of(plant), controller))
    series, closed = control.ss(transfer), parts.closed()
    assert_same_system(system_of(parts.opened()), plant * series)
    assert_same_system(system_of(closed, slice(0, 1)), control.feedback(plant * series, 1))
    assert_same_system(system_of(closed, slice(1, 2)), control.feedback(series, plant))
    assert_same_system(system_of(closed, slice(2, 3)), control.feedback(control.ss([], [], [], [[1]]), plant * series))
    assert (parts.error < 1e-9).all()


@pytest.mark.parametrize("name", CONTROLLERS)
def test_two_channels(name: str) -> None:
    controller, transfer = CONTROLLERS[name]
    channel, eye = control.ss(transfer), control.ss([], [], [], np.eye(2))
    series, parts = LAGS * control.append(channel, channel), linear_loop(*at_rest(plant_of(LAGS), controller))
    assert_same_system(system_of(parts.opened()), series)
    assert_same_system(system_of(parts.closed(), slice(0, 2)), control.feedback(series, eye))
    assert_same_system(system_of(parts.closed(), slice(4, 6)), control.feedback(eye, series))


def network(**options: Any) -> DeepNetwork:
    return DeepNetwork.initialize((3, 5, 4, 2), **{"feedback": "random", "feedback_noise": 0.2, "seed": 1} | options)


def task(batch: int = 3) -> tuple[Array, Array]:
    """Draw references and inputs."""
    rng = np.random.default_rng(7)
    return 0.5 + 0.2 * rng.normal(size=(batch, 2)), rng.normal(size=(batch, 3))


def steady_network(loop: ClosedLoop) -> Equilibrium:
    r, x = task()
    steady = loop.equilibrium(r, inputs=x)
    assert steady.converged.all()
    return steady


@pytest.mark.parametrize("activation", ["tanh", "softplus", "sigmoid", "linear"])
def test_network_under_integral_control(activation: str) -> None:
    net = network(activation=activation, feedback="weight-product", tau_v=0.13)
    loop = ClosedLoop(net, Integral(leak=0.3))
    steady = steady_network(loop)
    expected = loop_matrices(net, np.split(steady.x, [5, 9], axis=1), leak=0.3)["integral"]
    np.testing.assert_allclose(linear_loop(loop, steady).closed().A, expected, rtol=0, atol=1e-12)


LOOPS = {
    "network, soma": ClosedLoop(network(feedback="weight-product"), PI(k_p=0.7, leak=0.1)),
    "network, all compartments": ClosedLoop(
        network(feedback="weight-product", tau_apical=0.3, tau_control=0.1), PI(k_p=0.7, leak=0.1, leak_on="integral")
    ),
    "network, softmax": ClosedLoop(
        network(feedback="weight-product", activation="sigmoid"), PI(k_p=0.7, leak=0.1), comparator=SoftmaxDifference()
    ),
    "network, apical compartments alone": ClosedLoop(
        network(feedback="weight-product", soma="instantaneous", tau_apical=0.3), PID(k_p=0.7, k_i=1.0, k_d=0.1)
    ),
    "network without states": ClosedLoop(
        network(feedback="weight-product", soma="instantaneous"), Integral(k_i=0.8, leak=0.1)
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_parts_join_as_the_kernels_do(name: str) -> None:
    """Differences of the whole loop in (x, z) and r, at the state in which it rests."""
    loop = LOOPS[name]
    steady = steady_network(loop)
    closed = linear_loop(loop, steady).closed()
    e = loop.comparator.compare(steady.reference, steady.y)
    states = np.concatenate([steady.x, controller_state(loop.controller, steady.u, e)], axis=1)
    for i, (s, r) in enumerate(zip(states, steady.reference, strict=True)):
        whole = loop.to_control(steady.inputs[i])
        np.testing.assert_allclose(whole.dynamics(0, s, r), 0, rtol=0, atol=1e-8)
        expected = np.concatenate([steady.y[i], steady.u[i], e[i]])
        np.testing.assert_allclose(whole.output(0, s, r), expected, rtol=0, atol=1e-9)
        linear = whole.linearize(s, r, eps=1e-7)
        for matrix in "ABCD":
            np.testing.assert_allclose(getattr(closed, matrix)[i], getattr(linear, matrix), rtol=0, atol=2e-5)


def test_pendulum_hangs_where_it_is_held() -> None:
    loop = ClosedLoop(Pendulum(damping=0.4), Integral(k_i=0.5), integrator=RK4())
    steady = loop.equilibrium([[0.3], [-1.2]])
    for i, angle in enumerate((0.3, -1.2)):
        expected = [[0, 1, 0], [-9.81 * np.cos(angle), -0.4, 1], [-0.5, 0, 0]]
        np.testing.assert_allclose(linear_loop(loop, steady).closed().A[i], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LOOPS)
def test_sensitivity_and_complement_are_one(name: str) -> None:
    """E y + e = r at every frequency."""
    loop = LOOPS[name]
    parts = linear_loop(loop, steady_network(loop))
    closed = parts.closed()
    for s in (0.0, 0.4j, 3j, 0.5 + 2j):
        through = closed.C @ np.linalg.solve(s * np.eye(closed.A.shape[1]) - closed.A, closed.B) + closed.D
        whole = parts.sensitivity @ through[:, :2] + through[:, 4:]
        np.testing.assert_allclose(whole, np.broadcast_to(np.eye(2), whole.shape), rtol=0, atol=1e-9)


def test_what_is_not_finite_stays_with_its_sample() -> None:
    loop = ClosedLoop(Pendulum(), PI(k_p=1.0, k_i=1.0), integrator=RK4())
    steady = loop.equilibrium([[0.3], [0.4]])
    broken = Equilibrium(**{**vars(steady), "x": steady.x * [[1], [np.nan]], "u": steady.u * [[1], [np.nan]]})
    found, expected = (linear_loop(loop, each).closed().A for each in (broken, steady))
    np.testing.assert_array_equal(found[0], expected[0])
    assert np.isnan(found[1]).any()


@pytest.mark.parametrize("stable", [True, False])
@given(seed=st.integers(0, 2**16), k_p=st.floats(0, 2), k_i=st.floats(0.2, 3), leak=st.floats(0, 0.5))
def test_simulations_grow_or_decay_as_predicted(stable: bool, seed: int, k_p: float, k_i: float, leak: float) -> None:
    """All of a small deviation by its norm; its slowest part, which a left eigenvector picks out, to the very rate."""
    rng = np.random.default_rng(seed)
    own, b = rng.normal(size=(3, 3)) - (2.5 if stable else 1.0) * np.eye(3), rng.normal(size=(3, 1))
    plant = LinearPlant(own, b, b.T + 0.3 * rng.normal(size=(1, 3)))
    loop = ClosedLoop(plant, PI(k_p=k_p, k_i=k_i, leak=leak), integrator=RK4())
    A = linear_loop(loop, loop.equilibrium([0.0])).closed().A
    eigenvalues, vectors = np.linalg.eig(A[0].T)
    abscissa, first = float(spectral_abscissa(A)[0]), int(np.argmax(eigenvalues.real))
    others = eigenvalues.real[np.abs(eigenvalues - eigenvalues[first].conj()) > 1e-9]
    assume((abscissa < -0.1) if stable else (abscissa > 0.1))
    assume((abscissa - others[others < abscissa] > 0.2).all() and np.linalg.cond(vectors) < 50)
    dt = 0.05 / np.abs(eigenvalues).max()
    steps = int(30 / abs(abscissa) / dt)
    start = 1e-3 * rng.normal(size=3)
    response = loop.simulate([0.0], initial_state=start, dt=dt, steps=steps, limit=1e100, record=("x", "y", "u"))
    states = np.concatenate([response.x, response.u + k_p * response.y], axis=2)[:, 0]
    norm = np.linalg.norm(states, axis=1)
    assert norm[-1] < 1e-9 * norm[0] if stable else norm[-1] > 1e9 * norm[0]
    slowest = np.abs(states @ vectors[:, first])
    assert np.log(slowest[-1] / slowest[0]) / response.t[-1] == pytest.approx(abscissa, abs=1e-4)
    late = len(norm) // 2
    rate = np.log(norm[-1] / norm[late]) / (response.t[-1] - response.t[late])
    assert rate == pytest.approx(abscissa, rel=0.2)


@dataclass(frozen=True)
class Ralston(AbstractRungeKutta):
    """A method of one's own, of order 2."""

    def tableau(self) -> tuple[list[float], list[list[float]], list[float]]:
        return [0, 2 / 3], [[0, 0], [2 / 3, 0]], [1 / 4, 3 / 4]


STEPPED = {
    "PI, leak on u": CONTROLLERS["PI, leak on u"][0],
    "PI, leak on z": CONTROLLERS["PI, leak on z"][0],
    "I": CONTROLLERS["I"][0],
    "PID": PID(k_p=0.4, k_i=0.3, k_d=0.2, derivative_filter=0.15),
}


@pytest.mark.parametrize("integrator", [Euler(), Heun(), RK4(), Ralston()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("name", STEPPED)
def test_steps_of_runge_kutta_methods(name: str, integrator: AbstractRungeKutta) -> None:
    loop, steady = at_rest(plant_of(LAGS), STEPPED[name], integrator=integrator, compiled=False)
    dt, e, nz = 0.1, steady.reference - steady.y, loop.controller.nstates(2)
    z = controller_state(loop.controller, steady.u, e)
    start = np.array([1.0, -0.5])
    response = loop.simulate(steady.reference, initial_state=start, dt=dt, steps=30)
    M = step_matrices(loop, steady, dt)[0]
    assert M.shape == (2 + nz, 2 + nz)
    closed = linear_loop(loop, steady).closed()
    deviation = np.concatenate([start - steady.x[0], -z[0]])
    for k in range(31):
        np.testing.assert_allclose(response.x[k, 0], steady.x[0] + deviation[:2], rtol=0, atol=1e-10)
        u = steady.u[0] + closed.C[0, 2:4] @ deviation
        np.testing.assert_allclose(response.u[k, 0], u, rtol=0, atol=1e-10)
        deviation = M @ deviation


@pytest.mark.parametrize("order", ["new", "old"])
@pytest.mark.parametrize("plant", [LAGS, control.ss(LAGS.A, LAGS.B, LAGS.C, [[0.2, 0.0], [-0.1, 0.3]])])
@pytest.mark.parametrize("name", STEPPED)
def test_steps_of_sequential(name: str, plant: control.StateSpace, order: Any) -> None:
    """On (x, y, z, u), which starts with z = 0 and u = 0."""
    loop, steady = at_rest(plant_of(plant), STEPPED[name], integrator=Sequential(control=order), compiled=False)
    dt, z = 0.1, controller_state(loop.controller, steady.u, steady.reference - steady.y)
    start = np.array([1.0, -0.5])
    response = loop.simulate(steady.reference, initial_state=start, dt=dt, steps=30)
    M, rest = step_matrices(loop, steady, dt)[0], np.concatenate([steady.x, steady.y, z, steady.u], axis=1)[0]
    deviation = np.concatenate([start, plant.C @ start, 0 * z[0], [0, 0]]) - rest
    for k in range(31):
        found = np.concatenate([response.x[k, 0], response.y[k, 0], response.u[k, 0]])
        expected = np.delete(rest + deviation, np.s_[4 : 4 + z.shape[1]])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        deviation = M @ deviation


SEQUENTIAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "soma": ({}, {}),
    "old control": ({}, {"integrator": Sequential(control="old")}),
    "apical compartment": ({"tau_apical": 0.1}, {}),
    "filtered control": ({"tau_apical": 0.07, "tau_control": 0.06, "tau_v": 0.1}, {}),
    "delayed": ({"transmission": "delayed", "tau_apical": 0.1}, {}),
    "instantaneous": ({"soma": "instantaneous"}, {}),
    "linear": ({"activation": "linear"}, {}),
    "softmax": ({}, {"comparator": SoftmaxDifference()}),
}


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_networks_settle_at_the_predicted_rate(name: str) -> None:
    """The slowest part of small deviations, which a left eigenvector picks out, shrinks by the largest eigenvalue."""
    options, parts = SEQUENTIAL[name]
    net = network(**{"feedback": "weight-product", **options})
    loop = ClosedLoop(net, Integral(leak=0.5), **parts, compiled=False)
    steady, (r, x), dt = steady_network(loop), task(), 0.05
    response = loop.simulate(r, inputs=x, dt=dt, steps=600, record=("x", "y", "u"))
    states = np.concatenate([response.x - steady.x, response.y - steady.y, *[response.u - steady.u] * 2], axis=2)
    for i, M in enumerate(step_matrices(loop, steady, dt)):
        eigenvalues, vectors = np.linalg.eig(M.T)
        first = int(np.argmax(np.abs(eigenvalues)))
        start = int(np.argmax(np.abs(states[:, i]).max(axis=1) < 1e-5))
        assert start > 0
        slowest = states[start : start + 20, i] @ vectors[:, first]
        np.testing.assert_allclose(slowest[1:] / slowest[:-1], eigenvalues[first], rtol=1e-4)


def oscillator(k_i: float, integrator: Any) -> tuple[ClosedLoop, Equilibrium]:
    """Two lags of one second under integral control, stable in continuous time up to k_i = 2."""
    plant = LinearPlant([[-1, 0], [1, -1]], [[1], [0]], [[0, 1]])
    return at_rest(plant, Integral(k_i=k_i), integrator=integrator, compiled=False)


@pytest.mark.parametrize("integrator", [Euler(), Sequential(), Sequential(control="old")], ids=str)
def test_a_step_size_can_make_a_loop_unstable(integrator: Any) -> None:
    loop, steady = oscillator(1.0, integrator)
    assert spectral_abscissa(linear_loop(loop, steady).closed().A) < 0
    radius = {dt: np.abs(np.linalg.eigvals(step_matrices(loop, steady, dt))).max() for dt in (0.05, 1.2)}
    assert radius[0.05] < 1 < radius[1.2]
    assert np.abs(loop.simulate([0.5], dt=0.05, steps=4000, record="y").y[-1] - 0.5).max() < 1e-6
    with pytest.raises(DivergedError):
        loop.simulate([0.5], dt=1.2, steps=4000)


def test_a_step_size_can_make_a_loop_stable() -> None:
    """RK4 damps what turns by more than a radian a step."""
    loop, steady = oscillator(2.2, RK4())
    assert spectral_abscissa(linear_loop(loop, steady).closed().A) > 0
    radius = {dt: np.abs(np.linalg.eigvals(step_matrices(loop, steady, dt))).max() for dt in (0.05, 1.3)}
    assert radius[1.3] < 1 < radius[0.05]
    assert np.abs(loop.simulate([0.5], dt=1.3, steps=2000, limit=5.0, record="y").y[-1] - 0.5).max() < 1e-6
    with pytest.raises(DivergedError):
        loop.simulate([0.5], dt=0.05, steps=4000, limit=5.0)


class Unknown(AbstractIntegrator):
    """A scheme of one's own."""


@pytest.mark.parametrize("dt", [0.0, -0.1, np.nan])
def test_step_size_is_positive(dt: float) -> None:
    with pytest.raises(InputError, match=r"dt: expected a number > 0, got "):
        step_matrices(*at_rest(plant_of(PLANT), Integral()), dt)


def test_what_is_not_known() -> None:
    with pytest.raises(InputError, match="Unknown: expected Sequential or a Runge-Kutta method to linearise a step"):
        step_matrices(*at_rest(plant_of(PLANT), Integral(), integrator=Unknown()), 0.1)
    delayed = ClosedLoop(network(feedback="weight-product", transmission="delayed"), Integral(leak=0.1))
    with pytest.raises(InputError, match="DeepNetwork: delayed transmission exists from step to step only"):
        linear_loop(delayed, steady_network(delayed))
