"""Activation functions phi and their slopes, as kernels on a block and as NumPy functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import expit

from ._elementary import exp_of_negative, log1p_of_fraction, tanh
from ._kernel import kernel
from .errors import InputError

LINEAR, TANH, RELU, SIGMOID, SOFTPLUS = range(5)
ACTIVATIONS = {"linear": LINEAR, "tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "softplus": SOFTPLUS}


@kernel
def _flat(a: Any) -> Any:
    """Give a block as one row: long loops are faster than many short ones."""
    return a.reshape(a.size)


@kernel
def _linear(v: Any, r: Any) -> None:
    for k in range(v.size):
        r[k] = v[k]


@kernel
def _tanh(v: Any, r: Any) -> None:
    for k in range(v.size):
        r[k] = tanh(v[k])


@kernel
def _relu(v: Any, r: Any) -> None:
    zero = r.dtype.type(0)
    for k in range(v.size):
        r[k] = zero if v[k] < zero else v[k]


@kernel
def _sigmoid(v: Any, r: Any) -> None:
    zero, one = r.dtype.type(0), r.dtype.type(1)
    for k in range(v.size):
        e = exp_of_negative(-abs(v[k]))
        r[k] = (one if v[k] >= zero else e) / (one + e)


@kernel
def _softplus(v: Any, r: Any) -> None:
    zero = r.dtype.type(0)
    for k in range(v.size):
        r[k] = (zero if v[k] < zero else v[k]) + log1p_of_fraction(exp_of_negative(-abs(v[k])))


@kernel
def activate(code: int, v: Any, r: Any) -> None:
    """Write r = phi(v).

    Parameters
    ----------
    code : int
        One of the values of `ACTIVATIONS`.
    v : array (n, batch)
        Somatic or basal voltages, contiguous.
    r : array (n, batch)
        The rates, contiguous, written.
    """
    v, r = _flat(v), _flat(r)
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
        The rates, contiguous.
    c : array (n, batch)
        What is scaled, in place, contiguous.
    """
    r, c = _flat(r), _flat(c)
    zero, one = r.dtype.type(0), r.dtype.type(1)
    if code == TANH:
        for k in range(r.size):
            c[k] *= one - r[k] * r[k]
    elif code == RELU:
        for k in range(r.size):
            c[k] *= one if r[k] > zero else zero
    elif code == SIGMOID:
        for k in range(r.size):
            c[k] *= r[k] * (one - r[k])
    elif code == SOFTPLUS:
        for k in range(r.size):
            c[k] *= -math.expm1(-r[k])


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
    return slope_of_rate(name, rate(name, v))


def slope_of_rate(name: str, r: np.ndarray) -> np.ndarray:
    """Give phi'(v) in terms of the rate r = phi(v) with NumPy.

    Parameters
    ----------
    name : str
        A key of `ACTIVATIONS`.
    r : array
        Rates of any shape.

    Returns
    -------
    array
        The slopes, of the shape and dtype of `r`.
    """
    if name == "tanh":
        return 1 - r * r
    if name == "relu":
        return (r > 0).astype(r.dtype)
    if name == "sigmoid":
        return r * (1 - r)
    if name == "softplus":
        return -np.expm1(-r)
    return np.ones_like(r)
