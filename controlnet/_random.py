"""Normal random numbers inside the compiled loop: counter-based, so that a block's numbers depend on its stream alone.

NumPy's generators cannot be compiled into a loop that Numba keeps on the disk, and cost three times as much.
"""

from __future__ import annotations

import math
import numbers

import numpy as np

from ._kernel import kernel, mantissa_and_exponent, random_words
from .base import Array
from .errors import InputError

SCALE = 2.0**-32
LN2 = math.log(2)


@kernel
def _log(x: float) -> float:
    """Give ln x by the series of artanh on [sqrt(1/2), sqrt(2)), to 2e-11."""
    mantissa, exponent = mantissa_and_exponent(x)
    large = mantissa > math.sqrt(2)
    mantissa = 0.5 * mantissa if large else mantissa
    exponent = exponent + 1 if large else exponent
    s = (mantissa - 1) / (mantissa + 1)
    q = s * s
    return exponent * LN2 + 2 * s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q / 11)))))


@kernel
def _sine(x: float) -> float:
    """Give sin x on [-pi/2, pi/2] by its series, to 7e-10."""
    q = x * x
    return x * (
        1 + q * (-1 / 6 + q * (1 / 120 + q * (-1 / 5040 + q * (1 / 362880 + q * (-1 / 39916800 + q / 6227020800)))))
    )


@kernel
def _cosine(x: float) -> float:
    """Give cos x on [-pi/2, pi/2] by its series, to 7e-9."""
    q = x * x
    return 1 + q * (-1 / 2 + q * (1 / 24 + q * (-1 / 720 + q * (1 / 40320 + q * (-1 / 3628800 + q / 479001600)))))


@kernel
def fill_normal(stream: Array, step: int, out: Array) -> None:
    """Write independent numbers from N(0, 1) by the method of Box and Muller (1958).

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
    for i in range(half):
        radial, angular = random_words(stream[0], stream[1], step * half + i)
        radius = math.sqrt(-2 * _log((radial + 0.5) * SCALE))
        # Half the angle, in [-pi/2, pi/2), and the double-angle formulas.
        x = math.pi * (angular * SCALE - 0.5)
        sine = _sine(x)
        out[i] = radius * (2 * sine * _cosine(x))
        out[half + i] = radius * (1 - 2 * sine * sine)


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
