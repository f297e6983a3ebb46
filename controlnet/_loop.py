"""The one loop: closes a plant, a controller and a law around each other and steps them through time.

Numba's disk cache never hits for jitted functions passed as arguments, so the loop closes over plain functions, which
pickle by name, and over a tag of all their sources: both enter the cache key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numba

from ._kernel import bound, kernel
from .base import Array, Block, Kernel, System, add_scaled, copy
from .errors import KernelError
from .wires import first_diverged


class Clock(NamedTuple):
    """When the loop steps, records and gives up, and how many steps late the control reaches the plant.

    `averaged` is the number of last time points of which the mean control and error are taken, `share` the weight of
    each; `last` is 0 if the same block will be stepped further.
    """

    start: float
    dt: float
    steps: int
    every: int
    limit: float
    delay: int
    averaged: int
    share: float
    last: int = 1


class Recorder(NamedTuple):
    """Which rows of (y, u, e, x, observables) are kept: `taken` (time, rows, batch) is written."""

    rows: Array
    signals: Array
    taken: Array


class Sources(NamedTuple):
    """Reference and exogenous input, (time or 1, n, batch), held constant over each step."""

    reference: Array
    inputs: Array


@kernel
def _record(observe: Kernel, index: int, recorder: Recorder, b: Block) -> None:
    if recorder.rows.shape[0] == 0:
        return
    signals, n, m = recorder.signals, b.y.shape[0], b.u.shape[0]
    states = 2 * n + m + b.x.shape[0]
    copy(b.y, signals[:n])
    copy(b.u, signals[n : n + m])
    copy(b.e, signals[n + m : 2 * n + m])
    copy(b.x, signals[2 * n + m : states])
    observe(b, signals[states:])
    for i in range(recorder.rows.shape[0]):
        for j in range(signals.shape[1]):
            recorder.taken[index, i, j] = signals[recorder.rows[i], j]


@kernel
def _average(k: int, clock: Clock, b: Block) -> None:
    if k > clock.steps - clock.averaged:
        add_scaled(b.mean_u, clock.share, b.u, b.mean_u)
        add_scaled(b.mean_e, clock.share, b.e, b.mean_e)


@kernel
def _finish(finish: Kernel, clock: Clock, b: Block) -> None:
    if clock.last > 0:
        finish(b, b.law)


Run: TypeAlias = Callable[..., tuple[int, int]]


def _build(tag: str, *parts: Kernel) -> Run:
    (dynamics, output, advance, set_input, set_control, observe) = parts[:6]
    (rate, command, control_step, error, step, settle, disturb, adapt, finish) = parts[6:]

    def run(clock: Clock, sources: Sources, recorder: Recorder, b: Block) -> tuple[int, int]:
        tag  # noqa: B018 - the closure over it puts it into the cache key
        plant_kernels = (dynamics, output, advance, set_input, set_control, observe)
        control_kernels = (rate, command, control_step, error)
        system = System(*plant_kernels, *control_kernels, step, settle, disturb, adapt, finish)
        for k in range(clock.steps + 1):
            t = clock.start + k * clock.dt
            if k > 0:
                step(system, k - 1, t - clock.dt, clock.dt, b)
                advance(system, k - 1 - clock.delay, t - clock.dt, clock.dt, b)
            if k == 0 or sources.reference.shape[0] > 1:
                copy(sources.reference[k], b.r)
            if k == 0 or sources.inputs.shape[0] > 1:
                copy(sources.inputs[k], b.w)
                set_input(b.w, b.p)
            if k == 0:
                output(t, b.x, b.applied, b.w, b.p, b.y)
                set_control(b.x, b.applied, b.p)
            settle(system, t, b.s, b)
            sample = max(first_diverged(clock.limit, b.y), first_diverged(clock.limit, b.u))
            if sample >= 0:
                return k, sample
            if k > 0:
                adapt(k - 1, clock.dt, b, b.law)
            _average(k, clock, b)
            if k % clock.every == 0:
                _record(observe, k // clock.every, recorder, b)
        _finish(finish, clock, b)
        return clock.steps, -1

    return run


def bind(parts: System, compiled: bool) -> Run:
    """Give the loop of these kernels, as machine code or as plain Python.

    Parameters
    ----------
    parts : System
        The kernels.
    compiled : bool
        False for plain Python: slow, but a debugger can step through it.

    Returns
    -------
    callable
        ``run(clock, sources, recorder, block) -> (step, sample)``; sample is -1 unless the loop diverged.
    """
    return bound(_build, *parts) if compiled else _build("", *parts)


Visit: TypeAlias = Callable[[Array, Array, Array, Block], None]


def _build_visit(tag: str, output: Kernel, adapt: Kernel, finish: Kernel) -> Visit:
    def visit(states: Array, shares: Array, weight: Array, b: Block) -> None:
        tag  # noqa: B018 - the closure over it puts it into the cache key
        for k in range(states.shape[0]):
            copy(states[k], b.x)
            output(shares[k], b.x, b.u, b.w, b.p, b.y)
            for j in range(weight.shape[0]):
                b.law.weight[j] = shares[k] * weight[j]
            adapt(k, shares[k], b, b.law)
        finish(b, b.law)

    return visit


def bind_visit(parts: System, compiled: bool) -> Visit:
    """Give what lets the law see some states of the plant in place of steps, and finish.

    Parameters
    ----------
    parts : System
        The kernels.
    compiled : bool
        False for plain Python.

    Returns
    -------
    callable
        ``visit(states, shares, weight, block)`` with states (number, nstates, batch), the number of steps that each
        stands for, and a weight for each sample.
    """
    kernels = (parts.output, parts.adapt, parts.finish)
    return bound(_build_visit, *kernels) if compiled else _build_visit("", *kernels)


def is_compiled(run: Run) -> bool:
    """Say whether a bound loop was compiled in this process, or needs not be.

    Parameters
    ----------
    run : callable
        What `bind` gave.

    Returns
    -------
    bool
        False if the next call compiles it or loads it from the disk.
    """
    return bool(getattr(run, "signatures", True))


def execute(run: Run, clock: Clock, sources: Sources, recorder: Recorder, block: Block) -> tuple[int, int]:
    """Run a bound loop on one block.

    Parameters
    ----------
    run : callable
        What `bind` gave.
    clock : Clock
        The time grid.
    sources : Sources
        Reference and inputs.
    recorder : Recorder
        What is kept, written.
    block : Block
        The wires, written.

    Returns
    -------
    tuple of int
        (step, sample); sample is -1 unless the loop diverged.

    Raises
    ------
    KernelError
        If a kernel cannot be compiled.
    """
    try:
        return run(clock, sources, recorder, block)
    except numba.core.errors.NumbaError as error:
        raise KernelError(f"a kernel does not compile: {_reason(error)} (compiled=False runs it as Python)") from error


def _reason(error: Exception) -> str:
    """Give what matters of Numba's pages of text: the innermost cause, and where it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = ("Cannot", "NameError", "Unknown", "Untyped", "Invalid", "Use of", "No implementation", "No conversion")
    cause = [line for line in lines if line.startswith(causes)][-1:] or lines[:1]
    places = [line.rstrip(":") for line in lines if line.startswith("File ")]
    # Numba names the place of the call, not the function that it does not know.
    unknown = any("Untyped global" in line for line in cause)
    hint = ["- is every function of the parts marked with @kernel?"] if unknown else []
    return " ".join([*cause, *places[:1], *hint])
