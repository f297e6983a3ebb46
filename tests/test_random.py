"""The normal numbers that the loop draws: their distribution, their independence, and where they come from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, kurtosis, skew

from controlnet._intrinsics import random_words
from controlnet._random import fill_normal, stream
from controlnet.base import Array

NUMBERS = 20000
STREAMS = [(0, 0), (0, 1), (0, 2), (1, 0), (987654321, 5)]
"""Seeds and blocks."""


def drawn(seed: int, block: int, step: int = 0, n: int = NUMBERS, dtype: type = np.float64) -> Array:
    out = np.full(n, np.nan, dtype)
    fill_normal(stream(np.random.SeedSequence(seed), block), step, out)
    return out


@pytest.fixture(scope="module", params=[np.float64, np.float32])
def samples(request: pytest.FixtureRequest) -> Array:
    """Give numbers of several streams, and of two portions of each, in either precision."""
    rows = np.stack([drawn(*which, step, dtype=request.param) for which in STREAMS for step in (0, 1)])
    assert rows.dtype == request.param
    return rows.astype(float)


def test_numbers_are_standard_normal(samples: Array) -> None:
    """Within five standard errors of the moments, every stream and all together."""
    for x in (*samples, samples.ravel()):
        root = 5 / math.sqrt(x.size)
        assert abs(x.mean()) < root
        assert abs(x.var() - 1) < math.sqrt(2) * root
        assert abs(skew(x)) < math.sqrt(6) * root
        assert abs(kurtosis(x)) < math.sqrt(24) * root
        assert kstest(x, "norm").pvalue > 1e-3


def test_tails_reach_far(samples: Array) -> None:
    for bound in (2.0, 3.0, 3.5):
        expected = samples.size * math.erfc(bound / math.sqrt(2))
        assert abs((np.abs(samples) > bound).sum() - expected) < 5 * math.sqrt(expected)


def largest_correlation(rows: Array) -> float:
    """Give the largest correlation between any two rows, in standard errors."""
    return float(np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() * math.sqrt(rows.shape[1]))


@pytest.mark.parametrize("power", [1, 2])
def test_numbers_are_independent(power: int, samples: Array) -> None:
    """Between streams and portions; then in each between neighbours and between both numbers of a pair."""
    x = samples**power
    assert largest_correlation(x) < 5
    for row in x:
        assert largest_correlation(np.stack([row[:-1], row[1:]])) < 5
        assert largest_correlation(np.stack(np.split(row, 2))) < 5


def test_words_are_those_of_splitmix() -> None:
    """The first numbers of the public SplitMix64 with seed 1234567."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    for counter, number in enumerate(expected, start=1):
        high, low = random_words(np.uint64(1234567), np.uint64(0x9E3779B97F4A7C15), counter)
        assert (int(high), int(low) % 2**32) == (number >> 33, number % 2**32)


@given(seed=st.integers(0, 2**64), block=st.integers(0, 1000), step=st.integers(0, 10**6))
def test_box_muller(seed: int, block: int, step: int) -> None:
    key, gamma = stream(np.random.SeedSequence(seed), block)
    words = np.array([random_words(key, gamma, step * 3 + i) for i in range(3)])
    radius, phase = np.sqrt(-2 * np.log((words[:, 0] + 0.5) / 2**31)), 2 * np.pi * words[:, 1] / 2**32
    out = drawn(seed, block, step, 7)
    np.testing.assert_allclose(out[:6], [*(radius * np.sin(phase)), *(radius * np.cos(phase))], rtol=0, atol=1e-7)
    assert np.isnan(out[6])


@pytest.mark.parametrize("which", STREAMS)
def test_single_precision_draws_the_same_numbers(which: tuple[int, int]) -> None:
    """Rounding of the uniform number moves the radius r by a share of 1 / r, all other rounding by one of r."""
    exact, single = drawn(*which), drawn(*which, dtype=np.float32)
    error, radius = np.abs(single - exact), np.tile(np.hypot(*np.split(exact, 2)), 2)
    assert (error <= 16 * 2.0**-24 * (radius + 1 / radius)).all()
    assert error[radius > 0.1].max() < 1e-5


@given(seed=st.integers(0, 2**64), block=st.integers(0, 50))
def test_blocks_are_spawned(seed: int, block: int) -> None:
    """From the seed, be it a root or a child itself."""
    for source in (np.random.SeedSequence(seed), np.random.SeedSequence(seed, spawn_key=(3, 1))):
        start, increment = stream(source, block)
        spawned = source.spawn(block + 1)[block].generate_state(2, np.uint64)
        assert start == spawned[0]
        assert increment == spawned[1] | np.uint64(1)
