"""How far a loop is from instability: margins of gain and leak, and maps over two of its numbers."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..base import Array
from ..equilibrium import Equilibrium
from ..errors import InputError
from ..linear_loop import LinearLoop, linear_loop
from ..loop import ClosedLoop
from .stability import spectral_abscissa, stability

LARGEST_CHANGE, SMALLEST_CHANGE = 1e3, 1e-3
"""Factor of the gains, and change of the leak, up to which a margin is looked for; first change of the leak."""
STEP = 1.1
"""Ratio of the changes that are looked at before bisection."""


@dataclass(frozen=True, eq=False)
class Margins:
    """How far a loop is from instability, its steady states held; NaN where it is not stable at all.

    Parameters
    ----------
    gain : array (batch,)
        Factor > 1 of all the controller's gains up to which it is stable; inf if up to 1000.
    leak : array (batch,)
        How much smaller the leak may be: dz/dt gains + margin u; inf if more than 1000, or nothing integrates.
    """

    gain: Array
    leak: Array


def margins(loop: ClosedLoop, steady: Equilibrium) -> Margins:
    """Find the gain and leak margins of a loop in continuous time.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    steady : Equilibrium
        What ``loop.equilibrium`` gave.

    Returns
    -------
    Margins
        The margins to four digits, by bisection of the first step of a tenth at whose end the loop is unstable: a loop
        that is unstable only for changes between two such ends counts as stable there.

    Raises
    ------
    InputError
        If the loop has no counterpart in continuous time.
    """
    gain, leak = np.full((2, len(steady.u)), np.nan)
    for i in np.flatnonzero(steady.converged):
        parts = linear_loop(loop, steady.sample(int(i)))
        gain[i] = _largest(partial(_scaled, parts), 1.0)
        leak[i] = _largest(partial(_shifted, parts), 0.0)
    return Margins(gain, leak)


def _scaled(parts: LinearLoop, scale: float) -> LinearLoop:
    controller = parts.controller
    return replace(parts, controller=controller._replace(B=scale * controller.B, D=scale * controller.D))


def _shifted(parts: LinearLoop, shift: float) -> LinearLoop:
    """Let the integral part gain the control times the shift, which is a leak that much smaller."""
    A, B, C, D, _ = parts.controller
    n = C.shape[1]
    more = A.shape[1] - n
    # An integral part comes first in the state, and into the control as it is.
    if more < 0 or not np.allclose(C[:, :, :n], np.eye(n)):
        return parts
    C, D = (np.pad(each, ((0, 0), (0, more), (0, 0))) for each in (C, D))
    return replace(parts, controller=parts.controller._replace(A=A + shift * C, B=B + shift * D))


def _largest(change: Callable[[float], LinearLoop], start: float) -> float:
    """Find by bisection how far a change may go before the loop is unstable."""

    def stable(amount: float) -> bool:
        return bool(spectral_abscissa(change(amount).closed().A)[0] < 0)

    if not stable(start):
        return np.nan
    low, high = start, max(STEP * start, SMALLEST_CHANGE)
    while stable(high):
        low, high = high, STEP * high
        if high > LARGEST_CHANGE:
            return np.inf
    while high - low > 1e-4 * (high - start):
        middle = (low + high) / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low


def stability_map(
    loop: ClosedLoop, reference: Array, parameters: Mapping[str, Sequence[float]], *, inputs: Any = None
) -> Array:
    """Give the spectral abscissa of a loop over a grid of two of its numbers, its steady state found anew at each.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    reference : array (batch, noutputs)
        Reference r*.
    parameters : mapping
        Two names such as ``controller.k_p``, ``controller.leak`` or ``plant.tau_v``, and their values.
    inputs : array (batch, nexogenous), optional
        Exogenous input.

    Returns
    -------
    array (first values, second values, batch)
        Largest real part of the eigenvalues; NaN where there is no steady state.

    Raises
    ------
    InputError
        If there are not two, or a part has no such number.
    """
    if len(parameters) != 2 or not all(len(values) for values in parameters.values()):
        given = {name: len(values) for name, values in parameters.items()}
        raise InputError(f"parameters: expected two, each with values, got {given}")
    (first, rows), (second, columns) = parameters.items()
    found = []
    for one in rows:
        for two in columns:
            changed = _with_number(_with_number(loop, first, one), second, two)
            steady = changed.equilibrium(reference, inputs=inputs)
            found.append(stability(changed, steady).max_real_eigenvalue)
    return np.array(found).reshape(len(rows), len(columns), -1)


def _with_number(loop: ClosedLoop, path: str, value: float) -> ClosedLoop:
    part, _, name = path.partition(".")
    owner = getattr(loop, part) if part in ("controller", "plant") else None
    if not isinstance(getattr(owner, "__dataclass_fields__", {}).get(name) and getattr(owner, name), numbers.Real):
        raise InputError(f"parameters: expected controller.NAME or plant.NAME with a number of that part, got {path!r}")
    return replace(loop, **{part: replace(getattr(loop, part), **{name: value})})
