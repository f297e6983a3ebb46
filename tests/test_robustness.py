"""Noise in the neurons: Strong-DFC learns through it, DFC with weak feedback does not (Meulemans et al. 2022, table 1).

Run with ``python -m pytest -m slow tests/test_robustness.py -s``; prints the table of the README.
"""

from __future__ import annotations

from statistics import mean

import pytest

from controlnet.data import load
from controlnet.experiments import resolve
from controlnet.experiments.chance import seeds
from controlnet.experiments.training import Trainer

SEEDS = (0, 1, 2)
TAU = 0.1
SILENT = {"dfc": ["noise.sigma=0"], "strong-dfc": ["noise.sigma=0", "feedback.learning=two-phase"]}


def error_percent(method: str, seed: int, overrides: list[str]) -> float:
    settings = resolve("digits", method=method, seed=seed, overrides=overrides).settings
    *_, last = Trainer(settings, load("digits", seed=seeds(seed)["split"])).epochs()
    return last.test_error_percent


def errors(method: str, sigma: float) -> list[float]:
    """Give the test error of each seed; without noise Strong-DFC has a phase of its own for the feedback weights."""
    noise = [f"noise.sigma={sigma}", f"noise.tau={TAU}"] if sigma else SILENT.get(method, [])
    return [error_percent(method, seed, noise) for seed in SEEDS]


@pytest.mark.slow
def test_strong_feedback_learns_through_noise() -> None:
    some = (0.0, 0.05, 0.06, 0.08)
    sigmas = {"bp": (0.0,), "dfc": some, "strong-dfc": some}
    table = {(method, sigma): errors(method, sigma) for method in sigmas for sigma in sigmas[method]}
    for (method, sigma), values in table.items():
        print(f"{method:12} sigma {sigma:4}: {mean(values):6.2f} %  {[round(value, 2) for value in values]}")
    means = {key: mean(values) for key, values in table.items()}
    assert means["dfc", 0.06] - means["dfc", 0.0] > 5
    assert means["strong-dfc", 0.06] - means["strong-dfc", 0.0] < 2
