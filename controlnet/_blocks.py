"""Cuts a batch into blocks, runs them on threads and puts the results together in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from ._loop import Clock, Recorder, Run, Sources, execute, is_compiled
from ._parallel import block_size, blocks, number_of_threads, one_blas_thread, pool
from .base import Array, Block
from .errors import DivergedError, InputError

if TYPE_CHECKING:
    from .loop import ClosedLoop


class Problem(NamedTuple):
    """A whole batch: reference, inputs (time or 1, batch, n), initial states (batch, nstates), source of the noise.

    `controller` (batch, nz) is the state of the controller at the start, zeros if None.
    """

    reference: Array
    inputs: Array
    initial: Array
    seed: np.random.SeedSequence = np.random.SeedSequence(0)
    controller: Array | None = None


class Result(NamedTuple):
    """What a block has brought: its last wires, what was recorded, and what its law accumulated.

    `simulated` (samples,) are the steps that were made of each, `error` (samples,) bounds what the others add to the
    relative error of the change.
    """

    final: dict[str, Array]
    mean: dict[str, Array]
    taken: Array
    laws: list[Any]
    simulated: Array
    error: Array

    @classmethod
    def of(cls, block: Block, taken: Array, laws: list[Any], steps: int) -> Result:
        """Keep of a block what is asked for at the end, and give up its workspace.

        Parameters
        ----------
        block : Block
            The wires after every step.
        taken : array (time, rows, samples)
            What was recorded.
        laws : list
            What the law accumulated.
        steps : int
            Number of steps.

        Returns
        -------
        Result
            The result; nothing was extended.
        """
        batch = block.s.shape[1]
        final = {name: getattr(block, name) for name in ("y", "u", "e")}
        final |= {"x": block.x.copy(), "z": block.z.copy()}
        mean = {"u": block.mean_u, "e": block.mean_e}
        return cls(final, mean, taken, laws, np.full(batch, steps), np.zeros(batch))


class Job(NamedTuple):
    """What all blocks of a batch have in common."""

    loop: ClosedLoop
    run: Run
    problem: Problem
    clock: Clock
    rows: Array
    weight: Array | None = None


Status: TypeAlias = tuple[int, int]


def _columns(array: Array, part: slice) -> Array:
    # A copy even if it is contiguous already: a read-only view would be another type, compiled anew.
    return array[..., part, :].swapaxes(-1, -2).copy(order="C")


def make_block(loop: ClosedLoop, problem: Problem, part: slice, weight: Array | None) -> Block:
    """Give the wires of one block before its first step.

    Parameters
    ----------
    loop : ClosedLoop
        The parts.
    problem : Problem
        The batch.
    part : slice
        The samples of the block.
    weight : array (batch,) or None
        Weight of each sample in the law.

    Returns
    -------
    Block
        The wires.

    Raises
    ------
    InputError
        If the law does not weight samples.
    """
    plant, dtype = loop.plant, loop.plant.dtype
    batch, number = len(problem.initial[part]), part.start // block_size(len(problem.initial), dtype)
    nz = loop.controller.nstates(plant.noutputs)
    s = np.zeros((plant.nstates + nz, batch), dtype)
    s[: plant.nstates] = problem.initial[part].T
    if problem.controller is not None:
        s[plant.nstates :] = problem.controller[part].T
    law: Any = loop.law.accumulators(plant, batch)
    if weight is not None:
        if "weight" not in getattr(law, "_fields", ()):
            raise InputError(f"weight: {type(loop.law).__name__} does not weight samples")
        law.weight[:] = weight[part]

    def wire(n: int) -> Array:
        return np.zeros((n, batch), dtype)

    return Block(
        s=s,
        x=s[: plant.nstates],
        z=s[plant.nstates :],
        u=wire(plant.ninputs),
        applied=wire(plant.ninputs),
        y=wire(plant.noutputs),
        e=wire(plant.noutputs),
        r=wire(plant.noutputs),
        w=wire(plant.nexogenous),
        mean_u=wire(plant.ninputs),
        mean_e=wire(plant.noutputs),
        work=np.zeros((loop.integrator.stages, *s.shape), dtype),
        scheme=loop.integrator.params(dtype),
        noise=loop.integrator.disturbance(plant, part, problem.seed, number),
        p=plant.params(batch),
        q=loop.controller.params(dtype),
        law=law,
    )


def sources(problem: Problem, part: slice) -> Sources:
    """Give reference and inputs of one block.

    Parameters
    ----------
    problem : Problem
        The batch.
    part : slice
        The samples of the block.

    Returns
    -------
    Sources
        Copies in the layout of the loop.
    """
    return Sources(_columns(problem.reference, part), _columns(problem.inputs, part))


def recorder(job: Job, batch: int) -> Recorder:
    """Give room for what a block records.

    Parameters
    ----------
    job : Job
        What is run.
    batch : int
        Number of samples in the block.

    Returns
    -------
    Recorder
        Without any if nothing is recorded.
    """
    clock, rows, dtype = job.clock, job.rows, job.loop.plant.dtype
    points = clock.steps // clock.every + 1 if len(rows) else 0
    signals = np.empty((job.loop.nsignals if len(rows) else 0, batch), dtype)
    return Recorder(rows, signals, np.empty((points, len(rows), batch), dtype))


def run_block(job: Job, part: slice) -> tuple[Result, Status]:
    """Run a bound loop on one block, every step.

    Parameters
    ----------
    job : Job
        What is run.
    part : slice
        The samples of the block.

    Returns
    -------
    tuple
        The result, and the step and sample that diverged.
    """
    block = make_block(job.loop, job.problem, part, job.weight)
    room = recorder(job, block.s.shape[1])
    status = execute(job.run, job.clock, sources(job.problem, part), room, block)
    return Result.of(block, room.taken, [block.law], job.clock.steps), status


def run_blocks(
    job: Job, threads: int | None, work: Callable[[Job, slice], tuple[Result, Status]] = run_block
) -> Iterator[Result]:
    """Run a bound loop on every block of a batch.

    Parameters
    ----------
    job : Job
        What is run.
    threads : int or None
        Number of threads; None for all cores.
    work : callable
        How a block is run.

    Yields
    ------
    Result
        In the order of the samples, as they come.

    Raises
    ------
    DivergedError
        For the earliest step, and there the first sample, that diverged.
    """
    batch, each = len(job.problem.initial), partial(work, job)
    parts = blocks(batch, block_size(batch, job.loop.plant.dtype))
    with one_blas_thread():
        # In the main thread Ctrl-C ends a compilation.
        first = 0 if is_compiled(job.run) else 1
        workers, states = min(number_of_threads(threads), len(parts)), []
        early = [each(part) for part in parts[:first]]
        late = pool(workers).map(each, parts[first:]) if workers > 1 else map(each, parts[first:])
        for found, status in chain(early, late):
            states.append(status)
            yield found
    _raise_if_diverged(job.clock, parts, states)


def _raise_if_diverged(clock: Clock, parts: Sequence[slice], states: Sequence[tuple[int, int]]) -> None:
    bad = [(step, part.start + sample) for part, (step, sample) in zip(parts, states, strict=True) if sample >= 0]
    if bad:
        step, sample = min(bad)
        raise DivergedError(step, float(clock.start + step * clock.dt), sample)
