"""Reads what a sweep is told on the command line: the values of settings, and seeds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..experiments._assignments import cut, read_value, split


class AxisValue(NamedTuple):
    """One value of one setting: the setting's path, the value as it was written, and what that means."""

    path: str
    text: str
    value: Any

    @property
    def assignment(self) -> str:
        """The value as an override that `resolve` takes."""
        return f"{self.path}={self.text}"


def read_axis(text: str) -> tuple[AxisValue, ...]:
    """Read the values of one setting.

    Parameters
    ----------
    text : str
        ``a.b=value,value``; the values written as in TOML, strings with or without quotes.

    Returns
    -------
    tuple of AxisValue
        In the order written.

    Raises
    ------
    ConfigError
        If there is no path, or a value is missing or left open.
    """
    path, values = cut(text, "--grid", "a.b=value,value")
    texts = [part.strip() for part in split(values, "--grid")]
    if not all(texts):
        raise ConfigError(f"--grid {text!r}: expected a value before and after each comma")
    return tuple(AxisValue(path, each, read_value(each)) for each in texts)


def read_grid(texts: Iterable[str]) -> list[tuple[AxisValue, ...]]:
    """Give all points of a grid.

    Parameters
    ----------
    texts : iterable of str
        One for each setting, as `read_axis` takes them.

    Returns
    -------
    list of tuple of AxisValue
        The product, the last setting running fastest; one empty point if there is no setting.
    """
    return list(product(*(read_axis(text) for text in texts)))


def read_seeds(text: str) -> tuple[int, ...]:
    """Read seeds.

    Parameters
    ----------
    text : str
        A number, ``first:end`` without the end, or several of these with commas between.

    Returns
    -------
    tuple of int
        In the order written, each once.

    Raises
    ------
    ConfigError
        If it is something else, or no seed at all.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        ends = [end.strip() for end in part.split(":")]
        # int() would take signs, underscores and digits of other scripts too.
        if len(ends) > 2 or not all(end.isascii() and end.isdigit() and len(end) < 19 for end in ends):
            raise ConfigError(f"--seeds {text!r}: expected seeds such as 4, 0:5 (that is 0, 1, 2, 3, 4) or 0,3,7")
        first, end = int(ends[0]), int(ends[-1]) + (len(ends) == 1)
        if first >= end or end - first > MOST_SEEDS:
            raise ConfigError(
                f"--seeds {text!r}: expected 1 to {MOST_SEEDS} seeds, got {max(end - first, 0)} in {part}"
            )
        seeds |= dict.fromkeys(range(first, end))
    return tuple(seeds)


MOST_SEEDS = 10_000
