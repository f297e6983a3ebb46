"""The integrators: observed order, held references and inputs, algebraic loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from controlnet import ClosedLoop
from controlnet.base import AbstractIntegrator, Array
from controlnet.controllers import PI, Integral, Proportional
from controlnet.errors import InputError
from controlnet.integrators import INTEGRATORS, RK4, Euler, Heun, Sequential
from controlnet.plants import DeepNetwork, LinearPlant, Pendulum

ORDERS = {Euler(): 1, Heun(): 2, RK4(): 4, Sequential("new"): 1, Sequential("old"): 1}
CONTROLLER = PI(k_p=2.0, k_i=1.0, leak=0.3)
PENDULUM = Pendulum(length=1.5)
NETWORK = DeepNetwork.initialize((3, 4, 2), seed=2, tau_v=0.5, tau_apical=0.3, tau_control=0.4)
PATTERN, TARGET = np.array([0.5, -1.0, 0.3]), np.array([0.4, -0.6])

Slope = Callable[[float, Array], Array]


def pendulum_loop(t: float, s: Array, r: float = 1.0, w: float = 0.0) -> Array:
    """Write pendulum and leaky PI as one system, with the state (angle, rate, z)."""
    e = r - s[0]
    u = s[2] + 2.0 * e
    return np.array([s[1], -9.81 / 1.5 * np.sin(s[0]) - 0.5 * s[1] + u + w, e - 0.3 * u])


def network_loop(t: float, s: Array) -> Array:
    """Write the two-layer network and leaky PI as one system, with the state (v, v_fb, filtered u, z)."""
    v1, v2, apical, filtered, z = np.split(s, (4, 6, 12, 14))
    e = TARGET - v2
    u = z + 2.0 * e
    basal = np.concatenate([NETWORK.weights[0] @ PATTERN, NETWORK.weights[1] @ np.tanh(v1)])
    return np.concatenate(
        [
            (basal + apical - s[:6]) / 0.5,
            (NETWORK.stacked_feedback() @ filtered - apical) / 0.3,
            (u - filtered) / 0.4,
            e - 0.3 * u,
        ]
    )


def exact(slope: Slope, start: Array, duration: float) -> Array:
    """Integrate to high precision and give the last state."""
    return solve_ivp(slope, (0, duration), start, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]


def final_state(loop: ClosedLoop, start: Array, steps: int) -> Array:
    exogenous = PATTERN if loop.plant is NETWORK else None
    r = TARGET if loop.plant is NETWORK else [1.0]
    return loop.simulate(r, inputs=exogenous, initial_state=start, dt=1.6 / steps, steps=steps).final["x"][0]


def network_start(integrator: AbstractIntegrator) -> Array:
    """Give the feed-forward state; `Sequential` starts the control filter at the first control, k_p e."""
    start = NETWORK.initial_state(PATTERN[np.newaxis])[0]
    if isinstance(integrator, Sequential):
        start[12:] = 2.0 * (TARGET - NETWORK.predict(PATTERN[np.newaxis])[0])
    return start


@pytest.mark.parametrize(("integrator", "order"), ORDERS.items(), ids=str)
@pytest.mark.parametrize("model", ["pendulum", "network"])
def test_order(integrator: AbstractIntegrator, order: int, model: str) -> None:
    plant, slope = {"pendulum": (PENDULUM, pendulum_loop), "network": (NETWORK, network_loop)}[model]
    loop = ClosedLoop(plant, CONTROLLER, integrator=integrator, compiled=False)
    start = np.array([0.4, -0.2]) if model == "pendulum" else network_start(integrator)
    expected = exact(slope, np.concatenate([start, np.zeros(plant.noutputs)]), 1.6)[: plant.nstates]
    coarse = 16 if order == 4 else 160
    errors = [np.linalg.norm(final_state(loop, start, n) - expected) for n in (coarse, 2 * coarse)]
    assert errors[1] < 0.05
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_every_integrator_has_its_order_measured() -> None:
    assert {type(integrator) for integrator in ORDERS} == set(INTEGRATORS.values())


def test_reference_and_input_are_held_over_a_step() -> None:
    """One entry for each time point; the entry of the start of a step holds until its end."""
    rng = np.random.default_rng(0)
    r, w = rng.normal(size=(2, 5, 1, 1))
    loop = ClosedLoop(PENDULUM, CONTROLLER, integrator=RK4(), compiled=False)
    fine = 20
    response = loop.simulate(
        np.repeat(r, fine, axis=0)[: 4 * fine + 1], inputs=np.repeat(w, fine, axis=0)[: 4 * fine + 1],
        initial_state=[0.4, -0.2], dt=0.3 / fine, steps=4 * fine,
    )  # fmt: skip
    s = np.array([0.4, -0.2, 0.0])
    for k in range(4):
        held = float(r[k, 0, 0]), float(w[k, 0, 0])
        s = exact(lambda t, s, held=held: pendulum_loop(t, s, *held), s, 0.3)
        np.testing.assert_allclose(response.x[(k + 1) * fine, 0], s[:2], atol=1e-6)
    np.testing.assert_allclose(response.e[-1], r[4] - response.y[-1], atol=1e-15)


@pytest.mark.parametrize("integrator", [Sequential(), Euler()], ids=str)
def test_inputs_in_time_reach_the_network(integrator: AbstractIntegrator) -> None:
    """A pattern that comes later acts as it would from the start, and not before."""
    loop = ClosedLoop(NETWORK, CONTROLLER, integrator=integrator, compiled=False)
    patterns = np.zeros((41, 1, 3))
    patterns[20:] = PATTERN
    options: dict[str, Any] = {"dt": 0.02, "record": ("y", "v_basal")}
    late = loop.simulate(np.zeros(2), inputs=patterns, steps=40, **options)
    np.testing.assert_allclose(late.y[:21], 0, atol=0)
    prompt = loop.simulate(np.zeros(2), inputs=PATTERN, initial_state=np.zeros(NETWORK.nstates), steps=20, **options)
    np.testing.assert_allclose(late.y[20:], prompt.y, atol=1e-14)
    basal = patterns @ NETWORK.weights[0].T
    np.testing.assert_allclose(late.v_basal[0][0], basal[0], atol=1e-14)
    np.testing.assert_allclose(late.v_basal[0][22:], basal[22:], atol=1e-14)


INSTANT = DeepNetwork.initialize((3, 4, 2), soma="instantaneous")
THROUGH = LinearPlant([[-1.0]], [[1.0]], [[1.0]], [[0.5]])


@pytest.mark.parametrize("plant", [INSTANT, THROUGH], ids=["network", "linear"])
@pytest.mark.parametrize("controller", [Proportional(), PI(k_p=0.5)], ids=str)
def test_algebraic_loop_is_refused(plant: Any, controller: Any) -> None:
    for integrator in (Euler(), Heun(), RK4()):
        with pytest.raises(InputError, match="algebraic loop: the output of .* depends on u at once"):
            ClosedLoop(plant, controller, integrator=integrator)
    assert ClosedLoop(plant, controller, integrator=Sequential()).plant is plant


def test_feedthrough_of_the_plant_alone_is_no_algebraic_loop() -> None:
    loop = ClosedLoop(THROUGH, Integral(k_i=2.0), integrator=RK4(), compiled=False)
    response = loop.simulate([1.0], dt=0.01, steps=100)

    def slope(t: float, s: Array) -> Array:
        return np.array([-s[0] + s[1], 2.0 * (1 - s[0] - 0.5 * s[1])])

    x, u = exact(slope, np.zeros(2), 1.0)
    np.testing.assert_allclose([response.x[-1, 0, 0], response.u[-1, 0, 0]], [x, u], atol=1e-9)
    np.testing.assert_allclose(response.y[-1, 0, 0], x + 0.5 * u, atol=1e-9)


def test_instantaneous_soma_follows_the_control_at_once() -> None:
    loop = ClosedLoop(INSTANT, Integral(k_i=1.0), integrator=RK4(), compiled=False)
    response = loop.simulate(TARGET, inputs=PATTERN, dt=0.02, steps=50, record=("u", "y"))
    for u, y in zip(response.u, response.y, strict=True):
        expected = INSTANT.voltages(PATTERN[np.newaxis], [u @ q.T for q in INSTANT.feedback])[-1]
        np.testing.assert_allclose(y, expected, atol=1e-14)
    assert np.abs(response.u[-1]).max() > 0.1


@pytest.mark.parametrize(("control", "acts_after"), [("new", 1), ("old", 2)])
def test_sequential_applies_the_control_now_or_a_step_later(control: str, acts_after: int) -> None:
    loop = ClosedLoop(PENDULUM, Proportional(2.0), integrator=Sequential(control), compiled=False)
    response = loop.simulate([1.0], dt=0.1, steps=3)
    assert response.u[:2, 0, 0].tolist() == [0.0, 2.0]
    moved = np.flatnonzero(response.x[:, 0, 1])
    assert moved[0] == acts_after
    assert response.x[acts_after, 0, 1] == pytest.approx(0.1 * 2.0)


def test_sequential_refuses_another_word() -> None:
    with pytest.raises(InputError, match='Sequential.control: expected "new" or "old", got \'next\''):
        Sequential("next")
