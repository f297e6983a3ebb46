"""Eigenvalues of the loop near its steady states, which decide on stability; how far it is from instability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._parallel import on_threads
from ..base import Array
from ..equilibrium import Equilibrium, require_fitting
from ..errors import InputError
from ..linear_loop import linear_loop, step_matrices
from ..loop import ClosedLoop
from ..plants._network_linear import between_layers

ROUNDING = 1e-13
"""Real part, in units of the largest eigenvalue, that counts as zero."""
CHUNK = 2**24
"""Entries of all matrices that are held at a time."""


def loop_matrices(network: Any, voltages: Sequence[Array], *, leak: float, k_p: float = 0.0) -> dict[str, Array]:
    """Give the loop's matrix under four assumptions, per sample (Meulemans et al. 2021, section 3.4 and appendix).

    The state of the joint matrices is the deviation of all voltages, then of the control; the unit of time is tau_u.
    With J the Jacobian in all voltages, J_L its part of the output layer alone, F the matrix with blocks
    W_i diag(phi'(v_{i-1})) from layer i - 1 to layer i, and alpha the leak:

    - ``separated``: -(J Q + alpha I), the network at rest at every instant;
    - ``integral``: [[-(I - F) / tau, Q / tau], [-J_L, -alpha I]], integral control of the network's own dynamics;
    - ``steady``: [[-(I - F) / tau, (I - F) Q / tau], [-J, -alpha I]], the same with the feedback acting on all
      voltages at once;
    - ``proportional-integral``: the latter with -J + k_p / tau J_L and -(alpha I + k_p / tau Q_L) in its second row.

    Parameters
    ----------
    network : DeepNetwork
        The network.
    voltages : sequence of array (batch, n_i)
        Somatic voltages by layer, at the steady state or at the feed-forward one.
    leak : float
        alpha.
    k_p : float
        Proportional gain.

    Returns
    -------
    dict of array (batch, n, n)
        The matrices by name.
    """
    J, tau = network.jacobian(voltages), network.tau_v
    n_L, n = network.noutputs, network.nneurons
    Q, leaking = (np.stack([matrix] * len(J)) for matrix in (network.stacked_feedback(), leak * np.eye(n_L)))
    own = (np.eye(n) - between_layers(network, voltages)) / tau
    last = np.zeros_like(J)
    last[:, :, n - n_L :] = J[:, :, n - n_L :]
    steady = own @ Q
    proportional = leaking + k_p / tau * (J[:, :, n - n_L :] @ Q[:, n - n_L :])
    return {
        "separated": -(J @ Q + leaking),
        "integral": np.block([[-own, Q / tau], [-last, -leaking]]),
        "steady": np.block([[-own, steady], [-J, -leaking]]),
        "proportional-integral": np.block([[-own, steady], [k_p / tau * last - J, -proportional]]),
    }


def spectral_abscissa(matrices: Array) -> Array:
    """Give the largest real part of the eigenvalues of each matrix: negative where the loop is stable.

    Parameters
    ----------
    matrices : array (batch, n, n)
        Matrices of dx/dt = A x.

    Returns
    -------
    array (batch,)
        max Re lambda.
    """
    return np.asarray(np.linalg.eigvals(matrices).real.max(axis=1, initial=-np.inf))


@dataclass(frozen=True, eq=False)
class Stability:
    """How a loop moves near its steady states; NaN where none was found.

    Parameters
    ----------
    eigenvalues : array (batch, nstates)
        Of the whole loop in continuous time, plant and controller; none (batch, 0) if the plant's transmission is
        delayed, so that the loop exists from step to step only.
    separated : array (batch, n_L)
        Of -(a E G + b I), the controller on a plant that is at rest at every instant: for a network under integral
        control those of -(J Q + alpha I).
    radius : array (batch,) or None
        Largest absolute eigenvalue of one step of the loop's own scheme, if a step size was given.
    dt : float or None
        The step size.
    converged : array (batch,) of bool
        Whether there is a steady state.
    error : array (batch,)
        Estimate of the largest error of an entry of the linearised loop: rounding if the plant knows its derivatives.
    """

    eigenvalues: Array
    separated: Array
    radius: Array | None
    dt: float | None
    converged: Array
    error: Array

    @property
    def max_real_eigenvalue(self) -> Array:
        """Spectral abscissa of the whole loop (batch,): negative where it is stable."""
        return np.asarray(self.eigenvalues.real.max(axis=1, initial=-np.inf))

    @property
    def marginal(self) -> Array:
        """Where the rightmost eigenvalue is zero, rounding aside (batch,) of bool.

        A softmax without leak leaves the common shift of all controls alone, `PI` with k_i = 0 its own state.
        """
        largest = np.abs(self.eigenvalues).max(axis=1, initial=0)
        return np.asarray(self.converged & (np.abs(self.max_real_eigenvalue) <= ROUNDING * largest))

    @property
    def stable(self) -> Array:
        """Where the loop is stable, at its step size too if that is known (batch,) of bool."""
        return np.asarray(self._continuous & (True if self.radius is None else self.radius < 1))

    @property
    def _continuous(self) -> Array:
        return np.asarray(self.converged & (self.max_real_eigenvalue < 0) & ~self.marginal)

    def verdict(self) -> str:
        """Say in a sentence what holds of how many samples.

        Returns
        -------
        str
            Counts of stable, unstable, marginal and unconverged samples, and of those unstable by the step size alone.
        """
        counts = {
            "stable": int(self.stable.sum()),
            "unstable": int((self.converged & ~self._continuous & ~self.marginal).sum()),
            "marginal (an eigenvalue is zero)": int(self.marginal.sum()),
            f"stable in continuous time but not at dt = {self.dt}": int((self._continuous & ~self.stable).sum()),
            "without a stable steady state": int((~self.converged).sum()),
        }
        named = [f"{n} {what}" for i, (what, n) in enumerate(counts.items()) if n or i == 0]
        return f"of {len(self.converged)} samples " + ", ".join(named)


def stability(loop: ClosedLoop, steady: Equilibrium, dt: float | None = None, threads: int | None = None) -> Stability:
    """Find the eigenvalues of a loop at the steady states of a batch.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    steady : Equilibrium
        What ``loop.equilibrium`` gave.
    dt : float, optional
        Step size at which the loop is simulated.
    threads : int, optional
        Number of threads; all cores if not given.

    Returns
    -------
    Stability
        Eigenvalues, spectral radius and what they mean.

    Raises
    ------
    InputError
        If transmission is delayed and no step size given, the scheme is not known, or the step size not above zero.
    """
    if dt is not None and not dt > 0:
        raise InputError(f"dt: expected a number > 0, got {dt!r}")
    in_steps = loop.plant.discrete and dt is not None
    batch, n = len(steady.u), loop.plant.nstates + loop.controller.nstates(loop.plant.noutputs)
    eigenvalues, error = np.full((batch, 0 if in_steps else n), np.nan, complex), np.full(batch, np.nan)
    radius = None if dt is None else np.full(batch, np.nan)
    converged = np.flatnonzero(steady.converged)
    pieces = max(1, -(-len(converged) * n * n // CHUNK))
    for part in np.array_split(converged, pieces) if len(converged) else []:
        some = steady.part(part)
        if not in_steps:
            joined = linear_loop(loop, some).closed()
            eigenvalues[part], error[part] = np.linalg.eigvals(joined.A), joined.error
        if radius is not None and dt is not None:
            radius[part] = np.abs(np.linalg.eigvals(step_matrices(loop, some, dt))).max(axis=1)
    separated = separated_eigenvalues(loop, steady, threads)
    return Stability(eigenvalues, separated, radius, dt, steady.converged, error)


def eigenvalues_of_jq(network: Any, voltages: Sequence[Array]) -> Array:
    """Give the eigenvalues of J Q at some voltages: control converges where all real parts are positive.

    Parameters
    ----------
    network : DeepNetwork
        The network.
    voltages : sequence of array (batch, n_i)
        Somatic voltages by layer: ``network.voltages(inputs)`` for the feed-forward state.

    Returns
    -------
    array (batch, n_L)
        Complex eigenvalues.
    """
    return np.asarray(np.linalg.eigvals(network.gain(network.rates(voltages))))


def separated_eigenvalues(loop: ClosedLoop, steady: Equilibrium, threads: int | None = None) -> Array:
    """Give the eigenvalues of -(a E G + b I): the controller's motion if the plant were infinitely fast.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    steady : Equilibrium
        What ``loop.equilibrium`` gave.
    threads : int, optional
        Number of threads; all cores if not given.

    Returns
    -------
    array (batch, n_L)
        Complex eigenvalues; NaN where there is no steady state, or the plant alone is not stable there.
    """
    require_fitting(steady, loop)
    a, b = loop.controller.steady_relation()
    rests, eye = loop.plant.rests(steady.inputs), np.eye(loop.plant.noutputs)
    found = np.full(steady.u.shape, np.nan, complex)

    def work(part: slice) -> None:
        which = np.arange(part.start, part.stop)[steady.converged[part]]
        if len(which):
            gain = rests.gain(steady.x[which], steady.u[which], which)
            matrix = -(a * loop.comparator.differentiate(steady.y[which], gain) + b * eye)
            known = np.isfinite(matrix).all(axis=(1, 2))
            found[which[known]] = np.linalg.eigvals(matrix[known])

    on_threads(work, len(found), threads)
    return found
