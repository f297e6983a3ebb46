"""Settings that exclude each other are refused in one line that names them; those at a bound are accepted and run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_training import tiny

from controlnet.cli import main
from controlnet.errors import ConfigError
from controlnet.experiments import METHODS, Settings, catalogue, resolve
from controlnet.experiments.config import rehearsed
from controlnet.experiments.training import Trainer

NEUTRAL = """
[network]
hidden = [4]
tau_v = 0.2

[controller]
kind = "pi"

[simulation]
dt = 0.02
steps = 3

[optimizer]
kind = "adam"

[feedback.noise]
sigma = 0.1

[feedback.optimizer]
kind = "adam"

[train]
epochs = 1
batch_size = 5
"""

AS_LIMIT = "the limit that {} sets for explicit steps"
NO_ANALYSIS = "strong feedback leaves the point where the analytic update linearises"
NO_NOISE = "expected a number > 0, as feedback weights learn from noise, got 0.0"
NO_TAU = "expected a number > 0, as feedback.layer_scaling takes tau_v / tau, got none"
NO_Q = "network.feedback: expected weight-product or random, as {} needs feedback weights Q, got jacobian-transpose"

SINGLE = ("feedback.learning=single-phase", "noise={sigma=0.1}")
STRONG = ("noise={sigma=0.1}",)
LAST_STEP = "law.steady_state=last-step"

REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    # Noise
    "sigma": ("dfc", ("noise.sigma=-1",), "noise.sigma: expected a number >= 0, got -1"),
    "output sigma": ("dfc", ("noise.sigma_output=-0.1",), "noise.sigma_output: expected a number >= 0, got -0.1"),
    "sigma asleep": ("dfc", ("feedback.noise.sigma=-1",), "feedback.noise.sigma: expected a number >= 0, got -1"),
    "tau of nothing": ("dfc", ("noise.tau=0",), "noise.tau: expected a number > 0, got 0"),
    "fast noise": ("dfc", ("noise.tau=0.01",), "noise.tau: expected at least simulation.dt = 0.02, got 0.01"),
    "fast noise, one phase": (
        "strong-dfc",
        ("noise={sigma=0.1, tau=0.01}",),
        "noise.tau: expected at least simulation.dt = 0.02, got 0.01",
    ),
    "fast noise asleep": (
        "dfc",
        ("feedback.noise.tau=0.01",),
        "feedback.noise.tau: expected at least simulation.dt = 0.02, got 0.01",
    ),
    "fast noise for the sleep's own steps": (
        "dfc",
        ("feedback.noise.tau=0.03", "feedback.simulation.dt=0.05"),
        "feedback.noise.tau: expected at least feedback.simulation.dt = 0.05, got 0.03",
    ),
    "fast noise in pre-training": (
        "strong-dfc",
        (*STRONG, "feedback.noise.tau=0.01", "feedback.pretraining_epochs=1"),
        "feedback.noise.tau: expected at least simulation.dt = 0.02, got 0.01",
    ),
    "noise with rk4": (
        "dfc-fixed",
        ("noise.sigma=0.1", "simulation.integrator=rk4"),
        "simulation.integrator: expected sequential, which alone takes noise, got rk4",
    ),
    "noise of the output with euler": (
        "dfc-fixed",
        ("noise.sigma_output=0.1", "simulation.integrator=euler"),
        "simulation.integrator: expected sequential, which alone takes noise, got euler",
    ),
    "noise with rk4 in both": (
        "dfc",
        ("simulation.integrator=rk4",),
        "simulation.integrator: expected sequential, which alone takes noise, got rk4",
    ),
    "noise with heun asleep": (
        "dfc",
        ("feedback.simulation.integrator=heun",),
        "feedback.simulation.integrator: expected sequential, which alone takes noise, got heun",
    ),
    # Steps
    "long steps": (
        "dfc-fixed",
        ("simulation.dt=0.3",),
        f"simulation.dt: expected at most 0.2, {AS_LIMIT.format('network.tau_v')}, got 0.3",
    ),
    "long steps for the apical compartment": (
        "dfc-fixed-ss",
        (LAST_STEP, "network.tau_apical=0.015"),
        f"simulation.dt: expected at most 0.015, {AS_LIMIT.format('network.tau_apical')}, got 0.02",
    ),
    "long steps for the control": (
        "dfc-fixed",
        ("network.tau_control=0.01", "network.tau_apical=0.015"),
        f"simulation.dt: expected at most 0.01, {AS_LIMIT.format('network.tau_control')}, got 0.02",
    ),
    "long steps asleep": (
        "dfc",
        ("feedback.simulation.dt=0.3",),
        f"feedback.simulation.dt: expected at most 0.2, {AS_LIMIT.format('network.tau_v')}, got 0.3",
    ),
    "long steps for the sleep's own network": (
        "dfc-ssa",
        ("feedback.network.tau_v=0.01",),
        f"simulation.dt: expected at most 0.01, {AS_LIMIT.format('feedback.network.tau_v')}, got 0.02",
    ),
    "long steps after each epoch": (
        "strong-dfc",
        (*STRONG, "feedback.network.tau_apical=0.01", "feedback.simulation.dt=0.05", "feedback.extra_epochs=1"),
        f"feedback.simulation.dt: expected at most 0.01, {AS_LIMIT.format('feedback.network.tau_apical')}, got 0.05",
    ),
    # What the feedback weights learn from
    "silence": ("strong-dfc", (), f"noise.sigma: {NO_NOISE}"),
    "silence, one phase": ("dfc", ("feedback.learning=single-phase",), f"noise.sigma: {NO_NOISE}"),
    "silence asleep": ("dfc", ("feedback.noise.sigma=0",), f"feedback.noise.sigma: {NO_NOISE}"),
    "silence in pre-training": (
        "strong-dfc",
        (*STRONG, "feedback.noise.sigma=0", "feedback.pretraining_epochs=1"),
        f"feedback.noise.sigma: {NO_NOISE}",
    ),
    "silence asleep for alignment": (
        "dfa",
        ("feedback.learning=two-phase", "feedback.noise.sigma=0"),
        f"feedback.noise.sigma: {NO_NOISE}",
    ),
    "scaling without tau": ("strong-dfc", (*STRONG, "feedback.layer_scaling=true"), f"noise.tau: {NO_TAU}"),
    "scaling without tau asleep": ("dfc", ("feedback.layer_scaling=true",), f"feedback.noise.tau: {NO_TAU}"),
    "high-pass": (
        "dfc",
        (*SINGLE, "feedback.high_pass=0.01"),
        "feedback.high_pass: expected at least simulation.dt = 0.02, got 0.01",
    ),
    "negative decay": (
        "dfc",
        ("optimizer.weight_decay=-0.1",),
        "optimizer.weight_decay: expected a number >= 0, got -0.1",
    ),
    "negative decay asleep": (
        "dfc",
        ("feedback.optimizer.weight_decay=-0.1",),
        "feedback.optimizer.weight_decay: expected a number >= 0, got -0.1",
    ),
    "negative decay in pre-training": (
        "dfc",
        ("feedback.pretraining_optimizer={kind='adam', weight_decay=-0.1}",),
        "feedback.pretraining_optimizer.weight_decay: expected a number >= 0, got -0.1",
    ),
    "half a pass": (
        "dfc",
        ("feedback.pretraining_epochs=0.5",),
        "feedback.pretraining_epochs: expected a whole number >= 0 and <= 1000000000, got 0.5",
    ),
    "minibatches larger than all": (
        "bp",
        ("data.train_samples=4",),
        "train.batch_size: expected at most the 4 training samples, got 5",
    ),
    # Method and objective
    "weak feedback": (
        "strong-dfc",
        (*STRONG, "objective.feedback=nudged"),
        "objective.feedback: expected strong for strong-dfc, got nudged",
    ),
    "selected samples": (
        "strong-dfc",
        (*STRONG, "law.converged_only=true"),
        "law.converged_only: expected false, as single-phase learning takes all samples, got true",
    ),
    "activations": (
        "bp",
        ("network.activation=['tanh', 'relu']",),
        "network.activation: expected one name, or one for each of 1 hidden layers, got 2",
    ),
}
REFUSED |= {
    f"strong {method}": (
        method,
        ("objective.feedback=strong",),
        f"objective.feedback: expected nudged for {method}: {NO_ANALYSIS}, got strong",
    )
    for method in ("dfc-ssa", "dfc-fixed-ssa")
}
REFUSED |= {
    f"{way} for {name}": (
        name,
        (f"feedback.learning={way}", "noise.sigma=0.1"),
        f"feedback.learning: expected {' or '.join(method.learning)} for {name}, got {way}",
    )
    for name, method in METHODS.items()
    for way in ("none", "two-phase", "single-phase")
    if way not in method.learning
}
REFUSED |= {
    f"no Q for {method}": (method, (*STRONG, "network.feedback=jacobian-transpose"), NO_Q.format(method))
    for method in ("dfc", "dfc-ss", "dfc-ssa", "dfc-fixed-ssa", "strong-dfc", "strong-dfc-2phase", "dfa")
}


@pytest.fixture(autouse=True)
def neutral(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that holds an experiment with few settings of its own."""
    monkeypatch.chdir(tmp_path)
    Path("neutral.toml").write_text(NEUTRAL, encoding="utf-8")


def settled(method: str, overrides: tuple[str, ...]) -> Settings:
    return resolve("neutral.toml", method=method, overrides=overrides).settings


@pytest.mark.parametrize("case", REFUSED)
def test_what_excludes_each_other_is_refused_by_name(case: str) -> None:
    method, overrides, message = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        settled(method, overrides)
    assert str(caught.value) == message


def run(method: str, overrides: tuple[str, ...]) -> str:
    """Give the one line with which a run is refused; it must leave nothing behind."""
    options = [part for override in overrides for part in ("--set", override)]
    result = CliRunner().invoke(main, ["run", "neutral.toml", "-m", method, "--out", "here", "-q", *options])
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (2, "")
    assert os.listdir() == ["neutral.toml"]
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("case", REFUSED)
def test_a_run_is_refused_in_one_line_and_leaves_nothing(case: str) -> None:
    method, overrides, message = REFUSED[case]
    assert run(method, overrides) == f"Error: {message}"


OF_PARTS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "delays in a network without dynamics": (
        "dfc-fixed",
        ("network.soma=instantaneous", "network.transmission=delayed"),
        "instantaneous transmission",
    ),
    "the same asleep": (
        "dfc",
        ("network.soma=instantaneous", "feedback.network.transmission=delayed"),
        "instantaneous transmission",
    ),
    "the Jacobian of a network without dynamics": (
        "dfc-fixed",
        ("network.soma=instantaneous", "network.feedback=jacobian-transpose"),
        "needs a dynamic soma",
    ),
    "delays with rk4": (
        "dfc-fixed",
        ("network.transmission=delayed", "simulation.integrator=rk4"),
        "take Sequential",
    ),
    "an algebraic loop": (
        "dfc-fixed",
        ("network.soma=instantaneous", "simulation.integrator=euler", "controller.k_p=1"),
        "algebraic loop",
    ),
    "a controller that is faster than its steps": (
        "dfc-fixed",
        ("simulation.integrator=euler", "controller={kind='pid', k_d=1}"),
        "expected at most 0.01",
    ),
    "extended under a controller that has no slow motion": (
        "dfc-fixed",
        ("simulation.extend=1e-6", "controller.kind=integral"),
        "can only be extended with a PI controller",
    ),
}
LATE = OF_PARTS | {
    "too many samples": (
        "bp",
        ("data.train_samples=5000",),
        "data.train_samples: expected at most 1258 for digits, got 5000",
    ),
    "larger minibatches than there are samples": (
        "bp",
        ("train.batch_size=5000",),
        "train.batch_size: expected at most the 1258 training samples, got 5000",
    ),
    "vectors as classes": (
        "bp",
        ("data={name='student-teacher', train_samples=9}",),
        "objective.loss: expected mse for student-teacher, as its targets are vectors, got cross-entropy",
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_what_only_parts_or_data_can_refuse_leaves_nothing_either(case: str) -> None:
    method, overrides, words = LATE[case]
    assert words in run(method, overrides)


@pytest.mark.parametrize("case", OF_PARTS)
def test_parts_can_be_tried_before_there_are_data(case: str) -> None:
    method, overrides, words = OF_PARTS[case]
    with pytest.raises(ConfigError, match=words) as caught:
        rehearsed(resolve("neutral.toml", method=method, overrides=overrides))
    assert "\n" not in str(caught.value)
    peers = resolve("neutral.toml", method="bp", overrides=("train.compare_with=[]",))
    with pytest.raises(ConfigError, match=words):
        rehearsed(peers._replace(peers=(settled(method, overrides),)))


@pytest.mark.parametrize("name", catalogue())
def test_the_parts_of_every_experiment_fit(name: str) -> None:
    plan = resolve(name)
    assert rehearsed(plan) is plan


ACCEPTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "noise as fast as the steps": ("dfc-fixed", ("noise={sigma=0.1, tau=0.02}",)),
    "noise as fast as the steps, one phase": ("strong-dfc", ("noise={sigma=0.1, tau=0.02}",)),
    "noise as fast as the steps asleep": ("dfc", ("feedback.noise.tau=0.03", "feedback.simulation={dt=0.03, steps=3}")),
    "in single precision": ("dfc", ("feedback.noise.tau=0.02", "network.dtype=float32", "network.tau_v=0.02")),
    "unused noise as fast as one likes": ("bp", ("noise.tau=0.01",)),
    "noise in the hidden layers alone": ("strong-dfc", ("noise={sigma=0.1, sigma_output=0}",)),
    "noise in the output alone": ("strong-dfc", ("noise={sigma=0, sigma_output=0.1}",)),
    "noise in the output alone asleep": ("dfc", ("feedback.noise={sigma=0, sigma_output=0.1}",)),
    "no noise awake": ("dfc", ("noise.sigma=0",)),
    "no noise if nothing learns from it": ("strong-dfc", ("feedback.learning=none", "feedback.noise.sigma=0")),
    "no noise in a sleep that never comes": ("strong-dfc", (*STRONG, "feedback.noise.sigma=0")),
    "rk4 without noise": ("dfc-fixed", ("simulation.integrator=rk4",)),
    "rk4 awake, noise asleep": ("dfc", ("simulation.integrator=rk4", "feedback.simulation.integrator=sequential")),
    "rk4 and noise where nothing is simulated": ("dfc-fixed-ssa", ("noise.sigma=0.1", "simulation.integrator=rk4")),
    "steps of tau_v": ("dfc-fixed", ("simulation.dt=0.2",)),
    "steps of tau_apical": ("dfc-fixed", ("network.tau_apical=0.02",)),
    "steps of tau_control": ("dfc-fixed-ss", (LAST_STEP, "network.tau_control=0.02")),
    "steps of the sleep's own tau_v": ("dfc-ssa", ("feedback.network.tau_v=0.02",)),
    "long steps without somatic dynamics": ("dfc-fixed", ("network.soma=instantaneous", "simulation.dt=0.3")),
    "long steps where nothing is simulated": ("dfc-fixed-ssa", ("simulation.dt=5.0",)),
    "long steps in a sleep that never comes": ("dfc-fixed", ("feedback.simulation.dt=5.0",)),
    "scaling with tau": ("strong-dfc", ("noise={sigma=0.1, tau=0.1}", "feedback.layer_scaling=true")),
    "scaling with tau asleep": ("dfc-ss", ("feedback.noise.tau=0.1", "feedback.layer_scaling=true")),
    "high-pass of the steps": ("strong-dfc", (*STRONG, "feedback.high_pass=0.02")),
    "high-pass of the forward phase's steps, shorter than those of pre-training": (
        "dfc",
        (*SINGLE, "feedback.high_pass=0.03", "feedback.simulation.dt=0.04", "feedback.pretraining_epochs=1"),
    ),
    "scaling with the forward phase's tau in pre-training": (
        "strong-dfc",
        ("noise={sigma=0.1, tau=0.1}", "feedback.layer_scaling=true", "feedback.pretraining_epochs=1"),
    ),
    "high-pass that plays no part": ("dfc", ("feedback.high_pass=0.001",)),
    "no decay": ("dfc", ("optimizer.weight_decay=0", "feedback.optimizer.weight_decay=0")),
    "strong at the steady state": ("dfc-ss", ("objective.feedback=strong",)),
    "strong with fixed weights": ("dfc-fixed", ("objective.feedback=strong",)),
    "selected samples in two phases": ("strong-dfc", ("feedback.learning=two-phase", "law.converged_only=true")),
    "the Jacobian": ("dfc-fixed-ss", ("network.feedback=jacobian-transpose",)),
    "the Jacobian beside backpropagation": ("bp", ("network.feedback=jacobian-transpose",)),
    "activations": ("bp", ("network.activation=['tanh', 'relu']", "network.hidden=[4, 4]")),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_stands_at_a_bound_is_accepted_and_runs(case: str) -> None:
    method, overrides = ACCEPTED[case]
    (epoch,) = Trainer(settled(method, overrides), tiny(), threads=1, compiled=False).epochs()
    assert epoch.epoch == 1
    rehearsed(resolve("neutral.toml", method=method, overrides=overrides))
