"""Training: the same bits from the same seed, losses that fall, odd batches, and DFC beside backpropagation."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from controlnet._parallel import cut
from controlnet.base import Array, Proposal
from controlnet.data import Dataset, Split, load
from controlnet.errors import ConfigError, ControlNetError, DivergedError, LearningDivergedError
from controlnet.experiments import METHODS, Settings, resolve
from controlnet.experiments.chance import PURPOSES, seeds
from controlnet.experiments.training import Trainer
from controlnet.experiments.watching import Epoch, Remarks, Watcher

SMALL = ("network.hidden=[8]", "train.compare_with=[]")


def chosen(*overrides: str, method: str = "bp", seed: int = 0, epochs: int = 1) -> Settings:
    return resolve("digits", method=method, seed=seed, epochs=epochs, overrides=(*SMALL, *overrides)).settings


def digits(seed: int = 0) -> Dataset:
    return load("digits", seed=seeds(seed)["split"])


def tiny(samples: int = 10, classes: int = 3) -> Dataset:
    """Make a dataset that a plain-Python loop can learn from."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(classes, 4))

    def split(count: int) -> Split:
        labels = np.arange(count) % classes
        return Split(centres[labels] + 0.1 * rng.normal(size=(count, 4)), labels)

    return Dataset("tiny", split(samples), split(6), split(6), classes)


def train(settings: Settings, threads: int | None = None) -> tuple[list[Epoch], dict[str, Array]]:
    """Train on the digits; give the history and the weights."""
    trainer = Trainer(settings, digits(settings.seed), threads)
    return list(trainer.epochs()), trainer.plant.parameters


def timeless(history: list[Epoch]) -> list[Epoch]:
    return [epoch._replace(seconds=0.0) for epoch in history]


def same_bits(first: dict[str, Array], second: dict[str, Array]) -> bool:
    return first.keys() == second.keys() and all(first[n].tobytes() == second[n].tobytes() for n in first)


def forward_weights(weights: dict[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in weights.items() if name[0] != "Q"}


# --- seeds


def test_each_purpose_has_its_own_source() -> None:
    states = {purpose: source.generate_state(8) for purpose, source in seeds(0).items()}
    assert list(states) == ["split", "init", "shuffle", "noise", "feedback shuffle"] == list(PURPOSES)
    for first, second in combinations(states.values(), 2):
        assert not np.isin(first, second).any()


def test_the_order_of_the_purposes_is_kept() -> None:
    """Runs of old stay reproducible only if each purpose keeps its place."""
    assert {name: source.spawn_key for name, source in seeds(7).items()} == {
        "split": (0,),
        "init": (1,),
        "shuffle": (2,),
        "noise": (3,),
        "feedback shuffle": (4,),
    }
    assert seeds(7)["init"].entropy == 7


@pytest.mark.parametrize("method", METHODS)
def test_other_purposes_do_not_move_the_first_weights(method: str) -> None:
    """Random feedback weights are drawn after the forward weights, and do not move them either."""
    first, other_seed = (Trainer(chosen(seed=seed), digits()).plant.parameters for seed in (0, 1))
    other = Trainer(chosen("train.batch_size=7", method=method), digits()).plant.parameters
    assert same_bits(forward_weights(first), forward_weights(other))
    assert same_bits(first, other) == (METHODS[method].feedback == "weight-product")
    assert not same_bits(forward_weights(first), forward_weights(other_seed))


# --- reproducibility


@pytest.mark.parametrize(
    ("method", "threads"),
    [("bp", (None, None)), ("dfc-fixed-ssa", (None, None)), ("dfc-fixed", (1, 2)), ("dfc", (1, 2))],
)
def test_the_same_seed_gives_the_same_bits(method: str, threads: tuple[int | None, int | None]) -> None:
    (history, weights), (again, weights_again) = (train(chosen(method=method, epochs=2), n) for n in threads)
    assert timeless(history) == timeless(again)
    assert [epoch.epoch for epoch in history] == [1, 2]
    assert same_bits(weights, weights_again)


@pytest.mark.parametrize("method", ["bp", "dfc-ssa", "dfc"])
def test_another_seed_gives_another_run(method: str) -> None:
    (history, weights), (other, other_weights) = (train(chosen(method=method, seed=seed)) for seed in (0, 1))
    assert timeless(history) != timeless(other)
    assert all(not np.array_equal(weights[name], other_weights[name]) for name in ("W0", "W1", "b0"))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_threads_do_not_move_a_bit_of_backpropagation(dtype: str) -> None:
    """With layers so wide that their products are cut into pieces."""
    settings = chosen("network.hidden=[512, 512]", "train.batch_size=256", f"network.dtype='{dtype}'", epochs=2)
    assert len(cut(256, 256 * 512 * (64 + 512))) > 1 and len(cut(512, 256 * 512 * 512)) > 2
    (history, weights), *others = (train(settings, threads) for threads in (1, 2, 3))
    for other, other_weights in others:
        assert timeless(other) == timeless(history)
        assert same_bits(other_weights, weights)


def test_methods_begin_alike_and_end_apart() -> None:
    ends = {method: train(chosen(method=method))[1] for method in ("bp", "dfc-fixed-ssa")}
    assert not np.array_equal(ends["bp"]["W0"], ends["dfc-fixed-ssa"]["W0"])


# --- learning


@pytest.mark.parametrize("method", ["bp", "dfc-fixed-ssa", "dfc-fixed", "dfc"])
def test_the_loss_falls_and_the_weights_move(method: str) -> None:
    settings = chosen(method=method, epochs=4)
    start = Trainer(settings, digits()).plant.parameters
    history, weights = train(settings)
    losses = [epoch.train_loss for epoch in history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]
    assert history[-1].validation_error_percent < history[0].validation_error_percent
    for name in ("W0", "b0", "W1", "b1"):
        assert np.abs(weights[name] - start[name]).max() > 1e-3
    for name in ("Q0", "Q1"):
        assert np.array_equal(weights[name], start[name]) == (method != "dfc")


OPTIMIZERS = {
    "sgd": "{kind = 'sgd', learning_rate = 0.03, momentum = 0.9, weight_decay = 1e-5}",
    "sgd, clipped": "{kind = 'sgd', learning_rate = 0.5, clip_norm = 0.1}",
    "adam": "{kind = 'adam', learning_rate = 5e-3}",
    "rmsprop": "{kind = 'rmsprop', learning_rate = 5e-3}",
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
@pytest.mark.parametrize("method", ["bp", "dfc-fixed-ssa"])
def test_every_optimizer_learns(method: str, optimizer: str) -> None:
    history, _ = train(chosen(f"optimizer={optimizer}", method=method, epochs=3))
    assert history[-1].train_loss < 0.8 * history[0].train_loss
    assert history[-1].test_error_percent < 70


@pytest.mark.parametrize("method", ["bp", "dfc-fixed-ssa"])
def test_single_precision_trains(method: str) -> None:
    (history, weights), (exact, _) = (
        train(chosen(f"network.dtype={dtype}", method=method, epochs=2)) for dtype in ("float32", "float64")
    )
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    assert history[-1].train_loss == pytest.approx(exact[-1].train_loss, rel=1e-3)


CONTROLLERS = {
    "pi": "{kind = 'pi', k_p = 0.5, k_i = 2.0, leak = 0.1, leak_on = 'integral'}",
    "proportional": "{kind = 'proportional', k_p = 1.5}",
    "integral": "{kind = 'integral', k_i = 2.0, leak = 0.1}",
    "pid": "{kind = 'pid', k_p = 0.5, k_i = 2.0, k_d = 0.01, derivative_filter = 0.5}",
}
OBJECTIVES = {
    "nudged cross-entropy": ("loss='cross-entropy'", "feedback='nudged'", "target_value=0.9"),
    "nudged mse": ("loss='mse'", "feedback='nudged'"),
    "strong mse": ("loss='mse'", "feedback='strong'"),
    "strong cross-entropy": ("loss='cross-entropy'", "feedback='strong'"),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
@pytest.mark.parametrize("controller", CONTROLLERS.values(), ids=list(CONTROLLERS))
@pytest.mark.parametrize("method", ["dfc-fixed", "dfc-fixed-ss", "dfc-fixed-ssa"])
def test_every_controller_works_with_every_objective(method: str, controller: str, objective: tuple[str, ...]) -> None:
    """In plain Python, on data of a few bytes."""
    overrides = [
        f"controller={controller}",
        *(f"objective.{text}" for text in objective),
        "optimizer.learning_rate=0.1",
    ]
    schedule = ["simulation.steps=20", "simulation.dt=0.1", "network.tau_v=0.2", "train.batch_size=5"]
    everything = (*overrides, *schedule, "network.hidden=[3]")
    if method == "dfc-fixed-ssa" and "feedback='strong'" in objective:
        # Strong feedback leaves the point where the analytic update linearises.
        with pytest.raises(ConfigError, match="objective.feedback: expected nudged for dfc-fixed-ssa"):
            chosen(*everything, method=method)
        return
    trainer = Trainer(chosen(*everything, method=method, epochs=4), tiny(), threads=1, compiled=False)
    first, *_, last = trainer.epochs()
    assert last.train_loss < first.train_loss
    judged = [(epoch.converged_percent, epoch.diverged_percent) for epoch in (first, last)]
    for converged, diverged in judged:
        if method == "dfc-fixed-ssa":
            assert converged is diverged is None
        else:
            assert converged is not None and 0 <= converged <= 100
            assert diverged is not None and 0 <= diverged <= 100 - converged


def test_a_gain_of_zero_is_a_legal_setting() -> None:
    """Nothing is learned but the rounding by which the loop's feed-forward state differs from NumPy's."""
    overrides = (
        "optimizer={kind='sgd'}",
        "controller={kind='proportional', k_p=0}",
        "simulation.steps=2",
        "train.batch_size=5",
    )
    settings = chosen(*overrides, "network.hidden=[3]", method="dfc-fixed")
    trainer = Trainer(settings, tiny(), threads=1, compiled=False)
    before = trainer.plant.parameters
    list(trainer.epochs())
    for name, array in trainer.plant.parameters.items():
        assert np.abs(array - before[name]).max() < 1e-15


# --- batches


@pytest.mark.parametrize("shuffle", ["forward", "feedback"])
def test_the_last_minibatch_is_smaller(shuffle: str) -> None:
    data = tiny(10)
    trainer = Trainer(chosen("train.batch_size=4"), data)
    orders = []
    for _ in range(2):
        parts = list(trainer.minibatches(shuffle))
        assert [len(part) for part in parts] == [4, 4, 2]
        for part in parts:
            lesson = trainer.lesson(trainer.forward, trainer.loop, part)
            assert np.array_equal(lesson.inputs, data.train.inputs[part])
            assert np.array_equal(lesson.labels, data.train.targets[part])
        orders.append(np.concatenate(parts).tolist())
        assert sorted(orders[-1]) == list(range(10))
    assert orders[0] != orders[1]


def test_the_loss_of_an_epoch_is_a_mean_over_samples() -> None:
    """With a learning rate of nothing, minibatches of any size give the loss of the whole set."""
    still = "optimizer={kind='sgd', learning_rate=1e-300}"
    losses = [next(Trainer(chosen(still, f"train.batch_size={n}"), tiny()).epochs()).train_loss for n in (1, 4, 10)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-12)


@pytest.mark.parametrize("size", [11, 5000])
def test_a_batch_larger_than_the_data_is_refused(size: int) -> None:
    with pytest.raises(ConfigError) as caught:
        Trainer(chosen(f"train.batch_size={size}"), tiny(10))
    assert str(caught.value) == f"train.batch_size: expected at most the 10 training samples, got {size}"


def test_a_batch_of_all_samples_is_one_minibatch() -> None:
    assert len(list(Trainer(chosen("train.batch_size=10"), tiny(10)).minibatches())) == 1


# --- what a watcher hears, and what goes wrong


class Listener(Watcher):
    """Keeps all that it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_start(self, method: str, epochs: int, batches: int) -> None:
        self.heard.append((method, epochs, batches))

    def on_batch(self, epoch: int, loss: float | None) -> None:
        self.heard.append(epoch)

    def on_epoch(self, epoch: Epoch) -> None:
        self.heard.append(epoch)


def test_a_watcher_hears_of_everything_in_order() -> None:
    listener = Listener()
    list(Trainer(chosen("train.batch_size=4", epochs=2), tiny(10), watcher=listener).epochs())
    assert listener.heard == [("bp", 2, 6), 1, 1, 1, 2, 2, 2]


def test_a_simulation_that_diverges_is_an_error() -> None:
    with pytest.raises(DivergedError) as caught:
        train(chosen("controller={kind='pi', k_i=1e9}", method="dfc-fixed"))
    assert caught.value.step > 0
    assert "take a smaller dt or gain" in str(caught.value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("method", ["bp", "dfc-fixed-ssa"])
def test_a_training_that_diverges_is_an_error(method: str, loss: str) -> None:
    runaway = "optimizer={kind='sgd', learning_rate=1e308}"
    with pytest.raises(ControlNetError) as caught:
        train(chosen(runaway, f"objective.loss={loss}", "network.activation='relu'", method=method, epochs=3))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverges_has_its_own_error() -> None:
    with pytest.raises(LearningDivergedError):
        train(chosen("optimizer={kind='sgd', learning_rate=1e308}", "objective.loss='mse'"))


def test_a_law_that_gives_nan_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(chosen("train.batch_size=5", epochs=3), tiny())
    bad = Proposal({name: np.full_like(array, np.nan) for name, array in trainer.plant.parameters.items()})
    monkeypatch.setattr(type(trainer.loop.law), "propose", lambda self, loop, lesson: bad)
    with pytest.raises(ControlNetError, match="finite"):
        list(trainer.epochs())


# --- the reproduction that every run of the tests repeats


def test_dfc_learns_the_digits_as_well_as_backpropagation() -> None:
    errors = {}
    for method in ("dfc", "bp"):
        settings = resolve("digits", method=method, epochs=8).settings
        history, _ = train(settings)
        errors[method] = history[-1].test_error_percent
        if method == "dfc":
            assert all(0 <= epoch.converged_percent <= 100 for epoch in history)  # type: ignore[operator]
            assert all(epoch.diverged_percent == 0 for epoch in history)
    assert errors["dfc"] <= 5
    assert abs(errors["dfc"] - errors["bp"]) <= 3


def test_strong_dfc_learns_the_digits() -> None:
    """All weights learn from the noisy simulations in which the label is the reference."""
    history, _ = train(resolve("digits", method="strong-dfc").settings)
    assert history[-1].test_error_percent < 5


def test_a_loop_that_diverges_at_the_last_look_costs_that_look_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(chosen(method="dfc-fixed-ssa"), digits(), watcher=Remarks())

    def diverge(*_: Any) -> Proposal:
        raise DivergedError(3, 0.1, 0)

    assert set(trainer.diagnostics()) == {"test_confusion", "angle_to_bp"} and not capsys.readouterr().err
    monkeypatch.setattr(type(trainer.loop.law), "propose", diverge)
    assert set(trainer.diagnostics()) == {"test_confusion"}
    assert "dfc-fixed-ssa: no angle_to_bp: the loop diverged at step 3" in capsys.readouterr().err
