"""The phases of training: what learns when, in which loop, by which optimiser, from which minibatches and noise."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from test_training import digits, same_bits, timeless, tiny

from controlnet._display import Bars, Lines
from controlnet.adaptation import SGD, FeedbackLearning, SinglePhase
from controlnet.base import Array
from controlnet.comparator import Difference, SoftmaxDifference
from controlnet.data import Dataset, Split
from controlnet.errors import DivergedError, LearningDivergedError
from controlnet.experiments import METHODS, Settings, from_stored, resolve
from controlnet.experiments.phases import Optimizers, Phase, asleep, feedback_phase, forward_phase
from controlnet.experiments.training import Trainer
from controlnet.experiments.watching import Epoch, Watcher
from controlnet.objective import Nudged, OwnOutput, Strong

BASE: dict[str, dict[str, Any]] = {
    "network": {"hidden": [3], "tau_v": 0.2},
    "simulation": {"dt": 0.1, "steps": 6},
    "noise": {"sigma": 0.02},
    "train": {"batch_size": 10, "epochs": 2},
}


def settled(method: str, seed: int = 0, **tables: dict[str, Any]) -> Settings:
    """Give an experiment of a few steps, its tables laid over `BASE`."""
    merged = {name: BASE.get(name, {}) | tables.get(name, {}) for name in (*BASE, *tables)}
    return from_stored({"experiment": "tiny", "method": method, "seed": seed, **merged}).settings


class Recorder(Trainer):
    """Keeps what learned, what that changed, and from which samples; simulates in plain Python."""

    def __init__(self, settings: Settings, data: Dataset | None = None, **options: Any) -> None:
        super().__init__(settings, data or tiny(), **{"compiled": False, **options})
        self.heard: list[str] = []
        self.history: list[Epoch] = []
        self.parts: dict[str, list[list[int]]] = {"pretraining": [], "feedback": [], "forward": []}

    def learn(self, phase: Phase, part: Array, tally: Any) -> None:
        before = self.plant.parameters
        super().learn(phase, part, tally)
        moved = {name[0] for name, array in self.plant.parameters.items() if not np.array_equal(array, before[name])}
        self.heard.append(f"{phase.name}: {''.join(sorted(moved))}")
        self.parts[phase.name].append(part.tolist())


def trained(settings: Settings, **options: Any) -> Recorder:
    trainer = Recorder(settings, **options)
    trainer.history += trainer.epochs()
    return trainer


# --- the schedule


BOTH = {"pretraining_epochs": 2, "extra_epochs": 1}
SLEEP, WAKE, FIRST = "feedback: Q", "forward: Wb", "pretraining: Q"
SCHEDULES: dict[str, tuple[str, dict[str, Any], list[str], list[str]]] = {
    "two phases": ("dfc", {}, [], [SLEEP, WAKE]),
    "two phases and more": ("dfc", BOTH, [FIRST, FIRST], [SLEEP, WAKE, SLEEP]),
    "at the steady state": ("dfc-ss", {"extra_epochs": 2}, [], [SLEEP, WAKE, SLEEP, SLEEP]),
    "without simulation": ("dfc-ssa", {"pretraining_epochs": 1}, [FIRST], [SLEEP, WAKE]),
    "one phase": ("dfc", {"learning": "single-phase"}, [], ["forward: QWb"]),
    "one phase and more": ("strong-dfc", BOTH, [FIRST, FIRST], ["forward: QWb", SLEEP]),
    "strong in two phases": ("strong-dfc-2phase", {"pretraining_epochs": 1}, [FIRST], [SLEEP, WAKE]),
    "either for strong": ("strong-dfc", {"learning": "two-phase"}, [], [SLEEP, WAKE]),
    "strong and fixed": ("strong-dfc", {"learning": "none", **BOTH}, [], [WAKE]),
    "fixed": ("dfc-fixed", BOTH, [], [WAKE]),
    "backpropagation": ("bp", BOTH, [], [WAKE]),
    "alignment": ("dfa", BOTH, [], [WAKE]),
    "alignment that sleeps": ("dfa", {"learning": "two-phase", **BOTH}, [FIRST, FIRST], [SLEEP, WAKE, SLEEP]),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_each_phase_learns_its_weights_in_its_turn(case: str) -> None:
    method, feedback, before, epoch = SCHEDULES[case]
    assert trained(settled(method, feedback=feedback)).heard == before + 2 * epoch


class Listener(Watcher):
    """Keeps the epochs of the minibatches it hears of, and whether they had a loss."""

    def __init__(self) -> None:
        self.announced, self.heard = 0, list[tuple[int, bool]]()

    def on_start(self, method: str, epochs: int, batches: int) -> None:
        self.announced = batches

    def on_batch(self, epoch: int, loss: float | None) -> None:
        self.heard.append((epoch, loss is not None))


@pytest.mark.parametrize("case", ["two phases and more", "one phase and more", "fixed"])
def test_a_watcher_is_told_how_many_minibatches_there_are_and_hears_of_each(case: str) -> None:
    method, feedback, before, epoch = SCHEDULES[case]
    listener, losses = Listener(), [heard.startswith("forward") for heard in epoch]
    trained(settled(method, feedback=feedback, train={"batch_size": 4}), watcher=listener)
    expected = [(0, False)] * 3 * len(before)
    expected += [(number, loss) for number in (1, 2) for loss in losses for _ in range(3)]
    assert listener.heard == expected
    assert listener.announced == len(expected)


def test_a_line_tells_the_minibatches_of_all_phases(capsys: pytest.CaptureFixture[str]) -> None:
    trained(settled("dfc-ssa", feedback=BOTH, train={"batch_size": 4}), watcher=Lines())
    assert capsys.readouterr().err.startswith("dfc-ssa: 2 epochs, 24 minibatches (a loop that was never used before")


def test_a_bar_tells_which_weights_learn() -> None:
    with Bars() as bars:
        bars.on_start("dfc", 2, 4)
        (task,) = bars._progress.tasks
        for epoch, loss, words in ((0, None, "epoch 0/2  feedback weights"), (1, 0.5, "epoch 1/2  loss 0.5000")):
            bars.on_batch(epoch, loss)
            assert task.description == words
        assert (task.completed, task.total) == (2, 4)


@pytest.mark.parametrize("method", ["dfc", "strong-dfc", "strong-dfc-2phase"])
def test_the_weights_to_the_output_may_stay(method: str) -> None:
    feedback = {"output_layer": False, "pretraining_epochs": 1, "extra_epochs": 1}
    trainer = trained(settled(method, feedback=feedback))
    first = Recorder(trainer.settings).plant.parameters
    assert np.array_equal(trainer.plant.parameters["Q1"], first["Q1"])
    assert not np.array_equal(trainer.plant.parameters["Q0"], first["Q0"])


@pytest.mark.parametrize("method", ["dfc", "strong-dfc"])
def test_single_precision_stays_single(method: str) -> None:
    trainer = trained(settled(method, network={"dtype": "float32"}, feedback=BOTH))
    assert {array.dtype for array in trainer.plant.parameters.values()} == {np.dtype(np.float32)}


# --- optimisers


def counts(trainer: Trainer) -> dict[str, dict[str, int]]:
    """Give how often Adam was called, by memory and array."""
    return {
        name: {key.removeprefix("count/"): int(value) for key, value in memory.items() if key.startswith("count/")}
        for name, memory in trainer.optimizers.memories.items()
    }


@pytest.mark.parametrize(("method", "often"), [("dfc", (6, 12, 6)), ("strong-dfc", (6, 12, 6)), ("bp", (0, 0, 6))])
def test_each_phase_has_a_memory_of_its_own(method: str, often: tuple[int, int, int]) -> None:
    """Three minibatches a pass, two epochs."""
    trainer = trained(settled(method, feedback=BOTH, train={"batch_size": 4}))
    feedback, forward = ("Q0", "Q1"), ("W0", "b0", "W1", "b1")
    names = {"pretraining": feedback, "feedback": feedback, "forward": forward}
    expected = {each: dict.fromkeys(names[each], n) for each, n in zip(names, often, strict=True) if n}
    assert {name: found for name, found in counts(trainer).items() if found} == expected


RATES = {
    "optimizer": {"kind": "sgd", "learning_rate": 1.0},
    "feedback": {"optimizer": {"kind": "sgd", "learning_rate": 10.0}},
}


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("method", ["dfc", "strong-dfc"])
def test_each_phase_has_an_optimiser_of_its_own(method: str, own: bool) -> None:
    feedback = RATES["feedback"] | ({"pretraining_optimizer": {"kind": "sgd", "learning_rate": 100.0}} if own else {})
    settings = settled(method, optimizer=RATES["optimizer"], feedback=feedback)
    optimizers, zeros, ones = Optimizers(settings), np.zeros(2), np.ones(2)
    phases = [forward_phase(settings), feedback_phase(settings), feedback_phase(settings, "pretraining")]
    steps = [
        optimizers.apply(phase, {"W0": zeros, "Q0": zeros}, {"W0": ones, "Q0": ones})  # type: ignore[arg-type]
        for phase in phases
    ]
    assert [step["W0"][0] for step in steps] == [1.0, 1.0, 1.0]
    assert [step["Q0"][0] for step in steps] == [10.0, 10.0, 100.0 if own else 10.0]
    assert optimizers.optimizers["forward"] == SGD(learning_rate=1.0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("method", ["dfc", "strong-dfc-2phase"])
def test_feedback_weights_that_run_away_are_an_error(method: str) -> None:
    runaway = {"optimizer": {"kind": "sgd", "learning_rate": 1e308, "weight_decay": 1e3}}
    with pytest.raises(LearningDivergedError, match="take a smaller feedback.optimizer.learning_rate"):
        trained(settled(method, feedback=runaway))


# --- the loop of the sleep


OWN: dict[str, dict[str, Any]] = {
    "network": {"tau_v": 0.15, "tau_apical": 0.3, "tau_control": 0.4, "transmission": "delayed"},
    "controller": {"kind": "integral", "k_i": 3.0, "leak": 0.5},
    "simulation": {"dt": 0.05, "steps": 9, "control": "old"},
    "noise": {"sigma": 0.3, "sigma_output": 0.1, "tau": 0.17},
}
AWAKE = {
    "controller": {"kind": "pi", "k_p": 0.5, "k_i": 2.0},
    "noise": {"sigma": 0.02, "tau": 0.11},
    "network": {"tau_apical": 0.25},
}


@pytest.mark.parametrize("method", ["dfc", "strong-dfc"])
@pytest.mark.parametrize("given", [(), ("network",), ("controller",), ("simulation",), ("noise",), tuple(OWN)])
def test_the_sleep_has_its_own_settings_and_else_those_of_the_experiment(method: str, given: tuple[str, ...]) -> None:
    settings = settled(method, **AWAKE, feedback={name: OWN[name] for name in given})
    phase = feedback_phase(settings)
    assert phase is not None
    loop, grid = phase.loop(Recorder(settings).plant), (phase.dt, phase.steps)
    plant, controller, noise = loop.plant, loop.controller, loop.integrator.noise
    times = (plant.tau_v, plant.tau_apical, plant.tau_control, plant.transmission)
    assert times == ((0.15, 0.3, 0.4, "delayed") if "network" in given else (0.2, 0.25, None, "instantaneous"))
    assert type(controller).__name__ == ("Integral" if "controller" in given else "PI")
    assert controller.k_i == (3.0 if "controller" in given else 2.0)
    assert grid == ((0.05, 9) if "simulation" in given else (0.1, 6))
    assert loop.integrator.control == ("old" if "simulation" in given else "new")
    # Noise is never that of the experiment: white noise of 0.1 unless there is a table.
    assert (*noise.strengths, noise.correlation_time) == ((0.3, 0.1, 0.17) if "noise" in given else (0.1, 0.1, 0.0))


def test_the_sleep_leaves_the_wake_as_it_was() -> None:
    settings = settled("dfc", **AWAKE, feedback=OWN)
    loop = Recorder(settings).loop
    assert (loop.plant.tau_v, loop.plant.tau_apical, loop.controller.k_i) == (0.2, 0.25, 2.0)
    assert loop.integrator.noise.correlation_time == 0.11
    assert asleep(settings).network == settled("dfc", network=AWAKE["network"] | OWN["network"]).network


@pytest.mark.parametrize(
    ("method", "loss", "objectives", "comparator"),
    [
        ("dfc", "cross-entropy", (Nudged, OwnOutput), Difference),
        ("dfc", "mse", (Nudged, OwnOutput), Difference),
        ("strong-dfc", "cross-entropy", (Strong, Strong), SoftmaxDifference),
        ("strong-dfc-2phase", "mse", (Strong, Strong), Difference),
    ],
)
def test_asleep_under_weak_feedback_the_output_is_its_own_reference(
    method: str, loss: str, objectives: tuple[type, type], comparator: type
) -> None:
    settings = settled(method, objective={"loss": loss})
    phases = [forward_phase(settings), feedback_phase(settings)]
    assert tuple(type(phase.objective) for phase in phases) == objectives  # type: ignore[union-attr]
    assert {type(phase.parts["comparator"]) for phase in phases} == {comparator}  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["strong-dfc", "strong-dfc-2phase"])
def test_the_pretraining_may_compare_without_softmax(method: str) -> None:
    feedback = {"pretraining_epochs": 1, "pretraining_comparator": "difference"}
    trainer = Recorder(settled(method, feedback=feedback))
    comparators = [type(phase.parts["comparator"]) for phase in (trainer.pretraining, trainer.sleep, trainer.forward)]
    assert comparators == [Difference, SoftmaxDifference, SoftmaxDifference]
    same = Recorder(settled(method, feedback={"pretraining_epochs": 1}))
    for each in (trainer, same):
        next(each.stages())
    assert not np.array_equal(trainer.plant.parameters["Q0"], same.plant.parameters["Q0"])


@pytest.mark.parametrize(("method", "same"), [("dfc", True), ("strong-dfc-2phase", False)])
def test_labels_play_a_part_asleep_only_if_feedback_is_strong(method: str, same: bool) -> None:
    data, asleep_only = tiny(), settled(method, feedback={"pretraining_epochs": 1})
    other = Dataset(
        "tiny", Split(data.train.inputs, (data.train.targets + 1) % 3), data.validation, data.test, data.outputs
    )
    changes = []
    for each in (data, other):
        trainer = Recorder(asleep_only, each)
        phase = feedback_phase(asleep_only)
        loop = phase.loop(trainer.plant, False)  # type: ignore[union-attr]
        lesson = trainer.lesson(phase, loop, np.arange(10))  # type: ignore[arg-type]
        changes.append(loop.law.propose(loop, lesson).change)
    assert same_bits(*changes) == same


@pytest.mark.parametrize(("tau", "ratio"), [(0.1, 2.0), (0.4, 0.5)])
def test_the_rule_has_the_scale_of_its_phase_and_in_single_phase_learning_always_that_of_the_forward_one(
    tau: float, ratio: float
) -> None:
    noise = {"sigma": 0.1, "tau": tau}
    own = {"noise": {"sigma": 0.1, "tau": 0.2}, "simulation": {"dt": 0.2}}
    feedback = {"layer_scaling": True, "high_pass": 0.75, **own}
    asleep_, awake = (
        phase(settled("strong-dfc", noise=noise, feedback=feedback)) for phase in (feedback_phase, forward_phase)
    )
    assert isinstance(awake.parts["law"], SinglePhase)
    assert awake.parts["law"].feedback == FeedbackLearning(ratio, 0.75)
    assert asleep_.dt == 2 * awake.dt
    assert asleep_.parts["law"] == FeedbackLearning(ratio, 1.5)
    two = feedback_phase(settled("dfc", feedback=feedback))
    assert two is not None and two.parts["law"] == FeedbackLearning(1.0, None)
    assert feedback_phase(settled("dfc-fixed")) is None


# --- minibatches and noise


def test_all_methods_see_the_same_minibatches() -> None:
    seen = {}
    for method in METHODS:
        trainer = trained(settled(method, feedback=BOTH, train={"batch_size": 4}))
        seen[method] = trainer.parts["forward"]
        asleep_, count = trainer.parts["pretraining"] + trainer.parts["feedback"], Counter(trainer.heard)
        assert len(asleep_) == count[FIRST] + count[SLEEP]
        assert not any(part in trainer.parts["forward"] for part in asleep_)
    assert all(parts == seen["bp"] for parts in seen.values())
    assert len(seen["bp"]) == 6
    assert trained(settled("bp", seed=1, train={"batch_size": 4})).parts["forward"] != seen["bp"]


def changes_of(settings: Settings, phase: Phase, lessons: int = 2) -> list[dict[str, Array]]:
    trainer = Recorder(settings)
    loop = phase.loop(trainer.plant, False)
    return [loop.law.propose(loop, trainer.lesson(phase, loop, np.arange(10))).change for _ in range(lessons)]


@pytest.mark.parametrize("make", [forward_phase, feedback_phase])
def test_each_minibatch_has_noise_of_its_own_that_follows_from_the_seed(make: Any) -> None:
    settings = settled("strong-dfc")
    first, second = changes_of(settings, make(settings))
    again, _ = changes_of(settings, make(settings))
    assert same_bits(first, again)
    assert all(not np.array_equal(first[name], second[name]) for name in first)
    sources = [Recorder(settled("strong-dfc", seed=seed)) for seed in (0, 1)]
    seeds = [trainer.lesson(trainer.forward, trainer.loop, np.arange(3)).seed for trainer in sources]
    states = [seed.generate_state(4).tolist() for seed in seeds]  # type: ignore[union-attr]
    assert states[0] != states[1]


@pytest.mark.parametrize("threads", [1, 2])
def test_noisy_training_gives_the_same_bits_on_any_number_of_threads(threads: int) -> None:
    """Compiled, with two blocks a minibatch."""
    small = ("network.hidden=[8]", "train.compare_with=[]", "data.train_samples=96", "feedback.pretraining_epochs=1")
    settings = resolve("digits", method="strong-dfc", epochs=1, overrides=small).settings
    runs = []
    for n in (1, threads):
        trainer = Trainer(settings, digits().with_train_samples(96), n)
        runs.append((timeless(list(trainer.epochs())), trainer.plant.parameters))
    assert runs[0][0] == runs[1][0]
    assert same_bits(runs[0][1], runs[1][1])
    assert not same_bits(runs[0][1], Trainer(settings, digits()).plant.parameters)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_feedback_phase_that_diverges_says_so() -> None:
    loud = {"noise": {"sigma": 1e200}}
    with pytest.raises(DivergedError, match="diverged during the learning of the feedback weights at step"):
        trained(settled("dfc", feedback=loud))
