"""How far a training has come, and what it takes to go on from there as if it had never been interrupted.

Shuffles and noise follow from the seed and the number of passes through the data, so that only what was learned has to
be kept: the weights, what the optimisers remember, and the controls that a warm start begins with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..base import Array, Parameters
from .settings import Settings

Arrays = dict[str, Array]


class Schedule(NamedTuple):
    """How often a training passes through the data.

    Parameters
    ----------
    pretraining : int
        Passes before the first epoch, in which the feedback weights alone learn.
    before, after : int
        Passes of every epoch in which they alone learn, before the forward weights do and after.
    together : int
        1 if they learn in the pass of the forward weights too, else 0.
    """

    pretraining: int
    before: int
    after: int
    together: int

    @property
    def an_epoch(self) -> int:
        """Passes of an epoch."""
        return self.before + 1 + self.after

    def shuffled(self, epochs: int, pretraining: int) -> dict[str, int]:
        """Give how often each source of shuffles was asked for an order.

        Parameters
        ----------
        epochs, pretraining : int
            How many epochs and passes of pre-training are done.

        Returns
        -------
        dict of int
            Passes by the name of the source.
        """
        return {"forward": epochs, "feedback": pretraining + epochs * (self.before + self.after)}

    def applied(self, epochs: int, pretraining: int) -> dict[str, int]:
        """Give in how many passes each optimiser was used.

        Parameters
        ----------
        epochs, pretraining : int
            How many epochs and passes of pre-training are done.

        Returns
        -------
        dict of int
            Passes by the name of the optimiser.
        """
        feedback = epochs * (self.before + self.after + self.together)
        return {"forward": epochs, "feedback": feedback, "pretraining": pretraining}


def schedule(settings: Settings) -> Schedule:
    """Give the schedule of an experiment.

    Parameters
    ----------
    settings : Settings
        A complete experiment.

    Returns
    -------
    Schedule
        Without any passes of feedback weights that do not learn.
    """
    feedback = settings.feedback
    if feedback.learning == "none":
        return Schedule(0, 0, 0, 0)
    two_phase = feedback.learning == "two-phase"
    return Schedule(feedback.pretraining_epochs, int(two_phase), feedback.extra_epochs, int(not two_phase))


class Progress(NamedTuple):
    """How far a training has come.

    Parameters
    ----------
    epochs, pretraining : int
        How many epochs and passes of pre-training are done.
    seconds : float
        What the pre-training took, until the first epoch has counted it in.
    weights : dict of arrays
        The parameters of the network.
    memories : dict of dict of arrays
        What each optimiser remembers; an optimiser that has not been used is left out or remembers nothing.
    controls : array or None
        Where the search for the steady states ended, by training sample, if the next one begins there.
    """

    epochs: int
    pretraining: int
    seconds: float
    weights: Parameters
    memories: dict[str, Parameters]
    controls: Array | None = None

    def arrays(self) -> Arrays:
        """Give what the weights and the history of a run do not tell.

        Returns
        -------
        dict of arrays
            By name; those of the optimisers as `remembered` names them.
        """
        found: Arrays = {"pretraining": np.asarray(self.pretraining), "seconds": np.asarray(self.seconds)}
        if self.controls is not None:
            found["controls"] = self.controls
        for optimizer, memory in self.memories.items():
            found |= {remembered(optimizer, key): array for key, array in memory.items()}
        return found


def remembered(optimizer: str, key: str) -> str:
    """Give the name of an array that an optimiser remembers.

    Parameters
    ----------
    optimizer : str
        Name of the optimiser.
    key : str
        The optimiser's own name, such as ``first/W0``.

    Returns
    -------
    str
        Such as ``forward.first.W0``.
    """
    return f"{optimizer}.{key}".replace("/", ".")
