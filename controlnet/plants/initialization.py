"""Published ways to draw the first weights of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..base import Array
from ..errors import InputError


def xavier_normal(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Draw from N(0, 2 / (fan_in + fan_out)) (Glorot, Bengio 2010, equation 12).

    Parameters
    ----------
    shape : tuple of int
        (n_out, n_in).
    rng : Generator
        Source of the numbers.

    Returns
    -------
    array of that shape
        The weights.
    """
    return rng.normal(scale=math.sqrt(2 / sum(shape)), size=shape)


def xavier_uniform(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Draw from U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot, Bengio 2010, equation 16).

    Parameters
    ----------
    shape : tuple of int
        (n_out, n_in).
    rng : Generator
        Source of the numbers.

    Returns
    -------
    array of that shape
        The weights.
    """
    bound = math.sqrt(6 / sum(shape))
    return rng.uniform(-bound, bound, size=shape)


def orthogonal(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Draw orthonormal rows or columns (Saxe et al. 2013), scaled by sqrt(6 / (fan_in + fan_out)) as the DFC code does.

    Parameters
    ----------
    shape : tuple of int
        (n_out, n_in).
    rng : Generator
        Source of the numbers.

    Returns
    -------
    array of that shape
        The weights.
    """
    tall = rng.normal(size=(max(shape), min(shape)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r))
    return math.sqrt(6 / sum(shape)) * (q if shape[0] >= shape[1] else q.T)


INITIALIZATIONS: dict[str, Callable[[tuple[int, int], np.random.Generator], Array]] = {
    "xavier-normal": xavier_normal,
    "xavier-uniform": xavier_uniform,
    "orthogonal": orthogonal,
}


def initializer(name: str) -> Callable[[tuple[int, int], np.random.Generator], Array]:
    """Give an initialisation by its name.

    Parameters
    ----------
    name : str
        A key of `INITIALIZATIONS`.

    Returns
    -------
    callable
        ``f(shape, rng) -> weights``.

    Raises
    ------
    InputError
        If there is no such initialisation.
    """
    if name not in INITIALIZATIONS:
        raise InputError(f"initialization: expected one of {', '.join(INITIALIZATIONS)}, got {name!r}")
    return INITIALIZATIONS[name]


def weight_product(weights: Sequence[Array]) -> tuple[Array, ...]:
    """Give feedback weights Q_i = W_{i+1}^T ... W_L^T, the transposed Jacobian of the linearised network.

    Parameters
    ----------
    weights : sequence of array (n_i, n_{i-1})
        Forward weights by layer.

    Returns
    -------
    tuple of array (n_i, n_L)
        Feedback weights by layer; the last is the identity.
    """
    feedback = [np.eye(len(weights[-1]))]
    for weight in reversed(weights[1:]):
        feedback.append(weight.T @ feedback[-1])
    return tuple(reversed(feedback))


def random_feedback(sizes: Sequence[int], initialization: str, rng: np.random.Generator) -> tuple[Array, ...]:
    """Draw the feedback weights of all hidden layers; those of the output are the identity.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the layers without the input.
    initialization : str
        A key of `INITIALIZATIONS`.
    rng : Generator
        Source of the numbers.

    Returns
    -------
    tuple of array (n_i, n_L)
        Feedback weights by layer.
    """
    draw = initializer(initialization)
    hidden = tuple(draw((n, sizes[-1]), rng) for n in sizes[:-1])
    return (*hidden, np.eye(sizes[-1]))


FEEDBACK = ("weight-product", "random", "jacobian-transpose")


def initial_feedback(
    feedback: str, weights: tuple[Array, ...], initialization: str, noise: float, rng: np.random.Generator
) -> tuple[Array, ...] | None:
    """Give the first feedback weights of a network.

    Parameters
    ----------
    feedback : str
        One of `FEEDBACK`.
    weights : tuple of array (n_i, n_{i-1})
        Forward weights by layer.
    initialization : str
        A key of `INITIALIZATIONS`, for random feedback.
    noise : float
        Standard deviation of noise added to the hidden feedback weights.
    rng : Generator
        Source of the numbers.

    Returns
    -------
    tuple of array (n_i, n_L) or None
        Feedback weights by layer; None for feedback through the Jacobian.

    Raises
    ------
    InputError
        If there is no such kind of feedback.
    """
    if feedback not in FEEDBACK:
        raise InputError(f"feedback: expected one of {', '.join(FEEDBACK)}, got {feedback!r}")
    if feedback == "jacobian-transpose":
        return None
    if feedback == "random":
        Q = random_feedback([len(weight) for weight in weights], initialization, rng)
    else:
        Q = weight_product(weights)
    return (*(q + noise * rng.normal(size=q.shape) for q in Q[:-1]), Q[-1])
