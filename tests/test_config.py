"""Settings: what is refused and how it is said, what overrides what, and that they survive files and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlnet.errors import ConfigError
from controlnet.experiments import METHODS, Plan, as_toml, catalogue, from_stored, resolve
from controlnet.experiments.config import to_store

TWO_METHODS = """
title = "an example"
method = "dfc"
seed = 3

[network]
hidden = [5]

[controller]
kind = "pi"
k_p = 2.0
leak = 0.5

[optimizer]
kind = "adam"
beta1 = 0.5

[train]
epochs = 4
compare_with = ["bp", "dfc-ssa"]

[methods.dfc]
controller.k_p = 1.5
data.train_samples = 70

[methods.bp]
network.hidden = [9, 9]
seed = 99
optimizer = { kind = "sgd", learning_rate = 0.25 }

[methods.bp.train]
epochs = 50
"""


@pytest.fixture
def example(tmp_path: Path) -> str:
    """Give the path of an experiment with a table for each of two methods."""
    path = tmp_path / "example.toml"
    path.write_text(TWO_METHODS, encoding="utf-8")
    return str(path)


def refused(*overrides: str, experiment: str = "digits", **options: Any) -> str:
    """Give the message with which settings are refused; it is always one line."""
    with pytest.raises(ConfigError) as caught:
        resolve(experiment, overrides=overrides, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "experiment.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# --- what is refused


EXACT = {
    'controller.k_p="two"': 'controller.k_p: expected a number >= 0, got "two"',
    "controller.k_p=-1": "controller.k_p: expected a number >= 0, got -1",
    "controller.k_i=0": "controller.k_i: expected a number > 0, got 0",
    "controller.kp=1": "controller.kp: unknown setting; did you mean 'k_p'?",
    "controler.k_p=1": "controler: unknown setting; did you mean 'controller'?",
    "controller.leak=nan": "controller.leak: expected a finite number, got nan",
    "objective.stepsize=inf": "objective.stepsize: expected a finite number, got inf",
    "objective.target_value=-inf": "objective.target_value: expected a finite number, got -inf",
    "objective.target_value=0": "objective.target_value: expected a number > 0 and <= 1, got 0",
    "optimizer.beta1=1": "optimizer.beta1: expected a number >= 0 and < 1, got 1",
    "seed=-1": "seed: expected a whole number >= 0, got -1",
    "seed=1.5": "seed: expected a whole number >= 0, got 1.5",
    "data.name=5": "data.name: expected a string, got 5",
    "data.train_samples=31": "train.batch_size: expected at most the 31 training samples, got 32",
    "law.rule=voltage": 'law.rule: expected "nonlinear-difference" or "voltage-difference", got "voltage"',
    "objective.loss=mes": 'objective.loss: expected "cross-entropy" or "mse", got "mes"; did you mean \'mse\'?',
    "method=5": "method: expected a string, got 5",
    "train.compare_with=bp": 'train.compare_with: expected a list, each entry a string, got "bp"',
    "methods.bp.seed=3": "methods: unknown setting; settings of one method alone stand in a file, else take --method "
    "NAME and its settings",
    "train_samples=1": "train_samples: unknown setting; did you mean 'data.train_samples'?",
    "epochs=1": "epochs: unknown setting; did you mean 'train.epochs'?",
    "plant.hidden=[5]": "plant: unknown setting; did you mean 'network.hidden'?",
    "controller.kind=pdi": 'controller.kind: expected "pi" or "proportional" or "integral" or "pid", got "pdi"; '
    "did you mean 'pi'?",
    "=5": "--set '=5': expected a.b=value, in one line, with the name of a setting",
    "epochs": "--set 'epochs': expected a.b=value, in one line, with the name of a setting",
    "experiment=foo": "--set 'experiment=foo': expected a.b=value, in one line, with the name of a setting",
    "experiment.foo=1": "--set 'experiment.foo=1': expected a.b=value, in one line, with the name of a setting",
}


@pytest.mark.parametrize("override", EXACT)
def test_a_bad_setting_is_named_with_what_was_expected(override: str) -> None:
    assert refused(override) == EXACT[override]


PARTS = {
    "network.hidden=8": ("network.hidden: expected a list", "got 8"),
    "network.hidden=[0]": ("network.hidden.0: expected a whole number >= 1", "got 0"),
    "network.hidden=[nan]": ("network.hidden.0: expected a whole number", "got NaN"),
    "network.activation=tahn": ("network.activation: expected", '"softplus"', "did you mean 'tanh'?"),
    'network.activation=["tanh", "rleu"]': ("network.activation.1: expected", "did you mean 'relu'?"),
    "data.name=digitz": ("data.name: expected one of digits, mnist", "got 'digitz'; did you mean 'digits'?"),
    "data.name=mine.csv": ("or a file ending in .npz, .h5, .hdf5, got 'mine.csv'",),
    f"network.tau_v={'9' * 5000}": ("network.tau_v: expected a number > 0",),
    f"network.hidden={'[' * 9999}": ("network.hidden: expected a list",),
    "network.dtype=float16": ("network.dtype: expected", '"float64"', 'got "float16"'),
    "network.tau_apical=0": ("network.tau_apical: expected a number > 0, got 0",),
    "controller.kind=pit": ("controller.kind: expected", '"pid"', "got \"pit\"; did you mean 'pi'?"),
    "controller.kind=5": ("controller.kind: expected", "got 5"),
    "controller=[1]": ("controller: expected a table with kind = ", "got [1]"),
    "controller={kind='pid', leak=1}": ("controller.leak: unknown setting; expected one of k_p, k_i, k_d",),
    "optimizer={kind='sgd', beta1=0.5}": ("optimizer.beta1: unknown setting", "momentum"),
    "train.epochs=": ("train.epochs: expected a whole number", 'got ""'),
    "train.epochs=1979-05-27": ("train.epochs: expected a whole number", "1979-05-27"),
    "method=pb": ("method: expected one of", *METHODS, "got 'pb'"),
    "a.b.c=1": ("a: unknown setting; expected one of method, seed, data",),
}


@pytest.mark.parametrize("override", PARTS)
def test_a_bad_setting_lists_the_choices(override: str) -> None:
    message = refused(override)
    for part in PARTS[override]:
        assert part in message


TABLES = ["data", "network", "controller", "simulation", "noise", "objective", "law", "optimizer", "feedback", "train"]
INNER = ["network", "controller", "simulation", "noise", "optimizer"]


@pytest.mark.parametrize("table", TABLES + [f"feedback.{name}" for name in INNER])
def test_every_table_is_strict(table: str) -> None:
    assert refused(f"{table}.zzz=1").startswith(f"{table}.zzz: unknown setting; expected one of ")


def test_a_misspelt_experiment_has_a_hint() -> None:
    message = refused(experiment="dgits")
    assert all(each in message for each in ("digits", "mnist", "fashion-mnist", "controlnet list"))
    assert message.endswith("got 'dgits'; did you mean 'digits'?")


@pytest.mark.parametrize("method", ["dcf", "DFC", "bpp"])
def test_a_misspelt_method_is_refused(method: str) -> None:
    message = refused(method=method)
    assert message.startswith("method: expected one of") and repr(method) in message


FILES: dict[str, tuple[Any, str]] = {
    "malformed": ("seed = = 1", "not valid TOML: Invalid value (at line 1"),
    "not UTF-8": (b"title = '\xff\xfe'", "cannot read the experiment: it is not UTF-8 text"),
    "close method": ("[methods.dfcc]", "methods.dfcc: unknown method; did you mean 'dfc'?"),
    "methods": ("methods = 5", "methods: expected a table, got 5"),
    "method's table": ("[methods]\nbp = 5", "methods.bp: expected a table, got 5"),
    "bad method's table": ("[methods.bp.train]\nepoch = 5", "methods.bp.train.epoch: unknown setting; did you mean 'e"),
    "NaN in a method's table": ("[methods.bp.controller]\nleak = nan", "methods.bp.controller.leak: expected a finite"),
    "list of tables": ("[[controller]]\nkind = 'pi'", "controller: expected a table with kind ="),
    "unknown table": ("[trian]\nepochs = 1", "trian: unknown setting; did you mean 'train'?"),
    "unused infinity": ("oops = inf", "oops: expected a finite number, got inf"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_refused(tmp_path: Path, case: str) -> None:
    content, message = FILES[case]
    assert message in refused(experiment=written(tmp_path, content))


@pytest.mark.parametrize(("name", "reason"), [("absent.toml", "No such file"), ("folder.toml", "directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    message = refused(experiment=str(tmp_path / name))
    assert str(tmp_path / name) in message and "cannot read the experiment" in message and reason in message


def test_a_table_that_is_none_is_refused_beside_epochs() -> None:
    assert refused("train=5", epochs=1) == "train: expected a table, got 5"


def test_an_unknown_peer_is_named_by_its_own_path() -> None:
    assert refused('train.compare_with=["bpp"]').startswith("train.compare_with")


def test_an_error_outside_the_methods_is_named_by_its_own_path(tmp_path: Path) -> None:
    path = written(tmp_path, "[controller]\nkind = 'pi'\nk_p = -1\n[methods.bp]\nseed = 1")
    assert refused(experiment=path).startswith("controller.k_p: ")


# --- what overrides what


def test_later_ones_win(example: str) -> None:
    def k_p(**options: Any) -> float:
        return resolve(example, **options).settings.controller.k_p  # type: ignore[union-attr]

    assert k_p(method="dfc-ss") == 2.0
    assert k_p() == 1.5
    assert k_p(overrides=["controller.k_p=1.25"]) == 1.25
    assert k_p(overrides=["controller.k_p=1.25", "controller.k_p=0.5"]) == 0.5


def test_arguments_win_over_assignments(example: str) -> None:
    overrides = ["method=bp", "seed=5", "train.epochs=6"]
    set_only = resolve(example, overrides=overrides).settings
    assert (set_only.method, set_only.seed, set_only.train.epochs) == ("bp", 5, 6)
    both = resolve(example, method="dfc-ssa", seed=0, epochs=8, overrides=overrides).settings
    assert (both.method, both.seed, both.train.epochs) == ("dfc-ssa", 0, 8)


def test_the_table_of_a_method_counts_only_for_it(example: str) -> None:
    chosen, other = (resolve(example, method=method).settings for method in ("bp", "dfc-ssa"))
    assert (chosen.seed, chosen.network.hidden, chosen.train.epochs) == (99, (9, 9), 50)
    assert (other.seed, other.network.hidden, other.train.epochs) == (3, (5,), 4)
    assert resolve(example, overrides=["method=bp"]).settings == chosen


VALUES: dict[str, tuple[str, Any]] = {
    "seed=7": ("seed", 7),
    "seed = 1_000": ("seed", 1000),
    "controller.leak=1e-3": ("controller.leak", 0.001),
    "controller.leak=1": ("controller.leak", 1.0),
    "network.hidden=[3, 4]": ("network.hidden", (3, 4)),
    "network.hidden=[]": ("network.hidden", ()),
    "network.activation=relu": ("network.activation", "relu"),
    'network.activation="relu"': ("network.activation", "relu"),
    'network.activation=["relu", "tanh"]': ("network.activation", ("relu", "tanh")),
    "law.converged_only=true": ("law.converged_only", True),
    "objective.target_value=0.9": ("objective.target_value", 0.9),
    "train.compare_with=[]": ("train.compare_with", ()),
    "data.name=mnist": ("data.name", "mnist"),
    "data.name=some/Mine.NPZ": ("data.name", "some/Mine.NPZ"),
    "data.train_samples=32": ("data.train_samples", 32),
    "data.train_samples=50": ("data.train_samples", 50),
    "feedback.noise.sigma=0.25": ("feedback.noise.sigma", 0.25),
    "simulation = {dt = 0.001}": ("simulation.dt", 0.001),
}


@pytest.mark.parametrize("override", VALUES)
def test_values_are_written_as_in_toml(override: str) -> None:
    path, expected = VALUES[override]
    value: Any = resolve("digits", overrides=[override]).settings
    for part in path.split("."):
        value = getattr(value, part)
    assert value == expected
    assert type(value) is type(expected)


def test_another_kind_replaces_the_table(example: str) -> None:
    """Nothing of the PI controller's gains reaches the PID controller, and Adam's betas are gone."""
    changed = resolve(example, overrides=["controller.kind=pid", "controller.k_d=0.5", "optimizer.kind=rmsprop"])
    tables = to_store(changed)
    assert tables["controller"] == {"kind": "pid", "k_p": 1.0, "k_i": 1.0, "k_d": 0.5, "derivative_filter": 0.01}
    assert tables["optimizer"]["kind"] == "rmsprop" and "beta1" not in tables["optimizer"]
    same = resolve(example, overrides=["controller.kind=pi", "controller.k_i=3"]).settings.controller
    assert (same.k_p, same.k_i, same.leak) == (1.5, 3.0, 0.5)  # type: ignore[union-attr]


def test_a_setting_may_follow_its_table(example: str) -> None:
    table, inside = "optimizer={kind='sgd', momentum=0.5}", "optimizer.momentum=0.25"
    assert resolve(example, overrides=[table, inside]).settings.optimizer.momentum == 0.25  # type: ignore[union-attr]
    assert resolve(example, overrides=[inside, table]).settings.optimizer.momentum == 0.5  # type: ignore[union-attr]


# --- peers


def test_peers_share_data_seed_schedule_and_what_is_said_of_network_and_objective(example: str) -> None:
    shared = ["data.train_samples=100", "network.hidden=[7]", "objective.stepsize=0.5"]
    plan = resolve(example, seed=11, epochs=2, overrides=[*shared, "train.batch_size=5"])
    assert [peer.method for peer in plan.peers] == ["bp", "dfc-ssa"]
    for peer in plan.peers:
        for name in ("experiment", "seed", "data", "objective"):
            assert getattr(peer, name) == getattr(plan.settings, name)
        assert peer.data.train_samples == 100
        assert (peer.network.hidden, peer.objective.stepsize) == ((7,), 0.5)
        assert (peer.train.epochs, peer.train.batch_size, peer.train.compare_with) == (2, 5, ())


def test_peers_have_their_own_tables(example: str) -> None:
    bp, ssa = resolve(example, overrides=["controller.k_p=1.25", "noise.sigma=0.5"]).peers
    assert to_store(Plan(bp))["optimizer"]["learning_rate"] == 0.25
    assert bp.network.hidden == (9, 9)
    assert (bp.seed, bp.train.epochs, bp.data.train_samples) == (3, 4, 70)
    assert ssa.controller.k_p == 2.0  # type: ignore[union-attr]
    assert ssa.noise.sigma == 0.0
    assert (bp.network.feedback, ssa.network.feedback) == ("weight-product", "random")


def test_a_method_is_no_peer_of_itself(example: str) -> None:
    assert [peer.method for peer in resolve(example, method="bp").peers] == ["dfc-ssa"]
    assert resolve(example, overrides=["train.compare_with=[]"]).peers == ()


# --- catalogue and round trips


def test_every_experiment_has_a_title() -> None:
    assert "digits" in catalogue()
    assert all(catalogue().values())


@pytest.mark.parametrize("stored", [{}, {"experiment": 5}, {"experiment": "x", "peers": {"bp": {"seed": -1}}}])
def test_stored_settings_of_another_version_are_refused(stored: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_stored(stored)


def test_a_dry_run_with_optional_settings_is_the_same_plan(tmp_path: Path) -> None:
    plan = resolve("digits", overrides=["optimizer.clip_norm=1.0", "objective.target_value=0.9"])
    again = resolve(written(tmp_path, as_toml(plan)))
    assert [as_toml(Plan(each)) for each in (plan.settings, *plan.peers)] == [
        as_toml(Plan(each)) for each in (again.settings, *again.peers)
    ]
    assert plan.peers[0].optimizer.clip_norm is None


CHOOSES = """
method = "dfc"
objective.feedback = "strong"
feedback.learning = "two-phase"
train.compare_with = ["bp", "dfc-ssa"]
"""


def test_what_a_file_chooses_for_its_method_is_not_forced_on_another(tmp_path: Path) -> None:
    path = tmp_path / "strong.toml"
    path.write_text(CHOOSES, encoding="utf-8")
    dfc, (bp, ssa) = resolve(str(path))
    assert (dfc.objective.feedback, dfc.feedback.learning) == ("strong", "two-phase")
    assert (bp.objective.feedback, bp.feedback.learning) == ("strong", "none")
    assert (ssa.objective.feedback, ssa.feedback.learning) == ("nudged", "two-phase")
    assert resolve(str(path), method="bp").settings.feedback.learning == "none"
    with pytest.raises(ConfigError, match="feedback.learning: expected none for bp, got two-phase$"):
        resolve(str(path), method="bp", overrides=["feedback.learning=two-phase"])
    with pytest.raises(ConfigError, match=r"got strong \(for dfc-ssa, named in train.compare_with\)"):
        resolve(str(path), overrides=["objective.feedback=strong"])
