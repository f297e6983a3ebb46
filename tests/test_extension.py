"""Samples that have settled, carried to the last step in closed form: what it changes, when it is done and refused."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_phases import Recorder, settled, trained

from controlnet import ClosedLoop, CrossEntropy, Lesson, MeanSquaredError, Nudged, SoftmaxDifference, Strong
from controlnet.adaptation import DFC, FeedbackLearning
from controlnet.base import AbstractLaw, Array, Frozen, Parameters
from controlnet.controllers import PI
from controlnet.errors import DivergedError, InputError
from controlnet.objective import OwnOutput
from controlnet.plants import DeepNetwork
from controlnet.response import Response

CASES: dict[str, dict[str, Any]] = {"weak": {}, "strong": {"comparator": SoftmaxDifference()}}
OBJECTIVES: dict[str, Any] = {"weak": Nudged(MeanSquaredError(), 0.5), "strong": Strong(CrossEntropy(0.8))}
RULES = ("nonlinear-difference", "voltage-difference")
STEPS = 1000


def network(hidden: tuple[int, ...] = (6, 5), **options: Any) -> DeepNetwork:
    net = DeepNetwork.initialize((4, *hidden, 3), **{"seed": 1, "tau_v": 0.1, **options})
    rng = np.random.default_rng(2)
    return net.with_parameters(
        {f"b{i}": 0.3 * rng.normal(size=len(b)).astype(net.dtype) for i, b in enumerate(net.biases)}
    )


def loop_of(net: DeepNetwork, law: Any = None, **options: Any) -> ClosedLoop:
    return ClosedLoop(net, options.pop("controller", PI(2.0, 1.0, 0.1)), law=law or DFC(), **options)


def lesson_of(net: DeepNetwork, batch: int = 17, objective: Any = None, **grid: Any) -> Lesson:
    rng, objective = np.random.default_rng(0), objective or OBJECTIVES["weak"]
    by_class = isinstance(objective.loss, CrossEntropy)
    labels = rng.integers(0, 3, batch) if by_class else rng.normal(size=(batch, 3))
    return Lesson(net, rng.normal(size=(batch, 4)), labels, objective, **{"steps": STEPS, **grid})


def share(found: Any, expected: Any) -> float:
    """Give the largest difference in any parameter as a share of its largest entry."""
    assert found.keys() == expected.keys() and len(found)
    return max(np.abs(found[name] - a).max() / np.abs(a).max() for name, a in expected.items())


def wires(response: Response) -> dict[str, Array]:
    return dict(response.final) | {f"mean {name}": mean for name, mean in response.mean.items()}


def same_bits(first: Response, second: Response) -> bool:
    a, b = (wires(each) | each.change for each in (first, second))
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


# --- what comes out


@pytest.mark.parametrize("tolerance", [1e-4, 1e-6])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("hidden", [(6,), (6, 5)], ids=len)
def test_the_change_of_each_sample_is_within_its_bound(
    hidden: tuple[int, ...], case: str, rule: Any, tolerance: float
) -> None:
    """One by one, as changes of several may cancel; what rounding makes of it stays."""
    loop = loop_of(network(hidden), DFC(rule=rule), **CASES[case])
    lesson, early = lesson_of(loop.plant, 5, OBJECTIVES[case], steps=3 * STEPS), 0
    for i in range(5):
        one = replace(lesson, inputs=lesson.inputs[i : i + 1], labels=lesson.labels[i : i + 1])
        full, quick = one.simulate(loop), one.simulate(loop, extend=tolerance)
        assert quick.extension_error[0] <= tolerance
        assert share(quick.change, full.change) <= quick.extension_error[0] + 1e-12
        for name, expected in wires(full).items():
            np.testing.assert_allclose(wires(quick)[name], expected, rtol=0, atol=tolerance, err_msg=name)
        early += quick.simulated_steps[0] < lesson.steps
    assert early == 5


def test_what_was_done_is_told() -> None:
    loop = loop_of(network())
    full, quick = (lesson_of(loop.plant, 17).simulate(loop, extend=extend) for extend in (None, 1e-4))
    assert (full.simulated_steps == STEPS).all() and not full.extension_error.any()
    assert quick.simulated_steps.shape == quick.extension_error.shape == (17,)
    assert (quick.simulated_steps <= STEPS // 2).all()
    assert ((quick.extension_error > 0) & (quick.extension_error <= 1e-4)).all()


@pytest.mark.parametrize("batch", [1, 17, 40])
def test_threads_do_not_move_a_bit(batch: int) -> None:
    loop = loop_of(network())
    lesson = lesson_of(loop.plant, batch)
    one, two, three = (lesson.simulate(loop, extend=1e-4, threads=threads) for threads in (1, 2, 3))
    assert same_bits(one, two) and same_bits(one, three)
    for other in (two, three):
        assert np.array_equal(one.simulated_steps, other.simulated_steps)
        assert np.array_equal(one.extension_error, other.extension_error)
    assert (one.simulated_steps < STEPS).all()
    assert share(one.change, lesson.simulate(loop).change) < 1e-4


@pytest.mark.parametrize("case", CASES)
def test_single_precision_within_its_rounding(case: str) -> None:
    """Against double precision; a tolerance that would be lost in rounding is raised."""
    exact, net = network(), network(dtype=np.float32)
    objective = OBJECTIVES[case]
    expected = lesson_of(exact, 40, objective).simulate(loop_of(exact, **CASES[case]))
    found = lesson_of(net, 40, objective).simulate(loop_of(net, **CASES[case]), extend=1e-6)
    # A softmax's rounding hides that most samples have settled: they are simulated to the end.
    assert (found.simulated_steps <= STEPS // 2).sum() >= (16 if case == "weak" else 1)
    assert (found.extension_error <= 1e-4).all()
    assert all(change.dtype == np.float32 for change in found.change.values())
    assert share(found.change, expected.change) < 1e-4
    for name, values in wires(expected).items():
        np.testing.assert_allclose(wires(found)[name], values, rtol=0, atol=1e-4, err_msg=name)


def test_a_proposal_and_its_verdict() -> None:
    """Also where samples that have not converged are left out, by a second simulation."""
    loop = loop_of(network(), DFC(converged_only=True), controller=PI(1.0, 2.0))
    lesson = lesson_of(loop.plant, 40, steps=400)
    full, quick = (loop.law.propose(loop, replace(lesson, extend=extend)) for extend in (None, 1e-3))
    assert full.simulated_steps is full.extension_error is None
    assert quick.simulated_steps is not None and (quick.simulated_steps < 400).sum() > 20
    assert quick.converged is not None and full.converged is not None
    assert np.array_equal(quick.converged, full.converged) and 0 < full.converged.sum() < 40
    assert share(quick.change, full.change) < 1e-3


def short(tau: float, gains: tuple[float, ...], steps: int, hidden: tuple[int, ...] = (), **options: Any) -> Any:
    """Give the error of a tolerance of 1e-6, and what was told of it."""
    loop = loop_of(network(hidden, tau_v=tau), controller=PI(*gains), **options)
    lesson = lesson_of(loop.plant, 5, OBJECTIVES["strong" if options else "weak"], steps=steps)
    full, quick = (lesson.simulate(loop, extend=extend) for extend in (None, 1e-6))
    return share(quick.change, full.change), quick.extension_error.max()


@pytest.mark.parametrize("hidden", [(), (6,)], ids=len)
def test_motions_that_end_long_before_the_simulation_does(hidden: tuple[int, ...]) -> None:
    error, bound = short(0.1, (2.0, 1.0, 0.1), 20000, hidden)
    assert error <= max(bound, 1e-9)


# --- samples of two kinds


def two_kinds(batch: int, steps: int = 300) -> tuple[ClosedLoop, dict[str, Any]]:
    """Give a batch of which every fifth sample is sent far away."""
    net, rng = network(), np.random.default_rng(0)
    inputs, far = rng.normal(size=(batch, 4)), np.arange(batch) % 5 == 0
    reference = net.predict(inputs) + np.where(far, 6, 0.1)[:, np.newaxis] * rng.normal(size=(batch, 3))
    return loop_of(net), {"reference": reference, "inputs": inputs, "steps": steps, "record": ()}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch", [17, 40])
def test_samples_that_do_not_settle_go_on_beside_those_that_do(batch: int, weighted: bool) -> None:
    loop, problem = two_kinds(batch)
    weight = np.random.default_rng(1).choice([0.0, 0.5, 2.0], batch) if weighted else None
    full, quick = (loop.simulate(**problem, weight=weight, extend=extend) for extend in (None, 1e-4))
    late = quick.simulated_steps == 300
    assert (quick.simulated_steps[~late] <= 150).all() and 3 <= late.sum() <= batch // 2
    assert not quick.extension_error[late].any() and (quick.extension_error[~late] > 0).all()
    assert share(quick.change, full.change) < 1e-4
    for name, expected in wires(full).items():
        np.testing.assert_allclose(wires(quick)[name], expected, rtol=0, atol=1e-3, err_msg=name)
        np.testing.assert_allclose(wires(quick)[name][late], expected[late], rtol=0, atol=1e-11)
    again = loop.simulate(**problem, weight=weight, extend=1e-4, threads=1)
    assert same_bits(quick, again)


def test_samples_of_no_weight_do_not_matter() -> None:
    loop, problem = two_kinds(17)
    weight = np.ones(17)
    weight[::5] = 0
    quick = loop.simulate(**problem, weight=weight, extend=1e-4)
    some = {**problem, "reference": problem["reference"][weight > 0], "inputs": problem["inputs"][weight > 0]}
    alone = loop.simulate(**some)
    assert share(quick.change, {name: a * (weight.sum() / 17) for name, a in alone.change.items()}) < 1e-4


@pytest.mark.parametrize("steps", [1, 10, 60, 150])
def test_where_nothing_settles_no_bit_is_moved(steps: int) -> None:
    """Whether there was time to look or not."""
    loop, problem = two_kinds(17, steps)
    full, quick = (loop.simulate(**problem, extend=extend) for extend in (None, 1e-12))
    assert (quick.simulated_steps == steps).all() and not quick.extension_error.any()
    assert same_bits(full, quick)


def test_nothing_settles_without_a_steady_state() -> None:
    loop, problem = two_kinds(17, 100)
    net = loop.plant.with_parameters({f"Q{i}": -loop.plant.parameters[f"Q{i}"] for i in range(3)})
    wrong = loop_of(net, controller=PI(0.0, 0.3))
    full, quick = (wrong.simulate(**problem, extend=extend) for extend in (None, 1e-2))
    assert (quick.simulated_steps == 100).all() and same_bits(full, quick)


@pytest.mark.parametrize("moved", [0, 5])
def test_samples_at_rest_from_the_start_stay_there(moved: int) -> None:
    """Alone or beside others that settle."""
    loop = loop_of(network())
    lesson = lesson_of(loop.plant, 17, OwnOutput(MeanSquaredError()))
    reference = lesson.output + 0.3 * (np.arange(17) < moved)[:, np.newaxis]
    full, quick = (
        loop.simulate(reference, inputs=lesson.inputs, steps=STEPS, record=(), extend=extend) for extend in (None, 1e-4)
    )
    assert (quick.simulated_steps[:moved] < STEPS).all() and (quick.extension_error <= 1e-4).all()
    assert np.abs(quick.final["u"][moved:]).max() < 1e-13
    for name, change in full.change.items():
        np.testing.assert_allclose(quick.change[name], change, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("sample", [4, 20], ids=["first block", "second block"])
@pytest.mark.parametrize(("first", "last"), [(0, 30), (60, 150), (250, 300)], ids=["at once", "between looks", "late"])
def test_divergence_is_told_as_without(first: int, last: int, sample: int) -> None:
    """One sample is sent beyond a limit that it passes at some step; some of those beside it settle."""
    net, rng, told = network(), np.random.default_rng(0), []
    loop, inputs = loop_of(net, controller=PI(0.5, 0.5, 0.2)), rng.normal(size=(40, 4))
    reference = net.predict(inputs) + 0.1 * rng.normal(size=(40, 3))
    reference[sample] += 12
    problem = {"reference": reference, "inputs": inputs, "steps": 400}
    heard = loop.simulate(**problem, record=("y", "u"))
    largest = np.maximum.accumulate(np.abs([heard.y[:, sample], heard.u[:, sample]]).max(axis=(0, 2)))
    problem |= {"record": (), "limit": (largest[first] + largest[last]) / 2}
    for extend in (None, 1e-5):
        with pytest.raises(DivergedError) as caught:
            loop.simulate(**problem, extend=extend)
        told.append((caught.value.step, caught.value.sample, str(caught.value)))
    assert told[0] == told[1]
    assert first < told[0][0] <= last and told[0][1] == sample


# --- training


SILENT = {"noise": {"sigma": 0.0}, "controller": {"kind": "pi", "k_p": 2.0, "k_i": 1.0, "leak": 0.1}}


def test_training_ends_with_the_same_weights() -> None:
    tables = SILENT | {"network": {"tau_v": 0.1}, "optimizer": {"kind": "sgd", "learning_rate": 5.0}}
    grids: tuple[dict[str, Any], ...] = ({}, {"extend": 1e-4})
    full, quick = (
        trained(settled("dfc-fixed", simulation={"dt": 0.02, "steps": 400, **more}, **tables), compiled=True)
        for more in grids
    )
    start = {name: a for name, a in Recorder(full.settings).plant.parameters.items() if name[0] != "Q"}
    moved = [{name: each.plant.parameters[name] - a for name, a in start.items()} for each in (full, quick)]
    assert min(np.abs(array).max() for array in moved[0].values()) > 0.01
    assert share(moved[1], moved[0]) < 3e-4
    for mine, its in zip(quick.history, full.history, strict=True):
        assert its.simulated_steps is its.extension_error is None
        assert mine.simulated_steps is not None and 38 <= mine.simulated_steps < 400
        assert mine.extension_error is not None and 0 < mine.extension_error <= 1e-4
        assert mine.converged == its.converged


# --- laws of one's own


EXAMPLES = Path(__file__).parent.parent / "examples"


def own_law(heard: list[list[int]]) -> AbstractLaw:
    """Give the example's law, which does not say how memories are gathered, and keep what it is given."""
    rule: Any = runpy.run_path(str(EXAMPLES / "own_law.py"))["DeltaRule"]

    class Listening(rule):
        def accumulators(self, plant: Any, batch: int) -> Any:
            memory = super().accumulators(plant, batch)
            memory.product[:] = batch
            return memory

        def adapt(self, *_: Any) -> None: ...

        def collect(self, plant: Any, accumulators: list[Any], samples: int, steps: int) -> Parameters:
            heard.append([int(memory.product[0, 0]) for memory in accumulators])
            return super().collect(plant, accumulators, samples, steps)

    return Listening()


def test_a_law_that_does_not_gather_gets_one_memory_a_block() -> None:
    heard: list[list[int]] = []
    net = network((3,))
    lesson_of(net, 40, steps=2).simulate(loop_of(net, own_law(heard), compiled=False))
    assert heard == [[16, 16, 8]]


# --- at the edges


def test_a_comparator_that_is_not_linear() -> None:
    error, bound = short(0.02, (0.0, 0.5, 0.01), 1000, **CASES["strong"])
    assert error <= max(bound, 1e-9)


def test_an_error_that_swings_from_step_to_step() -> None:
    error, bound = short(0.02, (0.97, 0.2, 0.05), 1000)
    assert error <= max(bound, 1e-9)


def test_a_loop_that_learns_nothing() -> None:
    loop = loop_of(network((3,)), Frozen(), compiled=False)
    full, quick = (lesson_of(loop.plant, 3, steps=300).simulate(loop, extend=extend) for extend in (None, 1e-4))
    assert (quick.simulated_steps < 300).sum() == 2
    for name, atol in (("u", 1e-4), ("x", 1e-3), ("z", 1e-3)):
        np.testing.assert_allclose(quick.final[name], full.final[name], rtol=0, atol=atol)


def test_a_law_without_weights_is_refused_by_name() -> None:
    net = network((3,))
    with pytest.raises(InputError, match="Listening"):
        lesson_of(net, 3, steps=300).simulate(loop_of(net, own_law([]), compiled=False), extend=1e-2)


def test_the_rule_of_the_feedback_weights_is_refused() -> None:
    net = network((3,))
    with pytest.raises(InputError, match="FeedbackLearning"):
        lesson_of(net, 3, steps=300).simulate(loop_of(net, FeedbackLearning()), extend=1e-2)


@pytest.mark.parametrize("leak", [0.1, 10.0])
def test_a_network_that_hears_nothing(leak: float) -> None:
    net = network((3,))
    deaf = net.with_parameters({name: 0 * q for name, q in net.parameters.items() if name[0] == "Q"})
    loop = loop_of(deaf, controller=PI(2.0, 1.0, leak))
    full, quick = (lesson_of(deaf, 3).simulate(loop, extend=extend) for extend in (None, 1e-4))
    for name, expected in wires(full).items():
        np.testing.assert_allclose(wires(quick)[name], expected, rtol=0, atol=1e-4, err_msg=name)


def test_a_limit_that_is_passed_by_extension() -> None:
    loop = loop_of(network(()), controller=PI(0.0, 0.2))
    lesson = lesson_of(loop.plant, 17, Nudged(MeanSquaredError(), 1.5), steps=400)
    largest = np.abs(lesson.simulate(loop).final["u"]).max()
    with pytest.raises(DivergedError):
        lesson.simulate(loop, extend=1e-4, limit=0.9 * largest)
