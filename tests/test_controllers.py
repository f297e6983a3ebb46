"""The controllers against transfer functions in python-control, saturation, and bad values."""

from __future__ import annotations

import math
from typing import Any

import control
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from controlnet import ClosedLoop
from controlnet.base import AbstractController, Array
from controlnet.controllers import CONTROLLERS, PI, PID, Integral, Proportional
from controlnet.errors import InputError
from controlnet.integrators import RK4
from controlnet.plants import LinearPlant, Pendulum

S = control.tf("s")
PLANT = control.ss([[0.0, 1.0], [-2.0, -1.2]], [[0.0], [1.5]], [[1.0, 0.3]], [[0.0]])
LAGS = control.ss([[-1.0, 0.4], [0.2, -0.5]], [[1.0, 0.3], [0.0, 1.0]], np.eye(2), np.zeros((2, 2)))

LINEAR = {
    "P": (Proportional(1.7), 1.7 + 0 * S),
    "I": (Integral(k_i=0.8), 0.8 / S),
    "I, leak": (Integral(k_i=0.8, leak=0.3), 0.8 / (S + 0.3)),
    "PI": (PI(k_p=1.3, k_i=0.8), 1.3 + 0.8 / S),
    "PI, leak on u": (PI(k_p=1.3, k_i=0.8, leak=0.3), (1.3 * S + 0.8) / (S + 0.3)),
    "PI, leak on z": (PI(k_p=1.3, k_i=0.8, leak=0.3, leak_on="integral"), 1.3 + 0.8 / (S + 0.3)),
    "PID": (PID(k_p=1.3, k_i=0.8, k_d=0.6, derivative_filter=0.1), 1.3 + 0.8 / S + 0.6 * S / (1 + 0.1 * S)),
    "PD": (PID(k_p=1.3, k_d=0.6, derivative_filter=0.2), 1.3 + 0.6 * S / (1 + 0.2 * S)),
}


def simulate(controller: AbstractController, system: control.StateSpace, reference: Any, **options: Any) -> Any:
    """Simulate a linear plant under control with RK4."""
    loop = ClosedLoop(LinearPlant(system.A, system.B, system.C), controller, integrator=RK4(), compiled=False)
    return loop.simulate(reference, **{"dt": 0.01, "duration": 6.0, **options})


@pytest.fixture(params=LINEAR)
def linear(request: pytest.FixtureRequest) -> tuple[AbstractController, control.TransferFunction]:
    return LINEAR[request.param]


def test_step_response(linear: tuple[AbstractController, control.TransferFunction]) -> None:
    controller, transfer = linear
    response = simulate(controller, PLANT, [1.0], dt=0.005, duration=4.0)
    series = control.ss(transfer)
    for name, closed in {
        "y": control.feedback(PLANT * series, 1),
        "u": control.feedback(series, PLANT),
    }.items():
        expected = control.forced_response(closed, response.t, np.ones_like(response.t)).outputs
        np.testing.assert_allclose(getattr(response, name)[:, 0, 0], expected, atol=1e-7)


def test_two_channels_are_controlled_by_their_own_errors() -> None:
    controller, transfer = LINEAR["PI, leak on u"]
    r = np.array([1.0, -0.5])
    response = simulate(controller, LAGS, r)
    channel = control.ss(transfer)
    closed = control.feedback(LAGS * control.append(channel, channel), control.ss([], [], [], np.eye(2)))
    expected = control.forced_response(closed, response.t, np.tile(r[:, np.newaxis], len(response.t))).outputs
    np.testing.assert_allclose(response.y[:, 0], expected.T, atol=1e-7)


def test_relation_at_rest(linear: tuple[AbstractController, control.TransferFunction]) -> None:
    controller, transfer = linear
    a, b = controller.steady_relation()
    final = simulate(controller, PLANT, [1.0], duration=60.0, dt=0.05).final
    np.testing.assert_allclose(a * final["e"], b * final["u"], atol=1e-8)
    pole_at_zero = 0.0 in np.round(transfer.poles().real, 12)
    assert (b == 0) == pole_at_zero
    if not pole_at_zero:
        assert a / b == pytest.approx(float(control.dcgain(transfer)))


def test_limited_control_has_no_linear_relation_at_rest() -> None:
    with pytest.raises(InputError, match="no linear relation at rest"):
        PID(upper=1.0).steady_relation()


class Bare(AbstractController):
    """A controller that states no relation at rest."""

    def nstates(self, noutputs: int) -> int:
        return 0

    def params(self, dtype: Any) -> tuple[()]:
        return ()


def test_controller_without_relation_at_rest_says_so() -> None:
    with pytest.raises(InputError, match="Bare does not state its relation at rest: implement `steady_relation`"):
        Bare().steady_relation()


def test_derivative_is_filtered() -> None:
    """On a step of the error the derivative part starts at k_d / tau_d and decays with tau_d."""
    controller = PID(k_p=0.0, k_d=0.6, derivative_filter=0.2)
    still = control.ss([[-1.0]], [[0.0]], [[1.0]], [[0.0]])
    response = simulate(controller, still, [1.0], duration=1.0)
    np.testing.assert_allclose(response.u[:, 0, 0], 3 * np.exp(-response.t / 0.2), atol=1e-5)


def limited(tracking_time: float) -> PID:
    return PID(k_p=1.0, k_i=2.0, lower=-0.8, upper=1.2, tracking_time=tracking_time)


def test_saturation() -> None:
    """The reference is out of reach for 2 s, then comes back."""
    lag = control.ss([[-1.0]], [[1.0]], [[1.0]], [[0.0]])
    reference = np.where(np.arange(1001) < 200, 3.0, 0.5)[:, np.newaxis, np.newaxis]
    with_tracking, without = (simulate(limited(tau), lag, reference, duration=10.0) for tau in (0.1, 1e12))
    for response in (with_tracking, without):
        assert response.u.max() == 1.2
        assert response.u.min() >= -0.8

    def recovery(response: Any) -> int:
        return int(np.flatnonzero(response.u[200:, 0, 0] < 1.2)[0])

    assert recovery(with_tracking) < 10
    assert recovery(without) > 200
    assert with_tracking.y[-1, 0, 0] == pytest.approx(0.5, abs=1e-3)


def integral_under_constant_error(controller: PID, error: float, steps: int) -> Array:
    """Step the controller's own kernels under an error that nothing takes away."""
    q, e = controller.params(np.dtype(float)), np.array([[error]])
    z, u, dz, trace = np.zeros((2, 1)), np.zeros((1, 1)), np.zeros((2, 1)), []
    for _ in range(steps):
        controller.command(0.0, z, e, q, u)
        controller.rate(0.0, z, e, u, q, dz)
        z += 0.01 * dz
        trace.append(z[0, 0])
    return np.array(trace)


def test_integral_part_does_not_wind_up() -> None:
    """With tracking, z comes to rest where k_i e = (raw - limit) / tau: raw = 1.2 + 0.1 * 2 * 5."""
    bounded, wound_up = (integral_under_constant_error(limited(tau), 5.0, 4000) for tau in (0.1, 1e12))
    assert bounded[-1] == pytest.approx(1.2 + 0.1 * 2.0 * 5.0 - 5.0)
    assert wound_up[-1] == pytest.approx(2.0 * 5.0 * 40.0)


@pytest.mark.parametrize("controller", CONTROLLERS.values())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_have_the_type_of_the_plant(controller: type[AbstractController], dtype: type) -> None:
    assert {type(number) for number in controller().params(np.dtype(dtype))} == {dtype}


@pytest.mark.parametrize(("k_p", "feedthrough"), [(0.0, False), (1.0, True)])
def test_feedthrough_of_pi(k_p: float, feedthrough: bool) -> None:
    assert PI(k_p=k_p).feedthrough is feedthrough
    assert Proportional().feedthrough
    assert not Integral().feedthrough


@pytest.mark.parametrize("name", LINEAR)
@given(references=hnp.arrays(float, (2, 2), elements=st.floats(-2, 2)), share=st.floats(-2, 2))
def test_linear_controllers_superpose(name: str, references: Array, share: float) -> None:
    controller, _ = LINEAR[name]
    assert controller.linear
    one, other = references
    mixed = np.array([one, other, one + share * other])
    u = simulate(controller, LAGS, mixed, duration=0.5, threads=1).u
    np.testing.assert_allclose(u[:, 2], u[:, 0] + share * u[:, 1], atol=1e-10)


def test_controllers_with_limits_do_not() -> None:
    for limits in ({"lower": -1.0}, {"upper": 1.0}, {"lower": -1.0, "upper": 1.0}):
        assert not PID(k_p=1.3, **limits).linear


@pytest.mark.parametrize(
    ("controller", "values", "message"),
    [
        (Proportional, {"k_p": math.nan}, "Proportional.k_p: expected a finite number, got nan"),
        (Integral, {"k_i": math.inf}, "Integral.k_i: expected a finite number, got inf"),
        (Integral, {"leak": -0.1}, "Integral.leak: expected a number >= 0, got -0.1"),
        (PI, {"k_p": "2"}, "PI.k_p: expected a finite number, got '2'"),
        (PI, {"leak": -1.0}, "PI.leak: expected a number >= 0"),
        (PI, {"leak_on": "u"}, 'PI.leak_on: expected "control" or "integral", got \'u\''),
        (PID, {"k_d": math.nan}, "PID.k_d: expected a finite number"),
        (PID, {"derivative_filter": 0.0}, "PID.derivative_filter: expected a number > 0, got 0.0"),
        (PID, {"tracking_time": -1.0}, "PID.tracking_time: expected a number > 0"),
        (PID, {"lower": 1.0, "upper": 1.0}, "PID.lower: expected a number below upper = 1.0, got 1.0"),
        (PID, {"upper": math.nan}, "PID.lower: expected a number below upper"),
    ],
)
def test_bad_values(controller: type[AbstractController], values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        controller(**values)
    assert message in str(raised.value)


@pytest.mark.parametrize("dt", [0.002, 0.005, 0.01, 0.02, 0.05])
def test_sampled_derivative_of_a_ramp(dt: float) -> None:
    """Under `Sequential` the filtered derivative of a ramp is its slope, whatever dt / tau_d."""
    still = LinearPlant([[-1.0]], [[0.0]], [[1.0]])
    steps = 400
    ramp = 3.0 * dt * np.arange(steps + 1)[:, np.newaxis, np.newaxis]
    loop = ClosedLoop(still, PID(k_p=0.0, k_d=1.0, derivative_filter=0.01), compiled=False)
    assert loop.simulate(ramp, dt=dt, steps=steps).u[-1, 0, 0] == pytest.approx(3.0, rel=1e-9)


def test_derivative_filter_bounds_the_step_of_explicit_methods() -> None:
    loop = ClosedLoop(Pendulum(), PID(k_d=1.0, derivative_filter=0.01), integrator=RK4(), compiled=False)
    with pytest.raises(InputError, match="dt: expected at most 0.01"):
        loop.simulate([1.0], dt=0.02, steps=2)
