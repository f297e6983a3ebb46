"""The kernels of feedback learning in the linearised loop: noise and control meet in coordinates of the output alone.

Near its feed-forward state layer i moves the output by J_i delta_v_i, and J_i W_i phi_{i-1}' = J_{i-1}.  So what noise
and control do to the output passes through a chain of n_L numbers a layer, in place of the network:
tau_v d(J_i delta_v_i)/dt = -J_i delta_v_i + J_{i-1} delta_v_{i-1} + J_i v_fb_i.

Of the noise n_L numbers a layer are stepped, a_i; what they are, and what becomes of the rest, says `_noise_across.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .._kernel import bound, kernel
from ..activations import scale_by_slope
from ..base import Array, Block, Kernel, System, follow
from ..layered import ACTIVATION, FIRST, RATE, WIDTH, LayeredParams, feedback_weights, signal, weights
from ..wires import first_diverged
from ._cholesky import factorize
from ._feedback_rule import FeedbackMemory
from ._linear_memory import LinearMemory
from ._noise_across import add_noise


@kernel
def _write_jacobian(p: LayeredParams, batch: int, m: LinearMemory) -> None:
    """Write J^T of the hidden layers, J_i = J_{i+1} W_{i+1} phi_i'."""
    last = p.layers.shape[0] - 1
    for i in range(last - 1, -1, -1):
        first, n = p.layers[i, FIRST], p.layers[i, WIDTH]
        rows, slopes, W = m.to_output[first : first + n], m.slopes[:n], weights(i + 1, p)
        for j in range(n):
            for s in range(batch):
                slopes[j, s] = 1
        scale_by_slope(p.layers[i, ACTIVATION], signal(RATE, i, p), slopes)
        if i < last - 1:
            np.dot(W.T, m.to_output[first + n : first + n + p.layers[i + 1, WIDTH]], rows)
        for j in range(n):
            for c in range(m.held.shape[0]):
                for s in range(batch):
                    above = rows[j, c * batch + s] if i < last - 1 else W[c, j]
                    rows[j, c * batch + s] = above * slopes[j, s]


@kernel
def _write_gains(p: LayeredParams, batch: int, m: LinearMemory) -> None:
    """Write (J_i Q_i)^T of all layers."""
    last = p.layers.shape[0] - 1
    for i in range(last):
        first, n = p.layers[i, FIRST], p.layers[i, WIDTH]
        np.dot(feedback_weights(i, p).T, m.to_output[first : first + n], m.gains[i])
    Q = feedback_weights(last, p)
    for d in range(Q.shape[1]):
        for c in range(Q.shape[0]):
            for s in range(batch):
                m.gains[last, d, c * batch + s] = Q[c, d]


@kernel
def _write_factors(p: LayeredParams, batch: int, m: LinearMemory) -> None:
    """Write L_i of the hidden layers."""
    for i in range(m.factors.shape[0]):
        out, first = m.factors[i], p.layers[i, FIRST]
        for j in range(first, first + p.layers[i, WIDTH]):
            for c in range(out.shape[0]):
                for e in range(c + 1):
                    for s in range(batch):
                        out[c, e * batch + s] += m.to_output[j, c * batch + s] * m.to_output[j, e * batch + s]
        factorize(batch, out)


@kernel
def _draw(disturb: Kernel, dt: float, b: Block, m: LinearMemory) -> None:
    """Step the noise in the apical compartments, as the network steps its own."""
    tau = b.p.tau_a if b.p.tau_a > 0 else dt
    keep = b.u.dtype.type(1) - dt / tau
    for j in range(m.apical.shape[0]):
        for s in range(m.apical.shape[1]):
            m.apical[j, s] *= keep
    disturb(dt, tau, b, m.apical)


@kernel
def _drive(i: int, c: int, m: LinearMemory) -> None:
    """Write what noise and control in the apical compartments of layer i do to output c."""
    outputs, batch = m.held.shape
    if i < m.factors.shape[0]:
        for s in range(batch):
            m.driven[s] = 0
        for e in range(c + 1):
            for s in range(batch):
                m.driven[s] += m.factors[i, c, e * batch + s] * m.apical[i * outputs + e, s]
    else:
        for s in range(batch):
            m.driven[s] = m.apical[i * outputs + c, s]
    for d in range(outputs):
        for s in range(batch):
            m.driven[s] += m.gains[i, d, c * batch + s] * m.held[d, s]


@kernel
def _advance(k: int, dt: float, b: Block, m: LinearMemory) -> None:
    """Step the chain as the network steps its layers, and read the output's deviation."""
    p, batch, one = b.p, b.u.shape[1], b.u.dtype.type(1)
    layers = p.layers.shape[0]
    follow(b.applied, dt / p.tau_f if p.tau_f > 0 and k > 0 else one, m.sent)
    follow(m.sent, dt / p.tau_a if p.tau_a > 0 else one, m.held)
    gain = dt / p.tau_v if p.tau_v > 0 else one
    for step in range(layers):
        i = layers - 1 - step if p.delayed > 0 else step
        for c in range(m.held.shape[0]):
            _drive(i, c, m)
            soma = m.somas[i, c]
            for s in range(batch):
                below = m.somas[i - 1, c, s] if i > 0 else one - one
                soma[s] += gain * (below + m.driven[s] - soma[s])
    for c in range(m.held.shape[0]):
        for s in range(batch):
            b.y[c, s] = m.somas[-1, c, s]


@kernel
def _pair(k: int, u: Array, m: LinearMemory) -> None:
    """Put the new control beside the apical voltages of the step before, k."""
    outputs, batch = u.shape
    for d in range(outputs):
        for s in range(batch):
            m.controls[k, d * batch + s] = u[d, s]
    _add_outer(m.held, u, m.moments)
    for i in range(m.paired.shape[0]):
        _add_outer(m.apical[i * outputs : (i + 1) * outputs], u, m.paired[i])


@kernel
def _add_outer(left: Array, right: Array, out: Array) -> None:
    batch = left.shape[1]
    for c in range(left.shape[0]):
        for d in range(right.shape[0]):
            for s in range(batch):
                out[c, d * batch + s] += left[c, s] * right[d, s]


@kernel
def _add_controlled(p: LayeredParams, l: FeedbackMemory, m: LinearMemory) -> None:
    """Add what the control itself put into the apical compartments, Q_i times the sum of held u^T."""
    batch = m.held.shape[1]
    for c in range(m.moments.shape[0]):
        for d in range(m.moments.shape[0]):
            moment = m.moments[c, d * batch : (d + 1) * batch].sum()
            for i in range(p.layers.shape[0]):
                first, Q = p.layers[i, FIRST], feedback_weights(i, p)
                for j in range(min(Q.shape[0], l.total.shape[0] - first)):
                    l.total[first + j, d] += Q[j, c] * moment


Sleep: TypeAlias = Callable[[int, float, int, float, Block, FeedbackMemory, LinearMemory], tuple[int, int]]


def _build(tag: str, *parts: Kernel) -> Sleep:
    (dynamics, output, advance, set_input, set_control, observe) = parts[:6]
    (rate, command, control_step, error, step, settle, disturb, adapt, finish, transpose_disturb) = parts[6:]

    def sleep(
        steps: int, dt: float, delay: int, limit: float, b: Block, l: FeedbackMemory, m: LinearMemory
    ) -> tuple[int, int]:
        tag  # noqa: B018 - the closure over it puts it into the cache key
        plant_kernels = (dynamics, output, advance, set_input, set_control, observe)
        control_kernels = (rate, command, control_step, error)
        system = System(*plant_kernels, *control_kernels, step, settle, disturb, adapt, finish)
        batch = b.u.shape[1]
        _write_jacobian(b.p, batch, m)
        _write_gains(b.p, batch, m)
        _write_factors(b.p, batch, m)
        error(b.r, b.y, b.e)
        for k in range(steps):
            step(system, k, k * dt, dt, b)
            # The first control meets no noise yet: apical voltages start at zero.
            if k > 0:
                _pair(k - 1, b.u, m)
            _draw(disturb, dt, b, m)
            _advance(k - delay, dt, b, m)
            error(b.r, b.y, b.e)
            sample = max(first_diverged(limit, b.y), first_diverged(limit, b.u))
            if sample >= 0:
                return k + 1, sample
        add_noise(transpose_disturb, dt, b, l, m)
        _add_controlled(b.p, l, m)
        return steps, -1

    return sleep


def bind(parts: System, transpose_disturb: Kernel, compiled: bool) -> Sleep:
    """Give what lets one block learn in the linearised loop, as machine code or as plain Python.

    Parameters
    ----------
    parts : System
        The kernels of the loop; of the plant's none is called.
    transpose_disturb : Kernel
        The noise's.
    compiled : bool
        False for plain Python.

    Returns
    -------
    callable
        ``sleep(steps, dt, delay, limit, block, l, m) -> (step, sample)``; sample is -1 unless the loop diverged.
    """
    return bound(_build, *parts, transpose_disturb) if compiled else _build("", *parts, transpose_disturb)
