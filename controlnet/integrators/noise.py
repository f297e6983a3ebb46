"""Noise in the dynamics: what an integrator adds to the signals that a plant lets it disturb."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._check import require_above_zero, require_at_least_zero
from .._kernel import kernel
from .._random import fill_normal, stream
from ..base import AbstractPlant, Array, Block, copy
from ..errors import DimensionError, InputError


class NoiseMemory(NamedTuple):
    """What the kernel knows of one block; `tau` = 0 for white noise, no entry in `recorded` to draw the numbers.

    Without room in `drawn` there is no noise.
    """

    sigma: Array
    drawn: Array
    filtered: Array
    recorded: Array
    stream: Array
    step: Array
    tau: float


@kernel
def disturb(dt: float, tau: float, b: Block, out: Array) -> None:
    """Add noise to a signal of the plant, or nothing if there is none.

    Parameters
    ----------
    dt, tau : float
        Step size, and time constant of the disturbed signal.
    b : Block
        The wires; `b.noise` is the memory.
    out : array (n, batch)
        The signal.
    """
    n, one = b.noise, out.dtype.type(1)
    if n.drawn.size == 0:
        return
    xi = n.drawn[: out.size].reshape(out.shape)
    if n.recorded.shape[0] > 0:
        copy(n.recorded[n.step[0]], xi)
    else:
        fill_normal(n.stream, n.step[0], n.drawn)
    n.step[0] += 1
    if n.tau > 0:
        share = dt / n.tau
        gain = share / math.sqrt(dt)
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                n.filtered[i, j] = gain * xi[i, j] + (one - share) * n.filtered[i, j]
                out[i, j] += n.sigma[i] * n.filtered[i, j]
    else:
        gain = math.sqrt(dt) / tau
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] += gain * n.sigma[i] * xi[i, j]


@kernel
def transpose_disturb(dt: float, tau: float, n: NoiseMemory, out: Array) -> None:
    """Write what each random number weighs in a weighted sum over the steps of a disturbed signal that decays with tau.

    The transpose of `disturb` and of the decay, for sigma = 1.

    Parameters
    ----------
    dt, tau : float
        Step size, and time constant of the disturbed signal.
    n : NoiseMemory
        The noise.
    out : array (steps, n)
        The weights of the signal, replaced by those of the random numbers.
    """
    one = out.dtype.type(1)
    _sum_backwards(one - dt / tau, out)
    gain = math.sqrt(dt) / tau
    if n.tau > 0:
        _sum_backwards(one - dt / n.tau, out)
        gain = dt / n.tau / math.sqrt(dt)
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[k, j] *= gain


@kernel
def _sum_backwards(keep: float, out: Array) -> None:
    for k in range(out.shape[0] - 2, -1, -1):
        for j in range(out.shape[1]):
            out[k, j] += keep * out[k + 1, j]


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractNoise(ABC):
    """Noise with one strength for the hidden layers and one for the output layer.

    Parameters
    ----------
    sigma : float
        Strength >= 0, in the unit of the disturbed signal times the root of the unit of time.
    sigma_output : float or None
        Strength in the output layer; None for that of the hidden layers.
    recorded : array (steps, batch, n) or None
        Numbers from N(0, 1) to use, the layers side by side; None to draw them.
    """

    sigma: float
    sigma_output: float | None = None
    recorded: Array | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        require_at_least_zero(name, sigma=self.sigma)
        if self.sigma_output is not None:
            require_at_least_zero(name, sigma_output=self.sigma_output)
        if self.recorded is not None:
            recorded = np.asarray(self.recorded)
            if recorded.ndim != 3 or recorded.dtype.kind not in "fiu" or not np.isfinite(recorded).all():
                raise InputError(f"{name}.recorded: expected finite numbers of shape (steps, batch, n)")
            object.__setattr__(self, "recorded", recorded)

    @property
    @abstractmethod
    def correlation_time(self) -> float:
        """Time constant of the noise; 0 for white noise."""

    @property
    def strengths(self) -> tuple[float, float]:
        """Sigma of the hidden layers and of the output layer."""
        return self.sigma, self.sigma if self.sigma_output is None else self.sigma_output

    def check(self, layers: Sequence[int], batch: int, steps: int, dt: float) -> None:
        """Raise unless this noise can disturb a plant for so many steps.

        Parameters
        ----------
        layers : sequence of int
            Widths of the disturbed layers.
        batch, steps : int
            Number of samples and of steps.
        dt : float
            Step size.

        Raises
        ------
        DimensionError, InputError
            Naming the field.
        """
        name = type(self).__name__
        if 0 < self.correlation_time < dt:
            raise InputError(f"{name}.tau: expected at least dt = {dt:g}, got {self.correlation_time:g}")
        if self.recorded is None:
            return
        shape, n = np.shape(self.recorded), sum(layers)
        if shape[0] < steps or shape[1:] != (batch, n):
            raise DimensionError(f"{name}.recorded: expected shape ({steps}, {batch}, {n}), got {shape}")

    def memory(
        self, layers: Sequence[int], dtype: np.dtype[Any], part: slice, seed: np.random.SeedSequence, block: int
    ) -> NoiseMemory:
        """Give what the kernel knows of one block.

        Parameters
        ----------
        layers : sequence of int
            Widths of the disturbed layers.
        dtype : dtype
            Precision of the signals.
        part : slice
            The samples of the block.
        seed : SeedSequence
            Source of the streams of all blocks.
        block : int
            Number of the block.

        Returns
        -------
        NoiseMemory
            Its numbers depend on seed and block alone.
        """
        n, batch, (hidden, output) = sum(layers), part.stop - part.start, self.strengths
        recorded = np.zeros((0, n, batch)) if self.recorded is None else self.recorded[:, part].swapaxes(1, 2)
        return NoiseMemory(
            sigma=np.array([hidden] * (n - layers[-1]) + [output] * layers[-1], dtype),
            drawn=np.zeros(n * batch + n * batch % 2, dtype),
            filtered=np.zeros((n, batch), dtype),
            recorded=np.array(recorded, dtype, order="C"),
            stream=stream(seed, block),
            step=np.zeros(1, np.int64),
            tau=dtype.type(self.correlation_time),
        )


def silence(plant: AbstractPlant, batch: int) -> NoiseMemory:
    """Give the memory of a block without noise, so that one compiled loop serves a plant with noise and without.

    Parameters
    ----------
    plant : AbstractPlant
        A plant with a signal that noise could disturb.
    batch : int
        Number of samples.

    Returns
    -------
    NoiseMemory
        A memory without room.
    """
    dtype = plant.dtype
    empty, none, zero = np.zeros(0, dtype), np.zeros((0, batch), dtype), np.zeros((0, 0, batch), dtype)
    return NoiseMemory(empty, empty.copy(), none, zero, np.zeros(2, np.uint64), np.zeros(1, np.int64), dtype.type(0))


@dataclass(frozen=True, eq=False, kw_only=True)
class WhiteNoise(AbstractNoise):
    """White noise by Euler and Maruyama: tau_a dv_fb = (-v_fb + Q u) dt + sigma dW.

    Every step adds sigma sqrt(dt) / tau_a xi to the apical voltage; without an apical time constant tau_a = dt.

    Parameters
    ----------
    sigma, sigma_output, recorded
        As in `AbstractNoise`.
    """

    @property
    def correlation_time(self) -> float:
        """Time constant of the noise: 0."""
        return 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class FilteredNoise(AbstractNoise):
    """Low-pass filtered noise: tau dn = -n dt + dW, v_fb += sigma n (Meulemans et al. 2022).

    By Euler and Maruyama n <- dt / tau / sqrt(dt) xi + (1 - dt / tau) n, from n = 0: an Ornstein-Uhlenbeck process of
    variance 1 / (2 tau - dt) with correlation (1 - dt / tau)^k over k steps.  What is added stays in an apical voltage
    that has a time constant of its own, as in the public code.

    Parameters
    ----------
    sigma, sigma_output, recorded
        As in `AbstractNoise`.
    tau : float
        Correlation time, at least the step size of the simulation.
    """

    tau: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above_zero("FilteredNoise", tau=self.tau)

    @property
    def correlation_time(self) -> float:
        """Time constant of the noise."""
        return self.tau


def make_noise(sigma: float, sigma_output: float | None = None, tau: float | None = None) -> Any:
    """Give the noise of these numbers.

    Parameters
    ----------
    sigma : float
        Strength in the hidden layers.
    sigma_output : float, optional
        Strength in the output layer; that of the hidden layers if not given.
    tau : float, optional
        Correlation time; white noise if not given.

    Returns
    -------
    WhiteNoise, FilteredNoise or None
        None if all strengths are zero.
    """
    if not sigma and not sigma_output:
        return None
    if tau is None:
        return WhiteNoise(sigma=sigma, sigma_output=sigma_output)
    return FilteredNoise(sigma=sigma, sigma_output=sigma_output, tau=tau)
