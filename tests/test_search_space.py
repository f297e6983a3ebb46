"""What `controlnet tune` may search: ranges, choices and what is known of the papers' settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlnet.errors import ConfigError
from controlnet.experiments import METHODS, catalogue
from controlnet.studies.search import Search
from controlnet.studies.search_space import Choice, Range, parse_space


def test_ranges_and_choices() -> None:
    texts = ("noise.tau = 1e-3..1", "train.epochs=1..64", "a . m=2..3", "b=-1.0..2", "s=x,y", "l=[8],[8,8]")
    assert parse_space(texts) == {
        "a.m": Range(2, 3, log=False),
        "b": Range(-1.0, 2.0, log=False),
        "l": Choice(("[8]", "[8,8]")),
        "noise.tau": Range(1e-3, 1.0, log=True),
        "s": Choice(("x", "y")),
        "train.epochs": Range(1, 64, log=True),
    }


def test_commas_within_brackets_braces_and_quotes_part_no_choices() -> None:
    texts = [
        "network={hidden=[4],activation='relu'},{hidden=[6]}",
        'optimizer={kind="sgd", momentum=0.9}, {kind="adam",beta1=0.9}',
        "data.name='a,b..c.npz','d.npz'",
    ]
    assert [each.ends for each in parse_space(texts).values()] == [
        ("'a,b..c.npz'", "'d.npz'"),
        ("{hidden=[4],activation='relu'}", "{hidden=[6]}"),
        ('{kind="sgd", momentum=0.9}', '{kind="adam",beta1=0.9}'),
    ]


UNSET = ("optimizer.clip_norm", "noise.tau", "network.tau_apical", "simulation.extend", "feedback.network.tau_v")
OF_OTHER_KINDS = ("controller.k_d", "feedback.controller.leak", "feedback.pretraining_optimizer.momentum")
WHOLE = ("train.batch_size", "data.train_samples", "feedback.simulation.steps", "feedback.extra_epochs", "seed")


@pytest.mark.parametrize("path", ["noise.sigma", *UNSET, *OF_OTHER_KINDS, *WHOLE])
def test_a_range_has_numbers_of_the_settings_type_whether_it_is_set_or_not(path: str) -> None:
    kind = int if path in WHOLE else float
    assert [type(end) for end in parse_space([f"{path}=1..5"])[path].ends] == [kind, kind]
    if kind is int:
        with pytest.raises(ConfigError, match=f"--search {path}: expected LOW..HIGH, whole numbers"):
            parse_space([f"{path}=1.0..5.0"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "=1..2",
        "a.=1..2",
        "a=1..",
        "a=..1",
        "a=2..1",
        "a=1..1",
        "a=1..inf",
        "a=nan..1",
        "a=one..two",
        "a=x",
        "a=x,",
    ]
    + ["a=x,x", "a=", "train.epochs=1.5..2", "a=1..2\nb=1", "a={x=1},{x=2", "experiment=a,b"],
)
def test_what_is_no_range_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="--search") as raised:
        parse_space([text])
    assert "\n" not in str(raised.value)


@given(st.floats(1e-12, 1e12), st.floats(1.001, 1e6))
def test_wide_positive_ranges_are_searched_in_the_logarithm(low: float, factor: float) -> None:
    found = parse_space([f"a={low!r}..{low * factor!r}"])["a"]
    assert isinstance(found, Range) and found.log == (found.high / found.low >= 10)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_something_to_search(method: str) -> None:
    space = Search("digits", method=method).space
    assert {"optimizer.learning_rate", "optimizer.epsilon"} <= set(space)
    controlled = method.startswith(("dfc", "strong"))
    assert ("controller.leak" in space) == controlled
    assert ("objective.stepsize" in space) == method.startswith("dfc")
    assert ("feedback.optimizer.learning_rate" in space) == (controlled and "fixed" not in method)
    assert ("feedback.noise.sigma" in space) == (method in ("dfc", "dfc-ss", "dfc-ssa", "strong-dfc-2phase"))


def test_published_experiments_can_be_searched() -> None:
    names = [name for name in catalogue() if name.endswith("dfc/mnist/dfc")]
    assert names and all("feedback.controller.leak" in Search(name).space for name in names)
