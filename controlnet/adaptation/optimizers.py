"""Optimisers: what applies the change that a law wants, layer by layer.

The arithmetic is that of the PyTorch optimisers which the published settings were found with.  A law's change is
minus a gradient, so weight decay enters with a minus sign too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

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
            What the last call gave; empty at first.

        Returns
        -------
        tuple of dict
            New values of the parameters named in `change`, and the memory to hand in next time.
        """
        new: Parameters = {}
        remembered = dict(memory)
        for name, delta in clipped(change, self.clip_norm).items():
            wanted = delta - parameters[name] * self.weight_decay if self.weight_decay else delta
            mine = {key: memory.get(f"{key}/{name}") for key in self.remembered}
            step, mine = self._step(wanted, mine)
            new[name] = parameters[name] + (self.learning_rate * step).astype(delta.dtype)
            remembered |= {f"{key}/{name}": value for key, value in mine.items() if value is not None}
        return new, remembered

    remembered: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def _step(self, wanted: Array, memory: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        """Give the step before the learning rate, and the new memory of one array."""


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
    remembered = ("momentum",)

    def _step(self, wanted: Array, memory: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        if not self.momentum:
            return wanted, {}
        last = memory["momentum"]
        step = wanted if last is None else self.momentum * last + wanted
        return step, {"momentum": step}


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
    remembered = ("first", "second", "count")

    def _step(self, wanted: Array, memory: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        zero = np.zeros_like(wanted)
        first, second = (zero if memory[key] is None else memory[key] for key in ("first", "second"))
        count = (0 if memory["count"] is None else int(memory["count"])) + 1
        first = self.beta1 * first + (1 - self.beta1) * wanted
        second = self.beta2 * second + (1 - self.beta2) * wanted**2
        scale = np.sqrt(second) / math.sqrt(1 - self.beta2**count) + self.epsilon
        return first / (1 - self.beta1**count) / scale, {
            "first": first,
            "second": second,
            "count": np.asarray(count),
        }


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
    remembered = ("mean", "square")

    def _step(self, wanted: Array, memory: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        zero = np.zeros_like(wanted)
        mean, square = (zero if memory[key] is None else memory[key] for key in ("mean", "square"))
        square = self.smoothing * square + (1 - self.smoothing) * wanted**2
        mean = self.smoothing * mean + (1 - self.smoothing) * wanted
        # Rounding can make the variance of a constant change negative.
        scale = np.sqrt(np.maximum(square - mean**2, 0)) + self.epsilon
        return wanted / scale, {"mean": mean, "square": square}


OPTIMIZERS = {"sgd": SGD, "adam": Adam, "rmsprop": RMSprop}
