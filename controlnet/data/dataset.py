"""What a dataset is: three splits of labelled samples, and how samples are dealt to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import DimensionError, InputError

Seed: TypeAlias = int | np.random.SeedSequence


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with their labels.

    Parameters
    ----------
    inputs : ndarray of float64, shape (samples, features)
        One sample per row, already scaled.
    labels : ndarray of int64, shape (samples,)
        Class of each sample, counted from 0.

    Raises
    ------
    DimensionError
        When the shapes do not belong together.
    """

    inputs: NDArray[np.float64]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse labels that do not match the inputs."""
        if self.inputs.ndim != 2 or self.labels.shape != self.inputs.shape[:1]:
            raise DimensionError(
                "a split needs inputs (samples, features) and labels (samples,), "
                f"got {self.inputs.shape} and {self.labels.shape}: pass one label per row of the inputs"
            )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named dataset in three parts that share no sample.

    Parameters
    ----------
    name : str
        Name in the catalogue.
    train, validation, test : Split
        The samples to learn from, to tune on and to report on.
    classes : int
        Number of classes; labels run from 0 to ``classes - 1``.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int

    def with_train_samples(self, number: int) -> Dataset:
        """Give the same dataset with the first of its training samples alone.

        Parameters
        ----------
        number : int
            How many.

        Returns
        -------
        Dataset
            Validation and test samples are the same.

        Raises
        ------
        InputError
            If there are not so many.
        """
        if not 1 <= number <= len(self.train.labels):
            raise InputError(f"train_samples: expected 1 to {len(self.train.labels)} of {self.name}, got {number}")
        return replace(self, train=Split(self.train.inputs[:number], self.train.labels[:number]))


def generator(seed: Seed) -> np.random.Generator:
    """Start the random generator of one split.

    Parameters
    ----------
    seed : int or SeedSequence
        Equal seeds give equal generators.

    Returns
    -------
    Generator
        A fresh generator; the seed itself is not used up.

    Raises
    ------
    InputError
        When an integer seed is negative.
    """
    if not isinstance(seed, np.random.SeedSequence) and seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}: choose another seed")
    return np.random.default_rng(seed)


def stratified_indices(
    labels: NDArray[np.integer[Any]], fractions: Sequence[float], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Deal the samples to parts so that every part has the same mix of classes.

    Parameters
    ----------
    labels : ndarray of int, shape (samples,)
        Class of each sample.
    fractions : sequence of float
        Share of every part; they add up to 1. Counts are rounded class by class.
    rng : Generator
        Source of the permutations; equal generators give equal parts.

    Returns
    -------
    list of ndarray of int64
        Ascending sample indices of each part; together they hold every sample once.

    Raises
    ------
    InputError
        When the fractions are negative or do not add up to 1.
    """
    if min(fractions) < 0 or not np.isclose(sum(fractions), 1.0):
        raise InputError(f"fractions must be 0 or more and add up to 1, got {list(fractions)}: rescale them")
    edges = np.cumsum(fractions)[:-1]
    parts: list[list[NDArray[np.int64]]] = [[] for _ in fractions]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label)).astype(np.int64)
        cuts = np.rint(edges * members.size).astype(int)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
