"""The spectral abscissa of a loop over a grid of two of its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from test_stability import LEAK, network_loop, pendulums, task

from controlnet.analysis import stability, stability_map
from controlnet.controllers import PI
from controlnet.errors import InputError


def test_map() -> None:
    loop, (r, x) = network_loop(PI(k_p=0.1, leak=LEAK)), task(4)
    k_p, tau_v = [0.0, 0.4, 1.0], [0.1, 0.5]
    found = stability_map(loop, r, {"controller.k_p": k_p, "plant.tau_v": tau_v}, inputs=x)
    assert found.shape == (3, 2, 4)
    for i, gain in enumerate(k_p):
        for j, tau in enumerate(tau_v):
            other = network_loop(PI(k_p=gain, leak=LEAK), tau_v=tau)
            steady = other.equilibrium(r, inputs=x)
            np.testing.assert_allclose(found[i, j], stability(other, steady).max_real_eigenvalue, atol=1e-12)
    assert len(np.unique(found.round(9))) == found.size


def test_map_has_nan_where_there_is_no_steady_state() -> None:
    loop, _ = pendulums()
    found = stability_map(loop, [[0.3], [1.2], [2.0]], {"controller.k_i": [0.5, 3.0], "plant.damping": [0.5, 2.0]})
    assert found.shape == (2, 2, 3)
    assert np.isnan(found[:, :, 2]).all()
    # Stable where k_i < damping g cos(angle), 3.55 at an angle of 1.2 and a damping of one.
    np.testing.assert_array_equal(found[:, :, :2] < 0, [[[True, True], [True, True]], [[True, False], [True, True]]])


@pytest.mark.parametrize(
    "name",
    [
        "controller.k_d",
        "plant.k_p",
        "plant.weights",
        "k_p",
        "controller",
        "integrator.control",
        "controller.params",
        ".",
    ],
)
def test_map_of_unknown_numbers(name: str) -> None:
    with pytest.raises(InputError, match="expected controller.NAME or plant.NAME with a number") as at:
        stability_map(network_loop(), [0.1, 0.2], {name: [1.0], "controller.leak": [0.1]})
    assert repr(name) in str(at.value)


@pytest.mark.parametrize("names", [[], ["controller.leak"], ["controller.leak", "controller.k_i", "plant.tau_v"]])
def test_map_is_of_two_numbers(names: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        stability_map(network_loop(), [0.1, 0.2], dict.fromkeys(names, [1.0]))
    assert str(raised.value) == f"parameters: expected two, each with values, got {dict.fromkeys(names, 1)}"


def test_map_needs_values() -> None:
    with pytest.raises(InputError, match="parameters: expected two, each with values, got .*'plant.tau_v': 0"):
        stability_map(network_loop(), [0.1, 0.2], {"controller.leak": [0.1], "plant.tau_v": []})
