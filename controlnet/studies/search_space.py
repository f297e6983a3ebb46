"""Which settings a search may change, and how far.

The ranges that are taken when none are named hold most published settings of Meulemans et al. 2021 and 2022, as the
experiments ``dfc/...`` and ``strong-dfc/...`` of the catalogue hold them, rounded outwards, and those of ``digits``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from msgspec import inspect

from ..errors import ConfigError
from ..experiments._assignments import cut, read_value, split
from ..experiments.methods import METHODS
from ..experiments.settings import Settings

DECADE = 10
"""Positive ranges that are at least so many times as high as low are searched evenly in the logarithm."""

ALL = {"optimizer.learning_rate": "1e-5..3e-2", "optimizer.epsilon": "1e-10..1e-4"}
CONTROLLED = {"controller.leak": "1e-5..1.0"}
NUDGED = {"objective.stepsize": "1e-4..1e-1"}
# Where the feedback weights have a phase of their own, its noise and its controller decide.
TWO_PHASE = {
    "feedback.optimizer.learning_rate": "1e-6..1e-2",
    "feedback.noise.sigma": "1e-3..0.3",
    "feedback.controller.leak": "1e-2..5.0",
    "feedback.controller.k_p": "1e-3..1.0",
}
# Where they learn beside the forward weights, it is the noise of the whole loop.
SINGLE_PHASE = {"feedback.optimizer.learning_rate": "1e-8..1e-3", "noise.sigma": "1e-3..0.1"}


class Range(NamedTuple):
    """Numbers from `low` to `high`, whole ones if these are, evenly in the logarithm with `log`."""

    low: int | float
    high: int | float
    log: bool

    @property
    def ends(self) -> tuple[int | float, ...]:
        """What must be allowed so that the rest can be."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low!r}..{self.high!r}" + (" (log)" if self.log else "")


class Choice(NamedTuple):
    """One of a few values, each written as in TOML."""

    choices: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """What must be allowed: every choice."""
        return self.choices

    def __str__(self) -> str:
        return ", ".join(self.choices)


Space = dict[str, Range | Choice]


def default_space(settings: Settings, known: Mapping[str, Any]) -> Space:
    """Give what the papers searched for a method.

    Parameters
    ----------
    settings : Settings
        The experiment.
    known : mapping
        Its settings by dotted path; those that it does not have are left out.

    Returns
    -------
    dict
        Range by dotted path.
    """
    method, texts = METHODS[settings.method], dict(ALL)
    if method.simulates or method.steady or method.analytic:
        texts |= CONTROLLED | (NUDGED if settings.objective.feedback == "nudged" else {})
    if settings.feedback.learning != "none":
        texts |= TWO_PHASE if settings.feedback.learning == "two-phase" else SINGLE_PHASE
    return parse_space(f"{path}={text}" for path, text in texts.items() if path in known)


def parse_space(texts: Iterable[str]) -> Space:
    """Read what is to be searched.

    Parameters
    ----------
    texts : iterable of str
        ``path=LOW..HIGH`` or ``path=a,b,c``, the values as in TOML. Where a setting is a whole number, so are those of
        its range, whatever its value is now.

    Returns
    -------
    dict
        Range or choice by dotted path, sorted by path.

    Raises
    ------
    ConfigError
        In one line, if a text is neither, or a path comes twice.
    """
    space: Space = {}
    for text in texts:
        path, values = cut(text, "--search", "a.b=LOW..HIGH or a.b=x,y,z")
        if path in space:
            raise ConfigError(f"--search {path}: expected once, got it twice")
        parts = [part.strip() for part in split(values, f"--search {path}")]
        space[path] = _range(path, values) if len(parts) == 1 and ".." in values else _choice(path, values, parts)
    return dict(sorted(space.items()))


def written(value: Any) -> str:
    """Write a value of a range or choice as an override has it.

    Parameters
    ----------
    value : int, float or str
        A number, or the text of a choice.

    Returns
    -------
    str
        The same as in TOML.
    """
    return value if isinstance(value, str) else repr(value)


def meant(value: Any) -> Any:
    """Give what a value of a range or choice means.

    Parameters
    ----------
    value : int, float or str
        A number, or the text of a choice.

    Returns
    -------
    number, str, bool or list
        What TOML reads in the text, else the text itself.
    """
    return read_value(value) if isinstance(value, str) else value


def _range(path: str, text: str) -> Range:
    ends, numbers = [end.strip() for end in text.split("..", 1)], _numbers(path)
    whole = all(re.fullmatch(r"[+-]?\d{1,15}", end) for end in ends)
    if numbers == {int} and not whole:
        raise ConfigError(f"--search {path}: expected LOW..HIGH, whole numbers, got {text!r}")
    try:
        low, high = (int(end) if whole and float not in numbers else float(end) for end in ends)
    except ValueError:
        low = high = math.nan
    if not math.isfinite(low) or not math.isfinite(high) or low >= high:
        raise ConfigError(f"--search {path}: expected LOW..HIGH, two numbers with LOW < HIGH, got {text!r}")
    return Range(low, high, log=low > 0 and high / low >= DECADE)


def _choice(path: str, text: str, choices: list[str]) -> Choice:
    if len(choices) < 2 or not all(choices) or len(set(choices)) < len(choices):
        raise ConfigError(f"--search {path}: expected LOW..HIGH or two or more different values x,y,z, got {text!r}")
    return Choice(tuple(choices))


@cache
def _numbers(path: str) -> frozenset[type]:
    """Give what kinds of number a setting may be, whichever table of several stands there; none if it is no number."""
    found = [inspect.type_info(Settings)]
    for name in path.split("."):
        tables = [table for table in _members(found) if isinstance(table, inspect.StructType)]
        found = [field.type for table in tables for field in table.fields if field.encode_name == name]
    kinds = {inspect.IntType: int, inspect.FloatType: float}
    return frozenset(kinds[type(member)] for member in _members(found) if type(member) in kinds)


def _members(found: list[inspect.Type]) -> list[inspect.Type]:
    return [member for kind in found for member in (kind.types if isinstance(kind, inspect.UnionType) else (kind,))]
