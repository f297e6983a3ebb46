"""What differs between runs: settings, results, weights, versions and machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..provenance import parts_of
from ..storage import Run

RESULTS = (
    "test_error_percent",
    "test_loss",
    "validation_error_percent",
    "validation_loss",
    "train_loss",
    "amount_of_control",
    "converged_percent",
    "diverged_percent",
    "epochs",
    "seconds",
)
"""What is compared of the summaries, in this order."""
OF_ONE_RUN = ("time", "argv")
"""What of the provenance belongs to a single run and says nothing about versions or machine."""

Rows = dict[str, list[Any]]


@dataclass(frozen=True)
class Comparison:
    """What differs between runs, or everything that was compared.

    Parameters
    ----------
    settings, results, machine : dict of list
        A value for each run by dotted path or name, None where a run has none.
    weights : list of float or None
        For each run the largest absolute difference of its weights to those of the first; None where names or shapes
        are not the same or the difference is not finite.
    same_settings : bool
        Whether all settings agree; what the experiment is called does not count.
    same_weights : bool
        Whether the weights of all runs are the same bits.
    """

    settings: Rows
    results: Rows
    machine: Rows
    weights: list[float | None]
    same_settings: bool
    same_weights: bool


def compare(runs: Sequence[Run], *, everything: bool = False) -> Comparison:
    """Compare runs with the first of them.

    Parameters
    ----------
    runs : sequence of Run
        Two or more.
    everything : bool
        Whether to give the settings and results too that are the same; never for versions and machines.

    Returns
    -------
    Comparison
        What differs.

    Raises
    ------
    InputError
        If there are fewer than two.
    """
    if len(runs) < 2:
        raise InputError(f"expected at least two runs to compare, got {len(runs)}")
    settings = _rows([flatten(run.settings) for run in runs])
    results = _rows([_results(run) for run in runs])
    machine = _rows([_machine(run) for run in runs])
    if len({(run.seed, run.provenance.get("samples")) for run in runs}) == len({run.seed for run in runs}):
        # Each seed splits them in another way.
        machine.pop("samples", None)
    kept: Callable[[Rows], Rows] = dict if everything else _differing
    return Comparison(
        settings=kept(settings),
        results=kept(results),
        machine=_differing(machine),
        weights=[_largest_difference(runs[0], run) for run in runs],
        same_settings=all(_is_name(setting) for setting in _differing(settings)),
        same_weights=all(_same_bits(runs[0], run) for run in runs),
    )


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Give the leaves of nested tables.

    Parameters
    ----------
    value : dict, or what a leaf may be
        Tables within tables; a list of tables counts as a table by position.
    path : str
        Where it stands.

    Returns
    -------
    dict
        Value by dotted path.
    """
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {path: value}
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves |= flatten(item, f"{path}.{key}" if path else str(key))
    return leaves


def difference(first: Any, other: Any) -> float | None:
    """Give by how much a result is larger than that of the first run.

    Parameters
    ----------
    first, other : number, or anything else
        The two results.

    Returns
    -------
    float or None
        `other` - `first`; None where one of them is no number.
    """
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (first, other))
    return other - first if numbers else None


def _results(run: Run) -> dict[str, Any]:
    found = {name: run.summary[name] for name in RESULTS if run.summary.get(name) is not None}
    return found | {"complete": run.complete}


def _machine(run: Run) -> dict[str, Any]:
    described = _without(run.provenance, OF_ONE_RUN)
    if isinstance(described.get("blas"), list):
        # They stand in the order in which they were loaded, which says nothing.
        described["blas"] = sorted(described["blas"], key=str)
    if parts := parts_of(run.provenance):
        described["continued"] = [{name: part.get(name) for name in ("after_epoch", "changed")} for part in parts]
    return flatten(described)


def _is_name(setting: str) -> bool:
    """Say whether a setting only tells what the experiment, or that of a peer, is called."""
    names = setting.split(".")
    return names == ["experiment"] or (names[0] == "peers" and names[2:] == ["experiment"])


def _without(table: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in names}


def _rows(tables: Sequence[Mapping[str, Any]]) -> Rows:
    """Turn a table for each run into a row for each name, in the order in which the names come up."""
    names = dict.fromkeys(name for table in tables for name in table)
    ordered = [name for name in RESULTS if name in names] + [name for name in names if name not in RESULTS]
    return {name: [table.get(name) for table in tables] for name in ordered}


def _differing(rows: Rows) -> Rows:
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _same_bits(first: Run, other: Run) -> bool:
    """Say whether two runs have weights, and the same."""
    if not first.weights or first.weights.keys() != other.weights.keys():
        return False
    pairs = ((first.weights[name], other.weights[name]) for name in first.weights)
    return all((a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) for a, b in pairs)


def _largest_difference(first: Run, other: Run) -> float | None:
    if _same_bits(first, other):
        return 0.0
    if not first.weights or first.weights.keys() != other.weights.keys():
        return None
    pairs = [(first.weights[name], other.weights[name]) for name in first.weights]
    if any(a.shape != b.shape for a, b in pairs):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        # As complex numbers, so that unsigned ones do not wrap.
        apart = (np.abs(a.astype(np.complex128) - b.astype(np.complex128)).max(initial=0.0) for a, b in pairs)
        largest = float(np.max(list(apart)))
    return largest if np.isfinite(largest) else None
