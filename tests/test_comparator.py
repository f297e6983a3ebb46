"""Comparators: errors, their derivatives and their inverses, and what steady states need of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden import distance
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop
from controlnet.base import Array
from controlnet.comparator import COMPARATORS, AbstractComparator, SoftmaxDifference
from controlnet.controllers import PI
from controlnet.plants import DeepNetwork

EVERY = pytest.mark.parametrize("comparator", [kind() for kind in COMPARATORS.values()], ids=list(COMPARATORS))


def drawn(seed: int, batch: int = 4, classes: int = 5) -> tuple[Array, Array]:
    """Give references that are probabilities, and outputs."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), batch), 2 * rng.normal(size=(batch, classes))


@EVERY
@given(seed=st.integers(0, 2**16))
def test_the_error_at_the_output_for_an_error_is_that_error(comparator: AbstractComparator, seed: int) -> None:
    reference, y = drawn(seed)
    error = comparator.compare(reference, y)
    np.testing.assert_allclose(
        comparator.compare(reference, comparator.output_for(reference, error)), error, rtol=0, atol=1e-12
    )


@EVERY
@given(seed=st.integers(0, 2**16))
def test_the_sensitivity_is_the_derivative(comparator: AbstractComparator, seed: int) -> None:
    reference, y = drawn(seed)
    for j, column in enumerate(np.eye(y.shape[1])):
        moved = [comparator.compare(reference, y + step * column) for step in (-1e-5, 1e-5)]
        np.testing.assert_allclose(comparator.sensitivity(y)[:, :, j], (moved[0] - moved[1]) / 2e-5, rtol=0, atol=1e-9)


@EVERY
@given(seed=st.integers(0, 2**16))
def test_derivatives_are_taken_through_the_sensitivity(comparator: AbstractComparator, seed: int) -> None:
    _, y = drawn(seed)
    change = np.random.default_rng(seed).normal(size=(*y.shape, 3))
    expected = comparator.sensitivity(y) @ change
    np.testing.assert_allclose(comparator.differentiate(y, change), expected, rtol=0, atol=1e-14)


@EVERY
@given(seed=st.integers(0, 2**16))
def test_the_error_points_down_the_distance(comparator: AbstractComparator, seed: int) -> None:
    reference, y = drawn(seed)
    error = comparator.compare(reference, y)
    assert (distance(comparator, reference, y + 1e-4 * error) < distance(comparator, reference, y)).all()
    moved = [[distance(comparator, reference, y + step * unit) for unit in np.eye(5)] for step in (-1e-5, 1e-5)]
    gradient = (np.subtract(*moved) / -2e-5).T
    size = np.linalg.norm(error, axis=1, keepdims=True) if comparator.plain else 1
    np.testing.assert_allclose(error, -size * gradient, rtol=0, atol=1e-7)


@pytest.mark.filterwarnings("ignore:invalid value encountered in log")
def test_a_softmax_reaches_no_error_beyond_its_reference() -> None:
    reference = np.array([[0.9, 0.1]])
    assert np.isnan(SoftmaxDifference().output_for(reference, np.array([[0.95, -0.95]]))).any()


class Opaque(SoftmaxDifference):
    """A comparator of a user's own, which cannot be inverted."""

    output_for = AbstractComparator.output_for


def test_steady_states_are_found_without_the_inverse_too() -> None:
    net = DeepNetwork.initialize((3, 6, 4), seed=1)
    inputs, labels = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 4
    reference = np.eye(4)[labels] * 0.96 + 0.01
    options: dict[str, Any] = {"inputs": inputs, "tolerance": 1e-11}
    known, opaque = (
        ClosedLoop(net, PI(k_p=0.5, leak=0.01), comparator=each).equilibrium(reference, **options)
        for each in (SoftmaxDifference(), Opaque())
    )
    assert known.converged.all() and opaque.converged.all()
    np.testing.assert_allclose(known.u, opaque.u, rtol=0, atol=1e-7)
    assert (known.iterations != opaque.iterations).any()
