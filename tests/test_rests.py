"""What a plant does under constant control, its gain by several ways, and where the search for a control begins."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, SoftmaxDifference, _kernel
from controlnet._source import source_tag
from controlnet.activations import ACTIVATIONS
from controlnet.base import AbstractPlant, Array
from controlnet.controllers import PI, Integral
from controlnet.equilibrium import Equilibrium
from controlnet.errors import DimensionError
from controlnet.plants import DeepNetwork, LinearPlant, Pendulum
from controlnet.plants._network_tangents import gain
from controlnet.rest import Rest, find_rest

FIELDS = ("u", "y", "x", "residual", "iterations", "stable", "converged")
HIDDEN: dict[int, tuple[int, ...]] = {1: (), 2: (6,), 3: (6, 5), 4: (6, 5, 7)}


def network(hidden: tuple[int, ...] = (6, 5), **options: Any) -> DeepNetwork:
    options = {"feedback": "random", "seed": 1} | options
    net = DeepNetwork.initialize((4, *hidden, 3), **options)
    rng = np.random.default_rng(2)
    return net.with_parameters({f"b{i}": rng.normal(size=len(b)).astype(net.dtype) for i, b in enumerate(net.biases)})


def drawn(net: DeepNetwork, batch: int = 5, seed: int = 0) -> tuple[Array, Array]:
    """Give controls and inputs."""
    rng = np.random.default_rng(seed)
    u, inputs = rng.normal(size=(batch, net.ninputs)), rng.normal(size=(batch, net.nexogenous))
    return u.astype(net.dtype), inputs.astype(net.dtype)


# --- gains


def stacked(rates: list[Array]) -> Array:
    """Rates of all layers, one below the other."""
    return np.concatenate([layer.T for layer in rates])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("depth", HIDDEN)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gain_is_the_jacobian_times_the_feedback_weights(
    activation: str, depth: int, dtype: type, tolerance: float
) -> None:
    net = network(HIDDEN[depth], activation=activation, dtype=dtype)
    u, inputs = drawn(net)
    voltages = net.voltages(inputs, [u @ q.T for q in net.feedback or ()])
    rates, expected = net.rates(voltages), net.jacobian(voltages) @ net.stacked_feedback()
    exact, single = net.gain(rates), gain(net, stacked(rates), exact=False)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(exact, expected, rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5 * scale)
    assert (exact.dtype, single.dtype) == (dtype, np.float32)


@given(hidden=st.lists(st.integers(1, 6), max_size=3), seed=st.integers(0, 2**16))
def test_the_gain_of_a_network_of_any_width(hidden: list[int], seed: int) -> None:
    activations = [("tanh", "softplus", "sigmoid")[i % 3] for i in range(len(hidden))]
    net = network(tuple(hidden), activation=activations, seed=seed)
    voltages = net.voltages(drawn(net, seed=seed)[1])
    expected = net.jacobian(voltages) @ net.stacked_feedback()
    np.testing.assert_allclose(net.gain(net.rates(voltages)), expected, rtol=0, atol=1e-12)


def test_single_precision_follows_the_weights() -> None:
    """It is kept with the network, and a network never changes."""
    net = network()
    rates = net.rates(net.voltages(drawn(net)[1]))
    before = gain(net, stacked(rates), exact=False).copy()
    other = net.with_parameters({"W1": 2 * net.weights[1], "Q0": -net.stacked_feedback()[:6]})
    np.testing.assert_allclose(gain(other, stacked(rates), exact=False), other.gain(rates), rtol=0, atol=1e-5)
    assert np.array_equal(gain(net, stacked(rates), exact=False), before)


# --- rests


COMPARTMENTS: dict[str, dict[str, Any]] = {
    "somas": {},
    "apical compartments": {"tau_apical": 0.3},
    "a filter": {"tau_control": 0.4},
    "all": {"tau_apical": 0.3, "tau_control": 0.4},
    "no somas": {"soma": "instantaneous"},
    "only a filter": {"soma": "instantaneous", "tau_control": 0.4},
}


@pytest.mark.parametrize("options", COMPARTMENTS.values(), ids=list(COMPARTMENTS))
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "relu"])
def test_a_network_rests_where_newton_finds_it_at_rest(activation: str, options: dict[str, Any]) -> None:
    """From its kernels, with derivatives by differences."""
    net = network(activation=activation, **options)
    u, inputs = drawn(net)
    found, expected = net.rests(inputs).at(u, np.arange(5)), find_rest(net, u, inputs)
    for name, tolerance in (("x", 1e-9), ("y", 1e-9), ("gain", 1e-7)):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=tolerance, err_msg=name)
    assert found.stable.all()
    np.testing.assert_array_equal(net.rests(inputs).output(u, np.arange(5)), found.y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_signals_at_rest_are_those_of_the_layers(dtype: type) -> None:
    net = network(dtype=dtype)
    u, inputs = drawn(net)
    v = net.voltages(inputs, shift := [u @ q.T for q in net.feedback or ()])
    basal, apical, rates = net.rests(inputs).states(u)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    expected = ([total - part for total, part in zip(v, shift, strict=True)], shift, net.rates(v))
    for got, layers in zip((basal, apical, rates), expected, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got.T, np.concatenate(layers, axis=1), rtol=0, atol=tolerance)


PLANTS: dict[str, AbstractPlant] = {
    "linear": LinearPlant(A=[[-1.0, 0.5], [0.2, -2.0]], B=[[1.0, 0.3], [0.0, 1.0]], C=[[1.0, 0.0], [0.3, 1.0]]),
    "pendulum": Pendulum(length=1.3),
    "network": network(),
    "network in single precision": network(dtype=np.float32),
}


@pytest.mark.parametrize("part", [np.arange(9), np.arange(3, 7), np.array([8, 0, 3])], ids=str)
@pytest.mark.parametrize("name", PLANTS)
def test_the_rests_of_a_batch_are_those_of_its_samples(name: str, part: Array) -> None:
    plant, rng = PLANTS[name], np.random.default_rng(0)
    inputs = rng.normal(size=(9, plant.nexogenous)).astype(plant.dtype)
    u = 0.5 * rng.normal(size=(9, plant.ninputs)).astype(plant.dtype)[part]
    rests, expected = plant.rests(inputs), plant.at_rest(u, inputs[part])
    found = rests.at(u, part)
    tolerance = 1e-12 if plant.dtype == np.float64 else 1e-5
    for field in Rest._fields:
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=0, atol=tolerance)
    np.testing.assert_allclose(rests.output(u, part), expected.y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 1)], ids=str)
@pytest.mark.parametrize("batch", [1, 5])
def test_what_is_remembered_is_neither_stale_nor_shared(batch: int, shape: tuple[int, ...]) -> None:
    """A call is repeated from memory: not if control or samples differ, nor is it touched by what the caller does."""
    net = DeepNetwork.initialize(shape, feedback="random", seed=1)
    u, inputs = drawn(net, 2 * batch)
    rests, first, second = net.rests(inputs), np.arange(batch), np.arange(batch, 2 * batch)
    calls = [(u[:batch], first), (u[:batch], second), (u[batch:], second), (u[batch:], first)]
    for control, part in [*calls, *reversed(calls)]:
        expected = net.rests(inputs).at(control, part)
        given, which = control.copy(), part.copy()
        for _ in range(2):
            np.testing.assert_array_equal(rests.output(given, which), expected.y)
            for mine, its in zip(rests.at(given, which), expected, strict=True):
                np.testing.assert_array_equal(mine, its)
                if mine.flags.writeable:
                    mine[:] = 0
            rests.output(given, which)[:] = 0
        given[:] = 9
        which[:] = 0


def test_a_function_is_bound_once_though_many_threads_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that parse sources at the same time break Python 3.11's parser for good (cpython #106905)."""
    asked: list[Any] = []

    def slowly(functions: Any) -> str:
        asked.append(functions)
        time.sleep(0.1)
        return source_tag(functions)

    monkeypatch.setattr(_kernel, "source_tag", slowly)
    _kernel._bound.cache_clear()
    net = network()
    found = ClosedLoop(net, Integral(leak=0.1)).equilibrium(np.zeros((40, 3)), inputs=drawn(net, 40)[1], threads=3)
    assert found.converged.all()
    assert len(asked) == len(set(asked)) == 2


# --- where the search begins


def strong(dtype: type = np.float64, batch: int = 40) -> tuple[ClosedLoop, Array, Array]:
    """Give a loop whose samples take different numbers of steps, some of them by continuation."""
    net = network(feedback="weight-product", dtype=dtype)
    loop = ClosedLoop(net, PI(k_p=0.5, leak=0.01), comparator=SoftmaxDifference())
    certain = np.eye(3)[np.arange(batch) % 3] * 0.97 + 0.01
    return loop, certain, 2 * drawn(net, batch)[1]


def same_bits(first: Equilibrium, second: Equilibrium) -> bool:
    return all(getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in FIELDS)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_threads_do_not_move_a_bit_of_an_equilibrium(dtype: type) -> None:
    loop, reference, inputs = strong(dtype)
    one, two, three = (loop.equilibrium(reference, inputs=inputs, threads=threads) for threads in (1, 2, 3))
    assert one.converged.all()
    assert len(set(one.iterations.tolist())) > 2
    assert same_bits(one, two) and same_bits(one, three)


def test_rests_may_be_used_again() -> None:
    loop, reference, inputs = strong()
    rests = loop.plant.rests(inputs)
    first, again = (loop.equilibrium(reference, rests=rests) for _ in range(2))
    assert same_bits(first, again) and same_bits(first, loop.equilibrium(reference, inputs=inputs))


def test_a_good_guess_saves_steps_and_finds_the_same() -> None:
    loop, reference, inputs = strong()
    cold = loop.equilibrium(reference, inputs=inputs)
    near = cold.u + 1e-3 * np.random.default_rng(0).normal(size=cold.u.shape)
    kept = near.copy()
    warm = loop.equilibrium(reference, inputs=inputs, guess=near)
    assert warm.converged.all() and np.array_equal(near, kept)
    np.testing.assert_allclose(warm.u, cold.u, rtol=0, atol=1e-7)
    assert (warm.iterations <= cold.iterations).all()
    assert warm.iterations.sum() < 0.6 * cold.iterations.sum()
    there = loop.equilibrium(reference, inputs=inputs, guess=cold.u)
    assert np.array_equal(there.u, cold.u) and not there.iterations.any()


@pytest.mark.parametrize("size", [1.0, 1e3, 1e150])
def test_a_bad_guess_does_not_spoil_the_search(size: float) -> None:
    """Continuation begins at zero wherever the guess was."""
    loop, reference, inputs = strong()
    cold = loop.equilibrium(reference, inputs=inputs)
    wild = size * np.random.default_rng(0).normal(size=cold.u.shape)
    found = loop.equilibrium(reference, inputs=inputs, guess=wild)
    assert found.converged.all()
    np.testing.assert_allclose(found.u, cold.u, rtol=0, atol=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_guess_that_is_no_number_starts_from_zero(bad: float) -> None:
    loop, reference, inputs = strong()
    guess = np.zeros_like(reference)
    guess[::2, 1] = bad
    guess[::2, 0] = 7.0
    cold, found = (loop.equilibrium(reference, inputs=inputs, guess=start) for start in (None, guess))
    assert same_bits(found, cold)


@pytest.mark.parametrize("shape", [(3,), (39, 3), (40, 2), (1, 3), (40, 3, 1)])
def test_a_guess_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    loop, reference, inputs = strong()
    with pytest.raises(DimensionError) as caught:
        loop.equilibrium(reference, inputs=inputs, guess=np.zeros(shape))
    assert str(caught.value) == f"guess: expected shape (40, 3), got {shape}"


def test_a_shared_reference_is_for_every_sample() -> None:
    loop, reference, inputs = strong()
    alone = loop.equilibrium(reference[0], inputs=inputs)
    assert same_bits(alone, loop.equilibrium(np.tile(reference[0], (40, 1)), inputs=inputs))
    assert same_bits(alone, loop.equilibrium(reference[0], rests=loop.plant.rests(inputs)))


def test_precision_of_the_search_does_not_limit_that_of_the_state() -> None:
    """The matrix that Broyden's method begins with is in single precision, the equation is not."""
    loop, reference, inputs = strong()
    found = loop.equilibrium(reference, inputs=inputs, tolerance=1e-13)
    assert found.converged.all()
    assert (found.residual <= 1e-13).all()
