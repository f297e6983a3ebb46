"""The kernels of feedback learning in the linearised loop: noise and control meet in coordinates of the output alone.

Near its feed-forward state layer i moves the output by J_i delta_v_i, and J_i W_i phi_{i-1}' = J_{i-1}.  So what noise
and control do to the output passes through a chain of n_L numbers a layer, in place of the network:
tau_v d(J_i delta_v_i)/dt = -J_i delta_v_i + J_{i-1} delta_v_{i-1} + J_i v_fb_i.

With J_i J_i^T = L_i L_i^T the columns of A_i = J_i^T L_i^-T are orthonormal.  The noise A_i a_i along them, n_L numbers
a step, is all that the output sees: J_i A_i a_i = L_i a_i.  Noise across them moves nothing, so that given the control
its sum with u^T over the steps is (1 - A_i A_i^T) Z_i S^T, Z_i (n_i, n_L) from N(0, 1): S S^T is the sum of w w^T over
the steps, w the weight that the number drawn in a step has in that sum.  It is drawn as such, not step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .._kernel import bound, kernel
from .._random import fill_normal
from ..activations import scale_by_slope
from ..base import Array, Block, Kernel, System, follow
from ..layered import ACTIVATION, FIRST, RATE, WIDTH, LayeredParams, feedback_weights, signal, weights
from ..wires import first_diverged
from ._cholesky import factorize, solve_lower, solve_upper
from ._feedback_rule import FeedbackMemory


class LinearMemory(NamedTuple):
    """What the kernels know of one block, and their workspace; c, d, e count outputs, s samples.

    `to_output` (hidden neurons, c s) is J^T, `gains` (layers, c, d s) are (J_i Q_i)^T, `factors` (hidden layers, c,
    e s) L_i.  `apical` (layers e, s) is a_i, `driven` (s) what noise and control in the apical compartments do to an
    output, `somas` (layers, c, s) are J_i delta_v_i, `sent` and `held` (c, s) the control behind its filter and behind
    the apical compartments.  `paired` (layers, e, d s) is the sum of a_i u^T, `moments` (c, d s) that of held u^T,
    `controls` (steps - 1, d s) are u.  `spread` (d, e s) is S, `across` (hidden neurons, e s) Z from `stream`, `seen`
    (c, e s) J_i Z_i; J_i^T is multiplied by `along` (c, d s), which `given` (d, c s) is in another order.
    """

    to_output: Array
    gains: Array
    factors: Array
    slopes: Array
    apical: Array
    driven: Array
    somas: Array
    sent: Array
    held: Array
    paired: Array
    moments: Array
    controls: Array
    spread: Array
    across: Array
    seen: Array
    along: Array
    given: Array
    stream: Array


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
    hidden = i < m.factors.shape[0]
    for s in range(batch):
        m.driven[s] = 0 if hidden else m.apical[i * outputs + c, s]
    for e in range(c + 1 if hidden else 0):
        for s in range(batch):
            m.driven[s] += m.factors[i, c, e * batch + s] * m.apical[i * outputs + e, s]
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
def _draw_across(transpose_disturb: Kernel, dt: float, b: Block, m: LinearMemory) -> None:
    """Write Z and S."""
    sigma = b.noise.sigma[0]
    transpose_disturb(dt, b.p.tau_a if b.p.tau_a > 0 else dt, b.noise, m.controls)
    batch = b.u.shape[1]
    for k in range(m.controls.shape[0]):
        for d in range(m.spread.shape[0]):
            for e in range(d + 1):
                for s in range(batch):
                    m.spread[d, e * batch + s] += m.controls[k, d * batch + s] * m.controls[k, e * batch + s]
    factorize(batch, m.spread)
    for d in range(m.spread.shape[0]):
        for e in range(m.spread.shape[1]):
            m.spread[d, e] *= sigma
    fill_normal(m.stream, 0, m.across)


@kernel
def _write_seen(batch: int, to_output: Array, across: Array, out: Array) -> None:
    """Write J_i Z_i."""
    out[:] = 0
    for j in range(to_output.shape[0]):
        for c in range(out.shape[0]):
            for e in range(out.shape[0]):
                for s in range(batch):
                    out[c, e * batch + s] += to_output[j, c * batch + s] * across[j, e * batch + s]


@kernel
def _write_along(i: int, batch: int, m: LinearMemory) -> None:
    """Write X with J_i^T X = A_i (sum of a_i u^T - A_i^T Z_i S^T)."""
    outputs = m.seen.shape[0]
    m.along[:] = 0
    for c in range(outputs):
        for d in range(outputs):
            for e in range(d + 1):
                for s in range(batch):
                    m.along[c, d * batch + s] -= m.seen[c, e * batch + s] * m.spread[d, e * batch + s]
    solve_lower(batch, m.factors[i], m.along)
    for e in range(outputs):
        for s in range(outputs * batch):
            m.along[e, s] += m.paired[i, e, s]
    solve_upper(batch, m.factors[i], m.along)


@kernel
def _transpose(batch: int, matrix: Array, out: Array) -> None:
    for c in range(matrix.shape[0]):
        for d in range(out.shape[0]):
            for s in range(batch):
                out[d, c * batch + s] = matrix[c, d * batch + s]


@kernel
def _add_product(left: Array, right: Array, product: Array, out: Array) -> None:
    """Add left right^T."""
    np.dot(left, right.T, product)
    for j in range(out.shape[0]):
        for d in range(out.shape[1]):
            out[j, d] += product[j, d]


@kernel
def _add_noise(transpose_disturb: Kernel, dt: float, b: Block, l: FeedbackMemory, m: LinearMemory) -> None:
    """Add what the noise put into the apical compartments, the sum of v_fb u^T without the control's own part."""
    batch, hidden = b.u.shape[1], m.factors.shape[0]
    _draw_across(transpose_disturb, dt, b, m)
    across = m.across[: m.to_output.size].reshape(m.to_output.shape)
    for i in range(hidden):
        first, last = b.p.layers[i, FIRST], b.p.layers[i, FIRST] + b.p.layers[i, WIDTH]
        _write_seen(batch, m.to_output[first:last], across[first:last], m.seen)
        _write_along(i, batch, m)
        _transpose(batch, m.along, m.given)
        product, total = l.product[first:last], l.total[first:last]
        _add_product(m.to_output[first:last], m.given, product, total)
        _add_product(across[first:last], m.spread, product, total)
    first = b.p.layers[hidden, FIRST]
    for c in range(l.total.shape[0] - first):
        for d in range(l.total.shape[1]):
            for s in range(batch):
                l.total[first + c, d] += m.paired[hidden, c, d * batch + s]


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
        _add_noise(transpose_disturb, dt, b, l, m)
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


def linear_memory(plant: Any, batch: int, steps: int, across: Array) -> LinearMemory:
    """Give room for one block.

    Parameters
    ----------
    plant : DeepNetwork
        The network.
    batch, steps : int
        Number of samples and of steps.
    across : array (2,) of uint64
        Random stream of the noise that the output does not see.

    Returns
    -------
    LinearMemory
        Zeros.
    """
    n, m, layers = plant.nneurons, plant.noutputs, len(plant.weights)
    drawn = (n - m) * m * batch
    shapes: dict[str, tuple[int, ...]] = {
        "to_output": (n - m, m * batch),
        "gains": (layers, m, m * batch),
        "factors": (layers - 1, m, m * batch),
        "slopes": (max(plant.sizes[1:]), batch),
        "apical": (layers * m, batch),
        "driven": (batch,),
        "somas": (layers, m, batch),
        "sent": (m, batch),
        "held": (m, batch),
        "paired": (layers, m, m * batch),
        "controls": (steps - 1, m * batch),
        "across": (drawn + drawn % 2,),
    }
    shapes |= dict.fromkeys(("moments", "spread", "seen", "along", "given"), (m, m * batch))
    return LinearMemory(**{name: np.zeros(shape, plant.dtype) for name, shape in shapes.items()}, stream=across)
