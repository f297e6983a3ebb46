"""Python values as arrays of numbers or bytes, and back: what `storage` puts into a file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Arrays: TypeAlias = dict[str, NDArray[Any]]
Row: TypeAlias = dict[str, float | int | str | None]

WHOLE = (int, np.integer, np.bool_)
NUMBER = (float, np.floating, *WHOLE)


def from_json(name: str, value: Any) -> NDArray[Any]:
    """Encode a value as one JSON text.

    Parameters
    ----------
    name : str
        What the value is called in an error.
    value : object
        Mappings with text keys, sequences, texts, numbers, booleans and None.

    Returns
    -------
    ndarray of bytes, shape ()
        The text; numbers that are not finite became null.

    Raises
    ------
    InputError
        When the value holds anything else.
    """
    # Escaped to ASCII: a command line may hold bytes that are not valid UTF-8.
    return np.array(json.dumps(_plain(name, value), allow_nan=False).encode("ascii"))


def to_json(text: NDArray[Any]) -> Any:
    """Decode what `from_json` made.

    Parameters
    ----------
    text : ndarray of bytes, shape ()
        The JSON text.

    Returns
    -------
    object
        The value; a text that is none raises ValueError or TypeError.
    """
    content = text.item()
    if not isinstance(content, bytes):
        raise TypeError(f"expected JSON text, got {type(content).__name__}")
    return json.loads(content)


def from_rows(rows: Sequence[Mapping[str, float | int | str | None]]) -> tuple[Arrays, Arrays]:
    """Turn rows into one array per column.

    Parameters
    ----------
    rows : sequence of dict
        Numbers, texts or None; all rows have the same keys.

    Returns
    -------
    columns : dict of str to ndarray, shape (rows,)
        Integers, floats or UTF-8 texts.
    missing : dict of str to ndarray of bool, shape (rows,)
        Where the value is None, for columns that have any.

    Raises
    ------
    InputError
        When the rows differ in their keys or a column mixes texts and numbers.
    """
    keys = list(rows[0]) if rows else []
    for index, row in enumerate(rows):
        if not row or set(row) != set(keys):
            raise InputError(f"row {index} of history has keys {list(row)}: expected {keys or 'at least one'}")
    table = {key: [row[key] for row in rows] for key in keys}
    columns = {key: _column(key, values) for key, values in table.items()}
    missing = {key: np.array([value is None for value in values]) for key, values in table.items()}
    return columns, {key: mask for key, mask in missing.items() if mask.any()}


def to_rows(columns: Arrays, missing: Arrays) -> list[Row]:
    """Turn the arrays of `from_rows` back into rows.

    Parameters
    ----------
    columns : dict of str to ndarray, shape (rows,)
        The columns.
    missing : dict of str to ndarray of bool, shape (rows,)
        Where a column holds None.

    Returns
    -------
    list of dict
        The rows; columns of unequal length raise ValueError.
    """
    if unknown := missing.keys() - columns.keys():
        raise ValueError(f"no column {min(unknown)!r}")
    table = []
    for name, array in columns.items():
        mask = missing.get(name, np.zeros(array.shape, bool))
        values = [item.decode() if isinstance(item, bytes) else item for item in array.tolist()]
        table.append([None if gap else value for value, gap in zip(values, mask.tolist(), strict=True)])
    return [dict(zip(columns, row, strict=True)) for row in zip(*table, strict=True)]


def checked(group: str, name: str, array: Any) -> NDArray[Any]:
    """Check that an array can be kept under its name.

    Parameters
    ----------
    group, name : str
        Where the array is to be kept.
    array : array_like
        Numbers, or texts as bytes in the history.

    Returns
    -------
    ndarray
        The array.

    Raises
    ------
    InputError
        When the name or the type of the array is not allowed.
    """
    if not isinstance(name, str) or not name.isprintable() or "/" in name or name in ("", "."):
        raise InputError(f"name {name!r} in {group} cannot be kept: expected a printable name without '/'")
    kept: NDArray[Any] = np.asarray(array)
    if kept.dtype.kind not in ("biufcS" if group == "history" else "biufc"):
        raise InputError(f"'{name}' in {group} has type {kept.dtype}: expected numbers: convert it first")
    return kept


def _plain(name: str, value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{name}[{index}]", item) for index, item in enumerate(value)]
    raise InputError(f"{name} is a {type(value).__name__}: expected what JSON holds: turn it into text or numbers")


def _column(name: str, values: list[Any]) -> NDArray[Any]:
    known = [value for value in values if value is not None]
    try:
        if known and all(isinstance(value, WHOLE) for value in known):
            return np.array([0 if value is None else value for value in values], np.int64)
        if all(isinstance(value, NUMBER) for value in known):
            return np.array([math.nan if value is None else value for value in values], np.float64)
        if all(isinstance(value, str) and "\0" not in value for value in known):
            return np.array([(value or "").encode() for value in values])
    except (OverflowError, UnicodeEncodeError) as error:
        raise InputError(f"column '{name}' of history holds a value that cannot be kept: {error}") from error
    raise InputError(f"column '{name}' of history mixes types: expected numbers, or texts without NUL, or None")
