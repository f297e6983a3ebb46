"""The kernels of feedback learning in the linearised loop: noise and control meet in coordinates of the output alone.

Near its feed-forward state layer i moves the output by J_i delta_v_i, and J_i W_i phi_{i-1}' = J_{i-1}.  So what noise
and control do to the output passes through a chain of n_L numbers a layer, in place of the network:
tau_v d(J_i delta_v_i)/dt = -J_i delta_v_i + J_{i-1} delta_v_{i-1} + J_i v_fb_i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .._kernel import bound, kernel
from ..activations import scale_by_slope
from ..base import Array, Block, Kernel, System, follow
from ..layered import ACTIVATION, FIRST, RATE, WIDTH, LayeredParams, feedback_weights, signal, weights
from ..wires import first_diverged
from ._feedback_rule import WINDOW, FeedbackMemory, finish_feedback


class LinearMemory(NamedTuple):
    """What the kernels know of one block, and their workspace; c counts outputs, s samples, w steps of a window.

    `to_output` (hidden neurons, c s) is J^T, `gains` (layers, c, c s) are (J_i Q_i)^T.  `apical` (neurons, s) is the
    noise in the apical compartments, `projected` (layers, c, w s) is J_i times it, `somas` (layers, c, s) are
    J_i delta_v_i, `sent` and `held` (c, s) the control behind its filter and behind the apical compartments, `moments`
    (c, c) the sum of held u^T.
    """

    to_output: Array
    gains: Array
    slopes: Array
    apical: Array
    projected: Array
    somas: Array
    sent: Array
    held: Array
    moments: Array


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
def _project(p: LayeredParams, apicals: Array, count: int, batch: int, m: LinearMemory) -> None:
    """Write J_i times the noise of so many steps."""
    for i in range(p.layers.shape[0] - 1):
        out, first = m.projected[i], p.layers[i, FIRST]
        for c in range(out.shape[0]):
            for k in range(count * batch):
                out[c, k] = 0
        for j in range(first, first + p.layers[i, WIDTH]):
            for c in range(out.shape[0]):
                for w in range(count):
                    for s in range(batch):
                        out[c, w * batch + s] += m.to_output[j, c * batch + s] * apicals[j, w * batch + s]


@kernel
def _draw(disturb: Kernel, count: int, dt: float, b: Block, l: FeedbackMemory, m: LinearMemory) -> None:
    """Step the noise in the apical compartments, which knows nothing of the control, so many steps ahead."""
    p, batch = b.p, b.u.shape[1]
    tau = p.tau_a if p.tau_a > 0 else dt
    output = p.layers[-1, FIRST]
    for w in range(count):
        keep = b.u.dtype.type(1) - dt / tau
        for j in range(m.apical.shape[0]):
            for s in range(batch):
                m.apical[j, s] *= keep
        disturb(dt, tau, b, m.apical)
        for j in range(l.apicals.shape[0]):
            for s in range(batch):
                l.apicals[j, w * batch + s] = m.apical[j, s]
        for c in range(m.held.shape[0]):
            for s in range(batch):
                m.projected[-1, c, w * batch + s] = m.apical[output + c, s]
    _project(p, l.apicals, count, batch, m)


@kernel
def _advance(k: int, w: int, dt: float, b: Block, m: LinearMemory) -> None:
    """Step the chain as the network steps its layers, and read the output's deviation."""
    p, batch, one = b.p, b.u.shape[1], b.u.dtype.type(1)
    layers = p.layers.shape[0]
    follow(b.applied, dt / p.tau_f if p.tau_f > 0 and k > 0 else one, m.sent)
    follow(m.sent, dt / p.tau_a if p.tau_a > 0 else one, m.held)
    gain = dt / p.tau_v if p.tau_v > 0 else one
    for step in range(layers):
        i = layers - 1 - step if p.delayed > 0 else step
        for c in range(m.held.shape[0]):
            soma, driven = m.somas[i, c], m.projected[i, c, w * batch : (w + 1) * batch]
            for d in range(m.held.shape[0]):
                for s in range(batch):
                    driven[s] += m.gains[i, d, c * batch + s] * m.held[d, s]
            for s in range(batch):
                below = m.somas[i - 1, c, s] if i > 0 else one - one
                soma[s] += gain * (below + driven[s] - soma[s])
    for c in range(m.held.shape[0]):
        for s in range(batch):
            b.y[c, s] = m.somas[-1, c, s]


@kernel
def _pair(b: Block, l: FeedbackMemory, m: LinearMemory) -> None:
    """Put the new control beside the apical voltages of the step before."""
    batch = b.u.shape[1]
    start = l.filled[0] * batch
    l.filled[0] += 1
    for d in range(b.u.shape[0]):
        for s in range(batch):
            l.controls[d, start + s] = b.u[d, s]
        for c in range(b.u.shape[0]):
            for s in range(batch):
                m.moments[c, d] += m.held[c, s] * b.u[d, s]


@kernel
def _add_controlled(p: LayeredParams, l: FeedbackMemory, m: LinearMemory) -> None:
    """Add what the control itself put into the apical compartments, Q_i times the sum of held u^T."""
    for i in range(p.layers.shape[0]):
        first, Q = p.layers[i, FIRST], feedback_weights(i, p)
        for j in range(Q.shape[0]):
            if first + j < l.total.shape[0]:
                for d in range(Q.shape[1]):
                    for c in range(Q.shape[1]):
                        l.total[first + j, d] += Q[j, c] * m.moments[c, d]


Sleep: TypeAlias = Callable[[int, float, int, float, Block, FeedbackMemory, LinearMemory], tuple[int, int]]


def _build(tag: str, *parts: Kernel) -> Sleep:
    (dynamics, output, advance, set_input, set_control, observe) = parts[:6]
    (rate, command, control_step, error, step, settle, disturb, adapt, finish) = parts[6:]

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
        error(b.r, b.y, b.e)
        for k in range(steps):
            step(system, k, k * dt, dt, b)
            # The first control meets no noise yet: apical voltages start at zero.
            if k > 0:
                _pair(b, l, m)
            if k % WINDOW == 0:
                finish_feedback(b, l)
                _draw(disturb, min(WINDOW, steps - k), dt, b, l, m)
            _advance(k - delay, k % WINDOW, dt, b, m)
            error(b.r, b.y, b.e)
            sample = max(first_diverged(limit, b.y), first_diverged(limit, b.u))
            if sample >= 0:
                return k + 1, sample
        finish_feedback(b, l)
        _add_controlled(b.p, l, m)
        return steps, -1

    return sleep


def bind(parts: System, compiled: bool) -> Sleep:
    """Give what lets one block learn in the linearised loop, as machine code or as plain Python.

    Parameters
    ----------
    parts : System
        The kernels of the loop; of the plant's none is called.
    compiled : bool
        False for plain Python.

    Returns
    -------
    callable
        ``sleep(steps, dt, delay, limit, block, l, m) -> (step, sample)``; sample is -1 unless the loop diverged.
    """
    return bound(_build, *parts) if compiled else _build("", *parts)


def linear_memory(plant: Any, batch: int) -> LinearMemory:
    """Give room for one block.

    Parameters
    ----------
    plant : DeepNetwork
        The network.
    batch : int
        Number of samples.

    Returns
    -------
    LinearMemory
        Zeros.
    """
    n, m, layers = plant.nneurons, plant.noutputs, len(plant.weights)
    shapes = {
        "to_output": (n - m, m * batch),
        "gains": (layers, m, m * batch),
        "slopes": (max(plant.sizes[1:]), batch),
        "apical": (n, batch),
        "projected": (layers, m, WINDOW * batch),
        "somas": (layers, m, batch),
        "sent": (m, batch),
        "held": (m, batch),
        "moments": (m, m),
    }
    return LinearMemory(**{name: np.zeros(shape, plant.dtype) for name, shape in shapes.items()})
