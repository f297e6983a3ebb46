"""Activation functions phi and their slopes, as kernels on a block and as NumPy functions.

pip's Numba has no vectorised maths library, so `tanh` and `exp` are written as range reduction plus Taylor
polynomial (as in Cody and Waite, *Software Manual for the Elementary Functions*, 1980) in a form that
the compiler turns into SIMD code: 8 times faster than the C library's.  Clamps are written so that
NaN stays NaN and a diverging loop is seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import expit

from ._kernel import by_precision, kernel, power_of_two
from .errors import InputError

LINEAR, TANH, RELU, SIGMOID, SOFTPLUS = range(5)
ACTIVATIONS = {"linear": LINEAR, "tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "softplus": SOFTPLUS}

_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13 = (1 / math.factorial(n) for n in range(2, 14))

_f = np.float32
_LOG2E_S, _LN2_HIGH_S, _LN2_LOW_S = _f(_LOG2E), _f(0.693359375), _f(-2.12194440e-4)
_S2, _S3, _S4, _S5, _S6, _S7 = (_f(1 / math.factorial(n)) for n in range(2, 8))
_ONE_S, _TWO_S, _TEN_S, _LEAST_S = _f(1), _f(2), _f(10), _f(-87)


@kernel
def _expm1_reduced(r: Any) -> Any:
    """exp(r) - 1 for |r| <= ln(2)/2."""
    high = _C7 + r * (_C8 + r * (_C9 + r * (_C10 + r * (_C11 + r * (_C12 + r * _C13)))))
    return r + r * r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * high)))))


@kernel
def _expm1_reduced_single(r: Any) -> Any:
    return r + r * r * (_S2 + r * (_S3 + r * (_S4 + r * (_S5 + r * (_S6 + r * _S7)))))


@kernel
def _tanh_double(x: Any) -> Any:
    a = abs(x)
    y = 40.0 if a > 20.0 else a + a
    n = np.rint(y * _LOG2E)
    scale = power_of_two(n)
    em = scale * _expm1_reduced((y - n * _LN2_HIGH) - n * _LN2_LOW) + (scale - 1.0)
    return math.copysign(em / (em + 2.0), x)


@kernel
def _tanh_single(x: Any) -> Any:
    a = abs(x)
    y = _TWO_S * (_TEN_S if a > _TEN_S else a)
    n = np.rint(y * _LOG2E_S)
    scale = power_of_two(n)
    em = scale * _expm1_reduced_single((y - n * _LN2_HIGH_S) - n * _LN2_LOW_S) + (scale - _ONE_S)
    return np.float32(math.copysign(em / (em + _TWO_S), x))


@kernel
def _exp_double(x: Any) -> Any:
    y = -700.0 if x < -700.0 else x
    n = np.rint(y * _LOG2E)
    scale = power_of_two(n)
    return scale * _expm1_reduced((y - n * _LN2_HIGH) - n * _LN2_LOW) + scale


@kernel
def _exp_single(x: Any) -> Any:
    y = _LEAST_S if x < _LEAST_S else x
    n = np.rint(y * _LOG2E_S)
    scale = power_of_two(n)
    return scale * _expm1_reduced_single((y - n * _LN2_HIGH_S) - n * _LN2_LOW_S) + scale


tanh = by_precision(_tanh_single, _tanh_double)
exp_of_negative = by_precision(_exp_single, _exp_double)


@kernel
def _linear(v: Any, r: Any) -> None:
    for i in range(v.shape[0]):
        for b in range(v.shape[1]):
            r[i, b] = v[i, b]


@kernel
def _tanh(v: Any, r: Any) -> None:
    for i in range(v.shape[0]):
        for b in range(v.shape[1]):
            r[i, b] = tanh(v[i, b])


@kernel
def _relu(v: Any, r: Any) -> None:
    zero = r.dtype.type(0)
    for i in range(v.shape[0]):
        for b in range(v.shape[1]):
            r[i, b] = zero if v[i, b] < zero else v[i, b]


@kernel
def _sigmoid(v: Any, r: Any) -> None:
    one = r.dtype.type(1)
    for i in range(v.shape[0]):
        for b in range(v.shape[1]):
            e = exp_of_negative(-abs(v[i, b]))
            r[i, b] = (one if v[i, b] >= 0 else e) / (one + e)


@kernel
def _softplus(v: Any, r: Any) -> None:
    zero = r.dtype.type(0)
    for i in range(v.shape[0]):
        for b in range(v.shape[1]):
            positive = zero if v[i, b] < zero else v[i, b]
            r[i, b] = positive + math.log1p(exp_of_negative(-abs(v[i, b])))


@kernel
def activate(code: int, v: Any, r: Any) -> None:
    """Write r = phi(v).

    Parameters
    ----------
    code : int
        One of the values of `ACTIVATIONS`.
    v : array (n, batch)
        Somatic or basal voltages.
    r : array (n, batch)
        The rates, written.
    """
    if code == TANH:
        _tanh(v, r)
    elif code == RELU:
        _relu(v, r)
    elif code == SIGMOID:
        _sigmoid(v, r)
    elif code == SOFTPLUS:
        _softplus(v, r)
    else:
        _linear(v, r)


@kernel
def scale_by_slope(code: int, r: Any, c: Any) -> None:
    """Multiply c by phi'(v), written in terms of the rate r = phi(v).

    Parameters
    ----------
    code : int
        One of the values of `ACTIVATIONS`.
    r : array (n, batch)
        The rates.
    c : array (n, batch)
        What is scaled, in place.
    """
    one = r.dtype.type(1)
    for i in range(r.shape[0]):
        for b in range(r.shape[1]):
            if code == TANH:
                c[i, b] *= one - r[i, b] * r[i, b]
            elif code == RELU:
                c[i, b] *= one if r[i, b] > 0 else r.dtype.type(0)
            elif code == SIGMOID:
                c[i, b] *= r[i, b] * (one - r[i, b])
            elif code == SOFTPLUS:
                c[i, b] *= -math.expm1(-r[i, b])


def activation_code(name: str) -> int:
    """Give the code of an activation function by its name.

    Parameters
    ----------
    name : str
        A key of `ACTIVATIONS`.

    Returns
    -------
    int
        Its code in the kernels.

    Raises
    ------
    InputError
        If there is no such function.
    """
    if name not in ACTIVATIONS:
        raise InputError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def rate(name: str, v: np.ndarray) -> np.ndarray:
    """Give phi(v) with NumPy.

    Parameters
    ----------
    name : str
        A key of `ACTIVATIONS`.
    v : array
        Voltages of any shape.

    Returns
    -------
    array
        The rates, of the shape and dtype of `v`.
    """
    if name == "tanh":
        return np.tanh(v)
    if name == "relu":
        return np.maximum(v, 0)
    if name == "sigmoid":
        return np.asarray(expit(v))
    if name == "softplus":
        return np.logaddexp(v, 0).astype(v.dtype)
    return v


def slope(name: str, v: np.ndarray) -> np.ndarray:
    """Give phi'(v) with NumPy; the ReLU's slope at 0 is 0.

    Parameters
    ----------
    name : str
        A key of `ACTIVATIONS`.
    v : array
        Voltages of any shape.

    Returns
    -------
    array
        The slopes, of the shape and dtype of `v`.
    """
    if name == "tanh":
        return 1 - np.tanh(v) ** 2
    if name == "relu":
        return (v > 0).astype(v.dtype)
    if name == "sigmoid":
        r = expit(v)
        return np.asarray(r * (1 - r))
    if name == "softplus":
        return np.asarray(expit(v))
    return np.ones_like(v)
