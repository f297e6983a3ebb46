"""The methods: each learns, fits every experiment, survives a file, and says how much control it needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_phases import Recorder, settled, trained
from test_training import chosen, tiny

from controlnet._display import Lines
from controlnet.adaptation import analytic_control
from controlnet.base import Array
from controlnet.cli import main
from controlnet.data import DATASETS
from controlnet.experiments import METHODS, Plan, Settings, as_toml, catalogue, from_stored, resolve, to_store
from controlnet.experiments.methods import complete, simulates
from controlnet.experiments.training import Trainer

NAMES = (
    *("dfc", "dfc-ss", "dfc-ssa", "dfc-fixed", "dfc-fixed-ss", "dfc-fixed-ssa", "strong-dfc", "strong-dfc-2phase"),
    *("dfa", "bp", "mn", "gn"),
)


def test_the_methods_are_those_of_the_papers() -> None:
    assert tuple(METHODS) == NAMES


@pytest.mark.parametrize("method", METHODS)
def test_a_description_is_one_line(method: str) -> None:
    description = METHODS[method].description
    assert 10 < len(description) < 90
    assert description == description.strip().rstrip(".")
    assert "\n" not in description
    assert sum(other.description == description for other in METHODS.values()) == 1


# --- learning


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(method: str, dtype: str) -> None:
    """In plain Python, on data of a few bytes, and through noise, under which nothing could be solved for."""
    steady = METHODS[method].steady
    tables = {
        "noise": {"sigma": 0.0 if steady else 0.02},
        "network": {"dtype": dtype},
        "controller": {"kind": "pi", "k_p": 0.5, "k_i": 2.0, "leak": 0.1},
        "simulation": {"dt": 0.1, "steps": 20},
        "optimizer": {"kind": "adam", "learning_rate": 0.03, "beta1": 0.9},
        "train": {"epochs": 5, "batch_size": 5},
    }
    trainer = Recorder(settled(method, **tables))
    start, history = trainer.plant.parameters, list(trainer.epochs())
    losses = [epoch.train_loss for epoch in history]
    assert losses[-1] < 0.9 * losses[0]
    moved = {name[0] for name, array in trainer.plant.parameters.items() if not np.array_equal(array, start[name])}
    assert moved == ({"W", "b"} if METHODS[method].learning[0] == "none" else {"W", "b", "Q"})
    judged = simulates(trainer.settings) != steady
    assert [epoch.simulated for epoch in history] == [10 * judged] * 5
    assert (history[-1].converged_percent is not None) == judged


# --- settings


GENERAL = [name for name in catalogue() if "/" not in name]
"""Experiments for every method; those of the papers' tables are each for one."""


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, method) for name in GENERAL for method in METHODS),
        *((name, resolve(name).settings.method) for name in catalogue() if "/" in name),
    ],
)
def test_every_experiment_resolves_with_its_methods(name: str, method: str, tmp_path: Path) -> None:
    plan = resolve(name, method=method)
    assert (plan.settings.experiment, plan.settings.method) == (name, method)
    assert plan.settings.data.name in DATASETS
    again = resolve(written(tmp_path, as_toml(plan)))
    assert as_toml(again) == as_toml(plan)


def written(folder: Path, text: str) -> str:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def nameless(plan: Plan) -> list[Settings]:
    """Give all settings but the name of the experiment, which is that of its file."""
    return [msgspec.structs.replace(settings, experiment="") for settings in (plan.settings, *plan.peers)]


OVERRIDES: dict[str, list[str]] = {
    "none": [],
    "of the main method": ["optimizer={kind='sgd', clip_norm=1.0}", "law.damping=0.5", "seed=3"],
    "of all": ["network.hidden=[7]", "objective={loss='mse', target_value=0.9}", "data.train_samples=500"],
    "of the schedule": ["train.epochs=3", "train.batch_size=16", "network.tau_apical=0.5"],
    "of the feedback": ["feedback.extra_epochs=2", "feedback.controller={kind='proportional', k_p=0.1}"],
}


@pytest.mark.parametrize("case", OVERRIDES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_plan_with_all_other_methods_as_peers_survives_a_file_and_a_run(
    name: str, method: str, case: str, tmp_path: Path
) -> None:
    peers = [each for each in METHODS if each != method]
    plan = resolve(name, method=method, overrides=[*OVERRIDES[case], f"train.compare_with={peers}"])
    assert [settings.method for settings in (plan.settings, *plan.peers)] == [method, *peers]
    again = resolve(written(tmp_path, as_toml(plan)))
    assert nameless(again) == nameless(plan)
    assert from_stored(to_store(plan)) == plan


def tables(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


POSITIVE = st.floats(0, 1e300, exclude_min=True)
FRACTION = st.floats(0, 1, exclude_max=True)
ACTIVATION = st.sampled_from(["tanh", "relu", "softplus", "sigmoid", "linear"])
METHOD = st.sampled_from(list(METHODS))
CONTROLLER = st.one_of(
    st.fixed_dictionaries({"kind": st.just("pi")}, optional={"k_p": POSITIVE, "leak_on": st.just("integral")}),
    st.fixed_dictionaries({"kind": st.just("integral")}, optional={"k_i": POSITIVE, "leak": st.floats(0, 1e9)}),
    st.fixed_dictionaries({"kind": st.just("pid")}, optional={"k_d": POSITIVE, "derivative_filter": POSITIVE}),
)
OPTIMIZER = st.one_of(
    st.fixed_dictionaries({"kind": st.just("sgd")}, optional={"momentum": FRACTION, "clip_norm": POSITIVE}),
    st.fixed_dictionaries({"kind": st.just("adam")}, optional={"beta1": FRACTION, "weight_decay": POSITIVE}),
)
NOISE = st.fixed_dictionaries({"sigma": POSITIVE}, optional={"tau": st.floats(0.02, 1e9), "sigma_output": POSITIVE})
SLOW = st.floats(0.02, 1e300)
FEEDBACK = tables(
    pretraining_epochs=st.integers(0, 9),
    output_layer=st.booleans(),
    high_pass=SLOW,
    network=tables(tau_v=SLOW, transmission=st.just("delayed")),
    controller=CONTROLLER,
    noise=NOISE,
    pretraining_optimizer=OPTIMIZER,
)
DATA = st.sampled_from(sorted(DATASETS)) | st.text(st.characters(codec="utf-8"), max_size=5).map("{}.npz".format)
VALID = st.fixed_dictionaries(
    {"noise": NOISE},
    optional=dict(
        method=METHOD,
        seed=st.integers(0, 2**200),
        data=tables(name=DATA, train_samples=st.integers(32, 10**9)),
        network=st.one_of(
            tables(hidden=st.lists(st.integers(1, 9), max_size=3), activation=ACTIVATION, tau_apical=SLOW),
            tables(activation=st.lists(ACTIVATION, min_size=2, max_size=2), dtype=st.just("float32")),
        ),
        controller=CONTROLLER,
        objective=tables(target_value=st.floats(0, 1, exclude_min=True), feedback=st.just("strong")),
        law=tables(converged_only=st.booleans()),
        optimizer=OPTIMIZER,
        feedback=FEEDBACK,
        train=tables(epochs=st.integers(1, 10**9), compare_with=st.lists(METHOD, max_size=3, unique=True)),
    ),
)


def consistent(table: dict[str, Any]) -> bool:
    """Tell whether the methods of an experiment take what it says of objective and law."""
    methods = {table.get("method", "dfc"), *table.get("train", {}).get("compare_with", ())}
    strong, selected = "feedback" in table.get("objective", {}), table.get("law", {}).get("converged_only", False)
    return not (strong and methods & {"dfc-ssa", "dfc-fixed-ssa"}) and not (selected and "strong-dfc" in methods)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=VALID.filter(consistent))
def test_settings_survive_a_file_and_a_run(tmp_path: Path, table: dict[str, Any]) -> None:
    path = written(tmp_path, tomli_w.dumps(table))
    plan = resolve(path)
    assert resolve(written(tmp_path, as_toml(plan))) == plan
    assert from_stored(json.loads(json.dumps(to_store(plan)))) == plan


GIVEN: dict[str, list[str]] = {
    "nothing": [],
    "feedback weights": ["network.feedback=random"],
    "rule": ["law.rule=voltage-difference"],
    "other rule": ["law.rule=nonlinear-difference"],
}


@pytest.mark.parametrize("case", GIVEN)
@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_decides_is_filled_in_once(method: str, case: str) -> None:
    settings = resolve("digits", method=method, overrides=GIVEN[case]).settings
    assert complete(settings) == settings
    expected = METHODS[method]
    feedback = "random" if case == "feedback weights" else expected.feedback
    rule = expected.rule if "rule" not in case else GIVEN[case][0].partition("=")[2]
    assert (settings.network.feedback, settings.law.rule) == (feedback, rule)
    assert settings.objective.feedback == ("strong" if method.startswith("strong") else "nudged")
    assert settings.feedback.learning == expected.learning[0]


@pytest.mark.parametrize(
    ("method", "learning"), [(name, way) for name, method in METHODS.items() for way in method.learning]
)
def test_every_way_of_learning_that_a_method_allows_resolves(method: str, learning: str) -> None:
    settings = settled(method, feedback={"learning": learning})
    assert settings.feedback.learning == learning


# --- the analytic update


DAMPED = ("controller={kind='integral', k_i=2.0, leak=1.0}", "network.hidden=[3]", "train.batch_size=5")


def cosine(first: Array, second: Array) -> float:
    return float((first * second).sum() / (np.linalg.norm(first) * np.linalg.norm(second)))


@pytest.mark.parametrize("name", ["W0", "b0", "W1", "b1"])
def test_the_linearised_state_is_that_of_the_loop(name: str) -> None:
    changes = []
    for method in ("dfc-fixed-ss", "dfc-fixed-ssa"):
        trainer = Trainer(chosen(*DAMPED, method=method), tiny(), 1, compiled=False)
        loop, part = trainer.loop, next(trainer.minibatches())
        changes.append(loop.law.propose(loop, trainer.lesson(trainer.forward, loop, part)).change[name])
    assert cosine(*changes) > 0.99


def test_the_linearised_control_is_that_of_the_loop_with_a_softmax() -> None:
    """For a small error of a loop with strong feedback; the analytic update itself is refused there."""
    strong = ("objective.feedback='strong'", "objective.target_value=0.4")
    trainer = Trainer(chosen(*DAMPED, *strong, method="dfc-fixed-ss"), tiny(), 1, compiled=False)
    loop = trainer.loop
    lesson = trainer.lesson(trainer.forward, loop, next(trainer.minibatches()))
    assert cosine(loop.law.propose(loop, lesson).control, analytic_control(loop, lesson)) > 0.99


# --- the amount of control


def mean_of_h(trainer: Trainer, stepsize: float, alpha: float) -> float:
    """Give the mean of |Q u|^2 with u = (J Q + alpha I)^-1 (r* - r), for one hidden layer of tanh and a softmax."""
    p, data = trainer.plant.parameters, trainer.dataset.train
    total = 0.0
    for x, label in zip(data.inputs, data.targets, strict=True):
        r = np.tanh(p["W0"] @ x + p["b0"])
        y = p["W1"] @ r + p["b1"]
        error = stepsize * (np.eye(3)[label] - np.exp(y) / np.exp(y).sum())
        gain = p["W1"] @ np.diag(1 - r**2) @ p["Q0"] + p["Q1"]
        u = np.linalg.solve(gain + alpha * np.eye(3), error)
        total += np.sum((p["Q0"] @ u) ** 2) + np.sum((p["Q1"] @ u) ** 2)
    return total / len(data.targets)


CONTROLLER = {"kind": "integral", "k_i": 2.0, "leak": 0.5}
STILL = {"kind": "sgd", "learning_rate": 1e-300}


@pytest.mark.parametrize("batch_size", [4, 10])
def test_the_amount_of_control_is_a_mean_over_samples(batch_size: int) -> None:
    schedule, objective = {"epochs": 1, "batch_size": batch_size}, {"stepsize": 0.05}
    trainer = trained(
        settled("dfc-fixed-ssa", controller=CONTROLLER, objective=objective, train=schedule, optimizer=STILL)
    )
    assert trainer.history[0].amount_of_control == pytest.approx(mean_of_h(trainer, 0.05, 0.25), rel=1e-12)


@pytest.mark.parametrize("method", ["dfc-fixed", "dfc-fixed-ss"])
def test_the_amount_of_control_is_that_of_the_steady_state(method: str) -> None:
    long, quiet = {"dt": 0.1, "steps": 150}, {"sigma": 0.0}
    settings = settled(method, controller=CONTROLLER, simulation=long, noise=quiet, optimizer=STILL)
    trainer = trained(settings)
    loop = trainer.loop
    lesson = trainer.lesson(trainer.forward, loop, np.arange(10))
    u = loop.equilibrium(lesson.reference, inputs=lesson.inputs).u
    expected = np.mean(np.sum((u @ np.concatenate(loop.plant.feedback).T) ** 2, axis=1))
    assert trainer.history[0].amount_of_control == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["bp", "dfa", "mn", "gn"])
def test_without_control_there_is_no_amount_of_it(method: str) -> None:
    assert [epoch.amount_of_control for epoch in trained(settled(method)).history] == [None, None]


def test_the_jacobian_stands_for_q_where_it_feeds_back() -> None:
    """For weak nudging the steady state is near the feed-forward one, so that v_fb = J^T u."""
    settings = settled(
        "dfc-fixed",
        network={"feedback": "jacobian-transpose"},
        controller=CONTROLLER,
        objective={"stepsize": 1e-6},
        noise={"sigma": 0.0},
        optimizer=STILL,
    )
    trainer = trained(settings)
    lesson = trainer.lesson(trainer.forward, trainer.loop, np.arange(10))
    held = lesson.simulate(trainer.loop, record=("v_apical",), record_every=lesson.steps).v_apical
    expected = np.mean(np.sum(np.concatenate([layer[-1] for layer in held], axis=1) ** 2, axis=1))
    assert trainer.history[0].amount_of_control == pytest.approx(expected, rel=1e-4)


# --- what is shown


@pytest.mark.parametrize("method", METHODS)
def test_a_line_tells_whether_a_loop_may_be_compiled(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    Lines().on_start(method, 1, 2)
    silent = method in ("dfc-fixed-ssa", "dfa", "bp", "mn", "gn")
    assert ("compiled first" in capsys.readouterr().err) == (not silent)


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(main, [*arguments], env={"COLUMNS": "120"}, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def history_rows(text: str) -> list[dict[str, str]]:
    """Give the rows of the printed history by their headings."""
    lines = text.partition("\nhistory")[2].partition("└")[0].splitlines()
    heading, *cells = [re.split("[│┃]", line)[1:-1] for line in lines if line[:1] in ("│", "┃")]
    return [{name.strip(): cell.strip() for name, cell in zip(heading, row, strict=True)} for row in cells]


@pytest.mark.parametrize(("method", "judged"), [("strong-dfc", True), ("dfc-fixed-ssa", False), ("bp", False)])
def test_loss_amount_of_control_and_convergence_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, judged: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ("network.hidden=[4]", "train.compare_with=[]", "data.train_samples=64")
    options = [part for text in small for part in ("--set", text)]
    shown("run", "-m", method, "--epochs", "2", "--out", "run", "--quiet", *options)
    rows, stored = history_rows(shown("show", "run")), json.loads(shown("show", "run", "--json"))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row, epoch in zip(rows, stored["history"], strict=True):
        control, converged = epoch["amount_of_control"], epoch["converged_percent"]
        assert row["loss"] == f"{epoch['train_loss']:.4g}"
        assert row["H"] == ("–" if method == "bp" else f"{control:.4g}")
        assert row["conv. %"] == (f"{converged:.4g}" if judged else "–")
        assert control is None if method == "bp" else control > 0
    assert stored["summary"]["amount_of_control"] == stored["history"][-1]["amount_of_control"]
