"""Experiments that name another as their base: what they say is laid over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlnet.errors import ConfigError
from controlnet.experiments import resolve, to_store


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_what_a_file_says_is_laid_over_its_base(tmp_path: Path) -> None:
    below = resolve("digits").settings
    settings = resolve(
        write(tmp_path, "own.toml", 'base = "digits"\nmethod = "dfc-ss"\n[train]\nepochs = 3\n')
    ).settings
    assert (settings.method, settings.train.epochs) == ("dfc-ss", 3)
    assert settings.train.batch_size == below.train.batch_size and settings.network.hidden == below.network.hidden
    assert settings.optimizer == below.optimizer


def test_a_base_may_have_a_base_and_files_are_found_beside_their_own(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", 'base = "digits"\nseed = 7\n[train]\nepochs = 3\n')
    write(tmp_path, "below/b.toml", 'base = "../a.toml"\n[train]\nbatch_size = 8\n')
    top = write(tmp_path, "c.toml", 'base = "below/b.toml"\n')
    settings = resolve(top).settings
    assert (settings.seed, settings.train.epochs, settings.train.batch_size) == (7, 3, 8)
    assert settings.experiment == top


def test_another_kind_of_a_part_replaces_that_of_the_base(tmp_path: Path) -> None:
    own = write(tmp_path, "own.toml", 'base = "digits"\n[optimizer]\nkind = "sgd"\nlearning_rate = 0.5\n')
    assert to_store(resolve(own))["optimizer"] == {
        "kind": "sgd",
        "learning_rate": 0.5,
        "weight_decay": 0.0,
        "momentum": 0.0,
    }


def test_tables_of_methods_are_inherited(tmp_path: Path) -> None:
    own = write(tmp_path, "own.toml", 'base = "digits"\nmethod = "strong-dfc"\n')
    assert to_store(resolve(own))["noise"] == to_store(resolve("digits", method="strong-dfc"))["noise"]


def test_a_circle_is_named(tmp_path: Path) -> None:
    first = write(tmp_path, "a.toml", 'base = "b.toml"\n')
    write(tmp_path, "b.toml", 'base = "a.toml"\n')
    with pytest.raises(ConfigError, match=r"base: .*a.toml -> .*b.toml -> .*a.toml leads back to itself"):
        resolve(first)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("base = 3", "base: expected the name or file of an experiment, got 3"),
        ('base = "digit"', "own.toml: base: expected a TOML file or an experiment of `controlnet list`"),
        ('base = "digit"', "did you mean 'digits'"),
        ('base = "none.toml"', "cannot read the experiment"),
        ('base = "digits"\n[trian]\nepochs = 1', "trian"),
    ],
)
def test_a_bad_base_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(write(tmp_path, "own.toml", text))
    assert expected in str(caught.value) and "\n" not in str(caught.value)
