"""The slow motions of a controlled network, linearised at its steady state.

Once the fast motions of the somas have died down, control and voltages move together: with d = u - u* and x the
voltages, d_{k+1} = A d_k and x_k - x* = S d_k, where A (n_L, n_L) belongs to one sample.  For the papers' scheme
(`Sequential`, control "new") with step dt and g = dt / tau_v, a compartment follows its slow input by the factor

    F = g A (A - (1 - g) I)^-1,     S_i = (W_i phi'_{i-1} S_{i-1} + Q_i) F,

so that e - e* = -G d with G = E S_L = E ((C_1 F + C_2) F + ... + C_L) F, C_i = J_i Q_i, and the PI controller asks for

    A = I - dt Z^-1 (k_i G + alpha_u I + alpha_z Z),     Z = I + k_p G A^-1,

which is solved by iteration.  The other eigenvalues of the loop's whole matrix are those of the fast motions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .base import Array
from .controllers import PI
from .equilibrium import solve_block
from .errors import InputError
from .integrators import Sequential
from .plants import DeepNetwork
from .plants._network_tangents import tangents

if TYPE_CHECKING:
    from .loop import ClosedLoop

ITERATIONS, PRECISION = 60, 1e-13


class SlowMotion(NamedTuple):
    """Steady state and slow motion of some samples.

    `u` and `e` (samples, n_L) and `x` (samples, neurons) are at rest, `map` A, `integral` Z and `through` G
    (samples, n_L, n_L), `spread` S^T (samples, n_L, neurons), `radius` (samples,) the spectral radius of A; `found`
    (samples,) says whether there is a stable steady state.  Where no motion is slower than the somas' own, A, Z, G
    and S are 0 and the radius is 1: nothing is said of how fast the sample comes to rest.
    """

    u: Array
    e: Array
    x: Array
    map: Array
    integral: Array
    through: Array
    spread: Array
    radius: Array
    found: Array


def require_slow_motion(loop: ClosedLoop) -> None:
    """Raise unless the slow motion of a loop is known.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.

    Raises
    ------
    InputError
        Naming the part that stands in the way.
    """
    plant: Any = loop.plant
    integrator: Any = loop.integrator
    reasons = {
        "a DeepNetwork as plant": not isinstance(plant, DeepNetwork),
        "a PI controller": not isinstance(loop.controller, PI),
        'the integrator Sequential(control="new")': not isinstance(integrator, Sequential) or integrator.delay > 0,
        "no noise": integrator.noise is not None,
    }
    if isinstance(plant, DeepNetwork):
        lagging = plant.tau_apical is not None or plant.tau_control is not None or plant.discrete
        reasons |= {
            "feedback weights Q": plant.feedback is None,
            "somas as the only compartments with dynamics": plant.soma != "dynamic" or lagging,
        }
    if missing := [reason for reason, holds in reasons.items() if holds]:
        raise InputError(f"extend: settled samples can only be extended with {' and '.join(missing)}: leave extend out")


def slow_motion(loop: ClosedLoop, reference: Array, inputs: Array, basal: Array, u: Array, dt: float) -> SlowMotion:
    """Linearise the slow motion of some samples at their steady states.

    Parameters
    ----------
    loop : ClosedLoop
        The loop, of which `require_slow_motion` holds.
    reference : array (samples, n_L)
        Reference r*.
    inputs : array (samples, n_0)
        Input patterns.
    basal : array (samples, n_1)
        Basal voltage of the first layer.
    u : array (samples, n_L)
        Control near the steady state.
    dt : float
        Step size.

    Returns
    -------
    SlowMotion
        The motion.
    """
    plant: Any = loop.plant
    steady = solve_block(loop, reference, plant.rests(inputs, basal), u.copy(), tolerance=_tolerance(plant))
    voltages = plant.by_layer(steady.x[:, : plant.nneurons])
    E = loop.comparator.sensitivity(steady.y)
    J = plant.by_layer(E @ plant.jacobian(voltages))
    through = [np.asarray(j @ q, np.float64) for j, q in zip(J, plant.feedback, strict=True)]
    with np.errstate(all="ignore"):
        try:
            matrices, moves = _slow_map(loop.controller, through, dt, dt / plant.tau_v)
        except np.linalg.LinAlgError:
            matrices, moves = (np.zeros_like(through[0]),) * 4, np.zeros(len(steady.u), bool)
        A = np.where(moves[:, np.newaxis, np.newaxis], matrices[0], 0)
    radius = np.abs(np.linalg.eigvals(A)).max(axis=1)
    moves &= radius < 1
    A, Z, G, F = (np.where(moves[:, np.newaxis, np.newaxis], each, 0) for each in matrices)
    rates = np.concatenate([layer.T for layer in plant.rates(voltages)])
    spread = tangents(plant, rates, follow=F).swapaxes(1, 2)
    e = loop.comparator.compare(reference, steady.y)
    return SlowMotion(steady.u, e, steady.x, A, Z, G, spread, np.where(moves, radius, 1), steady.converged)


def _tolerance(plant: Any) -> float:
    return 1e-12 if plant.dtype == np.float64 else 2e-6


def _slow_map(controller: Any, through: list[Array], dt: float, g: float) -> tuple[tuple[Array, ...], Array]:
    """Give A, Z, G, F, and whether there is such a motion, slower than the somas."""
    p = controller.params(np.dtype(np.float64))
    eye = np.eye(through[0].shape[1])
    A = eye - dt * np.linalg.inv(eye + p.k_p * sum(through)) @ (p.k_i * sum(through) + p.leak_control * eye)
    for _ in range(ITERATIONS):
        F = g * A @ np.linalg.inv(A - (1 - g) * eye)
        G = through[0] @ F
        for C in through[1:]:
            G = (G + C) @ F
        Z = eye + p.k_p * G @ np.linalg.inv(A)
        last = A
        A = eye - dt * np.linalg.inv(Z) @ (p.k_i * G + p.leak_control * eye + p.leak_integral * Z)
        change = np.abs(A - last).max(axis=(1, 2))
        if not (change > PRECISION).any():
            break
    return (A, Z, G, F), np.asarray(change <= PRECISION)
