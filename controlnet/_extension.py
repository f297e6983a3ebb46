"""Carries samples that have settled on their slow motion to the end of the time grid in closed form.

What the fast motions leave is d_{k+1} = A d_k with a handful of numbers a sample (`controlnet.slow_motion`), so that
the states of all further steps are known.  The law sees a few of them, at nodes of a quadrature that is exact for
polynomials in time, in place of every one.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from ._blocks import Job, Problem, Result, Status, make_block, recorder, sources
from ._equation import applied, solved
from ._loop import Visit, execute
from .base import Array, Block
from .layered import BASAL
from .slow_motion import SlowMotion, slow_motion

FIRST, EVERY = 7.5, 2.5
"""Time of the first look at the samples, and time between looks, in time constants of the soma."""
NODES = (12, 24, 48, 96)
"""Nodes of the quadrature: the first number that is exact enough."""
SHARE = 0.9
"""Share of the tolerance that is for the distance from the slow motion; the rest is for the quadrature."""
FINEST = {"float64": 0.0, "float32": 1e-4}
"""Tolerances below these are lost in rounding."""


def run_settled(tolerance: float, visit: Visit, job: Job, part: slice) -> tuple[Result, Status]:
    """Run a bound loop on one block until its samples have settled, and extend them.

    A sample has settled when its distance from the slow motion, of voltages as a share of the apical ones and of what
    the controller does as a share of the control, bounds the relative error of the change: the distance lasts no
    longer than the slowest motion does.

    Parameters
    ----------
    tolerance : float
        Largest bound of the relative error.
    visit : callable
        What `controlnet._loop.bind_visit` gave.
    job : Job
        What is run.
    part : slice
        The samples of the block.

    Returns
    -------
    tuple
        The result, and the step and sample that diverged.
    """
    clock, steps = job.clock, job.clock.steps
    tolerance = max(tolerance, FINEST[job.loop.plant.dtype.name])
    block = make_block(job.loop, job.problem, part, job.weight)
    nothing = recorder(job, block.s.shape[1]).taken
    advance = partial(_advance, job, sources(job.problem, part), block)
    k, motion, error = 0, None, np.full(block.s.shape[1], np.inf)
    constant = job.loop.plant.tau_v / float(clock.dt)  # type: ignore[attr-defined]
    looks = range(math.ceil(FIRST * constant), steps // 2 + 1, math.ceil(EVERY * constant))
    for look in looks:
        status = advance(k, look)
        if status[1] >= 0:
            return Result.of(block, nothing, [], steps), (k + status[0], status[1])
        k = look
        if motion is None:
            motion = _motion(job, block, part)
        error = _error(job, block, motion, steps - k)
        if (error <= SHARE * tolerance).all() or not motion.found.any():
            break
    settled = error <= SHARE * tolerance
    if motion is None or not settled.any():
        step, sample = advance(k, steps)
        return Result.of(block, nothing, [block.law], steps), (k + step, sample)
    laws, status = [block.law], (steps, -1)
    if not settled.all():
        law, status = _finish_others(job, block, part, np.flatnonzero(~settled), k)
        laws.append(law)
    missed, beyond = _extend(job, visit, block, motion, np.flatnonzero(settled), k, tolerance)
    status = min((each for each in (status, beyond) if each[1] >= 0), default=status)
    error += missed
    found = Result.of(block, nothing, laws, steps)
    found.simulated[settled], found.error[settled] = k, error[settled]
    return found, status


def _advance(job: Job, source: Any, block: Block, first: int, last: int) -> Status:
    """Make the steps from one to another; those of the last quarter count in the means."""
    clock = job.clock
    averaged = max(0, last - max(first, clock.steps - clock.averaged))
    start, ends = clock.start + first * float(clock.dt), int(last == clock.steps)
    segment = clock._replace(start=start, steps=last - first, averaged=averaged, last=ends)
    return execute(job.run, segment, source, recorder(job, block.s.shape[1]), block)


def _motion(job: Job, block: Block, part: slice) -> SlowMotion:
    n, width = job.loop.plant.nneurons, job.loop.plant.sizes[1]  # type: ignore[attr-defined]
    basal = block.p.signals[BASAL * n : BASAL * n + width]
    reference, inputs = job.problem.reference[0, part], job.problem.inputs[0, part]
    return slow_motion(job.loop, reference, inputs, basal.T, block.u.T, float(job.clock.dt))


def _error(job: Job, block: Block, motion: SlowMotion, remaining: int) -> Array:
    """Bound what the distance from the slow motion makes of the change."""
    tiny = np.finfo(float).tiny
    # The control may be far from its rest when the time is over, and larger before: the smaller one counts.
    controls = np.minimum(_largest(motion.u), _largest(block.u.T))
    Q = job.loop.plant.stacked_feedback()  # type: ignore[attr-defined]
    apical = np.minimum(_largest(motion.u @ Q.T), _largest(block.u.T @ Q.T))
    d = block.u.T - motion.u
    with np.errstate(all="ignore"):
        slowest = np.minimum(remaining, 1 / (1 - motion.radius))
        voltage = _largest(block.x.T - motion.x - (d[:, np.newaxis] @ motion.spread)[:, 0])
        control = _wrong_control(job, block, motion, d)
        distance = np.maximum(voltage / np.maximum(apical, tiny), control / np.maximum(controls, tiny))
        error = distance * slowest / job.clock.steps
    return np.where(motion.found & np.isfinite(error), error, np.inf)


def _wrong_control(job: Job, block: Block, motion: SlowMotion, d: Array) -> Array:
    """Give how far the control is from what the controller's state and the error ask for on the slow motion."""
    q: Any = job.loop.controller.params(np.dtype(np.float64))
    z, e = block.z.T - (motion.u - q.k_p * motion.e), motion.e - block.e.T
    moves, eye = (motion.radius < 1)[:, np.newaxis, np.newaxis], np.eye(d.shape[1])
    Z, G = (np.where(moves, matrix, eye) for matrix in (motion.integral, motion.through))
    # A softmax lets one direction of the control pass through unseen.
    largest = np.abs(G).max(axis=(1, 2), keepdims=True)
    seen = G + (np.cbrt(np.finfo(block.e.dtype).eps) * largest + (largest == 0)) * eye
    moving = _largest(solved(Z, z) - d) + _largest(solved(seen, e - applied(G, d)))
    resting = _largest(z) + _largest(d) + (q.k_p + q.k_i * float(job.clock.dt) * job.clock.steps) * _largest(e)
    return np.where(moves[:, 0, 0], moving, resting)


def _largest(values: Array) -> Array:
    return np.asarray(np.abs(values).max(axis=1), np.float64)


def _finish_others(job: Job, block: Block, part: slice, chosen: Array, k: int) -> tuple[Any, Status]:
    """Simulate the samples that have not settled to the end, in a block of their own; give what its law saw."""
    which = part.start + chosen
    p = job.problem
    problem = Problem(p.reference[:, which], p.inputs[:, which], block.x[:, chosen].T)
    own = job._replace(problem=problem, weight=None if job.weight is None else job.weight[which])
    everything = slice(0, len(which))
    narrow = make_block(job.loop, problem, everything, own.weight)
    wires = ("s", "u", "applied", "y", "e", "mean_u", "mean_e")
    for name in wires:
        getattr(narrow, name)[:] = getattr(block, name)[:, chosen]
    step, sample = _advance(own, sources(problem, everything), narrow, k, job.clock.steps)
    for name in wires:
        getattr(block, name)[:, chosen] = getattr(narrow, name)
    return narrow.law, (k + step, int(chosen[sample]) if sample >= 0 else -1)


def _extend(
    job: Job, visit: Visit, block: Block, motion: SlowMotion, settled: Array, k: int, tolerance: float
) -> tuple[Array, Status]:
    """Let the law see the states from step k + 1 on, leave the block at the last; give the error of the quadrature."""
    loop, dtype, n = job.loop, block.s.dtype, job.loop.plant.noutputs
    d = trajectory(motion.map, block.u.T - motion.u, job.clock.steps - k)
    for number in NODES:
        nodes, shares = quadrature(len(d), number)
        error = _quadrature_error(d, nodes, shares, motion.u, job.clock.steps)
        if error[settled].max() <= (1 - SHARE) * tolerance:
            break
    x = motion.x + (d[[*nodes, -1]].astype(dtype)[:, :, np.newaxis] @ motion.spread)[:, :, 0]
    states = np.array(x.swapaxes(1, 2), dtype, order="C")
    y = motion.x[:, -n:] + (d[:, :, np.newaxis] @ motion.spread[:, :, -n:])[:, :, 0]
    reference = np.broadcast_to(block.r.T, y.shape)
    e = loop.comparator.compare(reference.reshape(-1, n), y.reshape(-1, n)).reshape(y.shape)
    known = {"x": states[-1].T, "u": motion.u + d[-1], "applied": motion.u + d[-1], "y": y[-1], "e": e[-1]}
    late = slice(max(0, job.clock.steps - job.clock.averaged - k), None)
    known["z"] = known["u"] - loop.controller.k_p * e[-1]  # type: ignore[attr-defined]
    known["mean_u"] = block.mean_u.T + job.clock.share * (motion.u + d[late]).sum(axis=0)
    known["mean_e"] = block.mean_e.T + job.clock.share * e[late].sum(axis=0)
    others = {name: getattr(block, name).copy() for name in known}
    if block.law != ():
        weight = np.zeros(block.s.shape[1], dtype)
        weight[settled] = block.law.weight[settled]
        visit(states[:-1], shares.astype(dtype), weight, block)
    for name, values in known.items():
        getattr(block, name)[:] = others[name]
        getattr(block, name)[:, settled] = values.T[:, settled]
    return error, _first_beyond(float(job.clock.limit), k, settled, y, motion.u + d)


def _first_beyond(limit: float, k: int, settled: Array, y: Array, u: Array) -> Status:
    """Give the first step at which an extended sample passes the limit, and the sample; -1 if none does."""
    largest = np.maximum(np.abs(y).max(axis=2), np.abs(u).max(axis=2))[:, settled]
    beyond = np.argwhere(~(largest <= limit))
    return (k + 1 + int(beyond[0, 0]), int(settled[beyond[0, 1]])) if len(beyond) else (k + len(y), -1)


def _quadrature_error(d: Array, nodes: Array, shares: Array, u: Array, steps: int) -> Array:
    """Give what the nodes make of the sums of d and of its squares, which are known, as a share of all steps."""
    scale = np.maximum(np.abs(u).max(axis=1), np.finfo(float).tiny ** 0.25)
    error = np.zeros(len(u))
    for power in (1, 2):
        missed = (d**power).sum(axis=0) - np.tensordot(shares, d[nodes] ** power, 1)
        error = np.maximum(error, np.abs(missed).max(axis=1) / scale**power / steps)
    return error


def trajectory(A: Array, d: Array, steps: int) -> Array:
    """Give A d, A^2 d, ...

    Parameters
    ----------
    A : array (samples, n, n)
        The map of one step.
    d : array (samples, n)
        Where it begins.
    steps : int
        How far it goes.

    Returns
    -------
    array (steps, samples, n)
        One entry a step.
    """
    d = applied(A, d)
    found = d[np.newaxis]
    while len(found) < steps:
        found = np.concatenate([found, (A @ found.transpose(1, 2, 0)).transpose(2, 0, 1)])
        A = A @ A
    return found[:steps]


def quadrature(steps: int, number: int = NODES[0]) -> tuple[Array, Array]:
    """Give nodes and weights of a sum over steps, exact for polynomials: fewer terms for what is smooth in time.

    Parameters
    ----------
    steps : int
        Number of terms.
    number : int
        Most nodes.

    Returns
    -------
    tuple of array (at most number,)
        Indices of the terms to take, near the Chebyshev points, and the number of terms that each stands for.
    """
    points = np.cos(np.pi * np.arange(number - 1, -1, -1) / (number - 1))
    nodes = np.unique(np.rint((points + 1) / 2 * (steps - 1)).astype(int))
    scaled = np.linspace(-1, 1, steps) if steps > 1 else np.zeros(1)
    powers = np.polynomial.chebyshev.chebvander(scaled, len(nodes) - 1)
    return nodes, np.linalg.solve(powers[nodes].T, powers.sum(axis=0))
