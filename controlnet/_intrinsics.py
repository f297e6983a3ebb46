"""What kernels need and NumPy has not: a choice by precision, the bits of a float, random bits.

Each is a function of Python with a twin in compiled code, which does the same in a few instructions that can be
vectorised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

Function = TypeVar("Function", bound=Callable[..., Any])


def by_precision(single: Function, double: Function) -> Callable[[Any], Any]:
    """Give a scalar kernel with one implementation for float32 and one for float64.

    Parameters
    ----------
    single : callable
        Kernel for a float32 argument.
    double : callable
        Kernel for a float64 argument.

    Returns
    -------
    callable
        A kernel that picks by the type of its argument, in compiled code at compile time.
    """

    def choose(x: Any) -> Any:
        return single(x) if isinstance(x, np.float32) else double(x)

    def compiled(x):  # type: ignore[no-untyped-def]  # annotations would have to stand on the lambda too
        chosen = single if x == types.float32 else double
        return lambda x: chosen(x)

    overload(choose)(compiled)
    return choose


@intrinsic  # type: ignore[untyped-decorator]
def _bits_as_float(typing_context: Any, bits: Any) -> Any:
    from llvmlite import ir

    single = bits == types.int32
    float_type = ir.FloatType() if single else ir.DoubleType()

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], float_type)

    return (types.float32 if single else types.float64)(bits), codegen


def power_of_two(n: Any) -> Any:
    """Give 2**n exactly for a float `n` with an integer value inside the range of normal numbers.

    Parameters
    ----------
    n : float
        The exponent, of the precision that the result shall have.

    Returns
    -------
    float
        2**n; compiled, it is one shift of the bits and so can be vectorised (``exp2`` is a library call).
    """
    return np.exp2(n)


@overload(power_of_two)  # type: ignore[untyped-decorator]
def _compiled_power_of_two(n):  # type: ignore[no-untyped-def]
    if n == types.float32:
        # Numba adds two int32 to an int64.
        return lambda n: _bits_as_float(np.int32((np.int32(n) + 127) << 23))  # type: ignore[call-arg]
    return lambda n: _bits_as_float((np.int64(np.int32(n)) + np.int64(1023)) << np.int64(52))  # type: ignore[call-arg]


@intrinsic  # type: ignore[untyped-decorator]
def _float_as_bits(typing_context: Any, x: Any) -> Any:
    from llvmlite import ir

    single = x == types.float32

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32 if single else 64))

    return (types.int32 if single else types.int64)(x), codegen


def mantissa_and_exponent(x: Any) -> Any:
    """Split a normal float > 0 into a mantissa in [1, 2) and an exponent, both floats.

    Parameters
    ----------
    x : float
        The number.

    Returns
    -------
    tuple of float
        (m, e) with x = m 2**e; compiled, it is a mask on the bits and so can be vectorised.
    """
    mantissa, exponent = np.frexp(x)
    return mantissa + mantissa, type(mantissa)(exponent - 1)


@overload(mantissa_and_exponent)  # type: ignore[untyped-decorator]
def _compiled_mantissa_and_exponent(x):  # type: ignore[no-untyped-def]
    integer, number = (np.int32, np.float32) if x == types.float32 else (np.int64, np.float64)
    digits, bias = (23, 127) if x == types.float32 else (52, 1023)
    fraction, one = integer(2**digits - 1), integer(bias << digits)

    def split(x):  # type: ignore[no-untyped-def]
        bits: Any = _float_as_bits(x)  # type: ignore[call-arg]
        mantissa = _bits_as_float(integer((bits & fraction) | one))  # type: ignore[call-arg]
        return mantissa, number(integer((bits >> digits) - bias))

    return split


def random_words(key: Any, gamma: Any, counter: Any) -> Any:
    """Give two random whole numbers: SplittableRandom (Steele, Lea, Flood 2014) with a counter.

    Parameters
    ----------
    key, gamma : uint64
        Start and odd increment of the stream.
    counter : int
        Index in the stream; any order of calls gives the same numbers.

    Returns
    -------
    tuple of int
        One in [0, 2**31), one in [-2**31, 2**31): 32 bits with a sign become floats in one instruction.
    """
    bits = 2**64 - 1
    z = (int(key) + int(counter) * int(gamma)) & bits
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & bits
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & bits
    z ^= z >> 31
    return z >> 33, (z + 2**31) % 2**32 - 2**31


@overload(random_words)  # type: ignore[untyped-decorator]
def _compiled_random_words(key, gamma, counter):  # type: ignore[no-untyped-def]
    def words(key, gamma, counter):  # type: ignore[no-untyped-def]
        z = key + np.uint64(counter) * gamma
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        return np.int32(z >> np.uint64(33)), np.int32(z)

    return words
