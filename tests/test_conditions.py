"""Conditions 1 and 2, the null space of J, and what they say about the updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden import Golden
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, Lesson, MeanSquaredError, Nudged
from controlnet.adaptation import DFA, Backprop, GaussNewton, MinimumNorm
from controlnet.analysis import angle, condition_one, condition_two, null_space_ratio
from controlnet.base import Array
from controlnet.controllers import PI
from controlnet.errors import DimensionError, InputError
from controlnet.plants import DeepNetwork

SEEDS = st.integers(0, 2**16)


def drawn(seed: int, batch: int = 3, outputs: int = 2, neurons: int = 11) -> tuple[Array, Array]:
    """Draw J and Q."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, outputs, neurons)), rng.normal(size=(neurons, outputs))


def received(lesson: Lesson) -> list[Array]:
    """Give what the weights of each layer are multiplied with."""
    return [lesson.inputs, *lesson.rates[:-1]]


def test_condition_one_of_the_reference_network() -> None:
    """Sample by sample, layer by layer; the public code has no division by the root of the mean where its text has."""
    rates = received(Golden("i_jacobian").lesson)
    found = condition_one(rates)
    for b in range(5):
        norms = [sum(x * x for x in layer[b]) ** 0.5 for layer in rates]
        mean = sum(norms) / 3
        variance = sum((norm - mean) ** 2 for norm in norms) / 3
        assert found.mean[b] == pytest.approx(mean, rel=1e-12)
        assert found.relative[b] == pytest.approx([norm / mean - 1 for norm in norms], rel=1e-10)
        assert found.deviation[b] == pytest.approx(variance**0.5 / mean, rel=1e-12)
        assert found.deviation[b] * found.mean[b] ** 0.5 == pytest.approx((variance / mean) ** 0.5, rel=1e-12)


@given(seed=SEEDS, norm=st.floats(1e-3, 1e3), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_condition_one_of_equal_norms(seed: int, norm: float, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(size=(4, n)) for n in sizes]
    found = condition_one([norm * r / np.linalg.norm(r, axis=1, keepdims=True) for r in drawn])
    np.testing.assert_allclose(found.mean, norm, rtol=1e-12)
    np.testing.assert_allclose(found.deviation, 0, atol=1e-12)
    assert found.relative.shape == (4, len(sizes))


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_condition_one_has_no_unit(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    rates = [rng.normal(size=(4, n)) for n in (5, 3, 7)]
    found, scaled = condition_one(rates), condition_one([scale * r for r in reversed(rates)])
    np.testing.assert_allclose(scaled.mean, scale * found.mean, rtol=1e-12)
    np.testing.assert_allclose(scaled.relative[:, ::-1], found.relative, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scaled.deviation, found.deviation, rtol=1e-10)
    np.testing.assert_allclose(found.relative.sum(axis=1), 0, atol=1e-12)
    assert (found.deviation <= 2**0.5).all()


def test_condition_one_of_a_single_active_layer_and_of_none() -> None:
    found = condition_one([np.array([[0.0, 2.0], [0.0, 0.0]]), np.zeros((2, 3)), np.zeros((2, 1))])
    np.testing.assert_allclose(found.relative[0], [2, -1, -1])
    assert found.deviation[0] == pytest.approx(2**0.5)
    assert found.mean[1] == 0
    assert np.isnan(found.deviation[1])
    assert np.isnan(found.relative[1]).all()


@given(seed=SEEDS)
def test_under_condition_one_gauss_newton_is_minimum_norm(seed: int) -> None:
    """Rotations keep the norm of what they pass on, so that J_W J_W^T is a multiple of J J^T; other weights do not."""
    rng = np.random.default_rng(seed)
    W0, W1 = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
    net = DeepNetwork.initialize((4, 4, 4, 2), activation="linear", seed=seed)
    x, y = rng.normal(size=(1, 4)), rng.normal(size=(1, 2))
    for scale, holds in ((1.0, True), (0.3, False)):
        plant = net.with_parameters({"W0": scale * W0, "W1": W1 / scale})
        lesson = Lesson(plant, x, y, Nudged(MeanSquaredError()))
        gn, mn = (law.propose(ClosedLoop(plant, PI()), lesson).change for law in (GaussNewton(), MinimumNorm()))
        found = condition_one(received(lesson)).deviation[0], angle(gn, mn)
        assert found == pytest.approx((0, 0), abs=1e-6) if holds else min(found) > 1e-3


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_condition_two_without_full_rank(seed: int, scale: float) -> None:
    """Rows that say nothing new, or nothing at all, change nothing."""
    J, Q = drawn(seed)
    expected = condition_two(J, Q)
    more = [J, J[:, :1] - scale * J[:, 1:], np.zeros((3, 1, 11)), scale * J]
    np.testing.assert_allclose(condition_two(np.concatenate(more, axis=1), Q), expected, rtol=1e-10)
    assert condition_two(J * [[[1.0]], [[0.0]], [[1.0]]], Q)[1] == 0
    assert np.isnan(condition_two(J, 0 * Q)).all()


def test_condition_two_of_nearly_parallel_rows() -> None:
    """Where (J J^T)^-1 would have lost all digits."""
    rows = np.linalg.qr(np.random.default_rng(0).normal(size=(11, 2)))[0].T
    J = np.stack([rows[0], rows[0] + 1e-9 * rows[1]])[np.newaxis]
    Q = np.random.default_rng(1).normal(size=(11, 2))
    expected = np.linalg.norm(rows @ Q) / np.linalg.norm(Q)
    assert condition_two(J, Q)[0] == pytest.approx(expected, rel=1e-6)


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_null_space_ratio(seed: int, scale: float) -> None:
    J, Q = drawn(seed)
    rng = np.random.default_rng(seed)
    inside = np.einsum("bmn,bm->bn", J, rng.normal(size=(3, 2)))
    outside = rng.normal(size=(3, 11))
    outside -= np.einsum("bnm,bmk,bk->bn", np.linalg.pinv(J), J, outside)
    assert null_space_ratio(J, inside).max() < 1e-13
    np.testing.assert_allclose(null_space_ratio(J, outside), 1, rtol=1e-12)
    norms = [np.linalg.norm(x, axis=1) for x in (inside, outside)]
    expected = scale * norms[1] / np.hypot(norms[0], scale * norms[1])
    x = inside + scale * outside
    found = null_space_ratio(J, x)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(
        null_space_ratio(rng.normal(size=(2, 2)) @ J, inside + scale * outside), found, rtol=1e-6
    )
    np.testing.assert_allclose(null_space_ratio(J, -(inside + scale * outside)[:, :, np.newaxis]), found, rtol=1e-12)


@given(seed=SEEDS)
def test_shares_of_feedback_weights_in_both_spaces(seed: int) -> None:
    J, Q = drawn(seed)
    found = null_space_ratio(J, Q[np.newaxis])
    np.testing.assert_allclose(found**2 + condition_two(J, Q) ** 2, 1, rtol=1e-12)
    np.testing.assert_allclose(null_space_ratio(J, np.stack([Q] * 3)), found, rtol=1e-12)


def test_small_shares_keep_their_digits() -> None:
    J, _ = drawn(0, batch=1)
    inside, outside = J[:, 0], np.linalg.svd(J[0])[2][np.newaxis, -1]
    found = null_space_ratio(J, inside + 1e-9 * np.linalg.norm(inside) * outside)
    assert found[0] == pytest.approx(1e-9, rel=1e-5)


def test_minimum_norm_of_the_reference_has_no_part_in_the_null_space() -> None:
    """Damped or not; DFC with feedback weights that are not J^T has one."""
    case = Golden("i_old_repo")
    for damping in ("", "_d0.1"):
        act = np.concatenate([case.arrays[f"gnt{damping}_act{i}"] for i in range(3)], axis=1)
        assert null_space_ratio(case.arrays["J"], act).max() < 1e-13
    ratio = null_space_ratio(case.arrays["J"], case.network.stacked_feedback()[np.newaxis])
    assert ratio.mean() > 0.1
    expected = case.arrays["condition_two"]
    assert np.sqrt(1 - ratio**2).mean() == pytest.approx(float(expected), rel=1e-10)


def weight_jacobian(lesson: Lesson) -> Array:
    """Give the Jacobian in all weights and biases, W_0, b_0, W_1, ..., of a linear or nonlinear network."""
    blocks = np.split(lesson.plant.jacobian(lesson.voltages), np.cumsum(lesson.plant.sizes[1:-1]), axis=2)
    columns = []
    for J, r in zip(blocks, received(lesson), strict=True):
        columns += [np.einsum("bmi,bj->bmij", J, r).reshape(*J.shape[:2], -1), J]
    return np.concatenate(columns, axis=2)


def test_gauss_newton_of_one_sample_has_no_part_in_the_null_space_of_the_weights() -> None:
    """As the older implementation measures it; backprop of one sample has none either, and DFA has."""
    case = Golden("i_old_repo")
    lesson = Lesson(case.network, case.arrays["x"][:1], case.arrays["y"][:1], Nudged(MeanSquaredError()))
    J, ratios = weight_jacobian(lesson), {}
    for law in (GaussNewton(0.1), Backprop(), DFA()):
        change = law.propose(ClosedLoop(case.network, PI()), lesson).change
        flat = np.concatenate([change[f"{letter}{i}"].ravel() for i in range(3) for letter in "Wb"])
        ratios[type(law).__name__] = null_space_ratio(J, flat[np.newaxis])[0]
    assert ratios["GaussNewton"] < 1e-13
    assert ratios["Backprop"] < 1e-13
    assert 0.01 < ratios["DFA"] < 1


def test_single_precision_stays() -> None:
    J, Q = (array.astype(np.float32) for array in drawn(0))
    rates = [J[:, 0], J[:, 1, :4]]
    for found in (condition_two(J, Q), null_space_ratio(J, J[:, 0] + 1), condition_one(rates).deviation):
        assert found.dtype == np.float32
    np.testing.assert_allclose(condition_two(J, Q), condition_two(J.astype(float), Q.astype(float)), rtol=1e-5)
    assert null_space_ratio(J, J[:, 0]).max() < 1e-6


def test_zero_changes() -> None:
    J, _ = drawn(0)
    assert np.isnan(null_space_ratio(J, np.zeros((3, 11)))).all()


BAD_J, BAD_Q = drawn(0)
BROKEN = np.where(np.arange(11) == 4, np.nan, BAD_J)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: condition_one([]),
            DimensionError,
            r"rates: expected an array \(batch, n_i\) .*, got .*\[\]",
        ),
        (lambda: condition_one([np.ones((2, 3)), np.ones((3, 3))]), DimensionError, r"rates: .*\(2, 3\), \(3, 3\)"),
        (lambda: condition_one([np.ones(3)]), DimensionError, r"rates: .* got shapes \[\(3,\)\]"),
        (
            lambda: condition_one([np.ones((2, 1)), np.array([[1.0], [np.inf]])]),
            InputError,
            r"rates\[1\]: expected finite numbers, got inf at \[1, 0\]",
        ),
        (lambda: condition_two(BAD_J[0], BAD_Q), DimensionError, r"J: expected shape \(batch, n_L, n\), got \(2, 11\)"),
        (lambda: condition_two(BAD_J, BAD_Q[:5]), DimensionError, r"Q: expected shape \(11, n_L\) .* got \(5, 2\)"),
        (lambda: condition_two(BAD_J, BAD_Q[:, 0]), DimensionError, r"Q: .* got \(11,\)"),
        (lambda: condition_two(BROKEN, BAD_Q), InputError, r"J: expected finite numbers, got nan at \[0, 0, 4\]"),
        (lambda: condition_two(BAD_J, BAD_Q / [np.inf, 0.0]), InputError, "Q: expected finite numbers, got -?inf"),
        (lambda: null_space_ratio(BAD_J, BAD_Q), DimensionError, r"change: expected shape \(3, 11\), .* got \(11, 2\)"),
        (lambda: null_space_ratio(BAD_J, np.ones((1, 11))), DimensionError, r"change: .* got \(1, 11\)"),
        (lambda: null_space_ratio(BAD_J, np.ones((2, 11, 1))), DimensionError, r"change: .* got \(2, 11, 1\)"),
        (lambda: null_space_ratio(BAD_J, BROKEN[:, 0]), InputError, r"change: .* got nan at \[0, 4\]"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_values(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
