"""Every number of the public DFC implementations, case by case, to 1e-10; compiled in `test_compilation`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden import LAYERS, LOSSES, TRAJECTORIES, Golden, assert_descends, assert_equal, assert_trajectories_equal

from controlnet import ClosedLoop, Lesson, Nudged
from controlnet.adaptation import Backprop, Convergence, analytic_control
from controlnet.controllers import PI


@pytest.fixture(scope="module", params=TRAJECTORIES)
def case(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def response(case: Golden) -> Any:
    return case.simulate()


@pytest.fixture(scope="module")
def updates() -> Golden:
    return Golden("h_updates")


def test_lesson(case: Golden) -> None:
    expected, lesson = case.arrays, case.lesson
    assert_equal(lesson.reference, expected["output_target"])
    for i, rates in enumerate(case.network.rates(lesson.voltages)):
        assert_equal(rates, expected[f"r_ff{i}"])
    loss = lesson.objective.loss
    assert_equal(np.asarray(loss.value(lesson.output, lesson.labels)), expected["loss"])
    if "targets" in expected:
        assert_equal(loss.targets(lesson.labels, case.network.noutputs), expected["targets"])


def test_trajectory(case: Golden, response: Any) -> None:
    assert_trajectories_equal(response, case)


def test_error(case: Golden, response: Any) -> None:
    distance = case.loop().comparator.distance(case.lesson.reference, response.y)
    assert_equal(distance, case.arrays["sample_error"])


def test_convergence_and_last_control(case: Golden, response: Any) -> None:
    expected, verdict = case.arrays, Convergence.of(case.loop(), case.lesson, response)
    assert verdict.converged.tolist() == expected["converged"].tolist()
    assert verdict.diverged.tolist() == expected["diverged"].tolist()
    u = response.final["u"]
    if "u_stored" in expected:
        assert_equal(u, expected["u_stored"])
    else:
        assert_equal(u * verdict.converged[:, np.newaxis], expected["u_ss_masked"])


def test_some_but_not_all_samples_of_the_masked_case_converge() -> None:
    converged = Golden("a5_convergence_mask").arrays["converged"]
    assert 0 < converged.sum() < len(converged)


@pytest.mark.parametrize(("update", "suffix"), [("continuous", "_cont"), ("steady-state", "_ss")])
def test_update(case: Golden, update: str, suffix: str) -> None:
    loop = case.loop(update=update)
    proposal = loop.law.propose(loop, case.lesson)
    assert_descends(proposal.change, case.arrays, suffix)
    assert proposal.converged.tolist() == case.arrays["converged"].tolist()
    assert proposal.diverged.tolist() == case.arrays["diverged"].tolist()


def test_analytic_state(updates: Golden) -> None:
    expected, network, lesson = updates.arrays, updates.network, updates.lesson
    assert_equal(lesson.reference, expected["output_target"])
    assert_equal(network.jacobian(lesson.voltages), expected["J"])
    u = analytic_control(updates.loop(), lesson)
    assert_equal(u, expected["u_ndi"])
    shift = [u @ q.T for q in network.feedback]
    voltages = network.voltages(lesson.inputs, shift)
    for i, (dv, v, r) in enumerate(zip(shift, voltages, network.rates(voltages), strict=True)):
        assert_equal(dv, expected[f"delta_v_ndi{i}"])
        assert_equal(v, expected[f"v_ndi{i}"])
        assert_equal(r, expected[f"r_ndi{i}"])


@pytest.mark.parametrize(
    ("update", "rule", "suffix"),
    [
        ("continuous", "nonlinear-difference", "_cont"),
        ("steady-state", "nonlinear-difference", "_ss"),
        ("analytic", "nonlinear-difference", "_ssa"),
        ("continuous", "voltage-difference", "_vd_cont"),
    ],
)
def test_update_rules(updates: Golden, update: str, rule: str, suffix: str) -> None:
    loop = updates.loop(update=update, rule=rule)
    assert_descends(loop.law.propose(loop, updates.lesson).change, updates.arrays, suffix)


@pytest.mark.parametrize(("update", "suffix"), [("steady-state", "_vd_ss"), ("analytic", "_vd_ssa")])
def test_voltage_rule_at_rest_is_corrected(updates: Golden, update: str, suffix: str) -> None:
    """The reference's gradient is +4/B dv r^T at rest although its continuous one is -2/B dv r^T.

    Its teaching signal, 2 (v_ff - v), meets a factor -2/B that already holds both the 2 and the sign.  The rule here
    is the limit of the continuous one, so the recorded gradient is plus twice the change, not minus once.
    """
    loop = updates.loop(update=update, rule="voltage-difference")
    assert_descends(loop.law.propose(loop, updates.lesson).change, updates.arrays, suffix, factor=2.0)


@pytest.mark.parametrize(
    ("name", "loss", "labels"),
    [
        ("mse", "mse", "y"),
        ("ce", "ce_int", "labels"),
        ("soft", "ce_soft:0.99", "labels"),
        ("soft", "ce_int", "targets"),
    ],
)
def test_backpropagation(name: str, loss: str, labels: str) -> None:
    expected = Golden("k_bp_dfa").arrays
    network = Golden("a_controller_base").network.with_parameters(
        {f"{letter}{i}": expected[f"{letter}{i}"] for letter in "Wb" for i in LAYERS}
    )
    lesson = Lesson(network, expected["x"], expected[labels], Nudged(LOSSES[loss]))
    assert_equal(np.asarray(LOSSES[loss].value(lesson.output, lesson.labels)), expected[f"loss_{name}"])
    change = Backprop().propose(ClosedLoop(network, PI()), lesson).change
    assert_descends(change, expected, f"_bp_{name}")
