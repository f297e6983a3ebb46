"""Networks with no more states than their control reaches: the same transfer functions, and what follows for loops."""

from __future__ import annotations

from typing import Any

import control
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop
from controlnet.base import Array, Linear
from controlnet.controllers import PI, PID
from controlnet.plants import DeepNetwork, LinearPlant

FREQUENCIES = (0.0, 0.3j, 2j, 1 + 5j, 50j)
DYNAMICS: list[dict[str, Any]] = [
    {},
    {"tau_apical": 0.3},
    {"tau_control": 0.2},
    {"tau_apical": 0.3, "tau_control": 0.15},
    {"soma": "instantaneous"},
    {"soma": "instantaneous", "tau_apical": 0.3},
    {"soma": "instantaneous", "tau_apical": 0.3, "tau_control": 0.2},
]


def response(system: Linear, s: complex) -> Array:
    eye = np.eye(system.A.shape[1])
    return system.C @ np.linalg.solve(s * eye - system.A, system.B) + system.D


def drawn(net: DeepNetwork, batch: int = 3) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(batch, n)) for n in (net.nstates, net.ninputs, net.nexogenous))  # type: ignore[return-value]


@pytest.mark.parametrize("dynamics", DYNAMICS, ids=str)
def test_the_transfer_function_stays(dynamics: dict[str, Any]) -> None:
    net = DeepNetwork.initialize((3, 6, 5, 2), activation=("tanh", "softplus"), feedback="random", **dynamics)
    whole, minimal = net.linearize(*drawn(net)), net.linearize_minimal(*drawn(net))
    filters = [name for name in ("tau_apical", "tau_control") if name in dynamics]
    layers = 0 if dynamics.get("soma") == "instantaneous" else 3
    assert minimal.A.shape == (3, 2 * (layers + len(filters)), 2 * (layers + len(filters)))
    for s in FREQUENCIES:
        np.testing.assert_allclose(response(minimal, s), response(whole, s), rtol=0, atol=1e-13)


@given(hidden=st.lists(st.integers(1, 7), max_size=4), width=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_of_a_network_of_any_size(hidden: list[int], width: int, seed: int) -> None:
    net = DeepNetwork.initialize((3, *hidden, width), seed=seed, feedback="random", tau_v=0.1)
    whole, minimal = net.linearize(*drawn(net)), net.linearize_minimal(*drawn(net))
    assert minimal.A.shape[1] == width * (len(hidden) + 1)
    for s in FREQUENCIES:
        scale = np.abs(response(whole, s)).max()
        np.testing.assert_allclose(response(minimal, s), response(whole, s), rtol=0, atol=1e-12 * scale)


def test_what_knows_no_smaller_form_keeps_its_states() -> None:
    plant = LinearPlant([[-1.0, 0.2], [0.0, -2.0]], [[1.0], [1.0]], [[1.0, 0.0]])
    same = plant.linearize_minimal(*(np.zeros((1, n)) for n in (2, 1, 2)))
    assert np.array_equal(same.A[0], plant.A)
    net = DeepNetwork.initialize((3, 4, 2), feedback="jacobian-transpose")
    assert net.linearize_minimal(*drawn(net)).A.shape == (3, 6, 6)


@pytest.mark.parametrize("controller", [PI(k_p=5.0, leak=0.01), PID(k_p=1.0, k_i=2.0, k_d=0.1)], ids=["PI", "PID"])
def test_poles_of_the_loop_are_kept_and_the_others_are_the_time_constants(controller: Any) -> None:
    net = DeepNetwork.initialize((4, 10, 10, 1), seed=0, tau_v=0.2)
    inputs = np.random.default_rng(0).normal(size=(2, 4))
    loop = ClosedLoop(net, controller)
    steady = loop.equilibrium(net.predict(inputs) + 0.1, inputs=inputs)
    whole, minimal = loop.linearize(steady, 1).poles(), loop.linearize(steady, 1, minimal=True).poles()
    assert len(minimal) == 3 + controller.nstates(1) < len(whole)
    assert all(np.abs(whole - pole).min() < 1e-9 for pole in minimal)
    assert (np.abs(whole + 5.0) < 0.05).sum() >= len(whole) - len(minimal)


def test_a_root_locus_of_a_network() -> None:
    """python-control goes through polynomials, which the whole network's repeated poles spoil."""
    net = DeepNetwork.initialize((4, 10, 10, 1), seed=0)
    inputs = np.random.default_rng(0).normal(size=(1, 4))
    loop = ClosedLoop(net, PI(k_p=5.0, leak=0.01))
    steady = loop.equilibrium(net.predict(inputs) + 0.1, inputs=inputs)
    cut, gains = loop.linearize(steady, transfer="open-loop", minimal=True), np.array([0.1, 1.0, 10.0])
    assert cut.input_labels == ["e[0]"] and cut.nstates == 4
    for gain, poles in zip(gains, control.root_locus_map(cut, gains=gains).loci, strict=True):
        expected = control.feedback(gain * cut).poles()
        np.testing.assert_allclose(np.sort_complex(poles), np.sort_complex(expected), rtol=0, atol=1e-10)
