"""Which signals of a loop can be recorded, and what was recorded cut into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base import AbstractPlant, Array
from .errors import InputError

SIGNALS = ("y", "u", "e", "x")

MOST_RECORDED = 2**31
"""Largest recording in bytes that is made without being refused."""


def layout(plant: AbstractPlant) -> dict[str, list[int]]:
    """Give the sizes of all signals that can be recorded, in their order, by layer.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.

    Returns
    -------
    dict of list of int
        y, u, e and x, then the plant's observables.
    """
    sizes = dict(zip(SIGNALS, (plant.noutputs, plant.ninputs, plant.noutputs, plant.nstates), strict=True))
    return {name: [n] for name, n in sizes.items()} | {name: list(n) for name, n in plant.observables.items()}


def chosen_rows(plant: AbstractPlant, record: Sequence[str], batch: int, points: int) -> Array:
    """Give the rows of some signals among those of all.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    record : sequence of str
        Names of signals.
    batch, points : int
        Number of samples and of time points.

    Returns
    -------
    array of int
        The rows.

    Raises
    ------
    InputError
        If there is no such signal, or the recording would be too large.
    """
    sizes, rows, first = layout(plant), {}, 0
    for name, layers in sizes.items():
        rows[name] = np.arange(first, first + sum(layers))
        first += sum(layers)
    for name in record:
        if name not in sizes:
            raise InputError(f"record: expected names among {', '.join(sizes)}, got {name!r}")
    taken = np.concatenate([rows[name] for name in record]) if record else np.arange(0)
    size = len(taken) * batch * points * plant.dtype.itemsize
    if size > MOST_RECORDED:
        raise InputError(f"record: {size / 2**30:.1f} GiB would be kept; record fewer signals or raise record_every")
    return taken


def cut_signals(plant: AbstractPlant, record: Sequence[str], taken: Sequence[Array]) -> dict[str, Any]:
    """Cut what the blocks recorded into signals.

    Parameters
    ----------
    plant : AbstractPlant
        The plant.
    record : sequence of str
        Names of the recorded signals.
    taken : sequence of array (time, rows, samples)
        One entry a block.

    Returns
    -------
    dict
        Arrays (time, batch, n), for observables a tuple of them, one a layer.
    """
    if not record:
        return {}
    whole = np.concatenate(taken, axis=2).swapaxes(1, 2)
    signals: dict[str, Any] = {}
    first = 0
    for name in record:
        edges = first + np.cumsum((0, *layout(plant)[name]))
        layers = tuple(whole[:, :, a:z] for a, z in zip(edges[:-1], edges[1:], strict=True))
        signals[name] = layers[0] if name in SIGNALS else layers
        first = edges[-1]
    return signals


def joined(parts: Sequence[Array]) -> Array:
    """Put what the blocks have together, batch first.

    Parameters
    ----------
    parts : sequence of array (n, samples)
        One entry a block.

    Returns
    -------
    array (batch, n)
        A copy.
    """
    return np.concatenate(parts, axis=1).T.copy()
