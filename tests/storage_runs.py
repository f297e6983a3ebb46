"""A small run for the tests of storage, and how two are compared."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from controlnet.storage import Run

ON_A_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def example(scale: float = 1.0) -> Run:
    """Make a small run with something in every part."""
    return Run(
        settings={"dataset": "digits", "layers": [64, 32, 10], "noise": None},
        seed=2**130,
        summary={"accuracy": 0.5 * scale},
        history=[{"epoch": 0, "loss": scale, "note": "début"}, {"epoch": 1, "loss": None, "note": ""}],
        weights={"W0": scale * np.arange(6.0).reshape(2, 3), "b0": np.zeros(2), "Q0": np.zeros((0, 3))},
        diagnostics={"angle": np.linspace(0, 90, 4, dtype=np.float32), "poles": np.array([1j, -1j])},
        provenance={"argv": ["controlnet", "\udcff"]},
        complete=True,
        continuation={"forward.first.W0": np.ones((2, 3), np.float32), "pretraining": np.asarray(2)},
    )


def equal(first: Run, second: Run) -> bool:
    """Compare two runs, arrays with their types."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.shape, value.tobytes())
        if isinstance(value, dict):
            return [(key, plain(item)) for key, item in value.items()]
        if isinstance(value, list):
            return [plain(item) for item in value]
        return (type(value), repr(value))

    return all(plain(getattr(first, f.name)) == plain(getattr(second, f.name)) for f in fields(Run))


def one_line(caught: pytest.ExceptionInfo[Exception], *words: str) -> None:
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def failing(code: int) -> Any:
    def fail(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail
