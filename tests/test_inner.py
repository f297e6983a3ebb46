"""Networks with more outputs than neurons below: what is computed among those neurons is what all outputs give."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from controlnet import ClosedLoop, _root_finding, equilibrium
from controlnet._equation import Equation
from controlnet._inner_equation import InnerEquation, inner_loop
from controlnet.adaptation import _analytic_control, analytic_control
from controlnet.comparator import SoftmaxDifference
from controlnet.controllers import PI, Proportional
from controlnet.losses import MeanSquaredError
from controlnet.objective import Lesson, Nudged
from controlnet.plants import DeepNetwork

SIZES = (6, 20, 5, 8, 12)


def network(identity: float = 1.0, seed: int = 3, dtype: Any = np.float64, **options: Any) -> DeepNetwork:
    net = DeepNetwork.initialize(SIZES, feedback="weight-product", seed=seed, dtype=dtype, **options)
    return net.with_parameters({"Q3": identity * np.eye(12, dtype=dtype)})


def closed(net: DeepNetwork) -> ClosedLoop:
    return ClosedLoop(net, PI(k_p=1.0, leak=0.01))


def samples(number: int = 9, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(number, 6)), 0.3 * rng.normal(size=(number, 12))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "linear"])
@pytest.mark.parametrize("identity", [1.0, 0.4])
@pytest.mark.parametrize("many", [12, 128])
def test_steady_states_are_those_of_all_outputs(
    monkeypatch: pytest.MonkeyPatch, dtype: str, activation: str, identity: float, many: int
) -> None:
    net, (x, r) = network(identity, dtype=dtype, activation=activation), samples()
    outer = closed(net).equilibrium(r, inputs=x)
    monkeypatch.setattr(equilibrium, "MANY", 12)
    monkeypatch.setattr(_root_finding, "MANY", many)
    monkeypatch.setattr(_root_finding, "_broyden", lambda *_: pytest.fail("with matrices of all outputs"))
    inner = closed(net).equilibrium(r, inputs=x)
    assert inner.converged.all() and outer.converged.all()
    for name in ("u", "y", "x"):
        one, other = getattr(inner, name), getattr(outer, name)
        assert one.dtype == other.dtype == dtype
        np.testing.assert_allclose(one, other, atol=1e-8 if dtype == "float64" else 1e-3)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.1, 3.0), st.floats(0.01, 10.0))
def test_matrices_inside_stand_for_those_of_all_outputs(seed: int, identity: float, shift: float) -> None:
    """M has the eigenvalue m and those of S, and (M + shift I) x = F has the same solution."""
    net, (x, r) = network(identity, seed), samples(2, seed)
    loop, part, u = closed(net), np.arange(2), np.random.default_rng(seed).normal(size=(2, 12))
    inside = inner_loop(loop)
    assert inside is not None
    m = inside[1]
    equations = Equation(loop, r, net.rests(x), 0), InnerEquation(loop, r, net.rests(x), 0, *inside)
    outer, small = (equation.at(u, part, exact=True) for equation in equations)
    for M, S in zip(outer.matrix, small.matrix, strict=True):
        found = np.concatenate([np.linalg.eigvals(S), np.full(4, m)])
        np.testing.assert_allclose(np.poly(found), np.poly(np.linalg.eigvals(M)), rtol=1e-6, atol=1e-6)
    steps = [e.implicit_step(point, np.full(2, shift)) for e, point in zip(equations, (outer, small), strict=True)]
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-6, atol=1e-9)


def test_a_loop_without_a_stable_root_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, r) = network(activation="linear"), samples()
    assert net.feedback is not None
    loop = closed(net.with_parameters({f"Q{i}": -3 * net.feedback[i] for i in range(3)}))
    monkeypatch.setattr(equilibrium, "MANY", 12)
    monkeypatch.setattr(_root_finding, "MANY", 12)
    assert inner_loop(loop) is not None
    steady = loop.equilibrium(r, inputs=x)
    assert not steady.converged.any() and np.isfinite(steady.residual).all() and np.isfinite(steady.u).all()


@pytest.mark.parametrize("unstable", [-2.7, -2.75, -3.2])
def test_a_start_near_an_unstable_state_is_left_for_a_stable_one(unstable: float) -> None:
    """The last attempt begins at zero control."""
    up = np.full((128, 1), 128**-0.5)
    weights, biases = (np.ones((1, 1)), up), (np.zeros(1), np.zeros(128))
    net = DeepNetwork(weights, biases, (-5 * up.T, np.eye(128)), ("tanh", "linear"))
    loop = ClosedLoop(net, PI(k_p=0.5))
    assert inner_loop(loop) is not None
    steady = loop.equilibrium(0.8 * up.T, inputs=np.full((1, 1), 3.0), guess=-unstable / 5 * up.T)
    assert steady.converged.all()
    np.testing.assert_allclose(steady.x[:, 0], 3.9966, atol=1e-3)


def test_a_network_does_not_outlive_its_last_user() -> None:
    net = network()
    assert net.inner is not None
    inner, gone = net.inner, weakref.ref(net)
    del net
    assert gone() is None and inner.gain(np.zeros((45, 1))).shape == (1, 8, 8)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_bits_do_not_depend_on_threads(dtype: str) -> None:
    net = DeepNetwork.initialize((20, 100, 50, 128), seed=1, dtype=dtype).with_parameters({"Q2": np.eye(128)})
    rng = np.random.default_rng(1)
    x, r = rng.normal(size=(70, 20)).astype(dtype), rng.normal(size=(70, 128)).astype(dtype)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            lesson = Lesson(net, x, r, Nudged(MeanSquaredError(), 0.1), 0.01, 10, threads)
            found.append(analytic_control(closed(net.with_parameters({})), lesson))
            found.append(closed(net.with_parameters({})).equilibrium(r, inputs=x, threads=threads).u)
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])


def test_products_that_overflow_leave_the_network_whole() -> None:
    net = network(dtype="float32")
    assert net.feedback is not None
    huge = net.with_parameters({"Q0": 1e38 * np.ones((20, 12)), "W3": 1e38 * np.ones((12, 8))})
    assert huge.inner is None


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_analytic_control_is_that_of_all_outputs(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    net, (x, r) = network(0.6, dtype=dtype), samples()
    lesson = Lesson(net, x.astype(dtype), r.astype(dtype), Nudged(MeanSquaredError(), 0.1), 0.01, 10)
    inner = analytic_control(closed(net), lesson)
    monkeypatch.setattr(_analytic_control, "inner_loop", lambda loop: None)
    outer = analytic_control(closed(net), lesson)
    assert inner.dtype == outer.dtype == dtype
    np.testing.assert_allclose(inner, outer, atol=1e-12 if dtype == "float64" else 1e-5)


def loops_that_cannot_be_seen_from_inside() -> dict[str, ClosedLoop]:
    net, narrow = network(), DeepNetwork.initialize((6, 20, 12, 12), seed=1)
    return {
        "narrow": closed(narrow),
        "other feedback": closed(net.with_parameters({"Q3": np.diag(np.arange(1.0, 13))})),
        "one layer": closed(DeepNetwork.initialize((6, 12), seed=1)),
        "softmax": ClosedLoop(net, PI(leak=0.01), comparator=SoftmaxDifference()),
        "wrong way": closed(network(-2.0)),
        "no feedback weights": closed(DeepNetwork.initialize(SIZES, feedback="jacobian-transpose")),
    }


@pytest.mark.parametrize("case", loops_that_cannot_be_seen_from_inside())
def test_other_loops_are_seen_from_their_outputs(case: str) -> None:
    assert inner_loop(loops_that_cannot_be_seen_from_inside()[case]) is None


def test_a_proportional_controller_is_seen_from_inside_too(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, r) = network(), samples()
    loop = ClosedLoop(net, Proportional(k_p=2.0))
    monkeypatch.setattr(equilibrium, "MANY", 12)
    assert inner_loop(loop) is not None
    steady = loop.equilibrium(r, inputs=x)
    assert steady.converged.all()
    np.testing.assert_allclose(steady.u, 2 * (r - steady.y), atol=1e-9)
