"""Learning from steady states by root finding: what long simulations teach, from where the search begins, and from what
nothing is learned."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from test_phases import Recorder, settled, trained
from test_training import digits, forward_weights, same_bits, timeless

from controlnet import ClosedLoop, CrossEntropy, Lesson, MeanSquaredError, Nudged, SoftmaxDifference, Strong
from controlnet.adaptation import DFC, Adam, Backprop
from controlnet.base import Array
from controlnet.controllers import PI, Integral
from controlnet.equilibrium import Equilibrium
from controlnet.experiments import Settings, resolve
from controlnet.experiments.methods import METHODS, simulates
from controlnet.experiments.training import Trainer
from controlnet.plants import DeepNetwork

STEADY = [name for name, method in METHODS.items() if method.steady]
SILENT = {"noise": {"sigma": 0.0}, "controller": {"kind": "pi", "k_p": 0.5, "k_i": 2.0, "leak": 0.5}}
LONG = {"dt": 0.1, "steps": 400}
SHORT = {"dt": 0.1, "steps": 6}


def at_rest(method: str, way: str | None = None, **tables: Any) -> Settings:
    """Give an experiment without noise, its feedback phase short."""
    law = tables.pop("law", {}) | ({"steady_state": way} if way else {})
    return settled(method, law=law, feedback={"simulation": SHORT}, **(SILENT | tables))


# --- root finding and simulation


@pytest.mark.parametrize("optimizer", [{"kind": "sgd", "learning_rate": 1.0}, {"kind": "adam", "learning_rate": 0.03}])
@pytest.mark.parametrize("method", STEADY)
def test_root_finding_teaches_what_a_long_simulation_teaches(method: str, optimizer: dict[str, Any]) -> None:
    """To its tolerance of 1e-8, through epochs of two minibatches and the feedback phases between."""
    more = {"simulation": LONG, "optimizer": optimizer, "train": {"batch_size": 5, "epochs": 3}}
    found, simulated = (trained(at_rest(method, way, **more)) for way in ("root-finding", "last-step"))
    start = Recorder(found.settings).plant.parameters
    for name, array in found.plant.parameters.items():
        np.testing.assert_allclose(array, simulated.plant.parameters[name], rtol=0, atol=1e-6, err_msg=name)
    assert max(np.abs(found.plant.parameters[name] - start[name]).max() for name in ("W0", "b0", "W1", "b1")) > 0.03
    assert not same_bits(forward_weights(found.plant.parameters), forward_weights(simulated.plant.parameters))
    for mine, its in zip(found.history, simulated.history, strict=True):
        assert mine.amount_of_control == pytest.approx(its.amount_of_control, rel=1e-5)
        assert (mine.converged, mine.diverged, mine.simulated) == (10, its.diverged, its.simulated) == (10, 0, 10)


@pytest.mark.parametrize("options", [{}, {"tau_apical": 0.3, "tau_control": 0.2}, {"soma": "instantaneous"}], ids=str)
def test_the_compartments_do_not_matter_at_rest(options: dict[str, Any]) -> None:
    net = DeepNetwork.initialize((3, 5, 4, 2), seed=1, **options)
    lesson, slow = lesson_of(net, 20, dt=0.1, steps=1000), Integral(k_i=0.3, leak=0.1)
    loops = (loop_of(net, law, slow) for law in (DFC("steady-state", tolerance=1e-12), DFC("last-step")))
    found, simulated = (loop.law.propose(loop, lesson) for loop in loops)
    np.testing.assert_allclose(found.control, simulated.control, rtol=0, atol=1e-9)
    assert found.change.keys() == simulated.change.keys()
    for name, change in found.change.items():
        np.testing.assert_allclose(change, simulated.change[name], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("method", STEADY)
def test_the_settings_say_where_the_steady_state_comes_from(method: str) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "root-finding"),
        ({"noise": {"sigma": 0.1}}, "last-step"),
        ({"noise": {"sigma": 0.0, "sigma_output": 0.1}}, "last-step"),
        ({"law": {"steady_state": "last-step"}}, "last-step"),
    ]
    cases += [({"network": {"feedback": "jacobian-transpose"}}, "last-step")] * (method == "dfc-fixed-ss")
    updates = {"root-finding": "steady-state", "last-step": "last-step"}
    for tables, expected in cases:
        settings = at_rest(method, **tables)
        assert settings.law.steady_state == expected
        assert simulates(settings) == (expected == "last-step")
        assert Recorder(settings).loop.law.update == updates[expected]


def test_nothing_is_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(ClosedLoop, "simulate", simulate)
    assert len(trained(at_rest("dfc-fixed-ss")).history) == 2


def test_threads_do_not_move_a_bit_of_training() -> None:
    overrides = ("network.hidden=[8]", "train.compare_with=[]", "train.batch_size=40", "data.train_samples=200")
    settings = resolve("digits", method="dfc-fixed-ss", epochs=2, overrides=overrides).settings
    runs = []
    for threads in (1, 2, 3):
        trainer = Trainer(settings, digits().with_train_samples(200), threads)
        runs.append((timeless(list(trainer.epochs())), trainer.plant.parameters))
    assert runs[0][0] == runs[1][0] == runs[2][0]
    assert same_bits(runs[0][1], runs[1][1]) and same_bits(runs[0][1], runs[2][1])


# --- the search begins where that of the epoch before ended


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Array | None, Equilibrium]]:
    """Keep from where each search began, and what it found."""
    heard: list[tuple[Array | None, Equilibrium]] = []
    search = Lesson.steady_state

    def listen(lesson: Lesson, *arguments: Any) -> Equilibrium:
        heard.append((lesson.guess, search(lesson, *arguments)))
        return heard[-1][1]

    monkeypatch.setattr(Lesson, "steady_state", listen)
    return heard


@pytest.mark.parametrize("method", STEADY)
def test_a_warm_start_finds_the_same_in_fewer_steps(method: str, searches: list[Any]) -> None:
    schedule = {"batch_size": 4, "epochs": 3}
    ends, steps = [], []
    for warm in (False, True):
        searches.clear()
        ends.append(trained(at_rest(method, law={"warm_start": warm}, train=schedule)).plant.parameters)
        guesses, found = zip(*searches, strict=True)
        assert all(each.converged.all() for each in found)
        assert all((guess is None) != warm for guess in guesses)
        steps.append([sum(each.iterations.sum() for each in found[i : i + 3]) for i in (0, 3, 6)])
    for name, array in ends[0].items():
        np.testing.assert_allclose(ends[1][name], array, rtol=0, atol=1e-6, err_msg=name)
    cold, warm = steps
    assert warm[0] == cold[0]
    assert warm[1] < cold[1] and warm[2] < cold[2]


def test_each_sample_begins_where_it_ended_itself(searches: list[Any]) -> None:
    """Though the minibatches are drawn anew; in the first epoch there is nothing to begin from."""
    trainer = trained(at_rest("dfc-ss", law={"warm_start": True}, train={"batch_size": 4, "epochs": 3}))
    last = np.full((10, 3), np.nan)
    for part, (guess, found) in zip(trainer.parts["forward"], searches, strict=True):
        np.testing.assert_array_equal(guess, last[part])
        last[part] = found.u
    assert len(searches) == 9
    assert all(first != second for first, second in pairwise(trainer.parts["forward"]))


@pytest.mark.parametrize("method", ["dfc", "dfc-ssa", "bp"])
def test_methods_without_a_search_ignore_a_warm_start(method: str) -> None:
    cold, warm = (trained(settled(method, law={"warm_start": warm})).plant.parameters for warm in (False, True))
    assert same_bits(cold, warm)


# --- samples without a steady state


def lesson_of(net: DeepNetwork, batch: int, objective: Any = None, seed: int = 0, **grid: Any) -> Lesson:
    rng = np.random.default_rng(seed)
    objective = objective or Nudged(MeanSquaredError(), 0.5)
    by_class = isinstance(objective.loss, CrossEntropy)
    labels = rng.integers(0, net.noutputs, batch) if by_class else rng.normal(size=(batch, net.noutputs))
    return Lesson(net, rng.normal(size=(batch, net.nexogenous)), labels, objective, **grid)


def loop_of(net: DeepNetwork, law: DFC, controller: Any, **options: Any) -> ClosedLoop:
    return ClosedLoop(net, controller, law=law, compiled=False, **options)


def misguided(seed: int = 2) -> DeepNetwork:
    """Give a network whose large random feedback fails some samples."""
    net = DeepNetwork.initialize((3, 6, 2), feedback="random", seed=seed)
    return net.with_parameters({"Q0": 6 * net.parameters["Q0"]})


@pytest.mark.parametrize("rule", ["nonlinear-difference", "voltage-difference"])
def test_nothing_is_learned_from_samples_without_a_steady_state(rule: Any) -> None:
    """They are reported, count in the batch, and their control is zero; what they are does not matter."""
    net, law = misguided(), DFC("steady-state", rule)
    loop, lesson = loop_of(net, law, Integral()), lesson_of(net, 40, Strong(MeanSquaredError()))
    proposal = law.propose(loop, lesson)
    found, control = proposal.converged, proposal.control
    assert found is not None and control is not None and proposal.diverged is not None
    assert 4 <= found.sum() <= 36
    assert not control[~found].any() and not proposal.diverged.any()
    rest = replace(lesson, inputs=lesson.inputs[found], labels=lesson.labels[found])
    alone = law.propose(loop, rest)
    other = law.propose(loop, replace(lesson, labels=np.where(found[:, None], lesson.labels, 1.001 * lesson.labels)))
    assert np.array_equal(other.converged, found)
    for name, change in alone.change.items():
        np.testing.assert_allclose(proposal.change[name], change * found.mean(), rtol=0, atol=1e-9)
        np.testing.assert_array_equal(other.change[name], proposal.change[name])


def test_weak_nudging_is_followed_as_closely_as_strong() -> None:
    """With a tolerance that knows nothing of the first error the weakest would count as solved from the start."""
    net = DeepNetwork.initialize((3, 6, 4, 2), seed=4)
    law = DFC("steady-state")
    loop, first = loop_of(net, law, Integral(leak=0.01)), lesson_of(net, 20)
    weak = replace(first, objective=Nudged(MeanSquaredError(), 1e-9))
    found, analytic = (each.propose(loop, weak).change for each in (law, DFC("analytic")))
    for name, change in analytic.items():
        np.testing.assert_allclose(found[name], change, rtol=0, atol=1e-5 * np.abs(change).max())


def test_an_epoch_counts_the_samples_that_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Lesson.steady_state

    def fail(lesson: Lesson, *arguments: Any) -> Equilibrium:
        found = search(lesson, *arguments)
        return replace(found, converged=found.converged & (lesson.labels != 0))

    monkeypatch.setattr(Lesson, "steady_state", fail)
    (epoch,) = trained(at_rest("dfc-fixed-ss", train={"epochs": 1})).history
    assert (epoch.simulated, epoch.converged, epoch.diverged) == (10, 6, 0)
    assert epoch.converged_percent == 60.0


# --- strong feedback


def loop_matrix(net: DeepNetwork, u: Array, inputs: Array, alpha: float) -> Array:
    """Give E J Q + alpha I of every sample with NumPy alone, for tanh and a softmax."""
    assert net.feedback is not None
    r, moved = inputs, np.zeros((len(inputs), net.sizes[0], net.noutputs))
    for i, (W, b, Q) in enumerate(zip(net.weights, net.biases, net.feedback, strict=True)):
        r, moved = r @ W.T + b + u @ Q.T, W @ moved + Q
        if i < len(net.weights) - 1:
            r = np.tanh(r)
            moved = (1 - r**2)[:, :, np.newaxis] * moved
    powers = np.exp(r - r.max(axis=1, keepdims=True))
    s = powers / powers.sum(axis=1, keepdims=True)
    E = s[:, :, np.newaxis] * (np.eye(net.noutputs) - s[:, np.newaxis])
    return np.asarray(E @ moved + alpha * np.eye(net.noutputs))


def taught(net: DeepNetwork, minibatches: int) -> DeepNetwork:
    """Let a network learn from backpropagation."""
    memory: dict[str, Array] = {}
    for k in range(minibatches):
        lesson = lesson_of(net, 32, Strong(CrossEntropy(0.99)), seed=100 + k)
        change = Backprop().propose(ClosedLoop(net, PI(), law=Backprop()), lesson).change
        new, memory = Adam(learning_rate=3e-3).apply(net.parameters, change, memory)
        net = net.with_parameters(new)
    return net


@pytest.mark.parametrize("minibatches", [0, 30])
def test_strong_feedback_has_a_stable_state_for_nearly_all_samples(minibatches: int) -> None:
    """With the controller of the papers; found by DFC's own tolerance, and judged again with NumPy."""
    net = taught(DeepNetwork.initialize((20, 30, 30, 10), seed=3), minibatches)
    controller, law = PI(k_p=2.0, leak=7.6e-6), DFC("steady-state")
    loop = loop_of(net, law, controller, comparator=SoftmaxDifference())
    lesson = lesson_of(net, 1000, Strong(CrossEntropy(0.99)))
    found = lesson.steady_state(loop, 1e-8)
    assert (found.residual <= 1e-8).mean() >= 0.999
    matrix = loop_matrix(net, found.u, lesson.inputs, controller.leak / controller.k_i)
    assert np.array_equal((np.linalg.eigvals(matrix).real > 0).all(axis=1), found.stable)
    assert np.array_equal(found.converged, found.stable & (found.residual <= 1e-8))
    assert found.converged.mean() >= 0.999
    error = SoftmaxDifference().compare(lesson.reference, found.y) - controller.leak / controller.k_i * found.u
    np.testing.assert_allclose(np.abs(error).max(axis=1), found.residual, rtol=0, atol=1e-12)
    proposal = law.propose(loop, lesson)
    assert np.array_equal(proposal.converged, found.converged)


# --- warnings


WARNING = """
import numpy as np
from controlnet import ClosedLoop, CrossEntropy, Lesson, SoftmaxDifference, Strong
from controlnet.adaptation import DFC
from controlnet.controllers import Integral
from controlnet.plants import DeepNetwork

rng = np.random.default_rng(0)
x, labels, objective = rng.normal(size=(40, 3)), rng.integers(0, 2, 40), Strong(CrossEntropy(0.99))
for dtype in (np.float64, np.float32):
    net = DeepNetwork.initialize((3, 6, 2), feedback="random", seed=2, dtype=dtype)
    for name, factor in (("Q0", 6.0), ("Q0", 0.0), ("W1", 1e30), ("Q0", 1e30)):
        odd = net.with_parameters({name: factor * net.parameters[name]})
        loop = ClosedLoop(odd, Integral(), law=DFC("steady-state"), comparator=SoftmaxDifference())
        for guess in (None, np.full((40, 2), 1e30), np.full((40, 2), np.nan)):
            loop.law.propose(loop, Lesson(odd, x, labels, objective, guess=guess))
"""


def test_hopeless_samples_warn_of_nothing() -> None:
    """Nor do import and compilation."""
    command = [sys.executable, "-W", "error", "-c", WARNING]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
