"""Angles between updates of different laws, and of feedback weights with J^T and J^+."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from golden import LAYERS, Golden
from hypothesis import given
from hypothesis import strategies as st

from controlnet import ClosedLoop, Lesson, MeanSquaredError, Nudged, Strong
from controlnet.adaptation import (
    DFA,
    DFC,
    Backprop,
    ControlDescent,
    GaussNewton,
    MinimumNorm,
    SinglePhase,
)
from controlnet.analysis import (
    alignment,
    angle,
    angles_by_layer,
    distance_to_analytic,
    feedback_alignment,
    feedback_angle,
)
from controlnet.base import AbstractLaw, Array, Parameters
from controlnet.controllers import PI
from controlnet.errors import DimensionError, InputError
from controlnet.integrators import Sequential, WhiteNoise
from controlnet.plants import DeepNetwork

SEEDS = st.integers(0, 2**16)
LAWS: dict[str, AbstractLaw] = {
    "bp": Backprop(),
    "gn": GaussNewton(),
    "mn": MinimumNorm(),
    "dfc-ssa": DFC("analytic"),
    "h": ControlDescent(),
}


def setting(
    activation: str = "tanh", seed: int = 1, leak: float = 0.1, stepsize: float = 0.1, **options: Any
) -> tuple[ClosedLoop, Lesson]:
    """Draw a network, the loop around it, and a lesson; options are those of `initialize`."""
    rng = np.random.default_rng(seed)
    options = {"feedback_noise": 0.1, "seed": seed} | options
    net = DeepNetwork.initialize((4, 6, 5, 3), activation=activation, **options)
    inputs, labels = (rng.normal(size=(5, n)).astype(net.dtype) for n in (4, 3))
    lesson = Lesson(net, inputs, labels, Nudged(MeanSquaredError(), stepsize), steps=20)
    return ClosedLoop(net, PI(k_p=0.5, leak=leak), compiled=False), lesson


def change_of(law: AbstractLaw, loop: ClosedLoop, lesson: Lesson) -> Parameters:
    return law.propose(replace(loop, law=law), lesson).change


def flat(arrays: Any, name: str) -> Array:
    """Give a change of the reference's files as one vector."""
    letters = ("dW{}{}", "db{}{}") if name == "_ssa" else ("{}_W{}", "{}_B{}")
    return np.concatenate([arrays[letter.format(name, i)].ravel() for i in LAYERS for letter in letters])


def degrees(a: Array, b: Array) -> float:
    return math.degrees(math.acos(a @ b / math.sqrt((a @ a) * (b @ b))))


def test_angles_that_the_older_implementation_found() -> None:
    case = Golden("i_old_repo")
    found = alignment(case.loop(), case.lesson, case.change(DFC("analytic")), ("bp", "gn"))
    expected = case.meta["angles_degrees"]
    assert found["gn"].whole == pytest.approx(expected["total_alignment/gn_angle"], rel=1e-10)
    for name, angles in found.items():
        for i in LAYERS:
            for letter, kind in (("W", "weight"), ("b", "bias")):
                reference = expected[f"layer {i + 1}/{kind}_{name}_angle"]
                assert angles.layers[f"{letter}{i}"] == pytest.approx(reference, rel=1e-10)


@pytest.mark.parametrize(("suffix", "damping"), [("", 0.0), ("_d0.1", 0.1)])
def test_angles_of_the_updates_that_the_older_implementation_found(suffix: str, damping: float) -> None:
    case = Golden("i_old_repo")
    change = case.change(DFC("analytic"))
    found = alignment(case.loop(), case.lesson, change, ("bp", "gn", "mn"), damping=damping)
    ssa = flat(case.arrays, "_ssa")
    for name, theirs in (("bp", "bp"), ("gn", f"gn{suffix}"), ("mn", f"gnt{suffix}")):
        assert found[name].whole == pytest.approx(degrees(ssa, flat(case.arrays, theirs)), rel=1e-10)
        for i in LAYERS:
            pair = case.arrays[f"dW_ssa{i}"].ravel(), case.arrays[f"{theirs}_W{i}"].ravel()
            assert found[name].layers[f"W{i}"] == pytest.approx(degrees(*pair), rel=1e-10)


def test_feedback_alignment_of_the_older_implementation() -> None:
    case = Golden("i_old_repo")
    found = feedback_alignment(case.network, case.lesson.voltages)
    expected = case.meta["angles_degrees"]
    assert found.to_transpose.mean() == pytest.approx(expected["feedback_training/jacobian_transpose_angle"], rel=1e-10)
    assert found.to_pseudoinverse.mean() == pytest.approx(expected["feedback_training/jacobian_pinv_angle"], rel=1e-10)


def test_distance_to_the_analytic_state_of_the_reference() -> None:
    case = Golden("h_updates")
    analytic, forward, y = case.arrays["r_ndi2"], case.lesson.output, case.simulate().y[-1]
    expected = [
        math.dist(reached, there) / math.dist(start, there)
        for reached, start, there in zip(y, forward, analytic, strict=True)
    ]
    assert distance_to_analytic(case.loop(), case.lesson, y) == pytest.approx(expected, rel=1e-10)
    assert distance_to_analytic(case.loop(), case.lesson, analytic).max() < 1e-10
    assert distance_to_analytic(case.loop(), case.lesson, forward).tolist() == [1] * len(y)


@given(seed=SEEDS)
def test_the_controlled_output_of_a_linear_network_is_the_analytic_one(seed: int) -> None:
    loop, lesson = setting("linear", seed, feedback_noise=0.0)
    steady = loop.equilibrium(lesson.reference, inputs=lesson.inputs)
    assert steady.converged.all()
    assert distance_to_analytic(loop, lesson, steady.y).max() < 1e-5
    halfway = (steady.y + lesson.output) / 2
    np.testing.assert_allclose(distance_to_analytic(loop, lesson, halfway), 0.5, rtol=1e-5)


def test_distance_where_no_control_is_needed() -> None:
    loop, lesson = setting()
    there = replace(lesson, labels=lesson.output)
    assert np.isnan(distance_to_analytic(loop, there, lesson.output)).all()
    assert np.isinf(distance_to_analytic(loop, there, lesson.output + 1)).all()


@pytest.mark.parametrize("name", LAWS)
def test_each_reference_is_its_law(name: str) -> None:
    loop, lesson = setting()
    change = change_of(LAWS[name], loop, lesson)
    found = alignment(loop, lesson, change, tuple(LAWS))
    assert tuple(found) == tuple(LAWS)
    assert found[name].whole < 1e-6
    assert list(found[name].layers) == list(change)
    assert max(found[name].layers.values()) < 1e-6
    assert min(found[other].whole for other in LAWS if other != name) > 0.01


@given(seed=SEEDS, scale=st.floats(1e-6, 1e6))
def test_angles_depend_on_directions_alone(seed: int, scale: float) -> None:
    loop, lesson = setting(seed=seed)
    change = change_of(DFA(), loop, lesson)
    found = alignment(loop, lesson, change)
    for factor, expected in ((scale, lambda a: a), (-scale, lambda a: 180 - a)):
        other = alignment(loop, lesson, {name: factor * array for name, array in change.items()})
        for name, angles in found.items():
            assert other[name].whole == pytest.approx(expected(angles.whole), abs=1e-9)
            for layer, each in angles.layers.items():
                assert other[name].layers[layer] == pytest.approx(expected(each), abs=1e-5)


@given(seed=SEEDS)
def test_whole_angle_is_made_of_those_of_the_layers(seed: int) -> None:
    """cos of the whole is the mean of the cosines by layer, weighted with the products of the norms."""
    loop, lesson = setting(seed=seed)
    change, gn = change_of(DFC("analytic"), loop, lesson), change_of(GaussNewton(), loop, lesson)
    found = alignment(loop, lesson, change, ["gn"])["gn"]
    norms = {name: (np.linalg.norm(change[name]), np.linalg.norm(gn[name])) for name in change}
    inner = sum(a * b * math.cos(math.radians(found.layers[name])) for name, (a, b) in norms.items())
    lengths = [math.hypot(*(pair[i] for pair in norms.values())) for i in (0, 1)]
    assert math.cos(math.radians(found.whole)) == pytest.approx(inner / math.prod(lengths), rel=1e-9)
    assert found.whole == pytest.approx(angle(gn, change), rel=1e-10)
    assert found.layers == pytest.approx(angles_by_layer(gn, change), rel=1e-10)


@pytest.mark.parametrize("leak", [1.0, 1e-2, 1e-4])
@given(seed=SEEDS)
def test_analytic_dfc_of_linear_networks_is_minimum_norm(leak: float, seed: int) -> None:
    """With Q = J^T the leak damps, and is forgotten as it vanishes; small nudging leaves the rates as they were."""
    loop, lesson = setting("linear", seed, leak, feedback_noise=0.0, stepsize=1e-6)
    change = change_of(DFC("analytic"), loop, lesson)
    assert alignment(loop, lesson, change, ["mn"], damping=leak)["mn"].whole < 1e-3
    assert alignment(loop, lesson, change, ["mn"])["mn"].whole < 40 * leak + 1e-3


def test_laws_of_ones_own_may_simulate() -> None:
    """And a loop's law plays no part, nor does what it would change besides."""
    loop, lesson = setting(feedback="random")
    laws = {"dfc": DFC(), "mn, nonlinear": MinimumNorm(0.1, "nonlinear-difference")}
    change = change_of(laws["dfc"], loop, lesson)
    found = alignment(replace(loop, law=DFA()), lesson, change, laws)
    assert found["dfc"].whole < 1e-6
    assert found["mn, nonlinear"].whole == angle(change, change_of(laws["mn, nonlinear"], loop, lesson))
    noisy = replace(loop, integrator=Sequential(noise=WhiteNoise(sigma=0.1)))
    both = change_of(SinglePhase(), noisy, lesson)
    assert "Q0" in both
    assert list(alignment(noisy, lesson, both)["bp"].layers) == list(change)


def test_a_change_of_nothing_has_no_direction() -> None:
    loop, lesson = setting()
    change = change_of(Backprop(), loop, lesson)
    found = alignment(loop, lesson, change | {"W1": np.zeros((5, 6))}, ["bp"])["bp"]
    assert math.isnan(found.layers["W1"])
    assert found.layers["W0"] < 1e-6
    assert 0 < found.whole < 90
    assert math.isnan(alignment(loop, lesson, {"W1": np.zeros((5, 6))}, "bp")["bp"].whole)


@given(seed=SEEDS)
def test_feedback_alignment_of_transposed_and_inverted_jacobians(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (loop, lesson), damping = setting(seed=seed), 0.3
    net, one = loop.plant, [v[:1] for v in lesson.voltages]
    J = net.jacobian(one)[0]
    shapes = {"transpose": J.T, "inverse": np.linalg.pinv(J), "damped": J.T @ np.linalg.inv(J @ J.T + 0.3 * np.eye(3))}
    for name, Q in shapes.items():
        parts = np.split(rng.uniform(0.1, 10) * Q, [6, 11])
        mirrored = net.with_parameters({f"Q{i}": part for i, part in enumerate(parts)})
        found, damped = feedback_alignment(mirrored, one), feedback_alignment(mirrored, one, damping)
        angles = [found.to_transpose[0], found.to_pseudoinverse[0], damped.to_pseudoinverse[0]]
        at = list(shapes).index(name)
        assert angles[at] < 1e-6
        assert min(angles[:at] + angles[at + 1 :]) > 1e-3
    heavy = feedback_alignment(net, lesson.voltages, 1e9)
    np.testing.assert_allclose(heavy.to_pseudoinverse, heavy.to_transpose, rtol=1e-6)


def test_transposed_and_inverted_jacobian_of_one_output_point_the_same_way() -> None:
    net = DeepNetwork.initialize((3, 5, 1), feedback="random", seed=1)
    found = feedback_alignment(net, net.voltages(np.random.default_rng(0).normal(size=(4, 3))))
    np.testing.assert_allclose(found.to_transpose, found.to_pseudoinverse, rtol=1e-10)


def test_single_precision() -> None:
    """To its rounding, and down to changes whose squares it does not hold."""
    single, double = setting(dtype=np.float32), setting()
    change = change_of(DFA(), *single)
    small = {name: array * np.float32(1e-25) for name, array in change.items()}
    expected = alignment(*double, change_of(DFA(), *double))
    for found in (alignment(*single, change), alignment(*single, small)):
        for name, angles in expected.items():
            assert found[name].whole == pytest.approx(angles.whole, abs=0.02)
    net = single[0].plant
    angles = feedback_alignment(net, single[1].voltages, 0.1)
    for one, other in zip(angles, feedback_alignment(double[0].plant, double[1].voltages, 0.1), strict=True):
        np.testing.assert_allclose(one, other, atol=0.02)


LOOP, LESSON = setting()
CHANGE = change_of(Backprop(), LOOP, LESSON)
BROKEN = {"b1": np.array([0, 0, np.nan, 0, 0])}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: alignment(LOOP, LESSON, CHANGE, ["bp", "newton"]),
            InputError,
            "references: expected names among bp, gn, mn, dfc-ssa, h, got 'newton'",
        ),
        (lambda: alignment(LOOP, LESSON, CHANGE, "newton"), InputError, "references: .* got 'newton'"),
        (lambda: alignment(LOOP, LESSON, CHANGE, damping=-1), InputError, "alignment.damping: .*>= 0, got -1"),
        (lambda: alignment(LOOP, LESSON, CHANGE, damping=math.nan), InputError, "alignment.damping: .* got nan"),
        (
            lambda: alignment(LOOP, LESSON, {"V0": np.ones(2)}),
            InputError,
            "change: expected names among W0.*, got 'V0'",
        ),
        (
            lambda: alignment(LOOP, LESSON, {"W1": np.ones((6, 5))}),
            DimensionError,
            r"change W1: expected shape \(5, 6\), got \(6, 5\)",
        ),
        (lambda: alignment(LOOP, LESSON, BROKEN), InputError, "change b1: expected finite numbers, got NaN"),
        (lambda: alignment(LOOP, LESSON, {}), InputError, "no array in common"),
        (lambda: alignment(setting(seed=2)[0], LESSON, CHANGE), InputError, "make a new Lesson"),
        (
            lambda: alignment(LOOP, replace(LESSON, objective=Strong(MeanSquaredError())), CHANGE, ["dfc-ssa"]),
            InputError,
            "strong feedback",
        ),
        (lambda: angle({"b": np.ones(2)}, {"b": np.ones(3)}), DimensionError, r"b: .* got \(2,\) and \(3,\)"),
        (lambda: angles_by_layer({"b": np.ones(2)}, {"b": np.ones(3)}), DimensionError, r"b: .* got \(2,\) and \(3,\)"),
        (lambda: distance_to_analytic(LOOP, LESSON, np.ones(3)), DimensionError, r"output: .*\(5, 3\), got \(3,\)"),
        (lambda: distance_to_analytic(setting()[0], LESSON, LESSON.output), InputError, "make a new Lesson"),
        (
            lambda: feedback_angle(np.ones((4, 2)), np.ones((3, 2, 4))),
            DimensionError,
            r"direction: expected shape \(batch, 4, 2\) .* got \(3, 2, 4\)",
        ),
        (lambda: feedback_alignment(LOOP.plant, LESSON.voltages, -0.1), InputError, "feedback_alignment.damping"),
        (
            lambda: feedback_alignment(setting(feedback="jacobian-transpose")[0].plant, LESSON.voltages),
            InputError,
            "no feedback weights Q",
        ),
    ],
)
def test_bad_values(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
