"""Eigenvalues, margins and maps of stability: against what is known by hand, and what they say of whole batches."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import control
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, SoftmaxDifference
from controlnet.analysis import (
    Margins,
    eigenvalues_of_jq,
    loop_matrices,
    margins,
    separated_eigenvalues,
    spectral_abscissa,
    stability,
)
from controlnet.base import AbstractPlant, Array
from controlnet.controllers import PI, PID, Integral, Proportional
from controlnet.equilibrium import Equilibrium
from controlnet.errors import DimensionError, InputError
from controlnet.integrators import RK4, Euler, Sequential
from controlnet.linear_loop import linear_loop, step_matrices
from controlnet.plants import DeepNetwork, LinearPlant, Pendulum

LEAK = 0.2


def network_loop(controller: Any = None, **options: Any) -> ClosedLoop:
    net = DeepNetwork.initialize((3, 5, 4, 2), **{"feedback_noise": 0.1, "seed": 1} | options)
    return ClosedLoop(net, controller or Integral(leak=LEAK), compiled=False)


def task(batch: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    return 0.3 * rng.normal(size=(batch, 2)), rng.normal(size=(batch, 3))


def pendulums(k_i: float = 3.0, **options: Any) -> tuple[ClosedLoop, Equilibrium]:
    """Hold pendulums at 0.3, 1.2 and 2 radians: stable; swinging; and where no constant torque holds them.

    The characteristic polynomial s^3 + c s^2 + g cos(angle) s + k_i has roots to the right if k_i > c g cos(angle).
    """
    loop = ClosedLoop(Pendulum(damping=0.5), Integral(k_i=k_i), **options)
    return loop, loop.equilibrium([[0.3], [1.2], [2.0]])


def lags(k_i: float, k_p: float = 0.0, **options: Any) -> tuple[ClosedLoop, Equilibrium]:
    """Give two lags of one second under PI control."""
    loop = ClosedLoop(LinearPlant([[-1, 0], [1, -1]], [[1], [0]], [[0, 1]]), PI(k_p=k_p, k_i=k_i), **options)
    return loop, loop.equilibrium([0.5])


def test_eigenvalues_are_the_roots_of_the_characteristic_polynomial() -> None:
    found = stability(*pendulums(integrator=RK4()))
    for i, angle in enumerate((0.3, 1.2)):
        expected = np.sort_complex(np.roots([1, 0.5, 9.81 * np.cos(angle), 3.0]))
        np.testing.assert_allclose(np.sort_complex(found.eigenvalues[i]), expected, rtol=0, atol=1e-9)
        assert found.max_real_eigenvalue[i] == pytest.approx(expected.real.max(), abs=1e-9)
        # The torque g sin(angle) at rest.
        assert found.separated[i, 0] == pytest.approx(-3.0 / (9.81 * np.cos(angle)), abs=1e-9)
    assert found.stable.tolist() == [True, False, False]
    assert found.radius is None
    assert found.dt is None


def test_samples_without_a_steady_state_are_nan() -> None:
    loop, steady = pendulums(integrator=Euler())
    assert steady.converged.tolist() == [True, True, False]
    found = stability(loop, steady, dt=0.01)
    assert found.radius is not None
    for each in (found.eigenvalues, found.separated, found.error, found.radius, found.max_real_eigenvalue):
        assert np.isfinite(each[:2]).all()
        assert np.isnan(each[2]).all()
    alone = stability(loop, steady.part(slice(0, 2)), dt=0.01)
    np.testing.assert_array_equal(found.eigenvalues[:2], alone.eigenvalues)
    np.testing.assert_array_equal(found.radius[:2], alone.radius)


def test_what_did_not_converge_does_not_count_even_if_it_would_be_stable() -> None:
    loop, found = lags(1.0, integrator=RK4())
    steady = Equilibrium(**{**vars(found), "converged": np.array([False])})
    assert stability(loop, found).stable.all()
    assert stability(loop, steady).verdict() == "of 1 samples 0 stable, 1 without a stable steady state"
    assert np.isnan([margins(loop, steady).gain, margins(loop, steady).leak]).all()


def test_nothing_converged() -> None:
    loop, steady = pendulums(integrator=Euler())
    found = stability(loop, steady.sample(2), dt=0.01)
    assert found.verdict() == "of 1 samples 0 stable, 1 without a stable steady state"
    assert np.isnan(found.max_real_eigenvalue).all()
    assert found.eigenvalues.shape == (1, 3)
    assert not found.stable.any()


VERDICTS: dict[float | None, str] = {
    None: "of 3 samples 1 stable, 1 unstable, 1 without a stable steady state",
    0.01: "of 3 samples 1 stable, 1 unstable, 1 without a stable steady state",
    0.2: "of 3 samples 0 stable, 1 unstable, 1 stable in continuous time but not at dt = 0.2, "
    "1 without a stable steady state",
}


@pytest.mark.parametrize("dt", VERDICTS)
def test_verdict(dt: float | None) -> None:
    assert stability(*pendulums(integrator=Euler()), dt).verdict() == VERDICTS[dt]


def test_verdict_of_a_stable_batch() -> None:
    assert stability(*lags(1.0, integrator=RK4()), 0.1).verdict() == "of 1 samples 1 stable"


def test_stable_steps_do_not_make_a_loop_stable() -> None:
    """RK4 damps these oscillations at a step of 1.3 seconds."""
    found = stability(*lags(2.2, integrator=RK4()), 1.3)
    assert found.radius is not None
    assert found.radius[0] < 1
    assert found.max_real_eigenvalue[0] > 0
    assert found.verdict() == "of 1 samples 0 stable, 1 unstable"


@pytest.mark.parametrize("integrator", [Euler(), RK4(), Sequential(), Sequential(control="old")], ids=str)
def test_radius(integrator: Any) -> None:
    loop, steady = lags(1.0, integrator=integrator)
    found, dt = stability(loop, steady, 0.3), 0.3
    expected = np.abs(np.linalg.eigvals(step_matrices(loop, steady, dt))).max(axis=1)
    np.testing.assert_array_equal(found.radius, expected)
    if isinstance(integrator, Euler):
        assert expected[0] == pytest.approx(np.abs(1 + dt * np.roots([1, 2, 1, 1])).max(), abs=1e-9)
    assert found.dt == dt


@pytest.mark.parametrize("dt", [0.0, -1.0])
def test_the_step_size_is_checked_even_if_nothing_converged(dt: float) -> None:
    loop, steady = pendulums()
    with pytest.raises(InputError, match="dt: expected a number > 0"):
        stability(loop, steady.part(slice(0)), dt)


@pytest.mark.parametrize(
    ("pid", "same"),
    [
        (PID(k_p=1.0, k_i=2.0), PI(k_p=1.0, k_i=2.0)),
        (PID(k_p=1.0), Proportional(k_p=1.0)),
        (PID(k_p=0.0, k_i=2.0), Integral(k_i=2.0)),
    ],
    ids=["PI", "P", "I"],
)
def test_a_pid_without_a_gain_is_the_controller_without_that_part(pid: PID, same: Any) -> None:
    plant = LinearPlant([[0, 1], [-2, -3]], [0, 1], [1, 0])
    loops = [ClosedLoop(plant, controller, RK4()) for controller in (pid, same)]
    one, other = (stability(loop, loop.equilibrium([1.0]), dt=0.02) for loop in loops)
    np.testing.assert_allclose(np.sort(one.eigenvalues), np.sort(other.eigenvalues), atol=1e-6)
    np.testing.assert_allclose(one.radius, other.radius, rtol=1e-9)
    assert one.stable.all()
    for name in ("gain", "leak"):
        found = [getattr(margins(loop, loop.equilibrium([1.0])), name) for loop in loops]
        np.testing.assert_allclose(*found, rtol=1e-6)


def test_a_derivative_alone_has_a_pole_for_its_filter_and_no_leak() -> None:
    plant = LinearPlant([[0, 1], [-2, -3]], [0, 1], [1, 0])
    loop = ClosedLoop(plant, PID(k_p=1.0, k_d=0.5, derivative_filter=0.1), RK4())
    steady, s = loop.equilibrium([1.0]), control.tf("s")
    poles = control.feedback((1 + 0.5 * s / (1 + 0.1 * s)) / (s**2 + 3 * s + 2)).poles()
    np.testing.assert_allclose(np.sort(stability(loop, steady).eigenvalues[0]), np.sort(poles), atol=1e-6)
    assert margins(loop, steady).leak[0] == np.inf
    lagging = ClosedLoop(plant, PID(k_p=1.0, k_d=-0.2, derivative_filter=0.1), RK4())
    assert margins(lagging, lagging.equilibrium([1.0])).leak[0] == np.inf


def test_a_gain_margin_does_not_step_over_gains_that_are_unstable() -> None:
    """Stable up to 5.58 times the gain, and again from 8.50 times on."""
    s = control.tf("s")
    plant = control.ss((s + 1) ** 2 / (s + 0.1105) ** 3)
    loop = ClosedLoop(LinearPlant(plant.A, plant.B, plant.C), Proportional(0.01067), RK4())
    found = margins(loop, loop.equilibrium([1.0])).gain[0]
    least = min(control.stability_margins(0.01067 * plant, returnall=True)[0])
    assert found == pytest.approx(least, rel=1e-3) and found < 6


def test_steady_states_of_another_plant_are_refused() -> None:
    loop, other = (ClosedLoop(DeepNetwork.initialize([4, n, 3]), PI(k_p=1.0, leak=0.1), Sequential()) for n in (6, 7))
    steady = other.equilibrium(np.zeros((2, 3)), inputs=np.ones((2, 4)))
    asks: tuple[Any, ...] = (stability, separated_eigenvalues, margins, lambda *given: step_matrices(*given, 0.02))
    for ask in asks:
        with pytest.raises(DimensionError, match="steady.x: expected 9 numbers a sample, got 10"):
            ask(loop, steady)
    with pytest.raises(DimensionError, match="steady.x"):
        loop.linearize(steady)


def test_an_eigenvalue_of_zero_is_marginal() -> None:
    """Rounding does not decide."""
    loop = ClosedLoop(LinearPlant([[-1.0]], [[1.0]], [[1.0]]), PI(k_p=1.0, k_i=0.0), RK4())
    found = stability(loop, loop.equilibrium([1.0]))
    assert found.marginal.all() and not found.stable.any()
    assert found.verdict() == "of 1 samples 0 stable, 1 marginal (an eigenvalue is zero)"
    common = ClosedLoop(network_loop().plant, Integral(), comparator=SoftmaxDifference())
    size, inputs = common.plant.noutputs, np.random.default_rng(0).normal(size=(5, common.plant.nexogenous))
    steady = common.equilibrium(np.full(size, 1 / size), inputs=inputs)
    assert (stability(common, steady).marginal == steady.converged).all()


def test_a_loop_without_states_is_stable() -> None:
    loop = ClosedLoop(DeepNetwork.initialize((3, 4, 2), soma="instantaneous"), Proportional())
    found = stability(loop, loop.equilibrium([0.4, 0.6], inputs=np.ones((2, 3))))
    assert found.stable.all() and (found.max_real_eigenvalue == -np.inf).all()


def test_error() -> None:
    """None to speak of where derivatives are known, that of differences where they are not."""
    exact = stability(*pendulums(integrator=RK4())).error[:2]
    assert (exact < 1e-11).all()

    class Unknowing(Pendulum):
        linearize = AbstractPlant.linearize

    loop = ClosedLoop(Unknowing(damping=0.5), Integral(k_i=3.0), integrator=RK4())
    steady = loop.equilibrium([[0.3], [1.2]])
    found, (known, _) = stability(loop, steady), pendulums()
    assert (found.error > 1e-8).all()
    true = np.abs(linear_loop(loop, steady).closed().A - linear_loop(known, steady).closed().A).max(axis=(1, 2))
    assert (true <= found.error).all()


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, (r, x) = network_loop(), task(7)
    steady = loop.equilibrium(r, inputs=x)
    whole = stability(loop, steady, dt=0.02)
    monkeypatch.setattr(import_module("controlnet.analysis.stability"), "CHUNK", 2 * 13**2)
    pieces = stability(loop, steady, dt=0.02)
    np.testing.assert_allclose(np.sort_complex(pieces.eigenvalues), np.sort_complex(whole.eigenvalues), atol=1e-12)
    np.testing.assert_allclose(pieces.radius, whole.radius, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "softplus", "sigmoid"])
def test_separated_eigenvalues(activation: str) -> None:
    loop, (r, x) = network_loop(activation=activation), task(5)
    steady = loop.equilibrium(r, inputs=x)
    assert steady.converged.all()
    J = loop.plant.jacobian(np.split(steady.x, [5, 9], axis=1))
    by_hand = np.linalg.eigvals(-(J @ loop.plant.stacked_feedback() + LEAK * np.eye(2)))
    found = np.sort_complex(separated_eigenvalues(loop, steady))
    np.testing.assert_allclose(found, np.sort_complex(by_hand), rtol=0, atol=1e-12)
    joint = loop_matrices(loop.plant, np.split(steady.x, [5, 9], axis=1), leak=LEAK)["separated"]
    np.testing.assert_allclose(found.real.max(axis=1), spectral_abscissa(joint), rtol=0, atol=1e-12)


def test_eigenvalues_of_jq() -> None:
    """Where there is no leak they are those of the separated loop, with the other sign."""
    net, (_, x) = network_loop(activation="softplus").plant, task(4)
    voltages = net.voltages(x)
    expected = np.linalg.eigvals(-loop_matrices(net, voltages, leak=0.0)["separated"])
    found = eigenvalues_of_jq(net, voltages)
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(expected), rtol=0, atol=1e-12)


def test_separated_eigenvalues_are_those_of_a_slow_controller() -> None:
    """A fast network leaves the controller's own motion, with the softmax and the gain in it."""
    fast = network_loop(tau_v=1e-6).plant
    loop = ClosedLoop(fast, Integral(k_i=0.7, leak=LEAK), comparator=SoftmaxDifference(), compiled=False)
    steady = loop.equilibrium([0.4, 0.6], inputs=task(3)[1])
    found = stability(loop, steady)
    slow = np.sort_complex(found.eigenvalues)[:, -2:]
    np.testing.assert_allclose(slow, np.sort_complex(found.separated), rtol=0, atol=1e-4)


def test_threads_do_not_change_the_bits() -> None:
    loop, (r, x) = network_loop(), task(150)
    steady = loop.equilibrium(r, inputs=x)
    one, three, all_ = (separated_eigenvalues(loop, steady, threads) for threads in (1, 3, None))
    assert one.tobytes() == three.tobytes() == all_.tobytes()
    alone = np.concatenate([separated_eigenvalues(loop, steady.sample(i)) for i in range(150)])
    np.testing.assert_allclose(np.sort_complex(one), np.sort_complex(alone), rtol=0, atol=1e-12)


@given(k_i=st.floats(0.2, 1.5), k_p=st.floats(0, 0.5))
def test_gain_margin_is_that_of_python_control(k_i: float, k_p: float) -> None:
    loop, steady = lags(k_i, k_p)
    transfer = loop.linearize(steady, transfer="open-loop")
    expected = control.stability_margins(transfer)[0]
    found = margins(loop, steady)
    if expected > 1100:
        assert np.isinf(found.gain[0])
    else:
        assert found.gain[0] == pytest.approx(expected, rel=1e-3)


def test_gain_margin_by_hand() -> None:
    """k_i / (s (s + 1)^2) is stable up to k_i = 2; a factor scales the proportional part too."""
    assert margins(*lags(0.8)).gain[0] == pytest.approx(2 / 0.8, rel=2e-4)
    # s^3 + 2 s^2 + (1 + K 0.2) s + K 0.8: 2 (1 + 0.2 K) = 0.8 K
    assert margins(*lags(0.8, 0.2)).gain[0] == pytest.approx(5, rel=2e-4)


@given(a=st.floats(0.3, 3), b=st.floats(0.2, 4), k_p=st.floats(0, 2), k_i=st.floats(0.2, 4), leak=st.floats(0, 1))
def test_leak_margin_by_hand(a: float, b: float, k_p: float, k_i: float, leak: float) -> None:
    """s^2 + (a + l + k_p b) s + (k_i b + l a): the leak l on the whole control; no factor makes it unstable."""
    loop = ClosedLoop(LinearPlant([[-a]], [[b]], [[1.0]]), PI(k_p=k_p, k_i=k_i, leak=leak))
    found = margins(loop, loop.equilibrium([0.5]))
    assert found.leak[0] == pytest.approx(leak + min(a + k_p * b, k_i * b / a), rel=2e-4)
    assert np.isinf(found.gain[0])


def test_margins_of_what_has_no_leak() -> None:
    loop = ClosedLoop(LinearPlant([[-1, 0], [1, -1]], [[1], [0]], [[0, 1]]), Proportional(2.0))
    found = margins(loop, loop.equilibrium([0.5]))
    assert np.isinf(found.gain[0])
    assert np.isinf(found.leak[0])


def test_margins_of_unstable_loops_are_nan() -> None:
    loop, steady = pendulums(k_i=3.0)
    found = margins(loop, steady)
    assert isinstance(found, Margins)
    assert np.isfinite(found.gain).tolist() == np.isfinite(found.leak).tolist() == [True, False, False]
    assert np.isnan(found.gain[1:]).all()
    assert np.isnan(found.leak[1:]).all()
    assert found.gain[0] == pytest.approx(0.5 * 9.81 * np.cos(0.3) / 3, rel=2e-4)


def test_margins_of_a_network() -> None:
    """At the gain of the margin the loop is about to swing, a bit beyond it does."""
    loop, (r, x) = network_loop(), task(3)
    steady = loop.equilibrium(r, inputs=x)
    found = margins(loop, steady)
    parts = linear_loop(loop, steady)
    for factor, stable in ((0.999, True), (1.001, False)):
        gains = (factor * found.gain)[:, np.newaxis, np.newaxis]
        controller = parts.controller._replace(B=gains * parts.controller.B)
        changed = type(parts)(parts.plant, parts.sensitivity, controller).closed().A
        assert ((spectral_abscissa(changed) < 0) == stable).all()


def test_delayed_transmission_has_no_eigenvalues_in_continuous_time() -> None:
    loop = network_loop(transmission="delayed")
    steady = loop.equilibrium([0.1, 0.2])
    for analysis in (stability, margins):
        with pytest.raises(InputError, match="DeepNetwork: delayed transmission"):
            analysis(loop, steady)


def test_delayed_transmission_has_a_radius_and_is_judged_by_it() -> None:
    loop = network_loop(transmission="delayed", tau_v=0.3)
    reference, inputs = task(3)
    steady = loop.equilibrium(reference, inputs=inputs)
    small, large = (stability(loop, steady, dt) for dt in (0.01, 0.8))
    assert small.eigenvalues.shape == (3, 0) and small.separated.shape == (3, 2)
    assert small.stable.all() and small.radius is not None and (small.radius < 1).all()
    assert not large.stable.any()
    assert large.verdict() == "of 3 samples 0 stable, 3 stable in continuous time but not at dt = 0.8"


def test_pid_control() -> None:
    controller = PID(k_p=6.0, k_i=3.0, k_d=2.0, derivative_filter=0.05)
    loop = ClosedLoop(Pendulum(), controller, integrator=RK4())
    steady = loop.equilibrium([0.4])
    s = control.tf("s")
    series = (6 + 3 / s + 2 * s / (1 + 0.05 * s)) / (s**2 + 0.5 * s + 9.81 * np.cos(0.4))
    expected = np.sort_complex(control.feedback(series, 1).poles())
    np.testing.assert_allclose(np.sort_complex(stability(loop, steady).eigenvalues[0]), expected, rtol=0, atol=1e-7)
    assert np.isinf(margins(loop, steady).gain[0])
