"""Loops handed to python-control: names, transfer functions, its own analyses, and its simulator against ours."""

from __future__ import annotations

from typing import Any

import control
import numpy as np
import pytest

from controlnet import ClosedLoop, SoftmaxDifference
from controlnet.analysis import spectral_abscissa
from controlnet.base import Array
from controlnet.controllers import PI, PID, Integral, Proportional
from controlnet.equilibrium import Equilibrium
from controlnet.errors import DimensionError, InputError
from controlnet.integrators import RK4
from controlnet.linear_loop import linear_loop
from controlnet.plants import DeepNetwork, LinearPlant, Pendulum

S = control.tf("s")
SIZES = (3, 4, 2)
FREQUENCIES = np.array([0.01, 0.3, 1.0, 4.0, 50.0])


def network(**options: Any) -> DeepNetwork:
    return DeepNetwork.initialize(SIZES, **{"feedback_noise": 0.1, "seed": 1} | options)


def network_loop(controller: Any = None, **options: Any) -> ClosedLoop:
    return ClosedLoop(network(**options), controller or PI(k_p=0.6, leak=0.1), compiled=False)


def task(batch: int = 3) -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    return 0.3 * rng.normal(size=(batch, 2)), rng.normal(size=(batch, 3))


def one_channel() -> tuple[ClosedLoop, control.TransferFunction]:
    """Give a loop with one output and its loop transfer function, 0.9 (1 + 0.4 s) / (s (s + 1)^2)."""
    plant = LinearPlant([[-1, 0], [1, -1]], [[1], [0]], [[0, 1]])
    return ClosedLoop(plant, PI(k_p=0.36, k_i=0.9), compiled=False), 0.9 * (1 + 0.4 * S) / (S * (S + 1) ** 2)


def response_of(system: Any) -> Array:
    return np.stack([np.atleast_1d(system(1j * w)) for w in FREQUENCIES])


@pytest.mark.parametrize(
    ("transfer", "inputs", "outputs"),
    [("closed-loop", "r", "y"), ("open-loop", "e", "y"), ("sensitivity", "r", "e"), ("control", "r", "u")],
)
def test_names(transfer: Any, inputs: str, outputs: str) -> None:
    loop = network_loop(tau_control=0.1)
    r, x = task()
    system = loop.linearize(loop.equilibrium(r, inputs=x), transfer=transfer)
    states = [f"v{i}[{j}]" for i in (1, 2) for j in range(SIZES[i])] + ["u_filtered[0]", "u_filtered[1]"]
    assert system.state_labels == [*states, "z[0]", "z[1]"]
    assert system.input_labels == [f"{inputs}[0]", f"{inputs}[1]"]
    assert system.output_labels == [f"{outputs}[0]", f"{outputs}[1]"]
    assert system.name == transfer
    assert system.isctime(strict=True) or system.dt == 0


def test_names_of_the_nonlinear_system() -> None:
    system = ClosedLoop(Pendulum(), PID(k_p=1.0, k_i=1.0, k_d=0.1), integrator=RK4()).to_control()
    assert system.state_labels == ["angle", "rate", "z[0]", "z[1]"]
    assert system.input_labels == ["r[0]"]
    assert system.output_labels == ["y[0]", "u[0]", "e[0]"]


@pytest.mark.parametrize("transfer", ["closed-loop", "open-loop", "sensitivity", "control"])
def test_transfer_functions(transfer: Any) -> None:
    loop, L = one_channel()
    expected = {
        "closed-loop": control.feedback(L, 1),
        "open-loop": L,
        "sensitivity": control.feedback(1, L),
        "control": control.feedback(0.36 + 0.9 / S, 1 / (S + 1) ** 2),
    }[transfer]
    system = loop.linearize(loop.equilibrium([0.5]), transfer=transfer)
    np.testing.assert_allclose(response_of(system), response_of(expected), rtol=1e-9)
    poles, known = (np.sort_complex(each.poles()) for each in (system, control.ss(expected)))
    np.testing.assert_allclose(poles, known, rtol=0, atol=1e-7)  # there are double poles


def test_closed_loop_is_what_is_asked_for_by_default() -> None:
    loop, _ = one_channel()
    steady = loop.equilibrium([0.5])
    assert loop.linearize(steady).name == "closed-loop"
    assert control.dcgain(loop.linearize(steady)) == pytest.approx(1)


@pytest.mark.parametrize("soma", ["dynamic", "instantaneous"])
def test_softmax_is_part_of_the_loop_but_not_of_y(soma: str) -> None:
    """From e to what is compared with r; y itself is the plant's output."""
    loop = ClosedLoop(network(soma=soma), PI(k_p=0.6, leak=0.1), comparator=SoftmaxDifference())
    steady = loop.equilibrium([0.3, 0.7], inputs=task()[1])
    E = loop.comparator.sensitivity(steady.y)[1]
    systems: Any = {name: loop.linearize(steady, 1, name) for name in ("closed-loop", "open-loop", "sensitivity")}
    for w in FREQUENCIES:
        T, L, sensitivity = (system(1j * w) for system in systems.values())
        np.testing.assert_allclose(sensitivity, np.linalg.inv(np.eye(2) + L), rtol=0, atol=1e-9)
        np.testing.assert_allclose(E @ T, L @ sensitivity, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_sample(sample: int) -> None:
    """Each has its own steady state, and so its own matrices; it does not matter who else is in the batch."""
    loop, (r, x) = network_loop(), task()
    steady = loop.equilibrium(r, inputs=x)
    system, alone = loop.linearize(steady, sample), loop.linearize(steady.sample(sample))
    A = linear_loop(loop, steady).closed().A
    for name in "ABCD":
        np.testing.assert_array_equal(getattr(system, name), getattr(alone, name))
    distances = np.abs(A - system.A).max(axis=(1, 2))
    assert distances[sample] < 1e-12
    assert (np.delete(distances, sample) > 1e-3).all()
    assert system.poles().real.max() == pytest.approx(spectral_abscissa(A)[sample], abs=1e-9)


def test_bad_transfer_function_or_sample() -> None:
    loop, _ = one_channel()
    steady = loop.equilibrium([[0.5], [0.6]])
    expected = "transfer: expected one of closed-loop, sensitivity, control, open-loop, got 'loop'"
    with pytest.raises(InputError, match=expected):
        loop.linearize(steady, transfer="loop")  # type: ignore[arg-type]
    for sample in (2, -1):
        with pytest.raises(InputError, match=f"sample: expected a number from 0 to 1, got {sample}"):
            loop.linearize(steady, sample)


def test_no_steady_state() -> None:
    """Weak gains cannot hold a pendulum above its axis; where the search for it ended does not count."""
    loop = ClosedLoop(Pendulum(), PI(k_p=1.0, k_i=1.0), integrator=RK4())
    steady = loop.equilibrium([[0.4], [2.0]])
    assert steady.converged.tolist() == [True, False]
    assert loop.linearize(steady, 0).name == "closed-loop"
    broken = Equilibrium(**{**vars(steady), "x": steady.x * [[1], [np.nan]], "u": steady.u * [[1], [np.nan]]})
    for each in (steady, broken):
        with pytest.raises(InputError, match="sample 1: there is no stable steady state to linearise at .residual 0"):
            loop.linearize(each, 1)


def test_margins_of_python_control() -> None:
    loop, L = one_channel()
    system = loop.linearize(loop.equilibrium([0.5]), transfer="open-loop")
    found, expected = control.stability_margins(system), control.stability_margins(L)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isfinite(expected[1:3]).all()
    assert expected[1] > 0


def test_bode_and_nyquist_of_python_control() -> None:
    loop, L = one_channel()
    system = loop.linearize(loop.equilibrium([0.5]), transfer="open-loop")
    found, expected = (control.frequency_response(each, FREQUENCIES) for each in (system, L))
    np.testing.assert_allclose(found.magnitude, expected.magnitude, rtol=1e-9)
    np.testing.assert_allclose(np.exp(1j * found.phase), np.exp(1j * expected.phase), rtol=0, atol=1e-9)
    assert control.nyquist_response(system).count == 0
    fast = ClosedLoop(loop.plant, PI(k_p=0.0, k_i=2.5), compiled=False)
    unstable = fast.linearize(fast.equilibrium([0.5]), transfer="open-loop")
    assert control.nyquist_response(unstable).count == 2
    assert (fast.linearize(fast.equilibrium([0.5])).poles().real > 0).sum() == 2


MATRICES = {"A": [[-1.0, 0.4], [0.2, -0.5]], "B": [[1.0, 0.3], [0.0, 1.0]], "C": np.eye(2)}
SIMULATED: dict[str, tuple[ClosedLoop, Array]] = {
    "pendulum": (
        ClosedLoop(Pendulum(), PID(k_p=8.0, k_i=3.0, k_d=2.0, derivative_filter=0.1), integrator=RK4()),
        np.array([0.8]),
    ),
    "linear": (
        ClosedLoop(LinearPlant(**MATRICES), PI(k_p=1.3, k_i=0.8, leak=0.2), integrator=RK4()),
        np.array([1.0, -0.5]),
    ),
    "linear with feedthrough": (
        ClosedLoop(LinearPlant(**MATRICES, D=[[0.3, 0.0], [0.1, -0.2]]), Integral(k_i=0.8, leak=0.2), integrator=RK4()),
        np.array([1.0, -0.5]),
    ),
    "network": (ClosedLoop(network(), Integral(leak=0.1), integrator=RK4()), np.array([0.4, -0.3])),
    "network, proportional part": (
        ClosedLoop(network(tau_apical=0.3, tau_control=0.2), PI(k_p=0.5, leak=0.1), integrator=RK4()),
        np.array([0.4, -0.3]),
    ),
    "network, softmax": (
        ClosedLoop(network(), PI(k_p=0.5, leak=0.1), comparator=SoftmaxDifference(), integrator=RK4()),
        np.array([0.2, 0.8]),
    ),
    "network, jacobian": (
        ClosedLoop(network(feedback="jacobian-transpose"), PI(k_p=0.5, leak=0.1), integrator=RK4()),
        np.array([0.4, -0.3]),
    ),
}


@pytest.mark.parametrize("name", SIMULATED)
def test_simulation_of_python_control(name: str) -> None:
    loop, r = SIMULATED[name]
    loop = ClosedLoop(loop.plant, loop.controller, loop.integrator, comparator=loop.comparator, compiled=False)
    rng = np.random.default_rng(3)
    inputs, start = rng.normal(size=loop.plant.nexogenous), 0.5 * rng.normal(size=loop.plant.nstates)
    ours = loop.simulate(r, inputs=inputs, initial_state=start, dt=0.005, duration=3.0, record_every=20)
    nothing = np.zeros(loop.controller.nstates(len(r)))
    theirs = control.input_output_response(
        loop.to_control(inputs),
        ours.t,
        np.tile(r[:, np.newaxis], len(ours.t)),
        np.concatenate([start, nothing]),
        solve_ivp_kwargs={"rtol": 1e-10, "atol": 1e-12},
    )
    expected = np.concatenate([ours.y, ours.u, ours.e], axis=2)[:, 0]
    np.testing.assert_allclose(theirs.outputs.T, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(theirs.states[: loop.plant.nstates].T, ours.x[:, 0], rtol=0, atol=1e-6)
    assert np.abs(np.diff(theirs.outputs, axis=1)).max() > 0.05


def test_inputs_are_zero_if_not_given() -> None:
    plain, zero = (network_loop().to_control(inputs) for inputs in (None, np.zeros(3)))
    s, r = np.random.default_rng(0).normal(size=(2, plain.nstates))
    np.testing.assert_array_equal(plain.dynamics(0, s, r[:2]), zero.dynamics(0, s, r[:2]))
    other = network_loop().to_control(np.ones(3))
    assert not np.allclose(plain.dynamics(0, s, r[:2]), other.dynamics(0, s, r[:2]))
    with pytest.raises(DimensionError, match=r"inputs: expected shape \(3,\)"):
        network_loop().to_control(np.zeros(2))
    with pytest.raises(DimensionError, match="inputs: expected those of one sample, got 4"):
        network_loop().to_control(np.zeros((4, 3)))


def test_steady_state_of_python_control() -> None:
    loop, (r, x) = network_loop(), task(1)
    steady = loop.equilibrium(r, inputs=x)
    system = loop.to_control(x[0])
    point = control.find_operating_point(system, np.zeros(system.nstates), r[0])
    np.testing.assert_allclose(point.states[: loop.plant.nstates], steady.x[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(point.outputs[2:4], steady.u[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "loop",
    [
        network_loop(soma="instantaneous"),
        network_loop(transmission="delayed"),
        ClosedLoop(LinearPlant([[-1.0]], [[1.0]], [[1.0]], [[0.5]]), Proportional()),
    ],
    ids=["instantaneous somas", "delayed transmission", "feedthrough"],
)
def test_loops_of_steps_are_no_continuous_systems(loop: ClosedLoop) -> None:
    names = f"{type(loop.plant).__name__} under {type(loop.controller).__name__}"
    with pytest.raises(InputError, match=f"{names} is a loop of steps: delayed transmission, or an algebraic loop"):
        loop.to_control()
