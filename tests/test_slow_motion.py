"""The slow motion of a controlled network, against the whole loop's matrix and simulations; sums in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import failed

from controlnet import ClosedLoop, SoftmaxDifference
from controlnet._extension import quadrature, trajectory
from controlnet.adaptation import DFC
from controlnet.base import Array, Frozen
from controlnet.controllers import PI, PID, Proportional
from controlnet.errors import InputError
from controlnet.integrators import RK4, Sequential, WhiteNoise
from controlnet.plants import DeepNetwork, LinearPlant
from controlnet.slow_motion import SlowMotion, slow_motion

DEPTHS: dict[int, tuple[int, ...]] = {1: (4, 3), 2: (4, 5, 3), 3: (3, 5, 4, 2)}


def network(sizes: tuple[int, ...], seed: int = 1, **options: Any) -> DeepNetwork:
    net = DeepNetwork.initialize(sizes, seed=seed, **{"tau_v": 0.1, **options})
    rng = np.random.default_rng(2)
    return net.with_parameters({f"b{i}": 0.3 * rng.normal(size=len(b)) for i, b in enumerate(net.biases)})


def motion_of(loop: ClosedLoop, reference: Array, inputs: Array, dt: float) -> SlowMotion:
    net: Any = loop.plant
    basal = inputs @ net.weights[0].T + net.biases[0]
    return slow_motion(loop, reference, inputs, basal, np.zeros_like(reference), dt)


def drawn(net: DeepNetwork, batch: int = 3) -> tuple[Array, Array]:
    """Give references near the feed-forward output, and inputs."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(batch, net.nexogenous))
    return net.predict(inputs) + 0.5 * rng.normal(size=(batch, net.noutputs)), inputs


# --- the whole loop's matrix


def whole(net: DeepNetwork, controller: PI, dt: float) -> Array:
    """Give one step of a linear network's whole state, z, u and v of all layers, as a matrix."""
    assert net.feedback is not None
    m, g = net.noutputs, dt / net.tau_v
    leak_u, leak_z = (controller.leak, 0.0) if controller.leak_on == "control" else (0.0, controller.leak)
    z, u, *layers = np.split(np.eye(2 * m + net.nneurons), np.cumsum((m, m, *net.sizes[1:-1])))
    e = -layers[-1]
    z = z + dt * (controller.k_i * e - leak_u * u - leak_z * z)
    u = z + controller.k_p * e
    below = np.zeros((net.nexogenous, u.shape[1]))
    for i, (W, Q) in enumerate(zip(net.weights, net.feedback, strict=True)):
        layers[i] = layers[i] + g * (W @ below + Q @ u - layers[i])
        below = layers[i]
    return np.concatenate([z, u, *layers])


@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    gains=st.tuples(st.floats(0.3, 1.5), st.floats(0.1, 1.0), st.floats(0, 0.3)),
    leak_on=st.sampled_from(["control", "integral"]),
    tau=st.floats(0.05, 0.2),
    share=st.floats(0.05, 0.3),
    seed=st.integers(0, 2**16),
)
def test_the_slow_motions_are_the_slowest_of_the_whole_loop(
    sizes: list[int], gains: tuple[float, float, float], leak_on: Any, tau: float, share: float, seed: int
) -> None:
    """Its eigenvalues, by their moduli the largest, and its eigenvectors: z, u and v of a state on it stay on it."""
    net, controller, dt = network(tuple(sizes), seed, activation="linear", tau_v=tau), PI(*gains, leak_on), share * tau
    motion = motion_of(ClosedLoop(net, controller), *drawn(net), dt)
    matrix, A, S = whole(net, controller, dt), motion.map[0], motion.spread[0].T
    eigenvalues, slow = np.linalg.eigvals(matrix), np.linalg.eigvals(A)
    assert motion.found.all()
    assert np.abs(eigenvalues[:, np.newaxis] - slow).min(axis=0).max() < 1e-7
    slowest = np.sort(np.abs(eigenvalues))[::-1][: net.noutputs]
    np.testing.assert_allclose(np.sort(np.abs(slow))[::-1], slowest, rtol=0, atol=1e-7)
    np.testing.assert_allclose(motion.radius, slowest[0], rtol=0, atol=1e-7)
    error_before = -S[-net.noutputs :] @ np.linalg.inv(A)
    states = np.concatenate([np.eye(net.noutputs) - controller.k_p * error_before, np.eye(net.noutputs), S])
    np.testing.assert_allclose(matrix @ states, states @ A, rtol=0, atol=1e-10 * np.abs(states).max())


@pytest.mark.parametrize("leak_on", ["control", "integral"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_linear_network_follows_it_to_the_last_digits(depth: int, leak_on: Any) -> None:
    net, first, dt = network(DEPTHS[depth], activation="linear"), 120, 0.02
    loop = ClosedLoop(net, PI(1.0, 0.5, 0.1, leak_on), compiled=False)
    r, inputs = drawn(net)
    response = loop.simulate(r, inputs=inputs, dt=dt, steps=first + 80, record=("u", "x"))
    motion = motion_of(loop, r, inputs, dt)
    d = trajectory(motion.map, response.u[first] - motion.u, 80)
    assert np.abs(d[0]).max() > 1e-2
    np.testing.assert_allclose(response.u[first + 1 :], motion.u + d, rtol=0, atol=1e-10)
    x = motion.x + np.einsum("kbi,bij->kbj", d, motion.spread)
    np.testing.assert_allclose(response.x[first + 1 :], x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("comparator", [None, SoftmaxDifference()], ids=["difference", "softmax"])
def test_a_network_comes_near_it_and_follows_it(comparator: Any) -> None:
    """What the linearisation leaves out falls with the square of the distance from rest."""
    net, dt = network((4, 6, 5, 3)), 0.02
    options = {} if comparator is None else {"comparator": comparator}
    loop = ClosedLoop(net, PI(2.0, 1.0, 0.1), compiled=False, **options)
    r, inputs = drawn(net)
    r = r if comparator is None else 0.2 + 0.4 * np.eye(3)
    response = loop.simulate(r, inputs=inputs, dt=dt, steps=600, record=("u", "x"))
    motion = motion_of(loop, r, inputs, dt)
    assert motion.found.all() and (motion.radius < 1).all()
    d = response.u - motion.u
    distance = np.abs(response.x - motion.x - np.einsum("kbi,bij->kbj", d, motion.spread)).max(axis=(1, 2))
    assert (distance[[38, 75, 150, 300, 600]] < 0.6 * distance[[0, 38, 75, 150, 300]]).all()
    for first, last in ((300, 400), (500, 600)):
        missed = trajectory(motion.map, d[first], last - first)[-1] - d[last]
        assert np.abs(missed).max() < 3 * np.abs(d[first]).max() ** 2


def test_what_rests_nowhere_has_no_slow_motion() -> None:
    """Positive feedback; a sample that does rest stands beside it with none slower than its somas."""
    net = network((4, 5, 3))
    wrong = ClosedLoop(net.with_parameters({"Q1": -net.parameters["Q1"], "Q0": -net.parameters["Q0"]}), PI(0.0))
    assert not motion_of(wrong, *drawn(net), 0.02).found.any()
    hasty = motion_of(ClosedLoop(network((4, 5, 3), activation="linear"), PI(0.0, 20.0)), *drawn(net), 0.02)
    assert hasty.found.all() and (hasty.radius == 1).all()
    assert not hasty.map.any() and not hasty.spread.any()


def test_a_rest_that_lies_far_beyond_the_end() -> None:
    """A softmax cannot come near a reference whose sum is not 1, and the leak is slow."""
    net = network((4, 6, 5, 3))
    loop = ClosedLoop(net, PI(0.0, 4.0, 1e-3), law=DFC(), comparator=SoftmaxDifference())
    r, inputs = np.full((1, 3), 0.1), drawn(net, 1)[1]
    full, quick = (loop.simulate(r, inputs=inputs, steps=1000, record=(), extend=extend) for extend in (None, 1e-3))
    error = max(np.abs(quick.change[name] - a).max() / np.abs(a).max() for name, a in full.change.items())
    assert error <= 3 * quick.extension_error[0]


# --- what is refused


STILL = network((4, 3, 3))
REFUSED: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "noise": (STILL, {"integrator": Sequential(noise=WhiteNoise(sigma=0.1))}, {}, "no noise"),
    "PID": (STILL, {"controller": PID(1.0, 0.5, 0.05)}, {}, "a PI controller"),
    "P": (STILL, {"controller": Proportional(0.5)}, {}, "a PI controller"),
    "apical": (network((4, 3, 3), tau_apical=0.1), {}, {}, "only compartments"),
    "filter": (network((4, 3, 3), tau_control=0.1), {}, {}, "only compartments"),
    "no somas": (network((4, 3, 3), soma="instantaneous"), {}, {}, "only compartments"),
    "delay": (network((4, 3, 3), transmission="delayed"), {}, {}, "only compartments"),
    "jacobian": (network((4, 3, 3), feedback="jacobian-transpose"), {}, {}, "feedback weights Q"),
    "RK4": (STILL, {"integrator": RK4(), "controller": PI(0.0)}, {}, "Sequential"),
    "old control": (STILL, {"integrator": Sequential("old")}, {}, 'Sequential(control="new")'),
    "another plant": (LinearPlant(A=-np.eye(3), B=np.eye(3), C=np.eye(3)), {"law": Frozen()}, {}, "a DeepNetwork"),
    "recording": (STILL, {}, {"record": "y"}, "record=()"),
    "a moving reference": (STILL, {}, {"reference": np.zeros((41, 2, 3))}, "constant in time"),
    "moving inputs": (STILL, {"law": Frozen()}, {"inputs": np.zeros((41, 2, 4))}, "constant in time"),
    "zero": (STILL, {}, {"extend": 0.0}, "(0, 1), got 0.0"),
    "one": (STILL, {}, {"extend": 1}, "(0, 1), got 1"),
    "less": (STILL, {}, {"extend": -1e-6}, "(0, 1), got -1e-06"),
    "no number": (STILL, {}, {"extend": float("nan")}, "(0, 1), got nan"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    plant, parts, options, message = REFUSED[name]
    loop = ClosedLoop(plant, compiled=False, **{"controller": PI(0.5), "law": DFC(), **parts})
    with pytest.raises(InputError) as caught:
        loop.simulate(**{"reference": np.zeros((2, 3)), "steps": 40, "record": (), "extend": 1e-4, **options})
    assert str(caught.value).startswith("extend: ") and message in str(caught.value)


EXTEND = ("run", "digits", "-m", "dfc-fixed", "--epochs", "1", "--set", "simulation.extend=1e-4")
WRONG = {
    "noise.sigma=0.1": "simulation.extend: expected none under noise",
    "simulation.extend=0": "simulation.extend",
    "simulation.extend=1": "simulation.extend",
    "simulation.control=old": 'Sequential(control="new")',
    "controller.kind=pid": "a PI controller",
    "network.tau_apical=0.2": "only compartments",
    "network.feedback=jacobian-transpose": "feedback weights Q",
}


@pytest.mark.parametrize("setting", WRONG)
def test_settings_are_refused_in_one_line(setting: str, tmp_path: Path) -> None:
    assert WRONG[setting] in failed(*EXTEND, "--set", setting, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# --- trajectories and sums


@pytest.mark.parametrize("steps", [1, 2, 5, 12, 13, 400])
def test_a_trajectory_is_one_product_after_the_other(steps: int) -> None:
    rng = np.random.default_rng(0)
    A, d = 0.5 * rng.normal(size=(3, 2, 2)), rng.normal(size=(3, 2))
    A /= 1.01 * np.abs(np.linalg.eigvals(A)).max(axis=1)[:, np.newaxis, np.newaxis]
    expected, state = [], d
    for _ in range(steps):
        state = np.array([each @ s for each, s in zip(A, state, strict=True)])
        expected.append(state)
    np.testing.assert_allclose(trajectory(A, d, steps), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", [12, 24, 48])
@pytest.mark.parametrize("steps", [1, 2, 5, 12, 13, 400])
def test_a_quadrature_sums_polynomials_exactly(steps: int, number: int) -> None:
    nodes, shares = quadrature(steps, number)
    assert min(steps, 8) <= len(nodes) <= number and (np.diff(nodes) > 0).all()
    assert nodes[0] == 0 and nodes[-1] == steps - 1
    assert shares.sum() == pytest.approx(steps, rel=1e-13)
    k = np.linspace(-1, 1, steps) if steps > 1 else np.zeros(1)
    for power in range(len(nodes)):
        assert shares @ k[nodes] ** power == pytest.approx((k**power).sum(), abs=1e-11 * steps)


@given(steps=st.integers(1, 5000), number=st.sampled_from([12, 24, 48]))
def test_rounding_does_not_grow_in_a_quadrature(steps: int, number: int) -> None:
    nodes, shares = quadrature(steps, number)
    assert len(nodes) <= number and nodes[0] == 0 and nodes[-1] == steps - 1
    assert np.abs(shares).sum() < 3 * steps
    assert shares.sum() == pytest.approx(steps, rel=1e-12)
