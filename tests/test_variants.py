"""Variants of the published experiments: they differ from them in what they say, and learn the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from controlnet.base import Array
from controlnet.experiments import catalogue, resolve, to_store
from controlnet.experiments.running import dataset_of
from controlnet.experiments.training import Trainer
from controlnet.reproduction.tables import FAST


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
        "controller.leak",
        "feedback.learning",
        *({"feedback.network", "feedback.simulation"} if "2phase" in experiment else {"feedback.linearized"}),
    }
    # Nudging and epsilon grow together, so that Adam makes the same steps.
    ratio = fast["objective"]["stepsize"] / published["objective"]["stepsize"]
    assert fast["optimizer"]["epsilon"] == pytest.approx(ratio * published["optimizer"]["epsilon"], rel=1e-5)


STRONG = MNIST, FASHION = [f"strong-dfc/{column}/strong-dfc-2phase" for column in ("mnist", "fashion-mnist")]


@pytest.mark.parametrize("experiment", STRONG)
def test_fast_strong_dfc_learns_what_it_learns_at_the_published_last_step(experiment: str) -> None:
    """The last step is far from rest with the published leak."""
    published, fast = first_change(experiment), first_change(experiment + FAST)
    far = first_change(experiment, "law.steady_state=root-finding")
    for name, expected in published.items():
        assert np.linalg.norm(fast[name] - expected) < 0.02 * np.linalg.norm(expected), name
        assert np.linalg.norm(far[name]) > 2 * np.linalg.norm(expected), name


def test_the_leak_of_root_finding_follows_from_the_published_time() -> None:
    published, fast = (resolve(MNIST + variant).settings for variant in ("", FAST))
    controller, time = published.controller, published.simulation.dt * (published.simulation.steps + 1)
    assert fast.law.steady_state == "root-finding"
    assert fast.controller.leak == pytest.approx(1 / (controller.k_p + controller.k_i * time))


def test_where_samples_have_no_steady_state_the_fast_variant_simulates_as_published() -> None:
    published, fast = (resolve(FASHION + variant).settings for variant in ("", FAST))
    for name in ("law", "controller", "simulation", "optimizer"):
        assert getattr(fast, name) == getattr(published, name), name


@pytest.mark.parametrize("experiment", STRONG)
def test_the_feedback_phase_of_the_fast_variant_takes_as_long_in_fewer_steps(experiment: str) -> None:
    published, fast = (resolve(name).settings.feedback for name in (experiment, experiment + FAST))
    one, other = published.simulation, fast.simulation
    assert other.dt * other.steps == pytest.approx(one.dt * one.steps, rel=1e-5)
    assert fast.network.tau_v == other.dt, "the somas are at rest after each step"
    changed = {"simulation": one, "network": replace(fast.network, tau_v=published.network.tau_v)}
    assert replace(fast, **changed) == published


@pytest.mark.slow
@pytest.mark.parametrize("experiment", STRONG)
def test_in_fewer_steps_feedback_weights_learn_the_same_on_average(experiment: str) -> None:
    """Two means over other noise of the published steps are no more alike than with one of fewer steps."""
    draws = {name: [mean_feedback_change(name, seed) for seed in (0, 1)] for name in (experiment, experiment + FAST)}
    (one, other), (fast, again) = draws.values()
    for name in one:
        alike, noisy, fewer = (cosine(a[name], b[name]) for a, b in ((one, fast), (one, other), (fast, again)))
        assert alike > 0.95 * math.sqrt(noisy * fewer), name
        assert math.sqrt(fewer / noisy) * norm(fast[name]) == pytest.approx(norm(one[name]), rel=0.15), name


def norm(change: Array) -> float:
    return float(np.linalg.norm(change))


def cosine(one: Array, other: Array) -> float:
    return float((one * other).sum() / (norm(one) * norm(other)))


def mean_feedback_change(experiment: str, seed: int, passes: int = 40) -> dict[str, Array]:
    """Give what the feedback weights of a small network would learn, a mean over passes."""
    small = ("data.name=digits", "network.hidden=[48, 48]", "train.compare_with=[]", f"seed={seed}")
    settings = resolve(experiment, overrides=small).settings
    trainer, total = Trainer(settings, dataset_of(settings)), {}
    net = Trainer(replace(settings, seed=5), dataset_of(settings)).plant
    loop = trainer.sleep.loop(net)
    for _ in range(passes):
        lesson = trainer.lesson(trainer.sleep, loop, np.arange(512))
        for name, change in loop.law.propose(loop, lesson).change.items():
            total[name] = total.get(name, 0) + change / passes
    return total


def first_change(experiment: str, *overrides: str) -> dict[str, Array]:
    """Give what a small network would learn from one minibatch."""
    small = ("data.name=digits", "network.hidden=[24, 24]", "train.compare_with=[]")
    settings = resolve(experiment, overrides=(*small, *overrides)).settings
    trainer = Trainer(settings, dataset_of(settings), threads=1)
    loop = trainer.forward.loop(trainer.plant, True)
    return loop.law.propose(loop, trainer.lesson(trainer.forward, loop, np.arange(16))).change
