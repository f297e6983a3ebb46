"""Normal random numbers inside the compiled loop: counter-based, so that a block's numbers depend on its stream alone.

NumPy's generators cannot be compiled into a loop that Numba keeps on the disk, and cost three times as much.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from ._intrinsics import by_precision, mantissa_and_exponent, random_words
from ._kernel import kernel
from .base import Array
from .errors import InputError


def _log_in(number: Any) -> Any:
    """Give the kernel of ln x by the series of artanh on [sqrt(1/2), sqrt(2)), to 2e-11 or the precision."""
    one, half, root, ln2 = map(number, (1, 0.5, math.sqrt(2), math.log(2)))
    a1, a2, a3, a4 = map(number, (0.33333333277229676, 0.2000006093533664, 0.1427540865711753, 0.1166528124861815))

    @kernel
    def log(x: Any) -> Any:
        mantissa, exponent = mantissa_and_exponent(x)
        large = mantissa > root
        mantissa = half * mantissa if large else mantissa
        exponent = exponent + one if large else exponent
        s = (mantissa - one) / (mantissa + one)
        q = s * s
        return exponent * ln2 + (s + s) * (one + q * (a1 + q * (a2 + q * (a3 + q * a4))))

    return log


def _sine_in(number: Any) -> Any:
    """Give the kernel of sin x on [-pi/2, pi/2], to 7e-9 or the precision."""
    c0, c1, c2, c3, c4 = map(
        number,
        (0.999999995698809, -0.16666657947846, 0.00833305017067177, -0.00019809017408678, 2.605107635334788e-06),
    )

    @kernel
    def sine(x: Any) -> Any:
        q = x * x
        return x * (c0 + q * (c1 + q * (c2 + q * (c3 + q * c4))))

    return sine


def _cosine_in(number: Any) -> Any:
    """Give the kernel of cos x on [-pi/2, pi/2], to 3e-10 or the precision."""
    c0, c1, c2, c3, c4, c5 = map(
        number,
        (0.999999999779154, -0.4999999935543786, 0.04166663615972319, -0.0013888360284403018)
        + (2.4760109673159873e-05, -2.6050657493719744e-07),
    )

    @kernel
    def cosine(x: Any) -> Any:
        q = x * x
        return c0 + q * (c1 + q * (c2 + q * (c3 + q * (c4 + q * c5))))

    return cosine


_log, _sine, _cosine = (by_precision(make(np.float32), make(np.float64)) for make in (_log_in, _sine_in, _cosine_in))


@kernel
def fill_normal(stream: Array, step: int, out: Array) -> None:
    """Write independent numbers from N(0, 1) by the method of Box and Muller (1958), in the precision of `out`.

    Parameters
    ----------
    stream : array (2,) of uint64
        Start and odd increment of the block's stream.
    step : int
        Which portion of the stream to take.
    out : array (n,)
        Written; an odd last number is left as it is, so make room for an even number.
    """
    half = out.shape[0] // 2
    radial, angular = out[:half], out[half : half + half]
    _fill_words(stream, step * half, radial, angular)
    _to_normal(radial, angular)


@kernel
def _fill_words(stream: Array, first: int, radial: Array, angular: Array) -> None:
    # A loop of its own: beside whole numbers of 64 bits half as many floats fit into a vector.
    number = radial.dtype.type
    for i in range(radial.shape[0]):
        one, other = random_words(stream[0], stream[1], first + i)
        radial[i], angular[i] = number(one), number(other)


@kernel
def _to_normal(radial: Array, angular: Array) -> None:
    number = radial.dtype.type
    one, minus_two = number(1), number(-2)
    share, turn = number(2.0**-31), number(math.pi * 2.0**-32)
    for i in range(radial.shape[0]):
        radius = np.sqrt(minus_two * _log((radial[i] + number(0.5)) * share))
        # Half the angle, in [-pi/2, pi/2), and the double-angle formulas.
        x = angular[i] * turn
        sine = _sine(x)
        radial[i] = radius * ((sine + sine) * _cosine(x))
        angular[i] = radius * (one - (sine + sine) * sine)


def seed_sequence(seed: int | np.random.SeedSequence) -> np.random.SeedSequence:
    """Give the source of randomness that a seed stands for.

    Parameters
    ----------
    seed : int or SeedSequence
        A whole number >= 0, or the source itself.

    Returns
    -------
    SeedSequence
        The source.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if not isinstance(seed, numbers.Integral) or seed < 0:
        raise InputError(f"seed: expected a whole number >= 0 or a SeedSequence, got {seed!r}")
    return np.random.SeedSequence(int(seed))


def stream(seed: np.random.SeedSequence, block: int) -> Array:
    """Give the stream of one block.

    Parameters
    ----------
    seed : SeedSequence
        Source of all blocks of one simulation.
    block : int
        Number of the block.

    Returns
    -------
    array (2,) of uint64
        Start and odd increment.
    """
    child = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, block))
    return child.generate_state(2, np.uint64) | np.array([0, 1], np.uint64)
