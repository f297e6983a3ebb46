"""Reads settings as the command line names them: ``a.b=value``, the values written as in TOML.

An assignment is a path of names with dots between, and a value. What is no TOML is the text itself, so that words need
no quotes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

from ..errors import ConfigError

OPENING, CLOSING, QUOTES = "[{", "]}", "\"'"
OPTIONS = {"method": "method", "seed": "seed", "seeds": "seed", "epochs": "train.epochs"}
"""Options of commands that stand for a setting."""
REPEATABLE = "--set"
"""The option of which a later one may change what an earlier one said."""


class Given(NamedTuple):
    """Where something is said of a setting: the setting's path, and the option that says it."""

    path: str
    option: str


def cut(text: str, option: str, form: str) -> tuple[str, str]:
    """Cut an assignment into the path of a setting and what is said of it.

    Parameters
    ----------
    text : str
        ``a.b=...``.
    option : str
        Where it was given.
    form : str
        What was expected.

    Returns
    -------
    tuple of str
        The path without spaces, and what follows the first equals sign.

    Raises
    ------
    ConfigError
        If there is no path of a setting, or more than one line.
    """
    path, equals, rest = text.partition("=")
    parts = [part.strip() for part in path.split(".")]
    if not text.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ConfigError(f"{option} {text!r}: expected text in UTF-8")
    # The name of an experiment is that of its file.
    if not equals or not all(parts) or parts[0] == "experiment" or "\n" in text:
        raise ConfigError(f"{option} {text!r}: expected {form}, in one line, with the name of a setting")
    return ".".join(parts), rest.strip()


def read_value(text: str) -> Any:
    """Give what a value means.

    Parameters
    ----------
    text : str
        One line.

    Returns
    -------
    object
        What TOML reads in it, else the text itself.
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        # Numbers of thousands of digits and lists as deep are no TOML either.
        return text


def split(text: str, option: str) -> list[str]:
    """Cut a text at its commas, but not within brackets, braces or quotes.

    Parameters
    ----------
    text : str
        Values as in TOML.
    option : str
        Where it was given.

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
        raise ConfigError(f"{option}: {text!r} has a bracket or quote without its counterpart")
    return [*parts, text[start:]]


def _backslashes(text: str, end: int) -> int:
    return end - len(text[:end].rstrip("\\"))


def given_by_set(text: str) -> list[Given]:
    """Give what an override says: of a table the settings that it names.

    Parameters
    ----------
    text : str
        ``a.b=value``.

    Returns
    -------
    list of Given
        Each setting.

    Raises
    ------
    ConfigError
        If it is no assignment.
    """
    path, value = cut(text, REPEATABLE, "a.b=value")
    return [Given(leaf, REPEATABLE) for leaf in _leaves(path, read_value(value))]


def _leaves(path: str, value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [path]
    return [leaf for key, each in value.items() for leaf in _leaves(f"{path}.{key}", each)]


def given_by_options(**options: Any) -> list[Given]:
    """Give what the options of a command say that stand for a setting.

    Parameters
    ----------
    **options
        Value by name of the option: ``method``, ``seed`` or ``seeds``, ``epochs``; None if it is not given.

    Returns
    -------
    list of Given
        The setting of each that is given.
    """
    return [Given(OPTIONS[name], f"--{name}") for name, value in options.items() if value is not None]


def refuse_twice(given: Sequence[Given]) -> None:
    """Refuse two sources of one setting, or of a table and a setting in it: only one of them would count.

    Parameters
    ----------
    given : sequence of Given
        All that is said; only what `REPEATABLE` says may be said again by the same option.

    Raises
    ------
    ConfigError
        Naming both.
    """
    for (path, option), (other, another) in combinations(given, 2):
        if not _overlap(path, other) or option == another == REPEATABLE:
            continue
        also = f"another {option}" if option == another else another
        both = f"{path}: given by {option} and by {also}"
        if path != other:
            both = f"{path}: given by {option}, and {other} by {also}"
        raise ConfigError(f"{both}: expected one of them")


def _overlap(path: str, other: str) -> bool:
    shorter, longer = sorted((path, other), key=len)
    return shorter == longer or longer.startswith(f"{shorter}.")
