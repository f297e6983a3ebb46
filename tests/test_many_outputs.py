"""Steady states with many outputs: Anderson's acceleration first, matrices for the proof of stability alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controlnet import ClosedLoop, _root_finding
from controlnet.controllers import PI
from controlnet.plants import DeepNetwork


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("samples", [1, 5])
def test_many_outputs_rest_where_few_would(monkeypatch: pytest.MonkeyPatch, dtype: Any, samples: int) -> None:
    """Without matrices the search finds the roots that it finds with them."""
    net = DeepNetwork.initialize((6, 20, 5, 20, 12), feedback="weight-product", seed=3, dtype=dtype)
    rng = np.random.default_rng(1)
    x, r = rng.normal(size=(samples, 6)), 0.3 * rng.normal(size=(samples, 12))
    loop = ClosedLoop(net, PI(k_p=1.0, leak=0.01))
    with_matrices = loop.equilibrium(r, inputs=x)
    monkeypatch.setattr(_root_finding, "MANY", 12)
    monkeypatch.setattr(_root_finding, "_broyden", lambda *_: pytest.fail("with matrices"))
    without = loop.equilibrium(r, inputs=x)
    assert with_matrices.converged.all() and without.converged.all()
    np.testing.assert_allclose(without.u, with_matrices.u, atol=1e-8 if dtype == "float64" else 1e-3)
    assert (without.iterations > 3).all()


def test_many_outputs_without_a_stable_root_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    net = DeepNetwork.initialize((6, 20, 5, 20, 12), feedback="random", seed=3)
    net = net.with_parameters({"Q3": -np.eye(12)})
    r = 0.3 * np.random.default_rng(1).normal(size=(4, 12))
    loop = ClosedLoop(net, PI(k_p=1.0, leak=0.01))
    few = loop.equilibrium(r, inputs=np.ones((4, 6)))
    monkeypatch.setattr(_root_finding, "MANY", 12)
    monkeypatch.setattr(_root_finding, "LARGEST", 300)
    many = loop.equilibrium(r, inputs=np.ones((4, 6)))
    assert not few.converged.any() and not many.converged.any()
    assert np.isfinite(many.residual).all() and np.isfinite(many.u).all()
