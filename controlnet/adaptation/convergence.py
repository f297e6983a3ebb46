"""Which samples a simulation brought to its steady state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..base import Array

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson
    from ..response import Response

TOLERANCE = 1e-5
LARGEST_ERROR = 0.5


@dataclass(frozen=True, eq=False)
class Convergence:
    """Verdict on each sample, as the public DFC code judges for e = r* - r_L.

    With d = |e - alpha u / k_i|, which is zero at rest: converged if d < 1e-5 |r_L| of the feed-forward output and the
    final |e| is below a quarter of the first; diverged if d > |r_L|.  For the softmax difference the public code takes
    cross-entropies in place of these norms, which are not zero at rest.

    Parameters
    ----------
    converged : array (batch,) of bool
        The controller reached its steady state and reduced the error.
    diverged : array (batch,) of bool
        The controller is farther from its steady state than the output is large.
    """

    converged: Array
    diverged: Array

    @classmethod
    def of(cls, loop: ClosedLoop, lesson: Lesson, response: Response) -> Convergence:
        """Judge the last step of a simulation.

        Parameters
        ----------
        loop : ClosedLoop
            The loop that was simulated.
        lesson : Lesson
            What it was simulated on.
        response : Response
            What came out.

        Returns
        -------
        Convergence
            The verdict.
        """
        a, b = loop.controller.steady_relation()
        y, u = response.final["y"], response.final["u"]
        first, last = (loop.comparator.compare(lesson.reference, output) for output in (lesson.output, y))
        gap = np.linalg.norm(last - b / a * u, axis=1) if a else np.zeros(len(y))
        scale = np.linalg.norm(lesson.output, axis=1)
        first, last = np.linalg.norm(first, axis=1), np.linalg.norm(last, axis=1)
        settled = gap < TOLERANCE * scale
        return cls(settled & (last < LARGEST_ERROR**2 * first), gap > scale)
