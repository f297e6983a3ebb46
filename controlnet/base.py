"""What the closed loop asks of a plant, a controller, an integrator and an adaptation law.

The letters are those of `controlnet.wires`; what a model of one's own needs is imported from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ._idle import add_no_noise, observe_nothing, rate_of_nothing, set_no_control, set_no_input
from .errors import InputError
from .law import AbstractLaw, Frozen, Proposal
from .linear import Linear, linear_plant, plant_step
from .rest import Rest, Rests, find_rest
from .wires import (
    Array,
    Block,
    Kernel,
    Parameters,
    System,
    add_scaled,
    copy,
    euler_advance,
    euler_control,
    follow,
)

__all__ = [
    "AbstractController",
    "AbstractIntegrator",
    "AbstractLaw",
    "AbstractPlant",
    "Array",
    "Block",
    "Frozen",
    "Kernel",
    "Linear",
    "Parameters",
    "Proposal",
    "System",
    "add_scaled",
    "copy",
    "follow",
]


class AbstractPlant(ABC):
    """A dynamical system that can be controlled: dx/dt = f(t, x, u, w), y = h(t, x, u, w).

    A subclass is a frozen dataclass that sets the sizes and binds its kernels, written for a block of samples::

        dynamics(t, x, u, w, p, dx)     output(t, x, u, w, p, y)
    """

    nstates: int
    ninputs: int
    noutputs: int
    nexogenous: int = 0
    dtype: np.dtype[Any] = np.dtype(np.float64)
    feedthrough: bool = False
    """Whether y depends on u without delay."""
    discrete: bool = False
    """Whether `dynamics` lacks something that only the plant's own step `advance` has."""
    dynamics: ClassVar[Kernel]
    output: ClassVar[Kernel]
    advance: ClassVar[Kernel] = staticmethod(euler_advance)
    """``advance(system, k, t, dt, block)``: one step of the plant's own scheme, used by `Sequential`."""
    noise_layers: tuple[int, ...] = ()
    """Sizes by layer of the signal that `advance` lets noise disturb; empty if there is none."""
    shortest_time: float = 0.0
    """Time constant that the step of an explicit method must not exceed; 0 for none."""
    set_input: ClassVar[Kernel] = staticmethod(set_no_input)
    """``set_input(w, p)``: called whenever the exogenous input has changed."""
    set_control: ClassVar[Kernel] = staticmethod(set_no_control)
    """``set_control(x, u, p)``: called before `dynamics` when the control at this state is known."""
    inner: Any = None
    """What an output layer leaves of a network if it is so wide that matrices of its size had better be avoided."""
    observe: ClassVar[Kernel] = staticmethod(observe_nothing)
    """``observe(block, out)``: writes the rows that `observables` names."""

    @abstractmethod
    def params(self, batch: int) -> NamedTuple | tuple[()]:
        """Give what the kernels know: constants, and the workspace of one block.

        Parameters
        ----------
        batch : int
            Number of samples in the block.

        Returns
        -------
        NamedTuple
            Floats of type `dtype` and C-contiguous arrays; never a Python int.
        """

    @property
    def observables(self) -> Mapping[str, tuple[int, ...]]:
        """Names of further signals that can be recorded, with their sizes by layer."""
        return {}

    @property
    def parameters(self) -> Parameters:
        """What an adaptation law may change, by name."""
        return {}

    def with_parameters(self, parameters: Parameters) -> AbstractPlant:
        """Give the same plant with other parameters.

        Parameters
        ----------
        parameters : dict of arrays
            A value for each name in `parameters`.

        Returns
        -------
        AbstractPlant
            A new plant; this one is unchanged.
        """
        if parameters:
            raise InputError(f"{type(self).__name__} has no parameters that a law could change")
        return self

    def initial_state(self, inputs: Array) -> Array:
        """Give the state in which a simulation starts when none is named: zeros, or the plant's rest.

        Parameters
        ----------
        inputs : array (batch, nexogenous)
            The exogenous input at the start.

        Returns
        -------
        array (batch, nstates)
            A state for each sample.
        """
        return np.zeros((len(inputs), self.nstates), self.dtype)

    def at_rest(self, u: Array, inputs: Array) -> Rest:
        """Give state and output at rest under a constant control, and how the output depends on it.

        Parameters
        ----------
        u : array (batch, ninputs)
            Control.
        inputs : array (batch, nexogenous)
            Exogenous input.

        Returns
        -------
        Rest
            x, y, dy/du and stability; NaN for samples without a rest.

        Raises
        ------
        InputError
            If there is no such state.
        """
        return find_rest(self, u, inputs)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states."""
        return tuple(f"x[{i}]" for i in range(self.nstates))

    def linearize(self, x: Array, u: Array, inputs: Array) -> Linear:
        """Give the plant near a state, by differences of its kernels if it does not know better.

        Parameters
        ----------
        x : array (batch, nstates)
            State.
        u : array (batch, ninputs)
            Control.
        inputs : array (batch, nexogenous)
            Exogenous input.

        Returns
        -------
        Linear
            A, B, C, D for small deviations of x and u, and an estimate of their error.
        """
        return linear_plant(self, x, u, inputs)

    def linearize_minimal(self, x: Array, u: Array, inputs: Array) -> Linear:
        """Give the same transfer function from u to y with fewer states, if the plant knows how.

        Parameters
        ----------
        x : array (batch, nstates)
            State.
        u : array (batch, ninputs)
            Control.
        inputs : array (batch, nexogenous)
            Exogenous input.

        Returns
        -------
        Linear
            A, B, C, D; the states are not those of the plant.
        """
        return self.linearize(x, u, inputs)

    def linearize_step(self, dt: float, x: Array, u: Array, inputs: Array) -> Linear:
        """Give the plant's own step near a state, by differences of its kernels if it does not know better.

        Parameters
        ----------
        dt : float
            Step size.
        x : array (batch, nstates)
            State.
        u : array (batch, ninputs)
            Control that is applied.
        inputs : array (batch, nexogenous)
            Exogenous input.

        Returns
        -------
        Linear
            State and output after the step, x' = A x + B u and y' = C x + D u for small deviations.
        """
        return plant_step(self, dt, x, u, inputs)

    def rests(self, inputs: Array, basal: Array | None = None) -> Rests:
        """Give the rests for a batch of inputs, to be asked for many times.

        Parameters
        ----------
        inputs : array (batch, nexogenous)
            Exogenous input.
        basal : array (batch, n), optional
            What a plant makes of its inputs first, if it is known; a network's first basal voltage.

        Returns
        -------
        Rests
            Gives output, gain and state for a control.
        """
        return Rests(self, inputs)


class AbstractController(ABC):
    """A controller: dz/dt = rate(t, z, e, u), u = command(t, z, e).

    A subclass is a frozen dataclass that binds its kernels, written for a block of samples::

        rate(t, z, e, u, q, dz)         command(t, z, e, q, u)
    """

    rate: ClassVar[Kernel] = staticmethod(rate_of_nothing)
    command: ClassVar[Kernel]
    control_step: ClassVar[Kernel] = staticmethod(euler_control)
    """``control_step(system, t, dt, block)``: one step of the controller's own scheme, used by `Sequential`."""
    shortest_time: float = 0.0
    """Time constant that the step of an explicit method must not exceed; 0 for none."""
    feedthrough: bool = True
    """Whether u depends on e without delay."""
    linear: bool = False
    """Whether u follows from e linearly, and alike for every output."""

    def nstates(self, noutputs: int) -> int:
        """Give the number of states that control of a plant needs: none, if a controller does not say more.

        Parameters
        ----------
        noutputs : int
            Number of outputs of the plant.

        Returns
        -------
        int
            Number of states.
        """
        return 0

    @abstractmethod
    def params(self, dtype: np.dtype[Any]) -> NamedTuple | tuple[()]:
        """Give what the kernels know.

        Parameters
        ----------
        dtype : dtype
            The plant's; all numbers are given in it.

        Returns
        -------
        NamedTuple
            Floats and C-contiguous arrays of type `dtype`; never a Python int.
        """

    def steady_relation(self) -> tuple[float, float]:
        """Give (a, b) of the relation a e = b u that holds when the controller is at rest.

        Returns
        -------
        tuple of float
            The pair (a, b).

        Raises
        ------
        InputError
            If the controller has not stated such a relation.
        """
        raise InputError(
            f"{type(self).__name__} does not state its relation at rest: "
            "implement `steady_relation` to use `equilibrium`"
        )


class AbstractIntegrator(ABC):
    """A scheme that steps plant and controller from t to t + dt.

    A subclass is a frozen dataclass that binds two kernels::

        settle(system, t, s, block)     brings u, y and e in agreement with the joint state s
        step(system, k, t, dt, block)   finds the block settled at t, leaves ``block.s`` at t + dt
    """

    settle: ClassVar[Kernel]
    step: ClassVar[Kernel]
    stages: int = 1
    """Number of arrays of the joint state's size in ``block.work``."""
    holds_control: ClassVar[bool] = False
    """Whether `step` is the controller's alone, and the plant then advances by its own scheme under ``block.applied``.

    If not, u(t) and y(t) belong to the same instant, and an algebraic loop must not occur.
    """
    delay: int = 0
    """Number of steps by which the control reaches the plant late."""
    noise: Any = None
    """Noise in the plant's own steps, or None."""
    disturb: ClassVar[Kernel] = staticmethod(add_no_noise)
    """``disturb(dt, tau, block, out)``: adds noise to a signal that the plant's own step lets it disturb."""

    def disturbance(self, plant: AbstractPlant, part: slice, seed: np.random.SeedSequence, block: int) -> Any:
        """Give what `disturb` knows as ``block.noise``.

        Parameters
        ----------
        plant : AbstractPlant
            The plant.
        part : slice
            The samples of the block.
        seed : SeedSequence
            Source of the streams of all blocks.
        block : int
            Number of the block.

        Returns
        -------
        NamedTuple
            Its numbers depend on seed and block alone.
        """
        return ()

    def params(self, dtype: np.dtype[Any]) -> NamedTuple | tuple[()]:
        """Give what the kernels know as ``block.scheme``.

        Parameters
        ----------
        dtype : dtype
            The plant's; all numbers are given in it.

        Returns
        -------
        NamedTuple
            Floats and C-contiguous arrays of type `dtype`.
        """
        return ()
