"""The optimisers against six steps of PyTorch's, with one optimiser a layer as the DFC code has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controlnet.adaptation import OPTIMIZERS, SGD, Adam, RMSprop
from controlnet.adaptation.optimizers import AbstractOptimizer, clipped
from controlnet.base import Array
from controlnet.errors import InputError

NAMES = ("W0", "b0", "W1", "b1")
SETTINGS: dict[str, tuple[type[AbstractOptimizer], dict[str, Any]]] = {
    "sgd": (SGD, {"learning_rate": 0.05}),
    "sgd_momentum": (SGD, {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    "adam": (Adam, {"learning_rate": 0.02, "beta1": 0.9, "weight_decay": 0.01}),
    "adam_defaults": (Adam, {}),
    "rmsprop": (RMSprop, {"learning_rate": 0.03, "weight_decay": 0.02}),
}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Array]:
    with np.load(Path(__file__).parent / "data" / "optimizers.npz") as file:
        return dict(file)


def test_every_optimizer_is_tested() -> None:
    assert {kind for kind, _ in SETTINGS.values()} == set(OPTIMIZERS.values())


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("name", SETTINGS)
def test_as_pytorch(name: str, clip: float | None, recorded: dict[str, Array]) -> None:
    kind, settings = SETTINGS[name]
    optimizer = kind(clip_norm=clip, **settings)
    parameters = {key: recorded[f"start_{key}"] for key in NAMES}
    memory: dict[str, Array] = {}
    label = f"{name}_clipped" if clip else name
    for step in range(len(recorded["gradient_W0"])):
        before = {key: value.copy() for key, value in parameters.items()}
        change = {key: -recorded[f"gradient_{key}"][step] for key in NAMES}
        new, memory = optimizer.apply(parameters, change, memory)
        assert all(np.array_equal(parameters[key], value) for key, value in before.items())
        parameters = new
        for key in NAMES:
            np.testing.assert_allclose(parameters[key], recorded[f"{label}_{key}"][step], rtol=1e-12, atol=1e-13)


def test_only_what_changes_is_given_back() -> None:
    parameters = {"W0": np.ones(2), "Q0": np.ones(2)}
    new, _ = SGD(learning_rate=0.5).apply(parameters, {"W0": np.full(2, 2.0)}, {})
    assert list(new) == ["W0"]
    assert new["W0"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_single_precision_stays(kind: type[AbstractOptimizer]) -> None:
    parameters, memory = {"W0": np.ones(3, np.float32)}, {}
    for _ in range(2):
        change = {"W0": np.array([1.0, -2.0, 0.5], np.float32)}
        parameters, memory = kind(weight_decay=0.1, clip_norm=1.0).apply(parameters, change, memory)
    assert parameters["W0"].dtype == np.float32


@pytest.mark.parametrize("name", SETTINGS)
def test_only_the_memory_is_overwritten(name: str) -> None:
    kind, settings = SETTINGS[name]
    rng = np.random.default_rng(0)
    parameters, change = ({"W0": rng.normal(size=(3, 2)), "b0": rng.normal(size=3)} for _ in range(2))
    given = {key: value.copy() for key, value in {**parameters, **{f"d{k}": v for k, v in change.items()}}.items()}
    first, memory = kind(**settings).apply(parameters, change, {})
    kept = {key: value.copy() for key, value in first.items()}
    second, again = kind(**settings).apply(first, change, memory)
    for key in parameters:
        assert np.array_equal(parameters[key], given[key]) and np.array_equal(change[key], given[f"d{key}"])
        assert np.array_equal(first[key], kept[key]) and not np.array_equal(second[key], first[key])
        others = (parameters[key], change[key], first[key], *again.values())
        assert not any(np.shares_memory(second[key], other) for other in others)
    assert all(again[key] is memory[key] for key in memory if not key.startswith("count"))


def test_clipping_counts_a_layer_together_and_feedback_apart() -> None:
    change = {"W0": np.array([3.0]), "b0": np.array([4.0]), "Q0": np.array([10.0]), "W1": np.array([0.5])}
    small = clipped(change, 1.0)
    assert list(small) == list(change)
    np.testing.assert_allclose([small[name][0] for name in change], [0.6, 0.8, 1.0, 0.5], rtol=1e-6)
    assert clipped(change, None) == change


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate: expected a number > 0, got 0.0"),
        ({"weight_decay": -0.1}, "weight_decay: expected a number >= 0, got -0.1"),
        ({"clip_norm": 0.0}, "clip_norm: expected a number > 0, got 0.0"),
    ],
)
@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_bad_values(kind: type[AbstractOptimizer], values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**values)
