"""Reads experiments: TOML, the overrides of a method and of the command line, strict checks."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from ..errors import ConfigError
from ._assignments import cut, read_value
from ._checks import refuse_parts, refuse_together
from ._explain import explain, suggestion
from ._reading import Table, catalogue_files, merged, read_experiment
from .methods import LEARNING, METHODS, Method, complete
from .settings import Settings

SHARED = ("data", "network", "objective")
"""Tables of which overrides count for the peers too."""


def catalogue() -> dict[str, str]:
    """Give the experiments that come with the package.

    Returns
    -------
    dict of str
        Title by name.
    """
    return {
        name: tomllib.loads(file.read_text(encoding="utf-8")).get("title", "")
        for name, file in catalogue_files().items()
    }


class Plan(NamedTuple):
    """What one run does: an experiment, and the methods that are trained beside it for comparison."""

    settings: Settings
    peers: tuple[Settings, ...] = ()


def resolve(
    experiment: str,
    *,
    method: str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    overrides: Iterable[str] = (),
) -> Plan:
    """Give the settings of an experiment and of its peers.

    Later ones win: the file, its table for the method, `overrides`, then the other arguments.  A peer has its own
    table of the file, the overrides of `SHARED` tables, and data, seed and schedule of the experiment.

    Parameters
    ----------
    experiment : str
        Name of the catalogue, or path of a TOML file.
    method : str, optional
        Method instead of the file's.
    seed : int, optional
        Seed instead of the file's.
    epochs : int, optional
        Number of epochs instead of the file's.
    overrides : iterable of str
        ``a.b=value``, the value written as in TOML.

    Returns
    -------
    Plan
        The checked settings.

    Raises
    ------
    ConfigError
        Naming the path of the setting, what was expected, and what it is.
    """
    name, base = read_experiment(experiment)
    by_method = _method_tables(base)
    _converted({**base, "experiment": name})
    for each, own in by_method.items():
        _converted({**merged(base, own, afresh=True), "experiment": name, "method": each}, f"methods.{each}")
    # Another kind starts its table afresh, so it comes before the other settings of that table.
    assignments = sorted((_assignment(text) for text in overrides), key=lambda each: each[0][-1] != "kind")
    chosen = _overridden(base, assignments).get("method", "dfc") if method is None else method

    def table_of(each: Any, assigned: list[tuple[list[str], Any]]) -> Table:
        below = base if each == base.get("method", "dfc") else _without_choices(base, METHODS.get(str(each)))
        table = _overridden(merged(below, by_method.get(str(each), {}), afresh=True), assigned)
        return table | {"experiment": name, "method": each}

    result = table_of(chosen, assignments) | ({} if seed is None else {"seed": seed})
    if epochs is not None and isinstance(result.get("train", {}), dict):
        result["train"] = {**result.get("train", {}), "epochs": epochs}
    settings = _checked(result)
    others = [each for each in dict.fromkeys(settings.train.compare_with) if each != settings.method]
    common = [each for each in assignments if each[0][0] in SHARED]
    return Plan(settings, tuple(_as_peer(table_of(each, common), settings) for each in others))


def _without_choices(base: Table, method: Method | None) -> Table:
    """Leave out what the file chooses for its own method and another one cannot take."""
    refused: dict[str, tuple[str, set[str]]] = {}
    if method is not None:
        strong = {"nudged"} if method.strong else {"strong"} if method.analytic else set()
        learning = {way for way in LEARNING if way not in method.learning}
        refused = {"feedback": ("learning", learning), "objective": ("feedback", strong)}
    result = dict(base)
    for table, (key, values) in refused.items():
        if isinstance(below := base.get(table), dict) and str(below.get(key)) in values:
            result[table] = {name: value for name, value in below.items() if name != key}
    return result


def _as_peer(table: Table, settings: Settings) -> Settings:
    try:
        peer = _checked(table)
    except ConfigError as error:
        raise ConfigError(f"{error} (for {table['method']}, named in train.compare_with)") from None
    schedule = msgspec.structs.replace(settings.train, compare_with=())
    return msgspec.structs.replace(peer, seed=settings.seed, data=settings.data, train=schedule)


def rehearsed(plan: Plan) -> Plan:
    """Give back a plan whose parts fit each other, whatever the data: what `resolve` leaves to the making of the parts.

    Parameters
    ----------
    plan : Plan
        The settings.

    Returns
    -------
    Plan
        The same.

    Raises
    ------
    ConfigError
        Naming the part that does not fit.
    """
    for settings in (plan.settings, *plan.peers):
        refuse_parts(settings)
    return plan


def from_stored(stored: Mapping[str, Any]) -> Plan:
    """Give back the plan of a run.

    Parameters
    ----------
    stored : mapping
        What `to_store` gave.

    Returns
    -------
    Plan
        The checked settings.

    Raises
    ------
    ConfigError
        If they are not settings of this version.
    """
    table = dict(stored)
    peers = table.pop("peers", {})
    if not isinstance(peers, dict):
        raise ConfigError(f"peers: expected a table, got {peers!r}")
    return Plan(_checked(table), tuple(_checked(peer, f"peers.{name}") for name, peer in peers.items()))


def to_store(plan: Plan) -> Table:
    """Give a plan as plain data, without what is unset.

    Parameters
    ----------
    plan : Plan
        The settings.

    Returns
    -------
    dict
        Tables, numbers and strings; peers by method under ``peers``.
    """
    return _as_table(plan.settings) | {"peers": {peer.method: _as_table(peer) for peer in plan.peers}}


def _as_table(settings: Settings) -> Table:
    table: Table = msgspec.to_builtins(settings)
    return {key: _without_none(value) for key, value in table.items()}


def as_toml(plan: Plan) -> str:
    """Write a plan as an experiment's file.

    Parameters
    ----------
    plan : Plan
        The settings.

    Returns
    -------
    str
        TOML that `resolve` reads back.
    """
    import tomli_w

    tables = {settings.method: _as_table(settings) for settings in (plan.settings, *plan.peers)}
    main = tables[plan.settings.method]
    shared = ["method", "seed", "data", "train"] + [
        name for name in main if all(table[name] == main[name] for table in tables.values())
    ]
    own = {
        method: {name: value for name, value in table.items() if name not in (*shared, "experiment")}
        for method, table in tables.items()
    }
    base = {name: value for name, value in main.items() if name in shared and name != "experiment"}
    own = {method: table for method, table in own.items() if table}
    return tomli_w.dumps(base | ({"methods": own} if own and plan.peers else {}))


def _without_none(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_none(item) for key, item in value.items() if item is not None}


def _method_tables(table: Table) -> dict[str, Table]:
    tables = table.pop("methods", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"methods: expected a table, got {tables!r}")
    for name, value in tables.items():
        if name not in METHODS:
            raise ConfigError(f"methods.{name}: unknown method" + suggestion(name, METHODS))
        if not isinstance(value, dict):
            raise ConfigError(f"methods.{name}: expected a table, got {value!r}")
        if "method" in value:
            raise ConfigError(f"methods.{name}.method: unknown setting")
    return tables


def _assignment(text: str) -> tuple[list[str], Any]:
    path, value = cut(text, "--set", "a.b=value")
    return path.split("."), read_value(value)


def _overridden(table: Table, assignments: list[tuple[list[str], Any]]) -> Table:
    for path, value in assignments:
        nested: Any = value
        for part in reversed(path):
            nested = {part: nested}
        table = merged(table, nested)
    return table


def _checked(table: Any, prefix: str = "") -> Settings:
    settings = complete(_converted(table, prefix))
    refuse_together(settings)
    return settings


def _converted(table: Any, prefix: str = "") -> Settings:
    if not isinstance(table, dict):
        raise ConfigError(f"{prefix}: expected a table, got {table!r}")
    _refuse_infinite(table, prefix)
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(explain(str(error), table, Settings, prefix)) from None
    named = [("method", settings.method), *(("train.compare_with", name) for name in settings.train.compare_with)]
    for path, name in named:
        if name not in METHODS:
            expected = f"expected one of {', '.join(METHODS)}, got {name!r}"
            raise ConfigError(f"{path}: {expected}" + suggestion(name, METHODS))
    return settings


def _refuse_infinite(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_infinite(item, f"{path}.{key}" if path else key)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}: expected a finite number, got {value}")
