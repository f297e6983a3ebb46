"""A student learns what a teacher does: regression on the outputs of a random tanh network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .dataset import Dataset, Seed, Split, source_of

if TYPE_CHECKING:
    from ..base import Array

GAIN = 3.0
"""What the teacher's weights are of a student's, as in the public code: it is far from linear."""
NAME = "student-teacher"
SIZES = (15, 10, 10, 5)
"""Widths of the published teacher (Meulemans et al. 2021, figure 3)."""
TRAIN, VALIDATION, TEST = 5000, 1000, 1000


class Task(NamedTuple):
    """Inputs (samples, n_0) and targets (samples, n_L) to learn from, and others, of the same teacher, to look at."""

    inputs: Array
    targets: Array
    test_inputs: Array
    test_targets: Array


def make_task(sizes: Sequence[int], samples: int, test_samples: int, seed: np.random.SeedSequence) -> Task:
    """Draw one teacher for all samples, and their inputs from U(-1, 1).

    Parameters
    ----------
    sizes : sequence of int
        Widths of the teacher from the input to the output.
    samples, test_samples : int
        Number of samples to learn from and to look at.
    seed : SeedSequence
        Source of teacher and inputs.

    Returns
    -------
    Task
        The samples.
    """
    # Datasets of files need no network.
    from ..plants import DeepNetwork

    for_teacher, for_inputs = seed.spawn(2)
    teacher = DeepNetwork.initialize(sizes, activation="tanh", seed=for_teacher)
    teacher = teacher.with_parameters({f"W{i}": GAIN * W for i, W in enumerate(teacher.weights)})
    x = np.random.default_rng(for_inputs).uniform(-1, 1, (samples + test_samples, sizes[0]))
    inputs, test_inputs = x[:samples], x[samples:]
    return Task(inputs, teacher.predict(inputs), test_inputs, teacher.predict(test_inputs))


def load_student_teacher(seed: Seed, sizes: Sequence[int] = SIZES) -> Dataset:
    """Draw a dataset whose three splits have one teacher.

    Parameters
    ----------
    seed : int or SeedSequence
        Source of teacher and inputs.
    sizes : sequence of int
        Widths of the teacher from the input to the output.

    Returns
    -------
    Dataset
        5,000, 1,000 and 1,000 samples with target vectors.

    Raises
    ------
    DimensionError
        If there are fewer than two widths.
    """
    task = make_task(sizes, TRAIN + VALIDATION, TEST, source_of(seed))
    train, validation = (Split(task.inputs[part], task.targets[part]) for part in (slice(TRAIN), slice(TRAIN, None)))
    return Dataset(NAME, train, validation, Split(task.test_inputs, task.test_targets), outputs=int(sizes[-1]))
