"""Optimisers: what applies the change that a law wants, layer by layer.

The arithmetic is that of the PyTorch optimisers which the published settings were found with.  A law's change is
minus a gradient, so weight decay enters with a minus sign too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from ..base import Array, Parameters
from ..errors import InputError

Memory = dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class AbstractOptimizer(ABC):
    """Applies changes: clip the norm of each layer, add weight decay, then the rule of the subclass.

    Parameters
    ----------
    learning_rate : float
        Step size > 0.
    weight_decay : float
        Factor >= 0 of -theta, added to the change before the rule.
    clip_norm : float or None
        Largest Euclidean norm of the change of one layer (weights and bias together).
    """

    learning_rate: float = 0.1
    weight_decay: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if field.name in ("learning_rate", "epsilon", "clip_norm"):
                allowed, words = 0 < value < math.inf, "> 0"
            elif field.name == "weight_decay":
                allowed, words = 0 <= value < math.inf, ">= 0"
            else:
                allowed, words = 0 <= value < 1, "in [0, 1)"
            if not allowed:
                raise InputError(f"{type(self).__name__}.{field.name}: expected a number {words}, got {value!r}")

    def apply(self, parameters: Parameters, change: Parameters, memory: Memory) -> tuple[Parameters, Memory]:
        """Give new parameters and the optimiser's new memory.

        Parameters
        ----------
        parameters : dict of arrays
            The plant's parameters.
        change : dict of arrays
            What the law wants, for some of them.
        memory : dict of arrays
            What the last call gave, empty at first; its arrays are used on and overwritten.

        Returns
        -------
        tuple of dict
            New values of the parameters named in `change`, and the memory to hand in next time.
        """
        new, memory = {}, dict(memory)
        for name, delta in clipped(change, self.clip_norm).items():
            theta = parameters[name]
            wanted, step = delta, np.empty_like(theta)
            if self.weight_decay:
                wanted = np.multiply(theta, -self.weight_decay, out=step)
                wanted += delta
            self._step(name, wanted, memory, step)
            new[name] = np.add(theta, step, out=step)
        return new, memory

    @abstractmethod
    def _step(self, name: str, wanted: Array, memory: Memory, out: Array) -> None:
        """Write the step of one array, the learning rate included, into `out`, which may be `wanted` itself."""


def _recalled(memory: Memory, key: str, like: Array) -> Array:
    """Give what is remembered, zeros at first."""
    if key not in memory:
        memory[key] = np.zeros_like(like)
    return memory[key]


def clipped(change: Mapping[str, Array], norm: float | None) -> dict[str, Array]:
    """Scale the change of each layer down to a largest norm; forward and feedback weights count apart.

    Parameters
    ----------
    change : dict of arrays
        ``W0, b0, Q0, ...``.
    norm : float or None
        The largest norm; None for no limit.

    Returns
    -------
    dict of arrays
        The clipped change.
    """
    if norm is None:
        return dict(change)
    groups: dict[str, list[str]] = {}
    for name in change:
        groups.setdefault(f"{'Q' if name[0] == 'Q' else 'W'}{name[1:]}", []).append(name)
    scaled: dict[str, Array] = {}
    for names in groups.values():
        total = float(np.sqrt(sum(float(np.vdot(change[name], change[name])) for name in names)))
        factor = min(1.0, norm / (total + 1e-6))
        scaled |= {name: change[name] * change[name].dtype.type(factor) for name in names}
    return {name: scaled[name] for name in change}


@dataclass(frozen=True, kw_only=True)
class SGD(AbstractOptimizer):
    """Gradient descent with heavy-ball momentum: m <- momentum m + change, theta <- theta + lr m.

    Parameters
    ----------
    learning_rate, weight_decay, clip_norm : float
        As in `AbstractOptimizer`.
    momentum : float
        Momentum in [0, 1).
    """

    momentum: float = 0.0

    def _step(self, name: str, wanted: Array, memory: Memory, out: Array) -> None:
        if self.momentum:
            m = _recalled(memory, f"momentum/{name}", out)
            m *= self.momentum
            m += wanted
            wanted = m
        np.multiply(wanted, self.learning_rate, out=out)


@dataclass(frozen=True, kw_only=True)
class Adam(AbstractOptimizer):
    """Adam (Kingma, Ba 2015, algorithm 1); the defaults are those of the DFC code.

    Parameters
    ----------
    learning_rate, weight_decay, clip_norm : float
        As in `AbstractOptimizer`.
    beta1, beta2 : float
        Decay of the two moments, in [0, 1).
    epsilon : float
        Added to the root of the second moment.
    """

    beta1: float = 0.99
    beta2: float = 0.99
    epsilon: float = 1e-8

    def _step(self, name: str, wanted: Array, memory: Memory, out: Array) -> None:
        first, second = (_recalled(memory, f"{key}/{name}", out) for key in ("first", "second"))
        count = int(memory.get(f"count/{name}", 0)) + 1
        memory[f"count/{name}"] = np.asarray(count)
        # The moments are kept as sums; what makes them unbiased means goes into two numbers, not into two more passes.
        first *= self.beta1
        first += wanted
        np.multiply(wanted, wanted, out=out)
        second *= self.beta2
        second += out
        mean = (1 - self.beta1) / (1 - self.beta1**count)
        root = math.sqrt((1 - self.beta2) / (1 - self.beta2**count))
        np.sqrt(second, out=out)
        out += self.epsilon / root
        np.divide(first, out, out=out)
        out *= self.learning_rate * mean / root


@dataclass(frozen=True, kw_only=True)
class RMSprop(AbstractOptimizer):
    """Centred RMSprop (Graves 2013, section 4); the defaults are those of the DFC code.

    Parameters
    ----------
    learning_rate, weight_decay, clip_norm : float
        As in `AbstractOptimizer`.
    smoothing : float
        Decay of the moments, in [0, 1).
    epsilon : float
        Added to the root of the variance.
    """

    smoothing: float = 0.95
    epsilon: float = 0.03

    def _step(self, name: str, wanted: Array, memory: Memory, out: Array) -> None:
        mean, square = (_recalled(memory, f"{key}/{name}", out) for key in ("mean", "square"))
        scale = wanted * (1 - self.smoothing)
        mean *= self.smoothing
        mean += scale
        scale *= wanted
        square *= self.smoothing
        square += scale
        np.multiply(mean, mean, out=scale)
        np.subtract(square, scale, out=scale)
        # Rounding can make the variance of a constant change negative.
        np.maximum(scale, 0, out=scale)
        np.sqrt(scale, out=scale)
        scale += self.epsilon
        np.divide(wanted, scale, out=out)
        out *= self.learning_rate


OPTIMIZERS = {"sgd": SGD, "adam": Adam, "rmsprop": RMSprop}
