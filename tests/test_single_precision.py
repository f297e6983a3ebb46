"""Single precision: every method learns the digits as well as in double precision.

Run with ``python -m pytest -m slow tests/test_single_precision.py -s``; prints the table.
"""

from __future__ import annotations

import math
from statistics import mean, variance

import numpy as np
import pytest
from test_training import digits

from controlnet.experiments import METHODS, resolve
from controlnet.experiments.training import Trainer

SEEDS, EPOCHS = (0, 1, 2), 5


def error_percent(method: str, dtype: str, seed: int) -> float:
    overrides = ("train.compare_with=[]", f"network.dtype={dtype}")
    settings = resolve("digits", method=method, seed=seed, epochs=EPOCHS, overrides=overrides).settings
    trainer = Trainer(settings, digits(seed))
    *_, last = trainer.epochs()
    assert {array.dtype for array in trainer.plant.parameters.values()} == {np.dtype(dtype)}
    return last.test_error_percent


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_single_precision_learns_as_well(method: str) -> None:
    """The means differ by no more than the standard deviation over seeds, both pooled, and one test sample."""
    double, single = ([error_percent(method, dtype, seed) for seed in SEEDS] for dtype in ("float64", "float32"))
    pooled, sample = math.sqrt((variance(double) + variance(single)) / 2), 100 / len(digits().test.targets)
    texts = ["  ".join(f"{value:5.2f}" for value in values) for values in (double, single)]
    print(f"\n{method:18} {mean(double):6.2f} ({texts[0]})  {mean(single):6.2f} ({texts[1]})  spread {pooled:.2f}")
    assert max(double) < 10
    assert abs(mean(double) - mean(single)) <= pooled + sample
