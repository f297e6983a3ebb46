"""Reads what a sweep is told on the command line: the values of settings, and seeds."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

from ..errors import ConfigError

OPENING, CLOSING, QUOTES = "[{", "]}", "\"'"


class Choice(NamedTuple):
    """One value of one setting: the setting's path, the value as it was written, and what that means."""

    path: str
    text: str
    value: Any

    @property
    def assignment(self) -> str:
        """The choice as an override that `resolve` takes."""
        return f"{self.path}={self.text}"


def read_axis(text: str) -> tuple[Choice, ...]:
    """Read the values of one setting.

    Parameters
    ----------
    text : str
        ``a.b=value,value``; the values written as in TOML, strings with or without quotes.

    Returns
    -------
    tuple of Choice
        In the order written.

    Raises
    ------
    ConfigError
        If there is no path, or a value is missing or left open.
    """
    path, equals, values = text.partition("=")
    path = ".".join(part.strip() for part in path.split("."))
    if not equals or not all(path.split(".")) or "\n" in text:
        raise ConfigError(f"--grid {text!r}: expected a.b=value,value, in one line, with the name of a setting")
    texts = [part.strip() for part in split(values)]
    if not all(texts):
        raise ConfigError(f"--grid {text!r}: expected a value before and after each comma")
    return tuple(Choice(path, each, _parsed(each)) for each in texts)


def split(text: str) -> list[str]:
    """Cut a text at its commas, but not within brackets, braces or quotes.

    Parameters
    ----------
    text : str
        Values as in TOML.

    Returns
    -------
    list of str
        The parts; joined by commas they are the text again.

    Raises
    ------
    ConfigError
        If a bracket, brace or quote has no counterpart.
    """
    parts, start, depth, quote = [], 0, 0, ""
    for position, letter in enumerate(text):
        if quote:
            # A backslash escapes a quote in double quotes only, as in TOML.
            escaped = quote == '"' and _backslashes(text, position) % 2
            quote = "" if letter == quote and not escaped else quote
        elif letter in QUOTES:
            quote = letter
        elif letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
        else:
            depth += (letter in OPENING) - (letter in CLOSING)
            if depth < 0:
                break
    if depth or quote:
        raise ConfigError(f"--grid: {text!r} has a bracket or quote without its counterpart")
    return [*parts, text[start:]]


def _backslashes(text: str, end: int) -> int:
    return end - len(text[:end].rstrip("\\"))


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def read_grid(texts: Iterable[str]) -> list[tuple[Choice, ...]]:
    """Give all points of a grid.

    Parameters
    ----------
    texts : iterable of str
        One for each setting, as `read_axis` takes them.

    Returns
    -------
    list of tuple of Choice
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
