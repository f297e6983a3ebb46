"""Elementary functions as scalar kernels that the compiler turns into SIMD code.

pip's Numba has no vectorised maths library, so these are range reduction plus polynomial (Cody and Waite, *Software
Manual for the Elementary Functions*, 1980), 10 times faster than the C library's.  The coefficients interpolate at
Chebyshev nodes.  Clamps are written so that NaN stays NaN and a diverging loop is seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._intrinsics import by_precision, power_of_two
from ._kernel import kernel

_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LN2, _SPLIT, _LEAST = math.log(2), math.sqrt(2) - 1, -708.39

_E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11 = (
    *(0.5000000000000001, 0.16666666666666669, 0.04166666666662416, 0.008333333333330065, 0.0013888888917198419),
    *(0.00019841269863041851, 2.480152131972762e-05, 2.7557268478279004e-06, 2.762007713646922e-07),
    2.51003767988125e-08,
)
"""(e^r - 1 - r) / r^2 on |r| <= ln(2)/2, to 4e-17."""

_A1, _A2, _A3, _A4, _A5, _A6, _A7 = (
    *(0.3333333333333335, 0.19999999999949727, 0.1428571431299928, 0.1111110556551426, 0.0909144469983886),
    *(0.07665856239690651, 0.07308281211052323),
)
"""(artanh(s) / s - 1) / s^2 in q = s^2 on |s| <= (sqrt(2) - 1) / (sqrt(2) + 1), to 5e-18."""

_f = np.float32
_ONE_S, _TWO_S, _TEN_S, _LEAST_S, _SPLIT_S = _f(1), _f(2), _f(10), _f(-87.33), _f(_SPLIT)
_LOG2E_S, _LN2_S, _LN2_HIGH_S, _LN2_LOW_S = _f(_LOG2E), _f(_LN2), _f(0.693359375), _f(-2.12194440e-4)
_E2_S, _E3_S, _E4_S, _E5_S, _E6_S = map(
    _f, (0.5, 0.16666577022008552, 0.041666554657566544, 0.008363173672307517, 0.0013926176866679587)
)
_A1_S, _A2_S, _A3_S = map(_f, (0.33333342522105164, 0.1999438933460294, 0.14790017739129974))


@kernel
def _expm1_reduced(r: Any) -> Any:
    """exp(r) - 1 for |r| <= ln(2)/2."""
    high = _E6 + r * (_E7 + r * (_E8 + r * (_E9 + r * (_E10 + r * _E11))))
    return r + r * r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * high))))


@kernel
def _expm1_reduced_single(r: Any) -> Any:
    return r + r * r * (_E2_S + r * (_E3_S + r * (_E4_S + r * (_E5_S + r * _E6_S))))


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
    y = _LEAST if x < _LEAST else x
    n = np.rint(y * _LOG2E)
    scale = power_of_two(n)
    return scale * _expm1_reduced((y - n * _LN2_HIGH) - n * _LN2_LOW) + scale


@kernel
def _exp_single(x: Any) -> Any:
    y = _LEAST_S if x < _LEAST_S else x
    n = np.rint(y * _LOG2E_S)
    scale = power_of_two(n)
    return scale * _expm1_reduced_single((y - n * _LN2_HIGH_S) - n * _LN2_LOW_S) + scale


@kernel
def _log1p_double(x: Any) -> Any:
    large = x > _SPLIT
    s = (x - 1.0) / (x + 3.0) if large else x / (x + 2.0)
    q = s * s
    series = q * (_A1 + q * (_A2 + q * (_A3 + q * (_A4 + q * (_A5 + q * (_A6 + q * _A7))))))
    return (_LN2 if large else 0.0) + 2.0 * (s + s * series)


@kernel
def _log1p_single(x: Any) -> Any:
    large = x > _SPLIT_S
    s = (x - _ONE_S) / (x + _TWO_S + _ONE_S) if large else x / (x + _TWO_S)
    q = s * s
    return (_LN2_S if large else _ONE_S - _ONE_S) + _TWO_S * (s + s * (q * (_A1_S + q * (_A2_S + q * _A3_S))))


tanh = by_precision(_tanh_single, _tanh_double)
"""tanh x, to 2.2 units in the last place."""
exp_of_negative = by_precision(_exp_single, _exp_double)
"""exp x for x <= 0, to 1.5 units; where the result would not be a normal number, about the smallest of these."""
log1p_of_fraction = by_precision(_log1p_single, _log1p_double)
"""ln(1 + x) for x in [0, 1], to 2 units."""
