"""Variants of the published experiments: they differ in what they say, and a coarse one learns the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controlnet.base import Array
from controlnet.experiments import catalogue, resolve, to_store
from controlnet.experiments.running import dataset_of
from controlnet.experiments.training import Trainer
from controlnet.reproduction.tables import COARSE, FAST

COARSES = [name for name in catalogue() if name.endswith(COARSE)]


def differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Name the settings in which two experiments differ."""
    flat = [
        {(name, key): value for name in each for key, value in as_table(each[name]).items()} for each in (one, other)
    ]
    return {f"{name}.{key}".rstrip(".") for name, key in flat[0] if flat[0][name, key] != flat[1].get((name, key))}


def as_table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"": value}


@pytest.mark.parametrize("experiment", [name for name in catalogue() if name.endswith(FAST)])
def test_fast_experiments_differ_from_the_published_in_what_they_say(experiment: str) -> None:
    fast, published = (to_store(resolve(name)) for name in (experiment, experiment.removesuffix(FAST)))
    assert differing(fast, published) <= {
        "experiment",
        "method",
        "network.dtype",
        "objective.stepsize",
        "optimizer.epsilon",
        "law.steady_state",
        "law.converged_only",
        "optimizer.clip_norm",
        "feedback.learning",
    }
    # Nudging and epsilon grow together, so that Adam makes the same steps.
    ratio = fast["objective"]["stepsize"] / published["objective"]["stepsize"]
    assert fast["optimizer"]["epsilon"] == pytest.approx(ratio * published["optimizer"]["epsilon"], rel=1e-5)


@pytest.mark.parametrize("experiment", COARSES)
def test_coarse_experiments_simulate_the_same_time_in_fewer_steps(experiment: str) -> None:
    plans = [resolve(name) for name in (experiment, experiment.removesuffix(COARSE))]
    assert differing(*map(to_store, plans)) == {"experiment", "network.dtype", "simulation.dt", "simulation.steps"}
    coarse, fine = (plan.settings for plan in plans)
    assert coarse.simulation.steps < fine.simulation.steps / 2 and coarse.simulation.dt < coarse.network.tau_v / 2
    spans = [(each.simulation.steps + 1) * each.simulation.dt for each in (coarse, fine)]
    assert spans[0] == pytest.approx(spans[1])


@pytest.mark.parametrize("experiment", COARSES)
def test_coarse_experiments_change_the_weights_as_the_published_do(experiment: str) -> None:
    published, coarse = (first_change(name) for name in (experiment.removesuffix(COARSE), experiment))
    for name, expected in published.items():
        assert np.linalg.norm(coarse[name] - expected) < 0.02 * np.linalg.norm(expected), name


def first_change(experiment: str) -> dict[str, Array]:
    """Give what a small network would learn from one minibatch."""
    small = ("data.name=digits", "network.hidden=[24, 24]", "train.compare_with=[]")
    settings = resolve(experiment, overrides=small).settings
    trainer = Trainer(settings, dataset_of(settings), threads=1)
    loop = trainer.forward.loop(trainer.plant, True)
    return loop.law.propose(loop, trainer.lesson(trainer.forward, loop, np.arange(16))).change
