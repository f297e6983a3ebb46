"""Angles between the changes that different laws want, and between feedback weights and what they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._check import all_finite, require_at_least_zero
from ..adaptation import DFC, Backprop, ControlDescent, GaussNewton, MinimumNorm, analytic_control
from ..base import AbstractLaw, Array, Parameters
from ..errors import DimensionError, InputError

if TYPE_CHECKING:
    from ..loop import ClosedLoop
    from ..objective import Lesson


class Angles(NamedTuple):
    """Degrees in [0, 180] between two changes: of all arrays as one vector, and of each array by its name."""

    whole: float
    layers: dict[str, float]


class FeedbackAngles(NamedTuple):
    """Degrees between Q and J^T, and between Q and J^T (J J^T + gamma I)^-1, each (batch,)."""

    to_transpose: Array
    to_pseudoinverse: Array


def angle(first: Parameters, second: Parameters) -> float:
    """Give the angle between two changes, all common arrays taken as one vector.

    Parameters
    ----------
    first, second : dict of arrays
        Changes with at least one common name.

    Returns
    -------
    float
        The angle in [0, 180] degrees; NaN if one of them is zero or not finite.

    Raises
    ------
    InputError
        If they have no name in common.
    DimensionError
        If arrays of the same name have different shapes.
    """
    names = _common(first, second)
    if not names:
        raise InputError("angle: the two changes have no array in common")
    a, b = (np.concatenate([change[name].ravel() for name in names]) for change in (first, second))
    return float(_degrees(a, b))


def angles_by_layer(first: Parameters, second: Parameters) -> dict[str, float]:
    """Give the angle between two changes for each common array.

    Parameters
    ----------
    first, second : dict of arrays
        The changes.

    Returns
    -------
    dict of float
        Degrees by name; NaN as in `angle`.

    Raises
    ------
    DimensionError
        If arrays of the same name have different shapes.
    """
    return {name: float(_degrees(first[name].ravel(), second[name].ravel())) for name in _common(first, second)}


def alignment(
    loop: ClosedLoop,
    lesson: Lesson,
    change: Parameters,
    references: Sequence[str] | Mapping[str, AbstractLaw] = ("bp", "gn", "mn"),
    *,
    damping: float = 0.0,
) -> dict[str, Angles]:
    """Give the angles between a change and what other laws want on the same lesson (Meulemans et al. 2021, 2022).

    ``bp`` is minus the gradient of the loss, ``gn`` Gauss-Newton and ``mn`` minimum-norm with the voltage difference,
    ``dfc-ssa`` DFC at the linearised steady state, ``h`` minus the gradient of the amount of control H.  The angle is
    arccos(<a, b> / (|a| |b|)).

    Parameters
    ----------
    loop : ClosedLoop
        The loop; its law plays no part.
    lesson : Lesson
        Inputs, labels, objective.
    change : dict of arrays
        What some law wants, as in ``law.propose(loop, lesson).change``: the direction to move in.
    references : sequence of {"bp", "gn", "mn", "dfc-ssa", "h"}, or dict of laws
        What to compare with, by name; or laws of one's own, by names of one's own.
    damping : float
        gamma >= 0 of ``gn`` and ``mn``.

    Returns
    -------
    dict of Angles
        Degrees by reference; NaN for arrays that are zero on either side.

    Raises
    ------
    InputError
        If a reference is unknown, the change is not one of this network's parameters or not finite, or the lesson is
        for another network.
    DimensionError
        If an array of the change has another shape than the parameter.
    """
    require_at_least_zero("alignment", damping=damping)
    laws = references if isinstance(references, Mapping) else _named(references, damping)
    _require_change(loop.plant.parameters, change)
    found = {}
    for name, law in laws.items():
        wanted = law.propose(replace(loop, law=law), lesson).change
        found[name] = Angles(angle(change, wanted), angles_by_layer(change, wanted))
    return found


def distance_to_analytic(loop: ClosedLoop, lesson: Lesson, output: Array) -> Array:
    """Give how far an output is from that of DFC-SSA: |r_L - r_ssa| / |r_L_ff - r_ssa|, per sample.

    r_L_ff is the feed-forward output, r_ssa that under the control of the linearised steady state,
    u = (E J Q + alpha I)^-1 e (Meulemans et al. 2021; the public code calls it rel_dist_to_ndi and logs its mean).

    Parameters
    ----------
    loop : ClosedLoop
        Network and controller.
    lesson : Lesson
        Inputs and reference.
    output : array (batch, n_L)
        Output r_L under control, at the end of a simulation or at the steady state.

    Returns
    -------
    array (batch,)
        Without unit; 1 for the feed-forward output, NaN or infinite where that needs no control.

    Raises
    ------
    DimensionError
        If the output has another shape than the lesson's.
    InputError
        If the lesson is for another network, or E J Q + alpha I is singular.
    """
    lesson.require(loop.plant)
    if np.shape(output) != lesson.output.shape:
        raise DimensionError(f"output: expected shape {lesson.output.shape}, got {np.shape(output)}")
    plant: Any = loop.plant
    u = analytic_control(loop, lesson)
    analytic = plant.voltages(lesson.inputs, [u @ q.T for q in plant.feedback])[-1]
    reached, moved = (np.linalg.norm(y - analytic, axis=1) for y in (output, lesson.output))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(reached / moved)


def feedback_angle(Q: Array, direction: Array) -> Array:
    """Give the angle between feedback weights and a direction for them, per sample.

    Parameters
    ----------
    Q : array (n, n_L)
        Feedback weights of all layers.
    direction : array (batch, n, n_L)
        For example J^T, or its pseudo-inverse J^+ (Meulemans et al. 2021).

    Returns
    -------
    array (batch,)
        Angles in degrees; NaN where one of them is zero or not finite.

    Raises
    ------
    DimensionError
        If the shapes do not fit.
    """
    if np.ndim(direction) != 3 or direction.shape[1:] != np.shape(Q):
        expected = ", ".join(map(str, ("batch", *np.shape(Q))))
        raise DimensionError(f"direction: expected shape ({expected}) for these Q, got {np.shape(direction)}")
    return np.asarray(_degrees(Q.reshape(1, -1), direction.reshape(len(direction), -1)))


def feedback_alignment(network: Any, voltages: Sequence[Array], damping: float = 0.0) -> FeedbackAngles:
    """Give the angles of a network's feedback weights with J^T and with the pseudo-inverse of J, per sample.

    With Q = J^T feedback is backpropagation's, with Q = J^T (J J^T + gamma I)^-1, which for gamma = 0 is J^+, it is
    what learning under noise leads to (Meulemans et al. 2021).

    Parameters
    ----------
    network : DeepNetwork
        The network.
    voltages : sequence of array (batch, n_i)
        Somatic voltages by layer: ``network.voltages(inputs)`` for the feed-forward state.
    damping : float
        gamma >= 0.

    Returns
    -------
    FeedbackAngles
        Degrees.

    Raises
    ------
    InputError
        If the network feeds back through its Jacobian, or the damping is not a number >= 0.
    """
    require_at_least_zero("feedback_alignment", damping=damping)
    Q, J = network.stacked_feedback(), network.jacobian(voltages)
    return FeedbackAngles(feedback_angle(Q, J.swapaxes(1, 2)), feedback_angle(Q, damped_inverse(J, damping)))


def damped_inverse(J: Array, damping: float = 0.0) -> Array:
    """Give J^T (J J^T + gamma I)^-1, to which feedback weights tend that learn under noise (Meulemans et al. 2021).

    Parameters
    ----------
    J : array (batch, n_L, n)
        Jacobian of the output in all voltages.
    damping : float
        gamma >= 0; with 0 it is the pseudo-inverse J^+.

    Returns
    -------
    array (batch, n, n_L)
        The inverse.

    Raises
    ------
    InputError
        If the damping is not a number >= 0.
    """
    require_at_least_zero("damped_inverse", damping=damping)
    gram = J @ J.swapaxes(1, 2) + J.dtype.type(damping) * np.eye(J.shape[1], dtype=J.dtype)
    return np.asarray(np.linalg.solve(gram, J).swapaxes(1, 2))


def _named(references: Sequence[str], damping: float) -> dict[str, AbstractLaw]:
    """Give the laws that a change is usually compared with."""
    laws: dict[str, AbstractLaw] = {
        "bp": Backprop(),
        "gn": GaussNewton(damping),
        "mn": MinimumNorm(damping),
        "dfc-ssa": DFC("analytic"),
        "h": ControlDescent(),
    }
    # A single name is a sequence of letters too.
    names = [references] if isinstance(references, str) else references
    for name in names:
        if name not in laws:
            raise InputError(f"references: expected names among {', '.join(laws)}, got {name!r}")
    return {name: laws[name] for name in names}


def _require_change(parameters: Parameters, change: Parameters) -> None:
    """Raise unless every array of a change is finite and has a parameter's name and shape."""
    for name, array in change.items():
        if name not in parameters:
            raise InputError(f"change: expected names among {', '.join(parameters)}, got {name!r}")
        if np.shape(array) != parameters[name].shape:
            raise DimensionError(f"change {name}: expected shape {parameters[name].shape}, got {np.shape(array)}")
        if not all_finite(array):
            raise InputError(f"change {name}: expected finite numbers, got NaN or infinity")


def _common(first: Parameters, second: Parameters) -> list[str]:
    """Give the common names in the order of the first."""
    names = [name for name in first if name in second]
    for name in names:
        if first[name].shape != second[name].shape:
            raise DimensionError(
                f"{name}: expected two arrays of one shape, got {first[name].shape} and {second[name].shape}"
            )
    return names


def _degrees(a: Array, b: Array) -> Array:
    """Give the angle between rows from the sum and difference of unit vectors, which stays exact where arccos does not.

    In double precision, so that the squares of small numbers do not vanish.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore"):
        a, b = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (a, b))
    halves = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    return np.asarray(np.degrees(2 * np.arctan2(*halves)))
