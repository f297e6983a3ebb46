"""The activation kernels against extended precision, and their slopes against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from controlnet._elementary import exp_of_negative
from controlnet.activations import ACTIVATIONS, activate, activation_code, rate, scale_by_slope, slope
from controlnet.errors import InputError

DTYPES = (np.float64, np.float32)


def exact(name: str, v: np.ndarray) -> np.ndarray:
    """Give phi(v) in extended precision."""
    v = v.astype(np.longdouble)
    functions: dict[str, Callable[[Any], Any]] = {
        "linear": lambda v: v,
        "tanh": np.tanh,
        "relu": lambda v: np.maximum(v, 0),
        "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "softplus": lambda v: np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v))),
    }
    return functions[name](v)


def ulps(got: np.ndarray, expected: np.ndarray) -> float:
    """Give the largest error in units in the last place of the expected value."""
    spacing = np.spacing(np.abs(expected).astype(got.dtype)).astype(np.longdouble)
    return float(np.max(np.abs(got.astype(np.longdouble) - expected) / spacing))


def voltages(dtype: type) -> np.ndarray:
    """Give a block with values of every size: tiny, of order 1, and where the functions saturate."""
    tiny, middle, large = np.logspace(-30, -2, 200), np.linspace(0.01, 3, 800), np.linspace(3, 80, 400)
    v = np.concatenate([tiny, middle, large])
    return np.concatenate([-v, [0.0], v]).astype(dtype)[:, np.newaxis]


@pytest.fixture(scope="module")
def compiled() -> Callable[..., None]:
    """Give the kernel compiled with the options of the loop."""
    return numba.njit(error_model="numpy", fastmath={"contract"})(activate)


@pytest.fixture(params=["interpreted", "compiled"])
def phi(request: pytest.FixtureRequest) -> Callable[..., np.ndarray]:
    kernel = request.getfixturevalue("compiled") if request.param == "compiled" else activate

    def evaluate(name: str, v: np.ndarray) -> np.ndarray:
        r = np.empty_like(v)
        kernel(ACTIVATIONS[name], v, r)
        return r

    return evaluate


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "most"), [("linear", 0), ("relu", 0), ("tanh", 4), ("sigmoid", 4), ("softplus", 4)], ids=str
)
def test_kernel_in_units_in_the_last_place(phi: Callable[..., Any], dtype: type, name: str, most: int) -> None:
    v = voltages(dtype)
    assert phi(name, v).dtype == dtype
    assert ulps(phi(name, v), exact(name, v)) <= most


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_in_units_in_the_last_place(dtype: type) -> None:
    x = -np.concatenate([[0.0], np.logspace(-20, -1, 100), np.linspace(0.1, 80, 500)]).astype(dtype)
    got = np.array([exp_of_negative(value) for value in x])
    assert got.dtype == dtype
    assert ulps(got, np.exp(x.astype(np.longdouble))) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_nan(phi: Callable[..., Any], dtype: type, name: str) -> None:
    v = np.array([[np.nan], [0.3]], dtype)
    r = phi(name, v)
    assert np.isnan(r[0, 0])
    assert r[1, 0] == pytest.approx(rate(name, v[1:])[0, 0], rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("linear", -np.inf, np.inf),
        ("tanh", -1, 1),
        ("relu", 0, np.inf),
        ("sigmoid", 0, 1),
        ("softplus", 0, np.inf),
    ],
)
def test_limits(phi: Callable[..., Any], dtype: type, name: str, below: float, above: float) -> None:
    v = np.array([[-np.inf], [np.inf]], dtype)
    np.testing.assert_allclose(phi(name, v)[:, 0], [below, above], rtol=0, atol=1e-30)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_numpy_function_agrees(name: str, dtype: type) -> None:
    v = voltages(dtype)
    assert rate(name, v).dtype == slope(name, v).dtype == dtype
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(rate(name, v), exact(name, v).astype(dtype), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope(name: str) -> None:
    v = np.linspace(-3, 3, 50)[:, np.newaxis]
    step = 1e-6
    expected = (rate(name, v + step) - rate(name, v - step)) / (2 * step)
    np.testing.assert_allclose(slope(name, v), expected, rtol=1e-8, atol=1e-9)
    scaled = np.full_like(v, 2.0)
    scale_by_slope(ACTIVATIONS[name], rate(name, v), scaled)
    np.testing.assert_allclose(scaled, 2 * expected, rtol=1e-8, atol=1e-9)


def test_slope_of_relu_at_its_kink_is_zero() -> None:
    at_zero = np.zeros((1, 1))
    scaled = np.ones((1, 1))
    scale_by_slope(ACTIVATIONS["relu"], at_zero, scaled)
    assert slope("relu", at_zero)[0, 0] == scaled[0, 0] == 0


def test_unknown_name() -> None:
    with pytest.raises(InputError, match=r"activation: expected one of linear, tanh.*got 'gelu'"):
        activation_code("gelu")
