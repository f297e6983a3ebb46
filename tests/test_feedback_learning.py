"""Learning of the feedback weights: the rule against recorded trajectories, alone and in a single phase."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from feedback_lessons import NOISES, SHAPES, WHITE, assert_same, change_of, lesson_of, loop_of, network
from scipy.signal import lfilter

from controlnet import Difference, Lesson, SoftmaxDifference
from controlnet.adaptation import DFC, Convergence, FeedbackLearning, SinglePhase
from controlnet.adaptation.feedback import SMALLEST_SIGMA
from controlnet.base import Parameters
from controlnet.errors import InputError
from controlnet.integrators import Sequential, WhiteNoise
from controlnet.plants import Pendulum


def from_trajectory(law: FeedbackLearning, lesson: Lesson, noise: Any = WHITE, **options: Any) -> Parameters:
    """Give minus the mean of v_fb[t] u[t + 1]^T over steps and samples, scaled by layer."""
    response = lesson.simulate(loop_of(lesson.plant, law, noise, **options), record=("u", "v_apical"))
    u, share = response.u[1:], lesson.dt / (law.high_pass or 1)
    if law.high_pass is not None:
        u = u - lfilter([share], [1, share - 1], u, axis=0, zi=(1 - share) * u[:1])[0]
    change, last = {}, len(lesson.plant.weights) - 1
    for i, v in enumerate(response.v_apical):
        sigma = max(noise.strengths[i == last], SMALLEST_SIGMA)
        scale = (1 + law.layer_scaling) ** (last - i) / sigma**2
        change[f"Q{i}"] = -scale * np.einsum("tbi,tbc->ic", v[:-1], u) / (len(u) * u.shape[1])
    return change


@pytest.mark.parametrize("high_pass", [None, 0.03, 0.3])
@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize(("steps", "batch"), SHAPES)
def test_change_is_the_correlation_of_noise_and_control(
    steps: int, batch: int, kind: str, high_pass: float | None
) -> None:
    law, lesson = FeedbackLearning(high_pass=high_pass), lesson_of(network(tau_apical=None), batch, steps)
    change = change_of(law, lesson, NOISES[kind])
    assert_same(change, from_trajectory(law, lesson, NOISES[kind]))
    assert (steps > 1) == any(q.any() for q in change.values())


@pytest.mark.parametrize(
    "options",
    [{"soma": "instantaneous"}, {"transmission": "delayed"}, {"tau_apical": None}, {"tau_control": 0.1}],
    ids=str,
)
def test_change_in_networks_of_other_dynamics(options: dict[str, Any]) -> None:
    law, lesson = FeedbackLearning(high_pass=0.1, layer_scaling=0.5), lesson_of(network(**options))
    for choices in ({"integrator": Sequential("old", WHITE)}, {"comparator": SoftmaxDifference()}):
        assert_same(change_of(law, lesson, **choices), from_trajectory(law, lesson, **choices))


def test_only_the_high_pass_part_counts() -> None:
    """A very slow filter takes off the first control, the fastest one all of it."""
    lesson = lesson_of(network())
    response = lesson.simulate(loop_of(lesson.plant, FeedbackLearning()), record=("u", "v_apical"))
    v, u = response.v_apical[0][:-1], response.u[1:]
    expected = -np.einsum("tbi,tbc->ic", v, u - u[0]) / (20 * 3 * WHITE.sigma**2)
    atol = 1e-7 * np.abs(expected).max()
    np.testing.assert_allclose(change_of(FeedbackLearning(high_pass=1e9), lesson)["Q0"], expected, rtol=0, atol=atol)
    np.testing.assert_allclose(change_of(FeedbackLearning(high_pass=0.02), lesson)["Q0"], 0, atol=atol)


@pytest.mark.parametrize("scaling", [0.0, 0.5, 2.0])
def test_layer_scaling(scaling: float) -> None:
    lesson = lesson_of(network())
    plain, scaled = change_of(FeedbackLearning(), lesson), change_of(FeedbackLearning(layer_scaling=scaling), lesson)
    assert_same(scaled, {f"Q{i}": (1 + scaling) ** (2 - i) * plain[f"Q{i}"] for i in range(3)}, 1e-14)


@pytest.mark.parametrize(("hidden", "output"), [(0.5, 0.2), (0.004, 0.2), (0.2, 0.004), (0.0, 0.1), (0.01, None)])
def test_scale_of_the_noise_has_a_floor(hidden: float, output: float | None) -> None:
    law, lesson, noise = FeedbackLearning(), lesson_of(network()), WhiteNoise(sigma=hidden, sigma_output=output)
    change = change_of(law, lesson, noise)
    raw = lesson.simulate(loop_of(lesson.plant, law, noise)).change
    floors = [max(0.01, hidden)] * 2 + [max(0.01, hidden if output is None else output)]
    assert_same(change, {f"Q{i}": raw[f"Q{i}"] / floor**2 for i, floor in enumerate(floors)}, 1e-14)


def test_output_layer_may_be_left_out() -> None:
    lesson = lesson_of(network())
    all_layers, hidden = (change_of(FeedbackLearning(output_layer=choice), lesson) for choice in (True, False))
    assert all_layers.keys() == {"Q0", "Q1", "Q2"}
    assert_same(hidden, {name: all_layers[name] for name in ("Q0", "Q1")}, 0)


def test_seed_of_the_lesson_draws_the_noise() -> None:
    net = network()
    first, again, other = (change_of(FeedbackLearning(), lesson_of(net, seed=seed)) for seed in (1, 1, 2))
    assert_same(first, again, 0)
    assert not np.allclose(first["Q0"], other["Q0"], rtol=0.1)


def test_a_batch_is_the_mean_of_its_blocks() -> None:
    """With recorded noise, so that every part meets the noise it met in the whole."""
    net = network()
    whole, xi = lesson_of(net, 40), np.random.default_rng(1).normal(size=(20, 40, 11))
    law, parts = FeedbackLearning(), []
    for part in (slice(16), slice(16, 32), slice(32, 40)):
        lesson = replace(whole, inputs=whole.inputs[part], labels=whole.labels[part])
        parts.append((len(lesson.inputs), change_of(law, lesson, replace(WHITE, recorded=xi[:, part]))))
    mean = {name: sum(n * change[name] for n, change in parts) / 40 for name in ("Q0", "Q1", "Q2")}
    assert_same(change_of(law, whole, replace(WHITE, recorded=xi)), mean)


@pytest.mark.parametrize(
    ("rule", "comparator"), [("nonlinear-difference", Difference()), ("voltage-difference", SoftmaxDifference())]
)
@pytest.mark.parametrize(("steps", "batch"), SHAPES)
def test_single_phase_is_both_rules_at_once(rule: Any, steps: int, batch: int, comparator: Any) -> None:
    forward, feedback = DFC(rule=rule), FeedbackLearning(high_pass=0.1, layer_scaling=0.3)
    lesson, noise = lesson_of(network(), batch, steps), NOISES["filtered"]
    law = SinglePhase(forward, feedback)
    loop = loop_of(lesson.plant, law, noise, comparator=comparator)
    proposal = law.propose(loop, lesson)
    for part in (forward, feedback):
        for name, change in change_of(part, lesson, noise, comparator=comparator).items():
            assert proposal.change[name].tobytes() == change.tobytes()
    assert proposal.change.keys() == set(lesson.plant.parameters)
    response = lesson.simulate(loop)
    verdict = Convergence.of(loop, lesson, response)
    assert proposal.control.tobytes() == response.mean["u"].tobytes()
    assert proposal.converged.tolist() == verdict.converged.tolist()
    assert proposal.diverged.tolist() == verdict.diverged.tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeedbackLearning(layer_scaling=-0.1), "FeedbackLearning.layer_scaling: expected a number >= 0"),
        (lambda: FeedbackLearning(layer_scaling=math.nan), "FeedbackLearning.layer_scaling: .* got nan"),
        (lambda: FeedbackLearning(high_pass=0.0), "FeedbackLearning.high_pass: expected a number > 0, got 0.0"),
        (lambda: FeedbackLearning(high_pass=math.inf), "FeedbackLearning.high_pass: .* got inf"),
        (lambda: SinglePhase(DFC("steady-state")), "SinglePhase.forward: expected continuous updates of all samples"),
        (lambda: SinglePhase(DFC(converged_only=True)), "SinglePhase.forward: expected continuous updates"),
        (
            lambda: loop_of(Pendulum(), FeedbackLearning(), None).simulate([0.0], steps=2),
            "FeedbackLearning: Pendulum has no feedback weights Q to learn",
        ),
    ],
)
def test_bad_values(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    "wrap", [lambda law: law, lambda law: SinglePhase(feedback=law)], ids=["alone", "single phase"]
)
def test_what_feedback_learning_needs(wrap: Any) -> None:
    lesson, law = lesson_of(network()), wrap(FeedbackLearning())
    with pytest.raises(InputError, match="learn from noise: give the integrator some"):
        change_of(law, lesson, None)
    with pytest.raises(InputError, match=r"FeedbackLearning.high_pass: expected at least dt = 0.02, got 0.01"):
        change_of(wrap(FeedbackLearning(high_pass=0.01)), lesson)
    with pytest.raises(InputError, match="DeepNetwork has no feedback weights Q to learn"):
        change_of(law, lesson_of(network(feedback="jacobian-transpose")))
    with pytest.raises(InputError, match="make a new Lesson"):
        law.propose(loop_of(network(), law), lesson)
