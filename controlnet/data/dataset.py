"""What a dataset is: three splits of samples with targets, and how samples are dealt to them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._check import all_finite
from ..errors import DimensionError, InputError

Seed: TypeAlias = int | np.random.SeedSequence


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with what a network should answer to them.

    Parameters
    ----------
    inputs : ndarray of float64, shape (samples, features)
        One sample per row, already scaled.
    targets : ndarray of int64, shape (samples,), or of float64, shape (samples, outputs)
        Class of each sample, counted from 0, or its target vector.

    Raises
    ------
    DimensionError
        When the shapes do not belong together.
    InputError
        When the numbers are of another type, not finite, or negative classes.
    """

    inputs: NDArray[np.float64]
    targets: NDArray[Any]

    def __post_init__(self) -> None:
        """Refuse what a network could not learn from."""
        inputs, targets = self.inputs, self.targets
        if inputs.ndim != 2 or targets.ndim not in (1, 2) or len(targets) != len(inputs) or 0 in targets.shape[1:]:
            raise DimensionError(
                "a split needs inputs (samples, features) and targets (samples,) or (samples, outputs), "
                f"got {inputs.shape} and {targets.shape}: pass one target per row of the inputs"
            )
        if inputs.dtype.kind != "f" or targets.dtype.kind not in ("iu" if self.by_class else "f"):
            raise InputError(
                "a split needs inputs of floats and targets of integers (samples,) or floats (samples, outputs), "
                f"got {inputs.dtype} {inputs.shape} and {targets.dtype} {targets.shape}: convert them"
            )
        # An autoencoder's targets are its inputs, looked at once.
        for name, array in {"inputs": inputs, "targets": inputs if self.by_class else targets}.items():
            if (name == "inputs" or array is not inputs) and not all_finite(array):
                raise InputError(f"a split needs finite {name}, got a NaN or an infinity: remove such samples")
        if self.by_class and len(targets) and targets.min() < 0:
            raise InputError(f"a split needs classes counted from 0, got {targets.min()}: count them anew")

    @property
    def by_class(self) -> bool:
        """Whether the targets are classes."""
        return self.targets.ndim == 1


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named dataset in three parts that share no sample.

    Parameters
    ----------
    name : str
        Name in the catalogue, or of the file.
    train, validation, test : Split
        The samples to learn from, to tune on and to report on.
    outputs : int
        Number of outputs of a network: number of classes, which run from 0 to ``outputs - 1``, or width of the
        target vectors.
    official : bool or None
        Whether they are the samples that are published under this name; None if nothing tells.

    Raises
    ------
    DimensionError
        When the splits differ in their features or in what their targets are.
    InputError
        When a class is not below `outputs`.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    outputs: int
    official: bool | None = None

    def __post_init__(self) -> None:
        """Refuse splits that do not belong together."""
        for part in ("train", "validation", "test"):
            split = getattr(self, part)
            found = split.inputs.shape[1:], split.targets.shape[1:]
            expected = self.train.inputs.shape[1:], () if self.by_class else (self.outputs,)
            if found != expected:
                raise DimensionError(
                    f"{self.name}: expected features and targets of shape {expected[0]} and {expected[1]} a sample, "
                    f"got {found[0]} and {found[1]} in the {part} split: take all from one source"
                )
            if self.by_class and len(split.targets) and split.targets.max() >= self.outputs:
                raise InputError(
                    f"{self.name}: expected classes 0 to {self.outputs - 1}, got {split.targets.max()} in the "
                    f"{part} split: name the number of classes"
                )

    @property
    def by_class(self) -> bool:
        """Whether the targets are classes, so that answers are right or wrong."""
        return self.train.by_class

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all samples and of which split each is in: 16 hexadecimal digits of SHA-256."""
        total = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for array in (split.inputs, split.targets):
                total.update(f"{array.dtype} {array.shape}".encode())
                total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()[:16]

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
        if not 1 <= number <= len(self.train.targets):
            raise InputError(f"train_samples: expected 1 to {len(self.train.targets)} of {self.name}, got {number}")
        return replace(self, train=Split(self.train.inputs[:number], self.train.targets[:number]))


def source_of(seed: Seed) -> np.random.SeedSequence:
    """Give a source of randomness of its own to who wants to spawn from it.

    Parameters
    ----------
    seed : int or SeedSequence
        Equal seeds give equal sources.

    Returns
    -------
    SeedSequence
        A fresh one; the seed itself is not used up.

    Raises
    ------
    InputError
        When an integer seed is negative.
    """
    if isinstance(seed, np.random.SeedSequence):
        return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key, pool_size=seed.pool_size)
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}: choose another seed")
    return np.random.SeedSequence(seed)


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
    return np.random.default_rng(source_of(seed))


def scaled_pixels(pixels: NDArray[np.uint8], mean: float, deviation: float) -> NDArray[np.float64]:
    """Give what a network sees of images.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (samples, features)
        One flattened image per row.
    mean, deviation : float
        A pixel ``p`` in 0..255 becomes ``(p / 255 - mean) / deviation``.

    Returns
    -------
    ndarray of float64, shape (samples, features)
        The inputs.
    """
    inputs = pixels / 255.0
    # In place: whole datasets take gigabytes.
    inputs -= mean
    inputs /= deviation
    return inputs


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
