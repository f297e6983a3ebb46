"""Finds state and control of a loop at rest together, where its plant has no stable rest that could be found first.

At rest dx/dt(x, u) = 0 and a e(y(x, u)) = b u: as many equations as unknowns, which Newton's method solves whether or
not the plant integrates or falls over on its own.  Whether the loop is stable there, its own eigenvalues tell.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from ._equation import shifted, solved
from .equilibrium import Equilibrium, default_tolerance
from .linear import PlantColumns
from .linear_loop import linear_loop

if TYPE_CHECKING:
    from .base import Array
    from .loop import ClosedLoop

ITERATIONS, HALVINGS = 50, 6


class _Search:
    """Newton's method for some samples at once."""

    def __init__(self, loop: ClosedLoop, reference: Array, inputs: Array) -> None:
        self.loop, self.reference, self.inputs = loop, reference, inputs
        self.a, self.b = (loop.plant.dtype.type(number) for number in loop.controller.steady_relation())
        self.columns = PlantColumns(loop.plant, inputs)

    def values(self, x: Array, u: Array) -> tuple[Array, Array, Array]:
        """Give what is to be zero, the output, and the largest entry of dx/dt and e - (b / a) u."""
        y = self.columns.output(x.T, u.T).T
        missing = self.a * self.loop.comparator.compare(self.reference, y) - self.b * u
        moving = self.columns.dynamics(x.T, u.T).T
        size = np.maximum(1, np.abs(np.concatenate([x, u], axis=1)).max(axis=1))
        residual = np.maximum(
            np.abs(missing).max(axis=1) / (abs(self.a) or 1), np.abs(moving).max(axis=1, initial=0) / size
        )
        both = np.concatenate([moving, missing], axis=1)
        return both, y, np.where(np.isfinite(both).all(axis=1), residual, np.inf)

    def step(self, x: Array, u: Array, y: Array, both: Array) -> Array:
        """Give Newton's step of (x, u)."""
        near = self.loop.plant.linearize(x, u, self.inputs)
        C, D = (-self.a * self.loop.comparator.differentiate(y, matrix) for matrix in (near.C, near.D))
        J = np.block([[near.A, near.B], [C, shifted(np.array(D), -self.b)]])
        lost = ~(np.isfinite(J).all(axis=(1, 2)) & np.isfinite(both).all(axis=1))
        J[lost], wanted = np.eye(J.shape[1]), np.where(lost[:, np.newaxis], 0, both)
        return -solved(J, wanted)

    def run(self, x: Array, u: Array, tolerance: Array, damped: bool) -> Equilibrium:
        """Go on until all are at rest; if damped, a step that enlarges the residual is halved, five times at most."""
        both, y, residual = self.values(x, u)
        steps = np.zeros(len(u), np.int64)
        for _ in range(ITERATIONS):
            if not (moving := residual > tolerance).any():
                break
            steps += moving
            step, length = self.step(x, u, y, both), np.where(moving, 1.0, 0.0)[:, np.newaxis]
            for _ in range(HALVINGS if damped else 1):
                new = np.concatenate([x, u], axis=1) + length * step
                new_x, new_u = new[:, : x.shape[1]], new[:, x.shape[1] :]
                new_both, new_y, new_residual = self.values(new_x, new_u)
                length = np.where((new_residual > residual)[:, np.newaxis], length / 2, length)
            x, u, both, y, residual = new_x, new_u, new_both, new_y, new_residual
        no = np.zeros(len(u), bool)
        return Equilibrium(u, y, x, self.reference, self.inputs, residual, steps, no, no)


def joint_search(
    loop: ClosedLoop, known: Equilibrium, guess: Array | None = None, tolerance: float | Array | None = None
) -> Equilibrium:
    """Look for the steady states that are not known yet.

    Parameters
    ----------
    loop : ClosedLoop
        The loop, in continuous time.
    known : Equilibrium
        What is known already; samples that have not converged are looked for.
    guess : array (batch, ninputs), optional
        Control from which to start; zeros if not given, or not finite.
    tolerance : float or array (batch,), optional
        Largest residual that counts as zero, `default_tolerance` if not given.

    Returns
    -------
    Equilibrium
        The same with what was found: converged where the whole loop is stable, else the point with the least residual.
    """
    part = np.flatnonzero(~known.converged)
    search = _Search(loop, known.reference[part], known.inputs[part])
    start = np.zeros_like(known.u) if guess is None else np.nan_to_num(guess, posinf=0, neginf=0)
    wanted = default_tolerance(known.reference, known.u.dtype) if tolerance is None else tolerance
    wanted = np.broadcast_to(wanted, known.residual.shape)[part]
    x = np.array(loop.plant.initial_state(known.inputs[part]), loop.plant.dtype)
    merged = Equilibrium(*(np.array(getattr(known, field.name)) for field in fields(known)))
    for damped in (False, True):
        with np.errstate(all="ignore"):
            found = search.run(x, start[part], wanted, damped)
        stable, at_rest = np.zeros(len(part), bool), found.residual <= wanted
        stable[at_rest] = _stable(loop, found.part(at_rest))
        better = ~merged.converged[part] & (stable | (found.residual < merged.residual[part]))
        for field in fields(found):
            getattr(merged, field.name)[part[better]] = getattr(found, field.name)[better]
        merged.stable[part[better]] = merged.converged[part[better]] = stable[better]
    return merged


def _stable(loop: ClosedLoop, found: Equilibrium) -> Array:
    if not len(found.u):
        return np.zeros(0, bool)
    return np.asarray((np.linalg.eigvals(linear_loop(loop, found).closed().A).real < 0).all(axis=1))
