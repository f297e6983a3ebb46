"""A student learns what a teacher does: regression on the outputs of a random tanh network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..base import Array
from ..plants import DeepNetwork

GAIN = 3.0
"""What the teacher's weights are of a student's, as in the public code: it is far from linear."""


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
    for_teacher, for_inputs = seed.spawn(2)
    teacher = DeepNetwork.initialize(sizes, activation="tanh", seed=for_teacher)
    teacher = teacher.with_parameters({f"W{i}": GAIN * W for i, W in enumerate(teacher.weights)})
    x = np.random.default_rng(for_inputs).uniform(-1, 1, (samples + test_samples, sizes[0]))
    inputs, test_inputs = x[:samples], x[samples:]
    return Task(inputs, teacher.predict(inputs), test_inputs, teacher.predict(test_inputs))
