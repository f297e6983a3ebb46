"""Learning target vectors: student and teacher, autoencoders, losses in place of errors, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from idx_files import idx

from controlnet._display import show_summary
from controlnet.cli import main
from controlnet.data import Dataset, Split, load
from controlnet.errors import ConfigError, DimensionError, InputError, LearningDivergedError
from controlnet.experiments import Settings, resolve
from controlnet.experiments.chance import seeds
from controlnet.experiments.running import dataset_of, run_experiment
from controlnet.experiments.training import Trainer
from controlnet.experiments.watching import Epoch
from controlnet.storage import Run, read_run, write_run

SMALL = ("train.compare_with=[]", "objective.loss=mse", "network.hidden=[6]", "train.batch_size=10")
TAUGHT = ("data.name=student-teacher", "data.train_samples=60", "data.sizes=[5, 4, 3]")
METHODS = ("bp", "dfa", "dfc-ss", "dfc")


def chosen(*overrides: str, method: str = "bp", epochs: int = 1) -> Settings:
    return resolve("digits", method=method, epochs=epochs, overrides=(*SMALL, *overrides)).settings


def trained(settings: Settings, dataset: Dataset | None = None) -> tuple[Trainer, list[Epoch]]:
    trainer = Trainer(settings, dataset or dataset_of(settings))
    return trainer, list(trainer.epochs())


def split(samples: int = 12, outputs: int = 2, features: int = 3) -> Split:
    rng = np.random.default_rng(samples)
    return Split(rng.normal(size=(samples, features)), rng.normal(size=(samples, outputs)))


# --- splits and datasets


def test_a_split_says_what_its_targets_are() -> None:
    assert not split().by_class
    assert Split(np.zeros((3, 2)), np.array([0, 2, 1])).by_class


X = np.zeros((4, 2))
WRONG: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "lengths": (X, np.zeros((3, 2)), DimensionError, "one target per row"),
    "flat inputs": (X[:, 0], np.zeros(4, int), DimensionError, "one target per row"),
    "cubes": (X, np.zeros((4, 2, 2)), DimensionError, "one target per row"),
    "no outputs": (X, np.zeros((4, 0)), DimensionError, "one target per row"),
    "float classes": (X, np.zeros(4), InputError, "float64 .4,.: convert"),
    "integer vectors": (X, np.zeros((4, 2), int), InputError, "int64 .4, 2.: convert"),
    "integer inputs": (X.astype(int), np.zeros(4, int), InputError, "convert"),
    "NaN": (X * np.nan, np.zeros(4, int), InputError, "finite inputs"),
    "infinite targets": (X, np.full((4, 2), np.inf), InputError, "finite targets"),
    "negative": (X, np.full(4, -1), InputError, "counted from 0, got -1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_learned_is_refused(case: str) -> None:
    inputs, targets, kind, words = WRONG[case]
    with pytest.raises(kind, match=words) as caught:
        Split(inputs, targets)
    assert "\n" not in str(caught.value)


CLASSES = Split(np.zeros((4, 3)), np.array([0, 1, 2, 1]))


@pytest.mark.parametrize(
    ("train", "test", "outputs", "words"),
    [
        (split(), split(features=4), 2, r"got \(4,\) and \(2,\) in the test split"),
        (split(), split(outputs=3), 2, r"got \(3,\) and \(3,\) in the test split"),
        (split(), split(), 3, "in the train split"),
        (split(), CLASSES, 2, r"got \(3,\) and \(\) in the test split"),
        (CLASSES, split(), 3, r"got \(3,\) and \(2,\) in the test split"),
        (CLASSES, CLASSES, 2, "expected classes 0 to 1, got 2 in the train split"),
    ],
)
def test_splits_that_do_not_belong_together_are_refused(train: Split, test: Split, outputs: int, words: str) -> None:
    with pytest.raises((DimensionError, InputError), match=words):
        Dataset("mine", train, train, test, outputs)


# --- student and teacher


@given(seed=st.integers(0, 2**64))
def test_the_same_seed_gives_the_same_teacher_and_samples(seed: int) -> None:
    source = np.random.SeedSequence(seed)
    first, again, other = (load("student-teacher", seed=each, sizes=(4, 3, 2)) for each in (source, source, seed + 1))
    for name in ("train", "validation", "test"):
        one, two, three = (getattr(data, name) for data in (first, again, other))
        assert one.inputs.tobytes() == two.inputs.tobytes() and one.targets.tobytes() == two.targets.tobytes()
        assert not np.array_equal(one.targets, three.targets)
        assert np.abs(one.inputs).max() <= 1


def test_the_published_sizes_are_the_default() -> None:
    data = load("student-teacher", seed=0)
    assert [part.inputs.shape for part in (data.train, data.validation, data.test)] == [
        (5000, 15),
        (1000, 15),
        (1000, 15),
    ]
    assert (data.outputs, data.by_class, data.test.targets.shape) == (5, False, (1000, 5))


def test_all_splits_have_one_teacher() -> None:
    """Without hidden layers the teacher is a matrix, which one split tells for all."""
    data = load("student-teacher", seed=3, sizes=(6, 2))
    teacher = np.linalg.lstsq(data.train.inputs, data.train.targets)[0]
    for part in (data.validation, data.test):
        assert np.allclose(part.inputs @ teacher, part.targets, atol=1e-12)
    assert not np.isin(data.test.inputs, data.train.inputs).any()


@pytest.mark.parametrize("sizes", ["[5]", "[5, 0]", "[]", "5"])
def test_sizes_are_at_least_two_widths(sizes: str) -> None:
    with pytest.raises(ConfigError, match="data.sizes"):
        chosen("data.name=student-teacher", f"data.sizes={sizes}")


def test_sizes_are_for_student_and_teacher_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        chosen("data.sizes=[4, 3]")
    assert str(caught.value) == "data.sizes: expected none for digits, as only student-teacher takes any, got [4, 3]"
    with pytest.raises(InputError, match="sizes: expected none for digits"):
        load("digits", seed=0, sizes=(4, 3))


# --- autoencoders


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder of small images, mixed of two patterns."""
    folder, rng = tmp_path_factory.mktemp("mnist"), np.random.default_rng(0)
    patterns = rng.uniform(0, 1, (2, 12))
    for stem, count in (("train", 48), ("t10k", 12)):
        images = 255 * rng.uniform(0, 0.5, (count, 2)) @ patterns
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(images.astype(np.uint8).reshape(count, 3, 4)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    return folder


def test_the_targets_of_an_autoencoder_are_its_inputs(mnist: Path) -> None:
    digits, data = (load(name, seed=5, data_dir=mnist) for name in ("mnist", "mnist-autoencoder"))
    assert (data.name, data.outputs, data.by_class) == ("mnist-autoencoder", 12, False)
    for name in ("train", "validation", "test"):
        part = getattr(data, name)
        assert part.targets is part.inputs
        assert np.array_equal(part.inputs, getattr(digits, name).inputs)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_lowers_the_loss_of_an_autoencoder(mnist: Path, method: str) -> None:
    settings = chosen("data.name=mnist-autoencoder", "optimizer.learning_rate=0.01", method=method, epochs=6)
    trainer = Trainer(settings, dataset_of(settings, mnist))
    before = trainer.evaluate(trainer.dataset.test)
    first, *_, last = trainer.epochs()
    assert last.train_loss < 0.8 * first.train_loss
    assert last.test_loss < 0.8 * before.loss
    assert before.error_percent is first.test_error_percent is last.validation_error_percent is None
    assert "test_confusion" not in trainer.diagnostics()


# --- losses and errors


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_are_means_over_samples_and_outputs(dtype: str) -> None:
    """More samples than are evaluated at once."""
    trainer, history = trained(chosen(*TAUGHT, f"network.dtype={dtype}"))
    for part, loss in (("test", history[-1].test_loss), ("validation", history[-1].validation_loss)):
        own = getattr(trainer.dataset, part)
        expected = np.mean((trainer.plant.predict(own.inputs) - own.targets) ** 2)
        assert loss == pytest.approx(expected, rel=1e-12 if dtype == "float64" else 1e-5)
    whole = replace(trainer.dataset.train, inputs=np.repeat(own.inputs, 2, 0), targets=np.repeat(own.targets, 2, 0))
    assert trainer.evaluate(whole).loss == pytest.approx(trainer.evaluate(own).loss, rel=1e-12)


@pytest.mark.parametrize("method", ["bp", "strong-dfc"])
def test_classes_have_losses_of_the_methods_own_labels_beside_errors(method: str) -> None:
    settings = resolve("digits", method=method, epochs=1, overrides=("network.hidden=[8]", "data.train_samples=64"))
    trainer, (epoch,) = trained(settings.settings)
    test, objective = trainer.dataset.test, trainer.forward.objective
    output = trainer.plant.predict(test.inputs)
    assert epoch.test_loss == pytest.approx(objective.loss.value(output, test.targets), rel=1e-12)
    assert epoch.test_error_percent == pytest.approx(100 * np.mean(output.argmax(1) != test.targets))
    assert objective.loss.target_value == (0.99 if method == "strong-dfc" else 1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_any_more_is_a_divergence() -> None:
    far = Split(np.full((4, 5), 1e200), np.zeros((4, 3)))
    data = replace(load("student-teacher", seed=0, sizes=(5, 3)), test=far)
    with pytest.raises(LearningDivergedError, match="take a smaller optimizer.learning_rate"):
        trained(chosen(*TAUGHT, "network.hidden=[]"), data)


@pytest.mark.parametrize("method", METHODS)
def test_vectors_need_the_squared_error(method: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trained(chosen(*TAUGHT, "objective.loss=cross-entropy", method=method))
    words = "expected mse for student-teacher, as its targets are vectors, got cross-entropy"
    assert str(caught.value) == f"objective.loss: {words}"


def test_vectors_have_no_target_value() -> None:
    with pytest.raises(ConfigError, match="objective.target_value: expected none for student-teacher"):
        trained(chosen(*TAUGHT, "objective.target_value=0.9"))


def test_classes_may_have_the_squared_error() -> None:
    _, (epoch,) = trained(chosen())
    assert epoch.test_error_percent is not None and epoch.test_loss < 1


# --- runs


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("method", ["bp", "dfc-ss"])
def test_a_run_keeps_losses_and_looks(tmp_path: Path, method: str) -> None:
    looking = ("diagnostics.every=1", "diagnostics.samples=4")
    plan = resolve("digits", method=method, epochs=2, overrides=(*SMALL, *TAUGHT, *looking))
    summary = run_experiment(plan, folder=tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.complete and summary["test_error_percent"] is None
    assert summary["test_loss"] == run.summary["test_loss"] == run.history[-1]["test_loss"]
    assert run.weights["W0"].shape == (6, 5) and run.weights["W1"].shape == (3, 6)
    assert np.isfinite(run.diagnostics["probe_angle_to_bp"]).all()
    assert dataset_of(plan.settings).train.inputs.shape == (60, 5)
    assert command("show", tmp_path / "run").exit_code == 0


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_the_command_line_learns_a_file(tmp_path: Path, suffix: str) -> None:
    data, part = load("student-teacher", seed=1, sizes=(4, 2)), slice(80)
    path = tmp_path / f"mine.{suffix}"
    if suffix == "npz":
        np.savez(path, X=data.train.inputs[part], y=data.train.targets[part])
    else:
        import h5py

        with h5py.File(path, "w") as file:
            file["X"], file["y"] = data.train.inputs[part], data.train.targets[part]
    changes = [word for text in (*SMALL, f"data.name={path}") for word in ("--set", text)]
    found = command("run", "--method", "bp", "--epochs", 2, *changes, "--out", tmp_path / "run")
    assert found.exit_code == 0, found.output
    assert "valid." in found.stdout and "test %" not in found.stdout
    assert "test_loss" in found.stderr and "error" not in found.stderr
    shown = command("show", tmp_path / "run", "--json")
    assert json.loads(shown.stdout)["summary"]["test_loss"] < 10


BAD = {
    "absent": (None, "no file"),
    "damaged": (b"PK\x03\x04 and no more", "is damaged"),
    "empty": (b"", "is damaged"),
}


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("case", BAD)
def test_the_command_line_refuses_a_bad_file_in_one_line(tmp_path: Path, suffix: str, case: str) -> None:
    content, words = BAD[case]
    path = tmp_path / f"mine.{suffix}"
    if content is not None:
        path.write_bytes(content)
    found = command("run", "--quiet", "--set", f"data.name={path}", "--out", tmp_path / "run")
    assert found.exit_code == 2 and not (tmp_path / "run" / "run.h5").exists()
    assert found.stderr.count("\n") == 1 and words in found.stderr and str(path) in found.stderr


def test_the_command_line_refuses_the_wrong_loss_in_one_line(tmp_path: Path) -> None:
    found = command("run", "--quiet", "--set", "data.name=student-teacher", "--out", tmp_path / "run")
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1 and "objective.loss: expected mse" in found.stderr


def test_runs_of_old_without_losses_are_still_shown(tmp_path: Path) -> None:
    run_experiment(resolve("digits", method="bp", overrides=SMALL, epochs=2), folder=tmp_path / "run")
    run = read_run(tmp_path / "run")
    new = ("test_loss", "validation_loss")
    history = [{name: value for name, value in row.items() if name not in new} for row in run.history]
    summary = {name: value for name, value in run.summary.items() if name not in new}
    fields: dict[str, Any] = {name: getattr(run, name) for name in Run.__dataclass_fields__}
    (tmp_path / "old").mkdir()
    write_run(tmp_path / "old", Run(**{**fields, "history": history, "summary": summary}))
    found = command("show", tmp_path / "old")
    assert found.exit_code == 0, found.output
    assert found.stdout.count("test %") == 2


def test_a_run_without_epochs_is_shown_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    show_summary({"experiment": "digits", "method": "bp", "seed": 0, "epochs": 0, "run": "run.h5"})
    assert "test %" in capsys.readouterr().out


def test_the_sources_of_randomness_stay_where_they_are() -> None:
    """The order in which the digits are dealt is that of the purpose, whatever else is drawn from it."""
    source = seeds(0)["split"]
    before = load("digits", seed=source)
    load("student-teacher", seed=source)
    assert load("digits", seed=source).train.inputs.tobytes() == before.train.inputs.tobytes()
    assert source.n_children_spawned == 0
