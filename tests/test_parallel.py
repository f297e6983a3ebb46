"""Work on threads: every piece once, in any number of threads, and errors that are heard of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from controlnet._forward import feed_forward
from controlnet._parallel import LEAST_COST, LEAST_ROWS, cut, in_parallel, one_blas_thread
from controlnet.errors import InputError
from controlnet.plants import DeepNetwork
from controlnet.plants.initialization import initial_feedback

LARGE = 100 * LEAST_COST


@given(rows=st.integers(0, 5000), cost=st.integers(0, 10**10))
def test_pieces_cover_all_rows(rows: int, cost: int) -> None:
    pieces = cut(rows, cost)
    assert [k for piece in pieces for k in range(piece.start, piece.stop)] == list(range(rows))
    if len(pieces) > 1:
        assert min(piece.stop - piece.start for piece in pieces) >= LEAST_ROWS
        assert cost // len(pieces) >= LEAST_COST


@pytest.mark.parametrize("threads", [None, 1, 2, 3, 7])
def test_each_item_of_a_generator_is_worked_on_once(threads: int | None) -> None:
    """Though one thread alone may be in the generator."""
    found, total = [0] * 500, 0

    def items() -> Iterator[tuple[int, int]]:
        nonlocal total
        for k in range(len(found)):
            total += k
            yield k, total

    def work(item: tuple[int, int]) -> None:
        found[item[0]] += item[1]

    in_parallel(work, items(), LARGE, threads)
    assert found == [k * (k + 1) // 2 for k in range(500)]


@pytest.mark.parametrize(("cost", "threads", "most"), [(LARGE, 1, 1), (LARGE, 2, 2), (2 * LEAST_COST, 4, 2), (0, 4, 1)])
def test_no_more_threads_than_asked_for_and_worth_it(cost: int, threads: int, most: int) -> None:
    seen, together = set(), threading.Barrier(most)

    def work(item: int) -> None:
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            together.wait(timeout=30)

    in_parallel(work, range(100), cost, threads)
    assert len(seen) == most


@pytest.mark.parametrize("bad", [0, 99])
def test_an_error_is_raised(bad: int) -> None:
    def work(item: int) -> None:
        if item == bad:
            raise InputError("here")

    with pytest.raises(InputError, match="here"):
        in_parallel(work, range(100), LARGE, 3)


def test_bad_number_of_threads() -> None:
    with pytest.raises(InputError, match="threads: expected a whole number >= 1, got 0"):
        in_parallel(print, [], LARGE, 0)


def test_helpers_may_ask_for_help() -> None:
    """Though all threads may wait for one another."""
    found = []
    in_parallel(lambda _: in_parallel(found.append, range(5), LARGE, 2), range(20), LARGE, 2)
    assert sorted(found) == sorted(list(range(5)) * 20)


def test_helpers_ignore_what_their_caller_ignores() -> None:
    together = threading.Barrier(2)

    def work(item: int) -> None:
        together.wait(timeout=30)
        assert np.isinf(np.float64(1e300) * np.full(3, 1e300)).all()

    with np.errstate(over="ignore"):
        in_parallel(work, range(2), LARGE, 2)


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_the_number_of_blas_threads_comes_back_when_the_last_has_left() -> None:
    """In whatever order several threads leave."""

    before, first, second = blas_threads(), one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(blas_threads()) == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == before
    with pytest.raises(InputError), one_blas_thread():
        raise InputError("here")
    assert blas_threads() == before


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_pass_of_a_part_is_a_part_of_the_pass(dtype: type) -> None:
    network = DeepNetwork.initialize((200, 300, 300, 10), dtype=dtype)
    x, shift = np.random.default_rng(0).normal(size=(300, 200)), [np.full((300, n), 0.1, dtype) for n in (300, 300, 10)]
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    one, *others = (feed_forward(network, x, shift, threads) for threads in (1, 2, 3))
    for other in others:
        for mine, its in zip(one, other, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(mine, its, strict=True))
    below = x
    for i, (v, r) in enumerate(zip(*one, strict=True)):
        np.testing.assert_allclose(v, below @ network.weights[i].T + network.biases[i] + 0.1, atol=tolerance)
        np.testing.assert_array_equal(r, network.rates(one[0])[i])
        assert v.dtype == r.dtype == dtype
        below = r


@pytest.mark.parametrize("initialization", ["xavier-normal", "orthogonal"])
def test_initial_weights_are_made_on_one_blas_thread(monkeypatch: pytest.MonkeyPatch, initialization: Any) -> None:
    seen = []

    def watched(*arguments: Any) -> Any:
        seen.extend(blas_threads())
        return initial_feedback(*arguments)

    monkeypatch.setattr("controlnet.plants.network.initial_feedback", watched)
    with threadpool_limits(2, user_api="blas"):
        DeepNetwork.initialize((20, 30, 10), feedback="weight-product", initialization=initialization)
    assert seen and set(seen) == {1}


def test_the_network_at_rest_is_the_same_on_any_number_of_blas_threads() -> None:
    network = DeepNetwork.initialize((784, 256, 256, 10), dtype=np.float32)
    x, found = np.random.default_rng(0).normal(size=(128, 784)).astype(np.float32), []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(network.rests(x).output(np.zeros((128, 10), np.float32), np.arange(128)))
    assert np.array_equal(*found)
