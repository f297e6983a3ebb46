"""Which settings a search may change, and how far.

The ranges that are taken when none are named hold most published settings of Meulemans et al. 2021 and 2022, as the
experiments ``dfc/...`` and ``strong-dfc/...`` of the catalogue hold them, rounded outwards, and those of ``digits``.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError
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
    """Numbers from `low` to `high`, whole ones if both are, evenly in the logarithm with `log`."""

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
    return parse_space((f"{path}={text}" for path, text in texts.items() if path in known), known)


def parse_space(texts: Iterable[str], known: Mapping[str, Any]) -> Space:
    """Read what is to be searched.

    Parameters
    ----------
    texts : iterable of str
        ``path=LOW..HIGH`` or ``path=a,b,c``.
    known : mapping
        The experiment's settings by dotted path: where one is a whole number, so are those of its range.

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
        path, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not all(part.strip() for part in path.split(".")) or "\n" in text:
            raise ConfigError(f"--search {text!r}: expected a.b=LOW..HIGH or a.b=x,y,z, in one line")
        if path in space:
            raise ConfigError(f"--search {path}: expected once, got it twice")
        space[path] = _range(path, value, known.get(path)) if ".." in value else _choice(path, value)
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
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _range(path: str, text: str, now: Any) -> Range:
    ends = [end.strip() for end in text.split("..", 1)]
    whole = all(re.fullmatch(r"[+-]?\d{1,15}", end) for end in ends)
    if isinstance(now, int) and not whole:
        raise ConfigError(f"--search {path}: expected LOW..HIGH, whole numbers, got {text!r}")
    try:
        low, high = (int(end) if whole and not isinstance(now, float) else float(end) for end in ends)
    except ValueError:
        low = high = math.nan
    if not math.isfinite(low) or not math.isfinite(high) or low >= high:
        raise ConfigError(f"--search {path}: expected LOW..HIGH, two numbers with LOW < HIGH, got {text!r}")
    return Range(low, high, log=low > 0 and high / low >= DECADE)


def _choice(path: str, text: str) -> Choice:
    # Commas within brackets belong to a list.
    choices = tuple(part.strip() for part in re.split(r",(?![^\[]*\])", text))
    if len(choices) < 2 or not all(choices) or len(set(choices)) < len(choices):
        raise ConfigError(f"--search {path}: expected LOW..HIGH or two or more different values x,y,z, got {text!r}")
    return Choice(choices)
