"""Where chance comes into a training: one seed, a source of randomness for each purpose, shuffles that follow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..base import Array

PURPOSES = ("split", "init", "shuffle", "noise", "feedback shuffle")
SHUFFLES = {"forward": "shuffle", "feedback": "feedback shuffle"}
"""Purpose by the name of the shuffles: all methods see the same order of forward passes."""


def seeds(seed: int) -> dict[str, np.random.SeedSequence]:
    """Give an independent source of randomness for each purpose.

    Parameters
    ----------
    seed : int
        The seed of the run.

    Returns
    -------
    dict of SeedSequence
        By purpose; the order of `PURPOSES` must never change.
    """
    return dict(zip(PURPOSES, np.random.SeedSequence(seed).spawn(len(PURPOSES)), strict=True))


class Shuffles:
    """The orders in which passes go through the training samples.

    Parameters
    ----------
    seed : int
        The seed of the run.
    samples : int
        Number of training samples.
    passes : mapping of int
        How many orders were taken before, by the name of the shuffles.
    """

    def __init__(self, seed: int, samples: int, passes: Mapping[str, int]) -> None:
        source = seeds(seed)
        self._samples = samples
        self._sources = {name: np.random.default_rng(source[purpose]) for name, purpose in SHUFFLES.items()}
        for name, number in passes.items():
            for _ in range(number):
                self.order(name)

    def order(self, name: str) -> Array:
        """Give the next order.

        Parameters
        ----------
        name : {"forward", "feedback"}
            Which shuffles.

        Returns
        -------
        array (samples,) of int
            Indices of samples.
        """
        return self._sources[name].permutation(self._samples)
