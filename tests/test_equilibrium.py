"""The steady state against closed forms, long simulations and an independent simulator, and where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import control
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controlnet import ClosedLoop, Difference, SoftmaxDifference, kernel
from controlnet.analysis import stability
from controlnet.base import AbstractController, AbstractPlant, Array
from controlnet.controllers import PI, PID, Integral, Proportional
from controlnet.equilibrium import Equilibrium
from controlnet.errors import InputError
from controlnet.integrators import RK4, Sequential
from controlnet.plants import DeepNetwork, LinearPlant, Pendulum

INPUTS = np.array([[1.0, 0.0, -1.0], [0.3, -0.7, 0.2], [-0.5, 0.4, 1.1]])
WEAK = np.array([[0.1, 0.2], [-0.2, 0.3], [0.4, -0.1]])
STRONG = np.array([[0.95, 0.05], [0.05, 0.95], [0.9, 0.1]])
CONTROLLERS = {
    "integral": Integral(k_i=2.0, leak=0.2),
    "integral without leak": Integral(k_i=1.5),
    "PI, leak on u": PI(k_p=0.5, k_i=2.0, leak=0.3),
    "PI, leak on z": PI(k_p=0.5, k_i=2.0, leak=0.3, leak_on="integral"),
    "proportional": Proportional(0.8),
    "PID": PID(k_p=0.5, k_i=2.0, k_d=0.01, derivative_filter=0.5),
    "PD": PID(k_p=0.6, k_d=0.01, derivative_filter=0.5),
}
FIELDS = ("u", "y", "x", "residual", "iterations", "stable", "converged")


def network(sizes: tuple[int, ...] = (3, 4, 2), **options: Any) -> DeepNetwork:
    """Draw a small network whose output carries the whole Jacobian."""
    return DeepNetwork.initialize(sizes, **{"seed": 1, "tau_v": 0.2, **options})


def relation(loop: ClosedLoop, found: Equilibrium, reference: Array) -> Array:
    """Give e - (b / a) u, with e from the recorded output."""
    a, b = loop.controller.steady_relation()
    return loop.comparator.compare(reference, found.y) - b / a * found.u


def wrong_sign(plant: DeepNetwork) -> DeepNetwork:
    assert plant.feedback is not None
    return replace(plant, feedback=tuple(-q for q in plant.feedback))


# --- against simulation and closed forms


@pytest.mark.parametrize("controller", CONTROLLERS.values(), ids=list(CONTROLLERS))
@pytest.mark.parametrize("comparator", [Difference(), SoftmaxDifference()], ids=["nudged", "strong"])
def test_a_long_simulation_ends_in_the_equilibrium(controller: AbstractController, comparator: Any) -> None:
    if isinstance(comparator, SoftmaxDifference) and controller.steady_relation()[1] == 0:
        controller = PI(k_p=0.1, k_i=1.0, leak=0.05)  # without leak a softmax leaves one direction of u open
    loop = ClosedLoop(network(), controller, Sequential(), comparator=comparator, compiled=False)
    reference = WEAK if isinstance(comparator, Difference) else STRONG
    found = loop.equilibrium(reference, inputs=INPUTS)
    assert found.converged.all()
    assert (found.residual <= 1e-10).all()
    final = loop.simulate(reference, inputs=INPUTS, dt=0.1, steps=2500, record=()).final
    for name in ("u", "y", "x"):
        np.testing.assert_allclose(final[name], getattr(found, name), atol=1e-7, err_msg=name)


@pytest.mark.parametrize("options", [{"tau_apical": 0.3}, {"tau_control": 0.3}, {"soma": "instantaneous"}])
def test_the_state_has_every_dynamic_compartment(options: dict[str, Any]) -> None:
    plant = network(**options)
    loop = ClosedLoop(plant, Integral(k_i=0.8, leak=0.2), compiled=False)
    found = loop.equilibrium(WEAK, inputs=INPUTS)
    final = loop.simulate(WEAK, inputs=INPUTS, dt=0.1, steps=800, record=()).final
    assert found.x.shape == (3, plant.nstates)
    np.testing.assert_allclose(final["x"], found.x, atol=1e-7)
    np.testing.assert_allclose(final["u"], found.u, atol=1e-7)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (3, 5, 4, 2)])
@pytest.mark.parametrize("leak", [0.0, 0.4])
def test_a_linear_network_has_a_closed_form(sizes: tuple[int, ...], leak: float) -> None:
    """u = (J Q + alpha I)^-1 (r* - r_L), in one step of Newton."""
    plant = network(sizes, activation="linear")
    found = ClosedLoop(plant, Integral(k_i=2.0, leak=leak)).equilibrium(WEAK, inputs=INPUTS)
    products = [np.eye(2)]
    for weight in reversed(plant.weights[1:]):
        products.insert(0, products[0] @ weight)
    assert plant.feedback is not None
    JQ = sum(j @ q for j, q in zip(products, plant.feedback, strict=True))
    gap = WEAK - INPUTS @ (products[0] @ plant.weights[0]).T
    np.testing.assert_allclose(found.u, np.linalg.solve(JQ + leak / 2.0 * np.eye(2), gap.T).T, atol=1e-11)
    np.testing.assert_allclose(found.y - WEAK, -leak / 2.0 * found.u, atol=1e-11)
    assert (found.iterations <= 2).all()


@pytest.mark.parametrize("D", [None, [[0.3, 0.0], [0.1, 0.2]]])
@pytest.mark.parametrize("name", ["integral", "PI, leak on u", "PI, leak on z", "proportional"])
def test_a_linear_plant_has_a_closed_form(D: Any, name: str) -> None:
    plant = LinearPlant(A=[[-1.0, 0.5], [0.2, -2.0]], B=[[1.0, 0.3], [0.0, 1.0]], C=[[1.0, 0.0], [0.3, 1.0]], D=D)
    A, B, C, feedthrough = plant.parameters.values()
    w = np.array([[0.5, -0.2]])
    gain, offset = feedthrough - C @ np.linalg.inv(A) @ B, -C @ np.linalg.inv(A) @ w[0]
    a, b = {"integral": (2.0, 0.2), "proportional": (0.8, 1.0)}.get(name, (2.0, 0.3))
    a += 0.3 * 0.5 * (name == "PI, leak on z")
    u = np.linalg.solve(a * gain + b * np.eye(2), a * (WEAK - offset).T).T
    found = ClosedLoop(plant, CONTROLLERS[name]).equilibrium(WEAK, inputs=w)
    np.testing.assert_allclose(found.u, u, atol=1e-11)
    np.testing.assert_allclose(found.y, u @ gain.T + offset, atol=1e-11)
    np.testing.assert_allclose(found.x, -(u @ B.T + w) @ np.linalg.inv(A).T, atol=1e-11)
    assert found.converged.all()


@pytest.mark.parametrize("angle", [-0.9, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("length", [0.5, 2.0])
def test_integral_action_holds_the_pendulum_at_the_reference(angle: float, length: float) -> None:
    found = ClosedLoop(Pendulum(length=length), PI(k_p=1.0, k_i=2.0)).equilibrium([angle])
    assert found.converged.all()
    np.testing.assert_allclose(found.y, [[angle]], atol=1e-10)
    np.testing.assert_allclose(found.x, [[angle, 0.0]], atol=1e-9)
    np.testing.assert_allclose(found.u, [[9.81 / length * np.sin(angle)]], atol=1e-8)


@pytest.mark.parametrize("angle", [-1.2, 1.2, 1.5])
def test_a_first_step_beyond_the_largest_torque_is_taken_back(angle: float) -> None:
    """Newton's first step asks for g / l times the angle, more than any rest needs; the equilibrium exists."""
    found = ClosedLoop(Pendulum(), Integral(1.0)).equilibrium([angle])
    assert found.converged.all()
    np.testing.assert_allclose(found.y, [[angle]], atol=1e-10)


def test_a_reference_out_of_reach_does_not_spoil_the_others() -> None:
    """No constant torque holds a stable rest at 2 rad."""
    found = ClosedLoop(Pendulum(), Integral(1.0)).equilibrium([[0.3], [2.0], [-0.4]])
    assert found.converged.tolist() == [True, False, True]
    np.testing.assert_allclose(found.y[[0, 2], 0], [0.3, -0.4], atol=1e-9)


def test_single_precision_is_solved_to_its_own_tolerance() -> None:
    found = ClosedLoop(network(dtype=np.float32), CONTROLLERS["PI, leak on u"]).equilibrium(WEAK, inputs=INPUTS)
    exact = ClosedLoop(network(), CONTROLLERS["PI, leak on u"]).equilibrium(WEAK, inputs=INPUTS)
    assert found.u.dtype == found.y.dtype == np.float32
    assert found.converged.all()
    np.testing.assert_allclose(found.u, exact.u, atol=1e-4)


# --- what is reported


@pytest.mark.parametrize("size", [1.0, 1e4, 1e7])
def test_a_large_reference_is_met_as_closely_as_rounding_allows(size: float) -> None:
    loop = ClosedLoop(DeepNetwork.initialize([3, 4, 2], activation="linear"), PI(k_p=1.0, k_i=2.0))
    reference = size * np.random.default_rng(0).normal(size=(20, 2))
    steady = loop.equilibrium(reference, inputs=np.ones(3))
    assert steady.converged.all()
    np.testing.assert_allclose(steady.y, reference, atol=1e-12 * size)


def test_the_fields_have_one_entry_a_sample() -> None:
    plant = network()
    found = ClosedLoop(plant, Integral(leak=0.1)).equilibrium(WEAK, inputs=INPUTS)
    shapes = {name: getattr(found, name).shape for name in FIELDS}
    assert shapes == {"u": (3, 2), "y": (3, 2), "x": (3, plant.nstates)} | dict.fromkeys(FIELDS[3:], (3,))
    assert found.iterations.dtype.kind == "i"
    assert found.stable.dtype == found.converged.dtype == bool
    assert (found.iterations >= 1).all()


@pytest.mark.parametrize("controller", CONTROLLERS.values(), ids=list(CONTROLLERS))
def test_the_residual_is_that_of_the_relation_at_rest(controller: AbstractController) -> None:
    loop = ClosedLoop(network(), controller)
    found = loop.equilibrium(WEAK, inputs=INPUTS, tolerance=1e-3)
    np.testing.assert_allclose(found.residual, np.abs(relation(loop, found, WEAK)).max(axis=1), atol=1e-12)
    assert (found.residual <= 1e-3).all()


def test_a_looser_tolerance_takes_no_more_iterations() -> None:
    loop = ClosedLoop(network(), Integral(leak=0.01), comparator=SoftmaxDifference())
    counts = [loop.equilibrium(STRONG, inputs=INPUTS, tolerance=t).iterations for t in (1e-2, 1e-6, 1e-12)]
    assert (counts[0] <= counts[1]).all() and (counts[1] <= counts[2]).all()
    assert counts[0].sum() < counts[2].sum()


@pytest.mark.parametrize("controller", [Integral(), Integral(leak=0.1), PI(k_p=0.5, leak=0.1)])
@pytest.mark.parametrize("reference", [WEAK, 3 * WEAK])
def test_feedback_of_the_wrong_sign_is_never_called_converged(controller: Any, reference: Array) -> None:
    found = ClosedLoop(wrong_sign(network()), controller).equilibrium(reference, inputs=INPUTS)
    assert not found.converged.any()
    assert not found.stable.any()


def opposed() -> tuple[DeepNetwork, Array]:
    """Give a plant with feedback of both signs: JQ = 1 - 2 phi'(v) is -1 for the first input, about 1 for the other."""
    plant = DeepNetwork(
        weights=(np.array([[1.0]]), np.array([[2.0]])),
        biases=(np.zeros(1), np.zeros(1)),
        feedback=(np.array([[-1.0]]), np.array([[1.0]])),
        activations=("tanh", "linear"),
    )
    return plant, np.array([[0.0], [4.0]])


@pytest.mark.parametrize("shift", [0.01, 0.5])
def test_an_unstable_sample_does_not_spoil_the_others(shift: float) -> None:
    plant, inputs = opposed()
    found = ClosedLoop(plant, Integral(leak=0.01)).equilibrium(plant.predict(inputs) + shift, inputs=inputs)
    assert found.stable.tolist() == found.converged.tolist() == [False, True]
    assert found.residual[1] <= 1e-10


def test_too_few_iterations_are_reported() -> None:
    plant, inputs = opposed()
    loop, reference = ClosedLoop(plant, Integral(leak=0.01)), plant.predict(inputs) + 3.0
    short, long = (loop.equilibrium(reference, inputs=inputs, max_iterations=n) for n in (1, 100))
    assert long.converged.all()
    assert not short.converged.any()
    assert (short.residual > 1e-10).all()
    assert (short.iterations < long.iterations).all()


def test_the_verdict_on_a_softmax_without_leak_is_not_a_matter_of_rounding() -> None:
    """The softmax does not see a shift of all outputs, so that one direction of u is neither held nor pushed."""
    rng = np.random.default_rng(0)
    inputs, certain = rng.normal(size=(40, 3)), rng.uniform(0.8, 0.95, 40)
    found = ClosedLoop(network(), Integral(), comparator=SoftmaxDifference()).equilibrium(
        np.stack([certain, 1 - certain], axis=1), inputs=inputs
    )
    assert (found.residual <= 1e-10).all()
    assert len(set(found.stable.tolist())) == 1


def test_a_reference_that_no_softmax_reaches_is_not_converged() -> None:
    found = ClosedLoop(network(), Integral(), comparator=SoftmaxDifference()).equilibrium([1.5, -0.5])
    assert not found.converged.any()
    assert (found.residual > 0.1).all()


def test_a_controller_without_action_has_no_stable_state() -> None:
    found = ClosedLoop(network(), Integral(k_i=0.0)).equilibrium(WEAK, inputs=INPUTS)
    assert not found.converged.any()


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0], [1], [0, 2]])
def test_samples_do_not_depend_on_their_company(order: list[int]) -> None:
    loop = ClosedLoop(network(), PI(k_p=0.5, leak=0.01), comparator=SoftmaxDifference())
    whole = loop.equilibrium(STRONG, inputs=INPUTS)
    part = loop.equilibrium(STRONG[order], inputs=INPUTS[order])
    for name in FIELDS[:3]:
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name)[order], atol=1e-9)
    for name in ("iterations", "stable", "converged"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[order])


# --- where the plant alone has none


@kernel
def _integrate(t: float, x: Array, u: Array, w: Array, p: Any, dx: Array) -> None:
    for b in range(x.shape[1]):
        dx[0, b] = u[0, b]


@kernel
def _read(t: float, x: Array, u: Array, w: Array, p: Any, y: Array) -> None:
    for b in range(x.shape[1]):
        y[0, b] = x[0, b]


class Integrator(AbstractPlant):
    """dx/dt = u, y = x, without a closed form of its rest."""

    nstates = ninputs = noutputs = 1
    dynamics = staticmethod(_integrate)
    output = staticmethod(_read)

    def params(self, batch: int) -> tuple[()]:
        return ()


S = control.tf("s")
SERVO, MASS, UNSTABLE = (
    LinearPlant([[0, 1], [0, -1]], [0, 1], [1, 0]),
    LinearPlant([[0, 1], [0, 0]], [0, 1], [1, 0]),
    LinearPlant([[1.0]], [1.0], [1.0]),
)
BY_THE_LOOP = {
    "servo under P": (SERVO, Proportional(2.0), 2 / (S * (S + 1)), 1.0),
    "servo under PI": (SERVO, PI(k_p=2.0, k_i=0.5), (2 + 0.5 / S) / (S * (S + 1)), 1.0),
    "mass under PD": (MASS, PID(k_p=2.0, k_d=3.0, derivative_filter=0.05), (2 + 3 * S / (1 + 0.05 * S)) / S**2, 1.0),
    "unstable under P": (UNSTABLE, Proportional(3.0), 3 / (S - 1), 1.5),
    "unstable under PI": (UNSTABLE, PI(k_p=3.0, k_i=1.0), (3 + 1 / S) / (S - 1), 1.0),
    "own integrator": (Integrator(), PI(k_p=1.0, k_i=0.2), (1 + 0.2 / S) / S, 1.0),
}


@pytest.mark.parametrize("case", BY_THE_LOOP)
def test_a_plant_that_the_loop_alone_holds_is_found_and_judged_by_the_loop(case: str) -> None:
    plant, controller, transfer, dc_gain = BY_THE_LOOP[case]
    loop = ClosedLoop(plant, controller, RK4())
    found = loop.equilibrium([[1.0], [-2.0]])
    assert found.converged.all() and (found.residual <= 1e-10).all()
    np.testing.assert_allclose(found.y, dc_gain * found.reference, atol=1e-9)
    judged = stability(loop, found, dt=0.01)
    assert judged.stable.all()
    poles = np.sort(control.feedback(control.minreal(transfer, verbose=False)).poles())
    for eigenvalues in judged.eigenvalues:
        np.testing.assert_allclose(np.sort(eigenvalues), poles, atol=1e-5)
    assert np.isnan(judged.separated).all()
    end = loop.simulate(found.reference, duration=60.0, dt=0.01, record=("y",)).y[-1]
    np.testing.assert_allclose(end, found.y, atol=1e-3)


def test_feedback_holds_a_pendulum_above_its_axis() -> None:
    loop = ClosedLoop(Pendulum(), PID(k_p=40.0, k_i=5.0, k_d=8.0), RK4())
    found = loop.equilibrium([[2.0], [0.3], [3.0]])
    assert found.converged.all()
    np.testing.assert_allclose(found.y[:, 0], [2.0, 0.3, 3.0], atol=1e-9)
    np.testing.assert_allclose(found.u, 9.81 * np.sin(found.y), atol=1e-8)
    assert np.isnan(stability(loop, found).separated[:, 0]).tolist() == [True, False, True]


@pytest.mark.parametrize("gain", [0.5, -1.0])
def test_a_loop_that_does_not_hold_its_plant_is_not_converged(gain: float) -> None:
    found = ClosedLoop(UNSTABLE, Proportional(gain)).equilibrium([1.0])
    assert not found.converged.any() and not found.stable.any() and (found.residual <= 1e-10).all()
    servo = ClosedLoop(SERVO, PI(k_p=2.0, k_i=5.0)).equilibrium([1.0])
    assert not servo.converged.any() and not servo.stable.any()


def test_a_guess_is_where_the_joint_search_begins() -> None:
    loop = ClosedLoop(Pendulum(), PID(k_p=40.0, k_i=5.0, k_d=8.0))
    started = loop.equilibrium([[2.0], [3.0]], guess=np.array([[8.0], [np.nan]]))
    np.testing.assert_allclose(started.u, loop.equilibrium([[2.0], [3.0]]).u, atol=1e-8)


# --- where there is none


REFUSED = {
    "Jacobian feedback": (network(feedback="jacobian-transpose"), Integral(), {}, "no feedback weights Q"),
    "limits": (network(), PID(k_i=1.0, upper=2.0), {}, "no linear relation at rest"),
    "tolerance 0": (network(), Integral(), {"tolerance": 0.0}, "expected tolerance > 0"),
    "tolerance nan": (network(), Integral(), {"tolerance": float("nan")}, "expected tolerance > 0"),
    "no iteration": (network(), Integral(), {"max_iterations": 0}, "max_iterations >= 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_equilibrium_says_so_in_one_line(case: str) -> None:
    plant, controller, options, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        ClosedLoop(plant, controller).equilibrium(np.full(plant.noutputs, 0.5), **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- laws


def drift(plant: DeepNetwork, controller: Integral, found: Equilibrium, reference: Array, inputs: Array) -> float:
    """Simulate dv/dt and dz/dt with NumPy from beside the equilibrium; give the final distance of (v, u)."""
    assert plant.feedback is not None
    edges = np.cumsum(plant.sizes[1:-1])
    rng = np.random.default_rng(0)
    v = found.x + 1e-3 * rng.choice([-1.0, 1.0], found.x.shape)
    z = found.u + 1e-3 * rng.choice([-1.0, 1.0], found.u.shape)
    dt = 0.05
    for _ in range(1500):
        layers = np.split(v, edges, axis=1)
        below = [inputs, *(np.tanh(layer) for layer in layers[:-1])]
        parts = zip(below, plant.weights, plant.biases, plant.feedback, strict=True)
        wanted = [r @ W.T + b + z @ Q.T for r, W, b, Q in parts]
        z = z + dt * (controller.k_i * (reference - layers[-1]) - controller.leak * z)
        v = v + dt / plant.tau_v * (np.concatenate(wanted, axis=1) - v)
    return float(max(np.abs(v - found.x).max(), np.abs(z - found.u).max()))


@settings(deadline=None, max_examples=25)
@given(
    hidden=st.lists(st.integers(1, 5), max_size=2),
    width=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    feedback=st.sampled_from(["weight-product", "random"]),
    leak=st.floats(0.05, 1.0),
    scale=st.floats(0.0, 2.0),
)
def test_converged_samples_are_at_rest_and_stay_there(
    hidden: list[int], width: int, seed: int, feedback: str, leak: float, scale: float
) -> None:
    plant = network((3, *hidden, width), seed=seed, feedback=feedback, tau_v=0.1)
    loop = ClosedLoop(plant, Integral(k_i=0.2, leak=leak))
    rng = np.random.default_rng(seed)
    inputs, reference = rng.normal(size=(4, 3)), scale * rng.normal(size=(4, width))
    found = loop.equilibrium(reference, inputs=inputs)
    good = found.converged
    assume(good.any())
    assert not (good & ~found.stable).any()
    assert np.abs(relation(loop, found, reference)[good]).max() <= 1e-10
    kept = found.part(good)
    assert drift(plant, loop.controller, kept, reference[good], inputs[good]) < 1e-3  # type: ignore[arg-type]
