"""Looks at a network under control on a fixed batch: conditions, stability and alignment, as numbers of one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..analysis import (
    Stability,
    alignment,
    condition_one,
    condition_two,
    feedback_alignment,
    null_space_ratio,
    separated_eigenvalues,
    stability,
)
from ..analysis.stability import ROUNDING
from ..base import Array
from ..equilibrium import Equilibrium
from ..errors import DivergedError
from ..objective import Lesson
from .methods import METHODS
from .phases import Phase
from .settings import Diagnostics, Settings

Row: TypeAlias = dict[str, float]

PROBED = "probe_"
"""How the names of the diagnostics begin that were recorded during training, a number for each look."""
REFERENCES = ("bp", "gn", "mn")
WHOLE_LOOPS = 4
"""Samples whose whole loop is linearised: its matrix has as many rows as there are neurons."""


def is_due(diagnostics: Diagnostics, epoch: int, last: int) -> bool:
    """Say whether a training is looked at after an epoch.

    Parameters
    ----------
    diagnostics : Diagnostics
        What the settings say.
    epoch, last : int
        The epoch, 0 for the state before learning, and the last one.

    Returns
    -------
    bool
        True before the first epoch, after every so many, and after the last.
    """
    return bool(diagnostics.every) and (epoch % diagnostics.every == 0 or epoch == last)


def as_diagnostics(rows: Sequence[Row]) -> dict[str, Array]:
    """Turn what was seen into one array for each quantity.

    Parameters
    ----------
    rows : sequence of dict
        A row for each look.

    Returns
    -------
    dict of arrays
        By name, which begins with `PROBED`; NaN where a look lacks the quantity.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {f"{PROBED}{name}": np.array([row.get(name, np.nan) for row in rows]) for name in names}


def from_diagnostics(diagnostics: Mapping[str, Array]) -> list[Row]:
    """Turn the arrays of `as_diagnostics` back into rows; others are left out.

    Parameters
    ----------
    diagnostics : mapping of arrays
        As stored in a run; arrays of unequal length raise ValueError.

    Returns
    -------
    list of dict
        A row for each look.
    """
    looks = {name: array for name, array in diagnostics.items() if name.startswith(PROBED)}
    columns = {name.removeprefix(PROBED): array.tolist() for name, array in looks.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@dataclass(frozen=True, eq=False)
class Look:
    """What a probe saw.

    Parameters
    ----------
    row : dict of float
        Numbers by name; NaN where something is not defined.
    steady : Equilibrium or None
        The steady states; None for methods without a controller.
    separated : array (samples, n_L)
        Eigenvalues of -(a E J Q + b I).
    whole : Stability or None
        Of the first samples: eigenvalues of the whole loop.
    remarks : tuple of str
        What could not be seen, and why.
    """

    row: Row
    steady: Equilibrium | None
    separated: Array
    whole: Stability | None
    remarks: tuple[str, ...] = ()


class Probe:
    """A batch that a training looks at now and then, without any influence on it.

    Parameters
    ----------
    settings : Settings
        The experiment; ``[diagnostics]`` names the quantities.
    phase : Phase
        The phase in which the forward weights learn.
    inputs : array (samples, n_0)
        Input patterns.
    labels : array (samples,) of int or (samples, n_L) of float
        Their classes or target vectors.
    threads : int, optional
        Number of threads.
    """

    def __init__(self, settings: Settings, phase: Phase, inputs: Array, labels: Array, threads: int | None) -> None:
        method = METHODS[settings.method]
        self.phase, self.inputs, self.labels, self.threads = phase, inputs, labels, threads
        self.quantities = settings.diagnostics.quantities
        self.damping = settings.law.damping
        self.controlled = (method.simulates or method.steady or method.analytic) and (
            settings.network.feedback != "jacobian-transpose"
        )

    def look(self, plant: Any) -> Look:
        """Look at a network.

        Parameters
        ----------
        plant : DeepNetwork
            The network as it is now.

        Returns
        -------
        Look
            The numbers, and what they were made of.
        """
        loop = self.phase.loop(plant)
        grid = (self.phase.dt, self.phase.steps, self.threads)
        lesson = Lesson(loop.plant, self.inputs, self.labels, self.phase.objective, *grid)
        row: Row = {"samples": len(self.labels)}
        steady, separated, whole = None, np.empty((0, plant.noutputs), complex), None
        remarks: tuple[str, ...] = ()
        if self.controlled:
            steady = lesson.steady_state(loop)
            row["converged"] = int(steady.converged.sum())
        if "conditions" in self.quantities:
            row |= _conditions(loop.plant, lesson, steady)
        if "stability" in self.quantities and steady is not None:
            separated, whole = separated_eigenvalues(loop, steady, self.threads), self._whole(loop, steady)
            row |= _stability(separated, whole)
        if "alignment" in self.quantities:
            try:
                row |= _alignment(loop, lesson, self.damping, self.controlled)
            except DivergedError as error:
                remarks = (f"no alignment: {error}",)
        return Look(row, steady, separated, whole, remarks)

    def _whole(self, loop: Any, steady: Equilibrium) -> Stability | None:
        if loop.plant.discrete:
            return None
        return stability(loop, steady.part(slice(WHOLE_LOOPS)), self.phase.dt, self.threads)


def _conditions(plant: Any, lesson: Lesson, steady: Equilibrium | None) -> Row:
    row = {"condition_one": _mean(condition_one(lesson.below()).deviation)}
    if steady is not None:
        J, Q = plant.jacobian(lesson.voltages), plant.stacked_feedback()
        row["condition_two"] = _mean(condition_two(J, Q))
        found = steady.converged
        row["null_space_ratio"] = _mean(null_space_ratio(J[found], steady.u[found] @ Q.T)) if found.any() else np.nan
    return row


def _stability(separated: Array, whole: Stability | None) -> Row:
    abscissa = separated.real.max(axis=1)
    known = np.isfinite(abscissa)
    row = {
        "abscissa": _mean(abscissa),
        "abscissa_worst": float(abscissa[known].max()) if known.any() else np.nan,
        # A softmax without leak leaves the common shift of all controls where it is.
        "stable": int((abscissa <= ROUNDING * np.abs(separated).max(axis=1)).sum()),
    }
    if whole is not None and whole.converged.any():
        row |= {
            "loop_samples": len(whole.converged),
            "loop_stable": int(whole.stable.sum()),
            "loop_abscissa_worst": float(np.nanmax(whole.max_real_eigenvalue)),
            "loop_radius_worst": np.nan if whole.radius is None else float(np.nanmax(whole.radius)),
        }
    return row


def _alignment(loop: Any, lesson: Lesson, damping: float, controlled: bool) -> Row:
    with np.errstate(all="ignore"):
        change = loop.law.propose(loop, lesson).change
    wanted = {name: array for name, array in change.items() if name[0] in "Wb"}
    row = {
        f"angle_to_{name}": found.whole
        for name, found in alignment(loop, lesson, wanted, REFERENCES, damping=damping).items()
    }
    if controlled:
        angles = feedback_alignment(loop.plant, lesson.voltages)
        row |= {
            "feedback_angle_to_transpose": _mean(angles.to_transpose),
            "feedback_angle_to_pseudoinverse": _mean(angles.to_pseudoinverse),
        }
    return row


def _mean(values: Array) -> float:
    """Give the mean of those that are defined; how many are is counted elsewhere."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
