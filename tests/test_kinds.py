"""Which runs are the same: settings that nothing reads do not count, all others do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from controlnet.experiments import catalogue, resolve, to_store
from controlnet.experiments.running import dataset_of
from controlnet.experiments.training import Trainer
from controlnet.reproduction.kinds import kind
from controlnet.reproduction.published import paper_table

SAME = [
    *((f"dfc/{column}/dfc-fast", f"dfc/{column}/dfc-ss-fast") for column in paper_table("dfc").columns),
    *((f"dfc/{column}/dfc-fixed-fast", f"dfc/{column}/dfc-fixed-ss-fast") for column in paper_table("dfc").columns),
]
"""What DFC learns from a steady state without simulation does not depend on which simulation it takes the place of."""


def test_experiments_of_the_catalogue_are_the_same_run_only_where_that_is_known() -> None:
    kinds = {name: kind(to_store(resolve(name))) for name in catalogue()}
    same = {pair for pair in itertools.combinations(sorted(kinds), 2) if kinds[pair[0]] == kinds[pair[1]]}
    assert same == set(SAME)


SMALL = (
    "data.name=digits",
    "data.train_samples=8",
    "network.hidden=[6]",
    "network.activation=tanh",
    "train.batch_size=8",
    "feedback.pretraining_epochs=0",
    "feedback.extra_epochs=0",
    "feedback.simulation.steps=9",
)


@pytest.mark.parametrize("names", SAME)
def test_experiments_that_are_the_same_run_learn_the_same_bits(names: tuple[str, str]) -> None:
    learned = []
    for name in names:
        settings = resolve(name, epochs=1, overrides=SMALL).settings
        trainer = Trainer(settings, dataset_of(settings), threads=1, compiled=False)
        before = trainer.plant.parameters
        (epoch,) = trainer.epochs()
        learned.append((trainer.plant.parameters, epoch.train_loss))
    (one, loss), (other, other_loss) = learned
    assert loss == other_loss and all(one[key].tobytes() == other[key].tobytes() for key in one)
    assert any(one[key].tobytes() != before[key].tobytes() for key in one)


def leaves(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


OTHER: dict[str, Any] = {
    "method": "dfc-ssa",
    "data.name": "digits",
    "network.activation": "relu",
    "network.feedback": "weight-product",
    "network.initialization": "orthogonal",
    "network.dtype": "float32",
    "network.soma": "instantaneous",
    "network.transmission": "delayed",
    "simulation.control": "new",
    "objective.loss": "mse",
    "law.rule": "voltage-difference",
    "law.steady_state": "last-step",
    "controller.leak_on": "integral",
    "feedback.controller.leak_on": "integral",
    "feedback.simulation.control": "new",
}
"""Another value of settings that are no numbers."""
ALONE = {
    "simulation.integrator",
    "noise.sigma",
    "feedback.layer_scaling",
    "controller.kind",
    "feedback.controller.kind",
    "feedback.learning",
    "objective.feedback",
} | {f"{table}.kind" for table in ("optimizer", "feedback.optimizer", "feedback.pretraining_optimizer")}
"""Settings that only some others go with."""


def differing(name: str, value: Any) -> str:
    other = OTHER.get(name)
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, (list, tuple)):
        other = [7]
    elif not isinstance(value, str):
        other = value + 1 if isinstance(value, int) else value / 2 or 0.125
    assert other != value, name
    return f"{name}={json.dumps(other)}"


def test_every_setting_that_a_phase_reads_tells_runs_apart() -> None:
    """All but [simulation], as the forward weights do without one and the feedback weights have their own."""
    name = "dfc/mnist-train-loss/dfc-fast"
    stored = to_store(resolve(name))
    apart = ("experiment", "seed", "train", "peers", "diagnostics")
    counting = {key: table for key, table in stored.items() if key not in apart}
    same = {
        path
        for path, value in leaves(counting)
        if path not in ALONE and kind(to_store(resolve(name, overrides=[differing(path, value)]))) == kind(stored)
    }
    assert same == {"simulation.dt", "simulation.steps", "simulation.control"}
    batches = resolve(name, overrides=["train.batch_size=7"])
    assert kind(to_store(batches)) != kind(stored)


@pytest.mark.parametrize(
    ("name", "override", "same"),
    [
        ("dfc/mnist/dfc-fixed-fast", "simulation.control=old", True),
        ("dfc/mnist/dfc-fixed-ssa", "simulation.steps=7", True),
        ("dfc/mnist/bp", "simulation.dt=0.001", True),
        ("dfc/mnist/dfc-fixed", "simulation.steps=7", False),
        ("dfc/mnist/dfc-fixed-ss", "simulation.dt=0.001", False),
        ("dfc/mnist/dfc-ss-fast", "feedback.simulation.steps=7", False),
        ("dfc/mnist/dfc-fixed-fast", "objective.feedback=strong", False),
        ("dfc/mnist-autoencoder/dfc-fast", "objective.feedback=strong", False),
        ("strong-dfc/mnist/strong-dfc", "simulation.steps=7", False),
        ("digits", "simulation.steps=7", False),
    ],
)
def test_a_simulation_counts_where_there_is_one(name: str, override: str, same: bool) -> None:
    one, other = (kind(to_store(resolve(name, overrides=more))) for more in ([], [override]))
    assert (one == other) is same


@pytest.mark.parametrize(("name", "value"), [("dt", 1e-4), ("steps", 7), ("control", "new")])
def test_a_feedback_phase_that_shares_the_simulation_reads_it(name: str, value: Any) -> None:
    """Root finding alone would not."""
    plain = to_store(resolve("dfc/mnist-train-loss/dfc-fast"))
    plain["feedback"]["simulation"] = {}
    shared = plain | {"simulation": plain["simulation"] | {name: value}}
    own = plain | {"feedback": plain["feedback"] | {"simulation": {name: value}}}
    assert kind(plain) != kind(shared) == kind(own)
