"""Ten seconds of a pendulum under PI control: the compiled loop, SciPy and python-control in one run."""

from __future__ import annotations

from typing import Any

import control
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import controlnet as cn

STEPS, DT = 1000, 0.01
K_P, K_I, REFERENCE = 8.0, 5.0, 0.3


def _slope(t: float, s: np.ndarray) -> list[float]:
    e = REFERENCE - s[0]
    return [s[1], -9.81 * np.sin(s[0]) - 0.5 * s[1] + s[2] + K_P * e, K_I * e]


def _controlnet() -> np.ndarray:
    controller = cn.controllers.PI(k_p=K_P, k_i=K_I)
    loop = cn.ClosedLoop(cn.plants.Pendulum(), controller, integrator=cn.integrators.RK4())
    return loop.simulate([REFERENCE], dt=DT, steps=STEPS, record=("y",)).y[:, 0, 0]


def _scipy() -> np.ndarray:
    t = np.arange(STEPS + 1) * DT
    return solve_ivp(_slope, (0, t[-1]), [0, 0, 0], t_eval=t, rtol=1e-6).y[0]


def _python_control() -> np.ndarray:
    loop = control.nlsys(lambda t, x, u, params: _slope(t, x), lambda t, x, u, params: x[0], states=3, outputs=1)
    t = np.arange(STEPS + 1) * DT
    options = {"rtol": 1e-6}
    return np.asarray(control.input_output_response(loop, t, X0=[0, 0, 0], solve_ivp_kwargs=options).outputs)


@pytest.mark.parametrize("simulate", [_controlnet, _scipy, _python_control], ids=lambda f: f.__name__[1:])
def test_pendulum(benchmark: Any, simulate: Any) -> None:
    y = benchmark.pedantic(simulate, rounds=10, warmup_rounds=1)
    assert np.abs(y - _controlnet()).max() < 1e-3
