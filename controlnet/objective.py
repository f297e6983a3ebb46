"""What is to be learned: the reference of the controller that follows from a loss, and a lesson."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ._check import all_finite
from ._forward import feed_forward
from .base import Array
from .errors import DimensionError, InputError
from .losses import LOSSES, AbstractLoss, CrossEntropy, MeanSquaredError

if TYPE_CHECKING:
    from .equilibrium import Equilibrium
    from .loop import ClosedLoop
    from .response import Response

__all__ = [
    "LOSSES",
    "AbstractLoss",
    "AbstractObjective",
    "CrossEntropy",
    "Lesson",
    "MeanSquaredError",
    "Nudged",
    "OwnOutput",
    "Strong",
]


class AbstractObjective(ABC):
    """A loss, and the reference of the controller that follows from it."""

    loss: AbstractLoss

    @abstractmethod
    def reference(self, y: Array, labels: Array) -> Array:
        """Give the reference of the controller.

        Parameters
        ----------
        y, labels : array
            Feed-forward output and labels, as in `AbstractLoss.evaluate`.

        Returns
        -------
        array (batch, noutputs)
            The reference r*.
        """


@dataclass(frozen=True)
class Nudged(AbstractObjective):
    """Weak feedback: the reference is the feed-forward output moved a little down the loss.

    r* = r_L - lambda dL/dr_L, per sample (Meulemans et al. 2021).

    Parameters
    ----------
    loss : AbstractLoss
        The loss L.
    stepsize : float
        The nudging strength lambda > 0.
    """

    loss: AbstractLoss
    stepsize: float = 0.1

    def __post_init__(self) -> None:
        if not self.stepsize > 0:
            raise InputError(f"Nudged.stepsize: expected a number > 0, got {self.stepsize!r}")

    def reference(self, y: Array, labels: Array) -> Array:
        return y - y.dtype.type(self.stepsize) * self.loss.gradient(y, labels)


@dataclass(frozen=True)
class Strong(AbstractObjective):
    """Strong feedback: the reference is the label itself (Meulemans et al. 2022).

    Parameters
    ----------
    loss : AbstractLoss
        Gives the target vectors; for classes a `CrossEntropy` with a target value below 1.
    """

    loss: AbstractLoss

    def reference(self, y: Array, labels: Array) -> Array:
        return self.loss.targets(labels, y.shape[1]).astype(y.dtype)


@dataclass(frozen=True)
class OwnOutput(AbstractObjective):
    """The reference is the feed-forward output itself, so that only noise moves the controller (Meulemans et al. 2021).

    The sleep phase of two-phase feedback learning under weak feedback.

    Parameters
    ----------
    loss : AbstractLoss
        The loss that is reported.
    """

    loss: AbstractLoss

    def reference(self, y: Array, labels: Array) -> Array:
        return y


@dataclass(frozen=True, eq=False)
class Lesson:
    """One batch to learn from, and how long the loop is simulated for it.

    Parameters
    ----------
    plant : DeepNetwork
        The network that learns.
    inputs : array (batch, n_0)
        Input patterns.
    labels : array (batch,) of int or (batch, n_L) of float
        Classes or target vectors.
    objective : Nudged, Strong or OwnOutput
        Loss and reference.
    dt : float
        Step size.
    steps : int
        Number of steps.
    threads : int, optional
        Number of threads; all cores if not given.
    seed : int or SeedSequence
        Source of the noise, if the loop has any.
    guess : array (batch, n_L), optional
        Control from which the search for a steady state starts; not a number where there is none.
    extend : float, optional
        Relative error with which settled samples may be extended in closed form, as in `ClosedLoop.simulate`.
    """

    plant: Any
    inputs: Array
    labels: Array
    objective: AbstractObjective
    dt: float = 0.02
    steps: int = 500
    threads: int | None = None
    seed: int | np.random.SeedSequence = 0
    guess: Array | None = None
    extend: float | None = None

    def __post_init__(self) -> None:
        if not hasattr(self.plant, "weights"):
            raise InputError(f"Lesson: expected a DeepNetwork as plant, got {type(self.plant).__name__}")
        for name in ("inputs", "labels"):
            array = np.asarray(getattr(self, name))
            if array.dtype.kind == "f" and not all_finite(array):
                raise InputError(f"Lesson: {name} hold a NaN or an infinity: expected finite numbers")
            object.__setattr__(self, name, array)
        n, inputs, labels = self.plant.nexogenous, self.inputs.shape, self.labels.shape
        if len(inputs) != 2 or inputs[1] != n or inputs[:1] != labels[:1]:
            raise DimensionError(f"Lesson: expected inputs (batch, {n}) and as many labels, got {inputs} and {labels}")

    def require(self, plant: Any) -> None:
        """Raise unless this lesson is for a plant as it is now.

        Parameters
        ----------
        plant : DeepNetwork
            The plant of the loop that learns.

        Raises
        ------
        InputError
            If the lesson was made for another plant, or before it changed.
        """
        if plant is not self.plant:
            raise InputError("lesson: made for another plant, or before this one changed; make a new Lesson")

    def simulate(self, loop: ClosedLoop, **options: Any) -> Response:
        """Simulate a loop on this lesson.

        Parameters
        ----------
        loop : ClosedLoop
            The loop.
        **options
            Further arguments of `ClosedLoop.simulate`; nothing is recorded if they do not say so.

        Returns
        -------
        Response
            What came out.
        """
        grid = {"dt": self.dt, "steps": self.steps, "threads": self.threads, "seed": self.seed, "extend": self.extend}
        return loop.simulate(self.reference, inputs=self.inputs, **{"record": (), **grid, **options})

    @cached_property
    def _rest(self) -> tuple[list[Array], list[Array]]:
        return feed_forward(self.plant, self.inputs, threads=self.threads)

    @property
    def voltages(self) -> list[Array]:
        """Feed-forward voltages of all layers."""
        return self._rest[0]

    @property
    def rates(self) -> list[Array]:
        """Feed-forward rates of all layers."""
        return self._rest[1]

    def below(self, rates: Sequence[Array] | None = None) -> list[Array]:
        """Give what each layer receives: the inputs, or the rates of the layer below.

        Parameters
        ----------
        rates : sequence of array (batch, n_i), optional
            Rates of all layers; the feed-forward ones if not given.

        Returns
        -------
        list of array (batch, n_{i-1})
            r_0 ... r_{L-1}.
        """
        return [np.asarray(self.inputs, self.plant.dtype), *(self.rates if rates is None else rates)[:-1]]

    def steady_state(self, loop: ClosedLoop, tolerance: float | Array | None = None) -> Equilibrium:
        """Find the steady state of a loop on this lesson.

        Parameters
        ----------
        loop : ClosedLoop
            The loop.
        tolerance : float or array (batch,), optional
            Largest residual that counts as zero.

        Returns
        -------
        Equilibrium
            What was found.
        """
        options: dict[str, Any] = {"guess": self.guess, "tolerance": tolerance, "threads": self.threads}
        return loop.equilibrium(self.reference, rests=self.rests, **options)

    @cached_property
    def rests(self) -> Any:
        """The network's rests under constant controls."""
        return self.plant.rests(self.inputs, self.voltages[0])

    @property
    def output(self) -> Array:
        """Feed-forward output (batch, n_L)."""
        return self.voltages[-1]

    @cached_property
    def reference(self) -> Array:
        """Reference of the controller (batch, n_L)."""
        return self.objective.reference(self.output, self.labels)

    @cached_property
    def _evaluated(self) -> tuple[float, Array]:
        return self.objective.loss.evaluate(self.output, self.labels)

    @property
    def loss(self) -> float:
        """Mean loss of the feed-forward output."""
        return self._evaluated[0]

    @property
    def output_gradient(self) -> Array:
        """Gradient of each sample's loss in its feed-forward output (batch, n_L)."""
        return self._evaluated[1]
