"""`controlnet tune`: a search for settings with a small validation error."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from controlnet.cli import main
from controlnet.errors import ConfigError, ControlNetError, LearningDivergedError, StorageError
from controlnet.experiments import running
from controlnet.experiments.running import dataset_of, train_in
from controlnet.storage import read_run
from controlnet.studies import tasks, tuning
from controlnet.studies._trials import JOURNAL, claim_search
from controlnet.studies.search import Search
from controlnet.studies.tuning import Tuned, tune

SMALL = ("data.train_samples=64", "network.hidden=[4]")
RATE = "optimizer.learning_rate=1e-4..1e-1"
OPTIONS = ("-m", "bp", "--epochs", "1", "--set", SMALL[0], "--set", SMALL[1])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def search(*searched: str, overrides: tuple[str, ...] = (), seed: int = 0, method: str = "bp") -> Search:
    """Give a small search on 64 digits, one epoch a trial."""
    return Search("digits", searched, (*SMALL, *overrides), method=method, seed=seed, epochs=1)


def tuned(folder: str, trials: int, *searched: str, **options: Any) -> Tuned:
    return tune(search(*searched or (RATE,), **options), Path(folder), trials, workers=1)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def failed(*arguments: str, code: int = 2) -> str:
    """Give the one line with which a command fails."""
    result = call(*arguments)
    assert result.exit_code == code and result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def points(found: Tuned) -> list[dict[str, Any]]:
    return [trial.point for trial in found.trials]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optimizer.learning_rat=1e-3..1e-1", "did you mean 'learning_rate'"),
        ("optimizer.learning_rate=-1..1", "expected a number > 0, got -1.0"),
        ("network.activation=tanh,rel", "did you mean 'relu'"),
        ("train.batch_size=1.5..3", "whole numbers"),
        ("train.epochs=1..3", "train.epochs: given by --search and by --epochs"),
        ("train={epochs=1},{epochs=2}", "train: given by --search, and train.epochs by --epochs"),
        ("network={hidden=[8]},{hidden=[6]}", "network: given by --search, and network.hidden by --set"),
        ("method=bp,dfa", "method: given by --search and by --method"),
        ("train.batch_size=[8],[8.0]", "expected a whole number"),
        ("optimizer.beta1=0.5,5e-1", "expected values that are not all the same settings"),
        ("network.tau_v.x=1..2", "network.tau_v: expected a number"),
        ("network.activation.x=1..2", "network.activation: expected"),
        ("seed=1..3", "how to learn"),
        ("train.compare_with=['dfa'],['mn']", "how to learn"),
        ("data.name=digits,mnist", "leaves the validation samples as they are"),
        ("data.sizes=[4,3],[5,3]", "leaves the validation samples as they are"),
        ("feedback={learning='none'},{learning='none',x=1}", "feedback.x: unknown setting"),
        ("optimizer.learning_rate", "expected a.b=LOW..HIGH"),
    ],
)
def test_a_bad_search_is_one_line_and_leaves_nothing(text: str, said: str) -> None:
    assert said in failed("tune", "digits", *OPTIONS, "--trials", "1", "--search", text, "--out", "here")
    assert not Path("here").exists()


# --- the search


def test_settings_that_are_unset_are_tried_between_whole_numbers() -> None:
    found = tuned("here", 3, "optimizer.clip_norm=1..5")
    assert all(trial.settings["optimizer.clip_norm"] % 1 for trial in found.trials)


def test_the_same_seed_gives_the_same_trials_however_often_it_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    straight = tuned("straight", 12)
    assert tuned("parts", 4).trials == straight.trials[:4]

    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tasks, "perform", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tuned("parts", 12)
    assert tuned("parts", 12).trials == straight.trials
    assert points(tuned("another", 2, seed=1)) != points(straight)[:2]


def test_trials_that_are_there_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = tuned("here", 3)
    monkeypatch.setattr(tasks, "perform", None)
    assert tuned("here", 3).trials == first.trials == tuned("here", 1).trials


def test_another_search_in_the_same_folder_is_refused() -> None:
    tuned("here", 1)
    with pytest.raises(
        StorageError, match="another search: the search of optimizer.learning_rate is .* there and .* here"
    ):
        tuned("here", 2, "optimizer.learning_rate=1e-4..1e-2")
    with pytest.raises(StorageError, match="another search: optimizer.beta1 is 0.9 there and 0.8 here"):
        tuned("here", 2, overrides=("optimizer.beta1=0.8",))


def test_a_trial_that_diverges_fails_alone() -> None:
    found = tuned("here", 6, "optimizer.learning_rate=1e-3,1e308", overrides=("optimizer.kind=sgd",))
    assert 0 < len(found.failed) < 6
    assert all(
        "diverged" in (trial.error or "") and trial.settings == {"optimizer.learning_rate": 1e308}
        for trial in found.failed
    )
    assert found.best.settings == {"optimizer.learning_rate": 1e-3}


def test_settings_that_contradict_each_other_fail_alone() -> None:
    strength = "objective.feedback=nudged,strong"
    found = tuned("here", 6, strength, method="dfc-fixed-ssa")
    assert found.failed and all("expected nudged" in (trial.error or "") for trial in found.failed)
    assert found.best.settings == {"objective.feedback": "nudged"}


def test_a_search_in_which_everything_fails_says_so() -> None:
    with pytest.raises(LearningDivergedError, match="none of 2 trials came to its end; the last: .*diverged"):
        tuned("here", 2, "optimizer.learning_rate=1e307..1e308", overrides=("optimizer.kind=sgd",))


def test_tables_that_the_experiment_leaves_to_their_defaults_can_be_searched() -> None:
    Path("own.toml").write_text("method = 'bp'\n[data]\ntrain_samples = 64\n[network]\nhidden = [4]\n")
    found = tune(Search("own.toml", epochs=1), Path("here"), 2)
    assert not found.failed
    assert read_run(found.run).settings["optimizer"]["learning_rate"] == found.best.settings["optimizer.learning_rate"]


def test_a_kind_can_be_searched() -> None:
    found = tuned("here", 4, "optimizer.kind=sgd,rmsprop", "optimizer.learning_rate=1e-3..1e-2")
    assert not found.failed
    kept = read_run(found.run).settings["optimizer"]
    assert {f"optimizer.{name}": kept[name] for name in ("kind", "learning_rate")} == found.best.settings


def test_tables_can_be_searched() -> None:
    searched = ("network={hidden=[4],activation='relu'},{hidden=[6]}", "optimizer={kind='sgd'},{kind='adam',beta1=0.5}")
    options = [part for text in searched for part in ("--search", text)]
    command = ("tune", "digits", "-m", "bp", "--epochs", "1", "--set", SMALL[0], "--trials", "4", "--out", "here")
    result = call(*command, *options)
    assert result.exit_code == 0, result.stderr
    assert '"hidden": [128, 64]' in " ".join(result.stdout.split()), "what the table was before"
    found = json.loads(call(*command, *options, "--json", "-q").stdout)
    points = [trial["settings"] for trial in found["history"]]
    assert {"hidden": [6]} in [point["network"] for point in points]
    assert {"kind": "sgd"} in [point["optimizer"] for point in points]
    best = tomllib.loads(Path("here/best.toml").read_text())
    assert all(table.items() <= best[path].items() for path, table in found["best"]["settings"].items())


def test_tables_that_change_the_validation_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="--search data.name: expected a setting that tells how to learn"):
        Search("digits", ["data={name='digits'},{name='mnist'}"])
    assert Search("digits", ["data={train_samples=64},{train_samples=48}"], method="bp").space


def test_fewer_training_samples_are_validated_on_the_same() -> None:
    settings = [Search("digits", [RATE], more).base.settings for more in ([SMALL[0]], [])]
    first, second = (dataset_of(each) for each in settings)
    assert len(first.train.targets) < len(second.train.targets)
    assert np.array_equal(first.validation.inputs, second.validation.inputs)


def test_what_is_set_of_a_searched_setting_is_where_it_stood_before() -> None:
    assert list(search("network.hidden=[3],[5]").known["network.hidden"]) == [4]
    with pytest.raises(ConfigError, match="seed: given by --seed and by --set"):
        search(RATE, overrides=("seed=1",))


def test_parts_that_do_not_fit_fail_alone() -> None:
    found = tuned("here", 6, "network.transmission=instantaneous,delayed", overrides=("network.soma=instantaneous",))
    assert found.failed and all("instantaneous transmission" in (trial.error or "") for trial in found.failed)
    assert found.best.settings == {"network.transmission": "instantaneous"}


def test_choices_and_whole_numbers() -> None:
    found = tuned("here", 6, "network.activation=tanh,relu", "train.batch_size=8..32", "network.hidden=[4],[3,3]")
    for trial in found.trials:
        assert trial.settings["network.activation"] in ("tanh", "relu")
        assert trial.settings["network.hidden"] in ([4], [3, 3])
        assert type(trial.settings["train.batch_size"]) is int
    kept = read_run(found.run).settings
    assert kept["network"]["hidden"] == found.best.settings["network.hidden"]
    assert kept["train"]["batch_size"] == found.best.settings["train.batch_size"]


def test_the_smallest_validation_error_wins_and_the_test_samples_have_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuned("here", 5)
    assert found.best.value == min(trial.value for trial in found.trials if trial.value is not None)
    assert found.best.objective == "validation_error_percent"
    load = running.load

    def otherwise(*arguments: Any, **options: Any) -> Any:
        dataset = load(*arguments, **options)
        return replace(dataset, test=replace(dataset.test, inputs=dataset.test.inputs[::-1].copy()))

    monkeypatch.setattr(running, "load", otherwise)
    other = tuned("there", 5)
    assert read_run(other.run).summary["test_error_percent"] != read_run(found.run).summary["test_error_percent"]
    assert other.trials == found.trials and other.best == found.best


def test_regression_takes_the_validation_loss() -> None:
    summary = {"validation_error_percent": None, "validation_loss": 0.25, "test_error_percent": 0.0, "test_loss": 0.0}
    assert tuning._judged(summary) == ("validation_loss", 0.25)
    for value in (None, float("nan")):
        with pytest.raises(LearningDivergedError, match="not finite"):
            tuning._judged({"validation_loss": value, "test_loss": 0.0})


def test_peers_are_left_out() -> None:
    assert search(RATE, overrides=("train.compare_with=['dfa']",)).base.peers == ()


# --- rounds


def in_rounds(folder: str, trials: int, *searched: str, workers: int = 1, together: int = 4) -> Tuned:
    return tune(search(*searched or (RATE,)), Path(folder), trials, together=together, workers=workers)


def test_rounds_are_the_same_wherever_and_in_however_many_parts_they_are_learned() -> None:
    straight = in_rounds("straight", 19)
    assert points(straight) != points(tuned("alone", 19))
    for trials, workers in ((5, 1), (11, 1), (14, 2), (19, 1)):
        parts = in_rounds("parts", trials, workers=workers)
        assert parts.trials == straight.trials[:trials]


class Trainings(list[Path]):
    """The folders of all that begin, one of which is interrupted."""

    interrupted = 0

    def begin(self, folder: Path, *rest: Any, **more: Any) -> Any:
        self.append(folder)
        if len(self) == self.interrupted:
            raise KeyboardInterrupt
        return train_in(folder, *rest, **more)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    found = Trainings()
    monkeypatch.setattr(tasks, "train_in", found.begin)
    return found


def test_what_was_learned_of_an_interrupted_round_is_not_learned_again(trainings: Trainings) -> None:
    trainings.interrupted = 3
    with pytest.raises(KeyboardInterrupt):
        in_rounds("here", 4)
    assert len(in_rounds("here", 4).trials) == 4 and len(trainings) == 5


def test_a_round_learns_a_point_once(trainings: Trainings) -> None:
    found = in_rounds("here", 6, "network.activation=tanh,relu", together=6)
    assert len(found.trials) == 6
    assert len({str(point) for point in points(found)}) == len(set(trainings)) == len(trainings) == 2


def test_rounds_of_another_size_are_another_search() -> None:
    in_rounds("here", 1)
    for together, said in ((2, "together is 4 there and 2 here"), (1, "together is 4 there and not set here")):
        with pytest.raises(StorageError, match=said):
            in_rounds("here", 2, together=together)


def test_trials_that_all_contradict_themselves_are_bad_input() -> None:
    with pytest.raises(ConfigError, match="at most the 48 training samples"):
        search("train.batch_size=64..128", overrides=("data.train_samples=48",))
    with pytest.raises(ConfigError, match="none of 2 trials came to its end"):
        tuned("here", 2, RATE, "train.batch_size=65..128")


def test_what_only_the_data_refuse_ends_the_search() -> None:
    with pytest.raises(ControlNetError, match="data.train_samples: expected at most"):
        tuned("here", 2, "data.train_samples=1500..3000")


def test_an_error_that_other_settings_do_not_mend_ends_the_search() -> None:
    np.savez("mine.npz", X=np.ones((40, 3)), y=np.arange(40) % 2)
    arguments = ("tune", "own.toml", "--search", RATE, "--trials", "5", "--out", "here", "--quiet")
    Path("own.toml").write_text(
        "method = 'bp'\n[data]\nname = 'mine.npz'\n[network]\nhidden = [4]\n[train]\nepochs = 1\n"
    )
    assert call(*arguments[:5], "1", *arguments[6:]).exit_code == 0
    Path("mine.npz").unlink()
    assert "mine.npz" in failed(*arguments)
    np.savez("mine.npz", X=np.ones((40, 3)), y=np.arange(40) % 2)
    assert call(*arguments).exit_code == 0


# --- the folder


def test_what_a_crash_left_does_no_harm() -> None:
    first = tuned("here", 2)
    journal = Path("here") / JOURNAL
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "wor')
    Path("here", f"{JOURNAL}.lock").touch()
    assert tuned("here", 3).trials[:2] == first.trials


@pytest.mark.parametrize("content", [b"no journal\n", b"{}\n", b'{"op_code": 4}\n'])
def test_a_damaged_journal_is_one_line(content: bytes) -> None:
    tuned("here", 1)
    journal = Path("here") / JOURNAL
    journal.write_bytes(journal.read_bytes() + content + content)
    with pytest.raises(StorageError, match=r"trials\.log is damaged") as raised:
        tuned("here", 2)
    assert "\n" not in str(raised.value)


def test_a_folder_of_something_else_or_in_use_is_refused() -> None:
    Path("full").mkdir()
    Path("full", "letter.txt").touch()
    with pytest.raises(StorageError, match="holds other files, such as 'letter.txt'"):
        tuned("full", 1)
    with claim_search(Path("here")), pytest.raises(StorageError, match="in use by another search"):
        tuned("here", 1)


# --- the command


def test_the_best_settings_run_again_to_the_same_error() -> None:
    arguments = ("tune", "digits", *OPTIONS, "--search", RATE, "--trials", "3")
    result = call(*arguments, "--out", "here")
    assert result.exit_code == 0, result.stderr
    assert "optimizer.learning_rate" in result.stdout and "0 failed" in result.stdout
    assert len(result.stderr.splitlines()) == 3
    found = json.loads(call(*arguments, "--out", "here", "--json", "--quiet").stdout)
    assert (found["trials"], found["finished"], found["failed"]) == (3, 3, 0)
    again = json.loads(call("run", "here/best.toml", "--json", "--quiet", "--out", "again").stdout)
    assert again["validation_error_percent"] == found["best"]["value"]
    same = json.loads(call("compare", found["best"]["run"], "again", "--json").stdout)
    assert same["same_weights"] and set(same["settings"]) == {"experiment"}


def test_the_default_folder_follows_from_the_experiment() -> None:
    result = call("tune", "digits", *OPTIONS, "--trials", "1", "--quiet")
    assert result.exit_code == 0 and result.stderr == ""
    assert Path("runs/tune-digits-bp-s0/best.toml").exists()


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "install controlnet[tune]" in failed("tune", "digits", *OPTIONS, "--trials", "1", "--out", "here")
    assert not Path("here").exists()


def test_an_interrupted_search_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "perform", interrupt)
    line = failed("tune", "digits", *OPTIONS, "--trials", "1", "--out", "here", code=130)
    assert "the same command goes on" in line
