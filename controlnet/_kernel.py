"""What turns a plain function into one the compiled loop may call.

A kernel stays an ordinary Python function: it can be read, tested and debugged without a compiler, and
:mod:`controlnet._loop` compiles it together with the loop that calls it.  This module and ``_loop`` are
the only two that know Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import types
from numba.extending import intrinsic, overload, register_jitable

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Mark a plain function as callable from the compiled loop.

    Parameters
    ----------
    function : callable
        Calls only NumPy, :mod:`math` and other kernels; writes its last argument in place.

    Returns
    -------
    callable
        The same, still plain, function.
    """
    return register_jitable(function)  # type: ignore[no-any-return]


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
