"""The closed loop: every pair of parts, recording, divergence, bad input, and independence of batch and threads."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from conftest import MILD_CONTROLLERS, SMALL_PLANTS
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, DivergedError
from controlnet.adaptation import DFC
from controlnet.base import AbstractPlant, Array
from controlnet.controllers import CONTROLLERS, PI, PID, Proportional
from controlnet.errors import DimensionError, InputError
from controlnet.integrators import INTEGRATORS, RK4, Euler, Sequential
from controlnet.plants import PLANTS, DeepNetwork, LinearPlant, Pendulum

NETWORK = DeepNetwork.initialize((3, 5, 4, 2), seed=3)
LEARNING = ClosedLoop(NETWORK, PI(k_p=1.0, leak=0.01), law=DFC(), compiled=False)
SWINGING = ClosedLoop(Pendulum(), PI(k_p=2.0, k_i=0.5), integrator=RK4(), compiled=False)


def batch_of(size: int, seed: int = 0) -> tuple[Array, Array]:
    """Draw references and inputs for the network."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 2)), rng.normal(size=(size, 3))


def test_the_small_examples_cover_the_registries() -> None:
    assert {name: type(plant) for name, plant in SMALL_PLANTS.items()} == PLANTS
    assert {name: type(controller) for name, controller in MILD_CONTROLLERS.items()} == CONTROLLERS


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("controller", MILD_CONTROLLERS)
def test_every_pair_runs(plant: AbstractPlant, controller: str, integrator: str) -> None:
    loop = ClosedLoop(plant, MILD_CONTROLLERS[controller], integrator=INTEGRATORS[integrator](), compiled=False)
    names = ("y", "u", "e", "x", *plant.observables)
    target = 0.5 * np.ones(plant.noutputs)
    response = loop.simulate(target, inputs=np.zeros((4, plant.nexogenous)), dt=0.02, steps=200, record=names)
    sizes = {"y": plant.noutputs, "u": plant.ninputs, "e": plant.noutputs, "x": plant.nstates}
    for name, size in sizes.items():
        signal = getattr(response, name)
        assert signal.shape == (201, 4, size)
        assert np.isfinite(signal).all()
        assert np.array_equal(signal[-1], response.final[name])
    for name, widths in plant.observables.items():
        assert [layer.shape for layer in getattr(response, name)] == [(201, 4, n) for n in widths]
    np.testing.assert_allclose(response.e, target - response.y, atol=1e-15)
    assert np.abs(response.e[-1]).sum() < np.abs(response.e[0]).sum()
    assert response.change == {}


def test_observables_agree_with_state_and_output() -> None:
    r, x = batch_of(3)
    names = ("x", "y", "r", "v", "v_basal", "v_apical")
    plant = replace(NETWORK, tau_apical=0.5)
    response = ClosedLoop(plant, PI(), compiled=False).simulate(r, inputs=x, dt=0.02, steps=20, record=names)
    assert tuple(response.signals) == names
    n = plant.nneurons
    np.testing.assert_array_equal(np.concatenate(response.v, axis=2), response.x[:, :, :n])
    np.testing.assert_array_equal(np.concatenate(response.v_apical, axis=2), response.x[:, :, n:])
    np.testing.assert_array_equal(response.r[-1], response.y)
    below = response.r[0] @ plant.weights[1].T + plant.biases[1]
    np.testing.assert_allclose(response.v_basal[1], below, atol=1e-14)
    np.testing.assert_allclose(response.r[0], np.tanh(response.v[0]), atol=1e-14)


@given(seed=st.integers(0, 2**16), size=st.integers(1, 20))
def test_order_of_the_batch_does_not_matter(seed: int, size: int) -> None:
    r, x = batch_of(size, seed)
    order = np.random.default_rng(seed).permutation(size)
    options: dict[str, Any] = {"dt": 0.05, "steps": 4}
    straight, shuffled = (LEARNING.simulate(r[i], inputs=x[i], **options) for i in (np.arange(size), order))
    np.testing.assert_allclose(shuffled.y, straight.y[:, order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(shuffled.u, straight.u[:, order], rtol=0, atol=1e-12)
    for name, change in straight.change.items():
        np.testing.assert_allclose(shuffled.change[name], change, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sample", [0, 15, 16, 39])
def test_a_sample_alone_goes_the_same_way(sample: int) -> None:
    r, x = batch_of(40)
    options: dict[str, Any] = {"dt": 0.05, "steps": 10}
    together = LEARNING.simulate(r, inputs=x, **options)
    alone = LEARNING.simulate(r[sample], inputs=x[sample], **options)
    np.testing.assert_allclose(alone.x[:, 0], together.x[:, sample], rtol=0, atol=1e-12)


def test_weight_scales_a_sample_in_the_change() -> None:
    r, x = batch_of(18)
    weight = np.ones(18)
    weight[[0, 17]] = 0.0, 2.0
    options: dict[str, Any] = {"dt": 0.05, "steps": 5}
    weighted = LEARNING.simulate(r, inputs=x, weight=weight, **options).change
    each = [LEARNING.simulate(r[i], inputs=x[i], **options).change for i in range(18)]
    for name, change in weighted.items():
        expected = sum(w * one[name] for w, one in zip(weight, each, strict=True)) / 18
        np.testing.assert_allclose(change, expected, rtol=0, atol=1e-12)


def test_one_entry_serves_the_batch_and_all_times() -> None:
    short = SWINGING.simulate([0.5], initial_state=np.zeros((3, 2)), dt=0.1, steps=4)
    full = SWINGING.simulate(
        np.full((5, 3, 1), 0.5), inputs=np.zeros((5, 3, 1)), initial_state=np.zeros((3, 2)), dt=0.1, duration=0.4
    )
    assert np.array_equal(short.x, full.x)
    np.testing.assert_allclose(full.t, [0, 0.1, 0.2, 0.3, 0.4])


def test_record_every() -> None:
    options: dict[str, Any] = {"initial_state": [1.0, 0.0], "dt": 0.1, "steps": 20}
    full, some = SWINGING.simulate([0.5], **options), SWINGING.simulate([0.5], record_every=6, **options)
    assert np.array_equal(some.t, full.t[::6])
    assert np.array_equal(some.x, full.x[::6])
    assert np.array_equal(some.final["x"], full.final["x"])


def test_nothing_recorded() -> None:
    response = SWINGING.simulate([0.5], dt=0.1, steps=3, record=())
    assert response.signals == {}
    assert response.final["x"].shape == (1, 2)
    with pytest.raises(AttributeError, match=r"'y' was not recorded \(only nothing\)"):
        _ = response.y


def test_response_as_dict_and_figure() -> None:
    r, x = batch_of(3)
    response = LEARNING.simulate(r, inputs=x, dt=0.1, steps=4, record=("y", "v"))
    assert list(response.to_dict()) == ["t", "y", "v0", "v1", "v2"]
    figure = response.plot(sample=2)
    assert [axis.get_ylabel() for axis in figure.axes] == ["y", "v0", "v1", "v2"]
    assert [len(axis.lines) for axis in figure.axes] == [2, 5, 4, 2]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), response.y[:, 2, 1])
    assert figure.axes[-1].get_xlabel() == "time"


def test_unrecorded_signal_says_what_to_do() -> None:
    response = SWINGING.simulate([0.5], dt=0.1, steps=3, record=("y", "u"))
    with pytest.raises(AttributeError) as raised:
        _ = response.e
    assert str(raised.value) == "'e' was not recorded (only y, u): ask for it, record=('e', ...)"
    assert np.array_equal(copy.deepcopy(response).y, response.y)


UNSTABLE = ClosedLoop(LinearPlant([[1.0]], [[1.0]], [[1.0]]), Proportional(0.0), integrator=Euler(), compiled=False)


@pytest.mark.parametrize(("start", "sample"), [([0.0, 1.0, 2.0], 2), ([*[0.1] * 3, -2.0, *[0.1] * 14, 2.0], 3)])
def test_divergence(start: list[float], sample: int) -> None:
    """x grows by 1.1 a step, so 2 passes 10 at step 17; the earliest step counts, and there the first sample."""
    with pytest.raises(DivergedError) as raised:
        UNSTABLE.simulate([0.0], initial_state=np.array(start)[:, np.newaxis], dt=0.1, steps=30, limit=10.0)
    assert (raised.value.step, raised.value.sample) == (17, sample)
    assert raised.value.time == pytest.approx(1.7)
    assert str(raised.value) == (
        f"the loop diverged at step 17 (t = 1.7) in sample {sample}: take a smaller dt or gain, or more leak"
    )


@dataclass(frozen=True)
class Undefined(Pendulum):
    """A pendulum whose output is NaN from the second half second on."""

    @staticmethod
    def output(t: float, x: Array, u: Array, w: Array, p: Any, y: Array) -> None:
        y[:] = x[:1] if t < 0.55 else math.nan


def test_nan_in_the_loop_is_seen() -> None:
    with pytest.raises(DivergedError, match="at step 6 "):
        ClosedLoop(Undefined(), Proportional(), integrator=Euler(), compiled=False).simulate([0.0], dt=0.1, steps=9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"reference": [1.0, 2.0]},
            DimensionError,
            r"reference: .* \(1,\), \(batch, 1\) or \(6, batch, 1\)",
        ),
        ({"reference": np.zeros((4, 2, 1))}, DimensionError, r"reference: expected shape .* got \(4, 2, 1\)"),
        ({"reference": np.zeros((0, 1))}, DimensionError, "reference: expected shape"),
        ({"reference": 1.0}, DimensionError, "reference: expected shape"),
        ({"reference": [math.nan]}, InputError, "reference: expected finite numbers, got NaN or infinity"),
        ({"reference": ["a"]}, InputError, "reference: expected real numbers, got an array of type"),
        ({"reference": [1j]}, InputError, "reference: expected real numbers, got an array of type complex128"),
        ({"inputs": [math.inf]}, InputError, "inputs: expected finite numbers"),
        ({"inputs": np.zeros((2, 3))}, DimensionError, r"inputs: expected shape \(1,\)"),
        (
            {"initial_state": np.zeros((6, 1, 2))},
            DimensionError,
            r"initial_state: .* \(2,\), \(batch, 2\),",
        ),
        ({"initial_state": [0.0, math.nan]}, InputError, "initial_state: expected finite"),
        ({"reference": np.zeros((3, 1)), "inputs": np.zeros((2, 1))}, DimensionError, "inputs: expected 3 samples"),
        ({"record": ("y", "v")}, InputError, "record: expected names among y, u, e, x, got 'v'"),
        ({"steps": 10**9}, InputError, "record: .* GiB would be kept; record fewer signals or raise record_every"),
        ({"dt": 0.0}, InputError, "dt: expected a number > 0, got 0.0"),
        ({"dt": math.nan}, InputError, "dt: expected a number > 0, got nan"),
        ({"steps": 0}, InputError, "steps: expected a whole number >= 1, got 0"),
        ({"record_every": 0}, InputError, "record_every: expected a whole number >= 1, got 0"),
        ({"steps": None}, InputError, "expected either steps or duration, got neither"),
        ({"duration": 0.5}, InputError, "expected either steps or duration, got both"),
        ({"steps": None, "duration": 0.55}, InputError, "duration: expected a multiple of dt = 0.1, got 0.55"),
        ({"threads": 0}, InputError, "threads: expected a whole number >= 1, got 0"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SWINGING.simulate(**{"reference": [0.5], "dt": 0.1, "steps": 5, **options})


GOING_ON = (PI(k_p=1.0, k_i=2.0), PID(k_p=1.0, k_i=1.0, k_d=0.3, derivative_filter=0.1), Proportional(0.5))


@pytest.mark.parametrize("integrator", [RK4(), Euler(), Sequential()], ids=["rk4", "euler", "sequential"])
@pytest.mark.parametrize("controller", GOING_ON, ids=["PI", "PID", "P"])
def test_a_response_goes_on_where_another_ended(controller: Any, integrator: Any) -> None:
    loop, reference = ClosedLoop(Pendulum(), controller, integrator, compiled=False), [[0.4], [0.2]]
    whole = loop.simulate(reference, steps=20)
    first = loop.simulate(reference, steps=8, record=())
    rest = loop.simulate(reference, steps=12, start=first)
    assert np.array_equal(rest.x, whole.x[8:]) and np.array_equal(rest.final["z"], whole.final["z"])


@pytest.mark.parametrize("controller", GOING_ON, ids=["PI", "PID", "P"])
def test_a_loop_stays_in_its_steady_state(controller: Any) -> None:
    loop = ClosedLoop(Pendulum(), controller, RK4(), compiled=False)
    steady = loop.equilibrium([[0.4], [-0.2]])
    held = loop.simulate(steady.reference, steps=30, start=steady)
    assert np.abs(held.x - steady.x).max() < 1e-11 and np.abs(held.u - steady.u).max() < 1e-10
    one = loop.simulate([[0.4], [0.5], [0.6]], steps=3, start=steady.sample(0))
    assert one.x.shape == (4, 3, 2) and np.allclose(one.x[0], steady.x[0])


def test_what_a_simulation_cannot_go_on_from_is_named() -> None:
    loop = ClosedLoop(Pendulum(), PI(k_p=1.0, k_i=1.0), compiled=False)
    other = ClosedLoop(Pendulum(), Proportional(), compiled=False).simulate([0.1], steps=2)
    with pytest.raises(DimensionError, match=r"start: expected \(2, 1\) states of .* got \(2, 0\)"):
        loop.simulate([0.1], steps=2, start=other)
    with pytest.raises(InputError, match="start: 1 samples have no stable steady state"):
        loop.simulate([0.1], steps=2, start=loop.equilibrium([[0.1], [2.0]]))
    with pytest.raises(InputError, match="start: expected an Equilibrium or a Response, got list"):
        loop.simulate([0.1], steps=2, start=[0.0, 0.0])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="initial_state: expected none beside start"):
        loop.simulate([0.1], steps=2, start=loop.equilibrium([0.1]), initial_state=[0.0, 0.0])


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("plant", Pendulum, "plant: expected an instance of AbstractPlant, got <class"),
        ("controller", PI, "controller: expected an instance of AbstractController, got <class"),
        ("integrator", "rk4", "integrator: expected an instance of AbstractIntegrator, got 'rk4'"),
        ("law", "dfc", "law: expected an instance of AbstractLaw, got 'dfc'"),
        ("comparator", None, "comparator: expected an instance of AbstractComparator, got None"),
    ],
)
def test_what_is_no_part_is_named(part: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"ClosedLoop.{words}"):
        ClosedLoop(**{"plant": Pendulum(), "controller": PI(), part: value})


def test_as_many_inputs_as_outputs() -> None:
    plant = LinearPlant(np.eye(2), np.ones((2, 1)), np.eye(2))
    with pytest.raises(DimensionError, match="LinearPlant: expected as many .* got 1 inputs and 2 outputs"):
        ClosedLoop(plant, Proportional())
