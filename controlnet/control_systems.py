"""The loop as systems of python-control; the only file that knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._arguments import check_batch
from ._blocks import make_block
from .errors import DimensionError, InputError
from .integrators import close, slope
from .linear_loop import linear_loop

if TYPE_CHECKING:
    from control import NonlinearIOSystem, StateSpace

    from .base import Array
    from .equilibrium import Equilibrium
    from .loop import ClosedLoop

Transfer = Literal["closed-loop", "open-loop", "sensitivity", "control"]
OUTPUTS = {"closed-loop": "y", "sensitivity": "e", "control": "u"}


def linear_system(
    loop: ClosedLoop, steady: Equilibrium, sample: int = 0, transfer: Transfer = "closed-loop", minimal: bool = False
) -> StateSpace:
    """Give a loop near the steady state of one sample as a linear system.

    Parameters
    ----------
    loop : ClosedLoop
        The loop.
    steady : Equilibrium
        What ``loop.equilibrium`` gave.
    sample : int
        The sample.
    transfer : {"closed-loop", "open-loop", "sensitivity", "control"}
        From r to y, from e to the compared output with the loop cut there, from r to e, or from r to u.
    minimal : bool
        Whether the plant may leave out states that its control does not reach.

    Returns
    -------
    control.StateSpace
        States, inputs and outputs carry the names of their signals.

    Raises
    ------
    InputError
        If there is no such sample or transfer function, or no steady state was found.
    """
    import control

    if transfer not in (*OUTPUTS, "open-loop"):
        raise InputError(f"transfer: expected one of {', '.join((*OUTPUTS, 'open-loop'))}, got {transfer!r}")
    one = steady.sample(sample)
    if not one.converged[0]:
        raise InputError(
            f"sample {sample}: there is no stable steady state to linearise at (residual {one.residual[0]:.3g})"
        )
    parts, n = linear_loop(loop, one, minimal), loop.plant.noutputs
    if transfer == "open-loop":
        matrices, source, sink = parts.opened(), "e", "y"
    else:
        matrices, source, sink = parts.closed(), "r", OUTPUTS[transfer]
        rows = slice("yue".index(sink) * n, ("yue".index(sink) + 1) * n)
        matrices = matrices._replace(C=matrices.C[:, rows], D=matrices.D[:, rows])
    A, B, C, D = (matrix[0] for matrix in matrices[:4])
    states = _names("s", len(A)) if minimal else _states(loop)
    return control.ss(A, B, C, D, states=states, inputs=_names(source, n), outputs=_names(sink, n), name=transfer)


def nonlinear_system(loop: ClosedLoop, inputs: Any = None) -> NonlinearIOSystem:
    """Give a loop in continuous time as a nonlinear system, from the reference to y, u and e.

    Parameters
    ----------
    loop : ClosedLoop
        The loop; its integrator plays no part.
    inputs : array (nexogenous,), optional
        Exogenous input of the plant, held; zeros if not given.

    Returns
    -------
    control.NonlinearIOSystem
        For ``control.input_output_response`` and the like.

    Raises
    ------
    InputError
        If the loop has no continuous counterpart.
    """
    import control

    wires = _Wires(loop, inputs)
    n = loop.plant.noutputs
    return control.nlsys(
        wires.update,
        wires.outputs,
        states=_states(loop),
        inputs=_names("r", n),
        outputs=[*_names("y", n), *_names("u", n), *_names("e", n)],
        name="loop",
    )


class _Wires:
    """The wires of one sample, closed anew at every state that is asked for."""

    def __init__(self, loop: ClosedLoop, inputs: Any) -> None:
        if loop.plant.discrete or (loop.plant.feedthrough and loop.controller.feedthrough):
            raise InputError(
                f"{type(loop.plant).__name__} under {type(loop.controller).__name__} is a loop of steps: delayed "
                "transmission, or an algebraic loop in continuous time"
            )
        problem = check_batch(loop.plant, np.zeros(loop.plant.noutputs), inputs, 1)
        if problem.inputs.shape[1] != 1:
            raise DimensionError(f"inputs: expected those of one sample, got {problem.inputs.shape[1]}")
        self.system, self.block = loop.system, make_block(loop, problem, slice(0, 1), None)
        self.block.w[:] = problem.inputs[0].T
        self.system.set_input(self.block.w, self.block.p)

    def _close(self, t: float, s: Array, r: Array) -> None:
        self.block.s[:, 0], self.block.r[:, 0] = s, r
        close(self.system, t, self.block.s, self.block)

    def update(self, t: float, s: Array, r: Array, params: Any) -> Array:
        """Give ds/dt."""
        self._close(t, s, r)
        ds = np.zeros_like(self.block.s)
        slope(self.system, t, self.block.s, self.block, ds)
        return ds[:, 0]

    def outputs(self, t: float, s: Array, r: Array, params: Any) -> Array:
        """Give y, u and e."""
        self._close(t, s, r)
        return np.concatenate([self.block.y, self.block.u, self.block.e])[:, 0]


def _states(loop: ClosedLoop) -> list[str]:
    n = loop.controller.nstates(loop.plant.noutputs)
    return [*loop.plant.state_names, *_names("z", n)]


def _names(letter: str, n: int) -> list[str]:
    return [f"{letter}[{i}]" for i in range(n)]
