"""A linear time-invariant plant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._kernel import kernel
from ..base import AbstractPlant, Array, Linear, Parameters, add_scaled
from ..errors import DimensionError, InputError, NoRestError
from ..rest import Rest


class LinearParams(NamedTuple):
    """What the kernels know: the matrices, and room for one product."""

    A: Array
    B: Array
    C: Array
    D: Array
    product_x: Array
    product_y: Array


@kernel
def _dynamics(t: float, x: Array, u: Array, w: Array, p: LinearParams, dx: Array) -> None:
    np.dot(p.A, x, dx)
    np.dot(p.B, u, p.product_x)
    add_scaled(dx, 1.0, p.product_x, dx)
    add_scaled(dx, 1.0, w, dx)


@kernel
def _output(t: float, x: Array, u: Array, w: Array, p: LinearParams, y: Array) -> None:
    np.dot(p.C, x, y)
    np.dot(p.D, u, p.product_y)
    add_scaled(y, 1.0, p.product_y, y)


@dataclass(frozen=True, eq=False)
class LinearPlant(AbstractPlant):
    """Linear plant dx/dt = A x + B u + w, y = C x + D u.

    Parameters
    ----------
    A : array (nstates, nstates)
        State matrix.
    B : array (nstates, ninputs) or (nstates,)
        Input matrix, or its only column.
    C : array (noutputs, nstates) or (nstates,)
        Output matrix, or its only row.
    D : array (noutputs, ninputs), optional
        Feedthrough matrix; zero if not given.

    Raises
    ------
    DimensionError
        If the shapes do not fit together.
    InputError
        If an entry is not finite.
    """

    A: Array
    B: Array
    C: Array
    D: Array | None = None
    dynamics = staticmethod(_dynamics)
    output = staticmethod(_output)

    def __post_init__(self) -> None:
        column = np.reshape(self.B, (-1, 1)) if np.ndim(self.B) == 1 else self.B
        A, B, C = (np.array(m, dtype=np.float64, order="C", ndmin=2) for m in (self.A, column, self.C))
        D = np.zeros((len(C), B.shape[1])) if self.D is None else np.array(self.D, np.float64, order="C", ndmin=2)
        n, expected = len(A), {"A": (len(A), len(A)), "B": (len(A), B.shape[1]), "C": (len(C), len(A))}
        expected["D"] = (len(C), B.shape[1])
        for name, matrix in {"A": A, "B": B, "C": C, "D": D}.items():
            if matrix.shape != expected[name]:
                raise DimensionError(
                    f"LinearPlant.{name}: expected shape {expected[name]} for {n} states, got {matrix.shape}"
                )
            if not np.isfinite(matrix).all():
                raise InputError(f"LinearPlant.{name}: expected finite numbers, got NaN or infinity")
            object.__setattr__(self, name, matrix)

    @classmethod
    def from_statespace(cls, system: Any) -> LinearPlant:
        """Take the matrices of a system in continuous time, such as a control.StateSpace.

        Parameters
        ----------
        system : object
            With `A`, `B`, `C`, `D`, and a `dt` of zero or None if it has one.

        Returns
        -------
        LinearPlant
            The plant.

        Raises
        ------
        InputError
            If it has no such matrices, or is of steps.
        """
        if missing := [name for name in "ABCD" if not hasattr(system, name)]:
            raise InputError(f"LinearPlant: expected a system with A, B, C and D, got one without {', '.join(missing)}")
        if getattr(system, "dt", None):
            raise InputError(f"LinearPlant: expected a system in continuous time, got one of steps, dt = {system.dt}")
        return cls(system.A, system.B, system.C, system.D)

    @property
    def nstates(self) -> int:  # type: ignore[override]
        """Number of states."""
        return len(self.A)

    @property
    def nexogenous(self) -> int:  # type: ignore[override]
        """Number of exogenous inputs: a disturbance of each state."""
        return len(self.A)

    @property
    def ninputs(self) -> int:  # type: ignore[override]
        """Number of controls."""
        return int(self.B.shape[1])

    @property
    def noutputs(self) -> int:  # type: ignore[override]
        """Number of outputs."""
        return len(self.C)

    @property
    def feedthrough(self) -> bool:  # type: ignore[override]
        """Whether D is not zero."""
        return bool(np.any(self.D))

    @property
    def parameters(self) -> Parameters:
        """The matrices A, B, C and D."""
        assert self.D is not None
        return {"A": self.A, "B": self.B, "C": self.C, "D": self.D}

    def at_rest(self, u: Array, inputs: Array) -> Rest:
        A, B, C, D = self.parameters.values()
        try:
            inverse = np.linalg.inv(A)
        except np.linalg.LinAlgError:
            raise NoRestError("LinearPlant: A is singular, so a constant control has no single rest") from None
        x = -(u @ B.T + inputs) @ inverse.T
        gain = D - C @ inverse @ B
        stable = np.full(len(u), (np.linalg.eigvals(A).real < 0).all())
        return Rest(x, x @ C.T + u @ D.T, np.broadcast_to(gain, (len(u), *gain.shape)), stable)

    def linearize(self, x: Array, u: Array, inputs: Array) -> Linear:
        A, B, C, D = (np.broadcast_to(matrix, (len(x), *matrix.shape)) for matrix in self.parameters.values())
        return Linear(A, B, C, D, np.zeros(len(x)))

    def with_parameters(self, parameters: Parameters) -> LinearPlant:
        return LinearPlant(**{**self.parameters, **parameters})

    def params(self, batch: int) -> LinearParams:
        room = (np.empty((self.nstates, batch)), np.empty((self.noutputs, batch)))
        A, B, C, D = self.parameters.values()
        return LinearParams(A, B, C, D, *room)
