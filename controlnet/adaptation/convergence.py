"""Which samples a simulation brought to its steady state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..base import Array, Parameters, Proposal
from ..errors import InputError

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson
    from ..response import Response

TOLERANCE = 1e-5
NOISY_TOLERANCE = 0.01
LARGEST_ERROR = 0.5


@dataclass(frozen=True, eq=False)
class Convergence:
    """Verdict on each sample, as the public DFC code judges for e = r* - r_L.

    With d = |e - alpha u / k_i|, which is zero at rest: converged if d < 1e-5 |r_L| of the feed-forward output and the
    final |e| is below a quarter of the first; diverged if d > |r_L|.  For the softmax difference the public code takes
    cross-entropies in place of these norms, which are not zero at rest.

    Under noise e and u are means over the last quarter of the steps, and d < 0.01 |r_L| is enough.

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
        noisy, first = loop.integrator.noise is not None, loop.comparator.compare(lesson.reference, lesson.output)
        last = response.mean["e"] if noisy else loop.comparator.compare(lesson.reference, response.final["y"])
        gap = np.linalg.norm(last - b / a * steady_control(loop, response), axis=1) if a else np.zeros(len(last))
        scale = np.linalg.norm(lesson.output, axis=1)
        first, last = np.linalg.norm(first, axis=1), np.linalg.norm(last, axis=1)
        if noisy:
            return cls(gap < NOISY_TOLERANCE * scale, gap > scale)
        return cls((gap < TOLERANCE * scale) & (last < LARGEST_ERROR**2 * first), gap > scale)


def judged(loop: ClosedLoop, lesson: Lesson, response: Response, change: Parameters) -> Proposal:
    """Give a change together with what its simulation says: which samples settled, and their control.

    Parameters
    ----------
    loop : ClosedLoop
        The loop that was simulated.
    lesson : Lesson
        What it was simulated on.
    response : Response
        What came out.
    change : dict of arrays
        What the law wants.

    Returns
    -------
    Proposal
        Without a verdict if the controller does not say what holds at rest.
    """
    control = steady_control(loop, response)
    extension = (response.simulated_steps, response.extension_error) if lesson.extend else (None, None)
    try:
        loop.controller.steady_relation()
    except InputError:
        return Proposal(change, None, None, control, *extension)
    verdict = Convergence.of(loop, lesson, response)
    return Proposal(change, verdict.converged, verdict.diverged, control, *extension)


def steady_control(loop: ClosedLoop, response: Response) -> Array:
    """Give the control at the end of a simulation: the last one, or under noise the mean of the last quarter.

    Parameters
    ----------
    loop : ClosedLoop
        The loop that was simulated.
    response : Response
        What came out.

    Returns
    -------
    array (batch, n_L)
        u_ss.
    """
    return response.final["u"] if loop.integrator.noise is None else response.mean["u"]
