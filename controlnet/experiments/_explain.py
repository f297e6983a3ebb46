"""Turns msgspec's message about a setting into one line: path, expected, got, and a close match."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from msgspec import inspect

MOST_MEANT = 4
"""Settings that are offered in place of one that stands elsewhere."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Give a hint at the nearest known name.

    Parameters
    ----------
    name : str
        What was written.
    known : iterable of str
        What could have been meant.

    Returns
    -------
    str
        ``"; did you mean ...?"``, or nothing.
    """
    spelled = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), spelled, n=1)
    return f"; did you mean {spelled[close[0]]!r}?" if close else ""


def explain(message: str, table: dict[str, Any], root: type, prefix: str = "") -> str:
    """Say in one line what is wrong with a setting.

    Parameters
    ----------
    message : str
        msgspec's message, which ends with a path like ``$.controller.k_p``.
    table : dict
        The settings.
    root : type
        The struct that they should make.
    prefix : str
        Where the table stands.

    Returns
    -------
    str
        For example ``controller.k_p: expected a number >= 0, got "two"``.
    """
    text, _, location = message.partition(" - at `$")
    keys = [int(index) if index else name for index, name in re.findall(r"\[(\d+)\]|\.(\w+)", location.rstrip("`"))]
    kind, value = _descend(inspect.type_info(root), table, keys)
    path = ".".join(part for part in (prefix, *map(str, keys)) if part)
    if unknown := re.search(r"unknown field `(.*)`", text, re.DOTALL):
        name, known = unknown[1], [each for each in _fields(kind, value) if each != "experiment"]
        hint = _elsewhere(name, value, root) if not path else ""
        hint = hint or suggestion(name, known) or f"; expected one of {', '.join(known)}"
        path = f"{path}.{name}" if path else name
        return f"{path if path.isprintable() else repr(path)}: unknown setting{hint}"
    if isinstance(kind, inspect.UnionType) and "Invalid value" in text and isinstance(value, str):
        path = path.removesuffix(".kind") + ".kind"
    expected = _describe(kind).removeprefix("a table with kind = " if path.endswith(".kind") else "")
    expected = expected or text[0].lower() + text[1:]
    hint = suggestion(value, re.findall(r'"(.*?)"', expected)) if isinstance(value, str) else ""
    return f"{path or 'experiment'}: expected {expected}, got {json.dumps(value, default=str)}{hint}"


def _elsewhere(name: str, table: Any, root: type) -> str:
    """Say where a setting of this name, or the one that is given in an unknown table of this name, stands."""
    if name == "methods":
        return "; settings of one method alone stand in a file, else take --method NAME and its settings"
    if suggestion(name, _fields(inspect.type_info(root), table)):
        return ""
    given = table.get(name) if isinstance(table, dict) else None
    last = next(iter(given)) if isinstance(given, dict) and len(given) == 1 else name
    paths = [path for path in dict.fromkeys(_paths(inspect.type_info(root))) if path.rpartition(".")[2] == last]
    return f"; did you mean {' or '.join(map(repr, paths))}?" if 0 < len(paths) <= MOST_MEANT else ""


def _paths(kind: Any, path: str = "") -> Iterator[str]:
    """Give the paths of all settings that are no tables."""
    members = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    tables = [each for each in members if isinstance(each, inspect.StructType)]
    if not tables:
        yield path
    for each in tables:
        for field in each.fields:
            yield from _paths(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)


def _descend(kind: Any, value: Any, keys: list[int | str]) -> tuple[Any, Any]:
    for key in keys:
        kind = _alternative(kind, value)
        if key == "kind" and isinstance(kind, inspect.UnionType):
            return kind, value.get("kind")
        if isinstance(kind, inspect.StructType):
            if key == kind.tag_field:
                return kind, value.get("kind")
            kind = next((field.type for field in kind.fields if field.encode_name == key), inspect.AnyType())
        else:
            kind = getattr(kind, "item_type", inspect.AnyType())
        value = value[key] if isinstance(value, dict | list) else value  # type: ignore[index]
    return kind, value


def _alternative(kind: Any, value: Any) -> Any:
    """Give the member of a union that the value means to be."""
    if isinstance(kind, inspect.UnionType):
        tagged = [each for each in kind.types if isinstance(each, inspect.StructType)]
        if tagged and isinstance(value, dict):
            return next((each for each in tagged if each.tag == value.get("kind")), kind)
        if isinstance(value, list):
            return next((each for each in kind.types if isinstance(each, inspect.VarTupleType)), kind)
    return kind


def _fields(kind: Any, value: Any) -> list[str]:
    kind = _alternative(kind, value)
    names = [field.encode_name for field in kind.fields] if isinstance(kind, inspect.StructType) else []
    return [*names, kind.tag_field] if getattr(kind, "tag_field", None) else names


def _describe(kind: Any) -> str:
    if isinstance(kind, inspect.UnionType):
        tags = [str(each.tag) for each in kind.types if isinstance(each, inspect.StructType)]
        if tags:
            return f"a table with kind = {' or '.join(map(json.dumps, tags))}"
        return " or ".join(_describe(each) for each in kind.types if not isinstance(each, inspect.NoneType))
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(json.dumps(value) for value in kind.values)
    if isinstance(kind, inspect.VarTupleType):
        least, most = kind.min_length, kind.max_length
        bounds = [f"at least {least}"] if least else []
        bounds += [f"at most {most}"] if most is not None else []
        length = f" of {' and '.join(bounds)} entries" if bounds else ""
        return f"a list{length}, each entry {_describe(kind.item_type)}"
    if isinstance(kind, inspect.StructType):
        return f"a table with kind = {json.dumps(kind.tag)}" if kind.tag else "a table"
    words = {"FloatType": "a number", "IntType": "a whole number", "BoolType": "true or false", "StrType": "a string"}
    return words.get(type(kind).__name__, "") + _bounds(kind)


def _bounds(kind: Any) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [f"{sign} {getattr(kind, name)}" for name, sign in signs.items() if getattr(kind, name, None) is not None]
    return " " + " and ".join(found) if found else ""
