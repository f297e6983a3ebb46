"""The kernels of `DeepNetwork`: somatic, basal and apical compartments of every layer for a block of samples.

The state consists of, as far as present, the somatic voltages v of all layers (``tau_v > 0``), their apical voltages
v_fb (``tau_a > 0``) and the filtered control (``tau_f > 0``).
"""

from __future__ import annotations

import numpy as np

from .._kernel import kernel
from ..activations import activate, scale_by_slope
from ..base import Array, Block, System, copy, follow
from ..layered import (
    ACTIVATION,
    APICAL,
    BASAL,
    BIASES,
    FIRST,
    IDENTITY,
    RATE,
    WIDTH,
    LayeredParams,
    feedback_weights,
    multiply,
    signal,
    voltage,
    weights,
)


@kernel
def _write_basal(i: int, below: Array, p: LayeredParams) -> None:
    """Write v_ff of layer i = W_i r_{i-1} + b_i."""
    basal = signal(BASAL, i, p)
    multiply(weights(i, p), below, basal)
    for j in range(basal.shape[0]):
        bias = p.theta[p.layers[i, BIASES] + j]
        for s in range(basal.shape[1]):
            basal[j, s] += bias


@kernel
def set_input(w: Array, p: LayeredParams) -> None:
    """Write the basal voltage of the first layer, which stays as long as the input does."""
    _write_basal(0, w, p)


@kernel
def _apical_rows(x: Array, p: LayeredParams) -> Array:
    n = p.signals.shape[0] // 4
    start = n if p.tau_v > 0 else 0
    return x[start : start + n]


@kernel
def _filtered(x: Array, u: Array, p: LayeredParams) -> Array:
    if p.tau_f > 0:
        return x[x.shape[0] - u.shape[0] :]
    return u


@kernel
def _feedback(x: Array, u: Array, p: LayeredParams, out: Array) -> None:
    """Write what the control sends to the apical compartments: Q_i u, or J_i^T u at the present rates."""
    last, control = p.layers.shape[0] - 1, _filtered(x, u, p)
    for i in range(last, -1, -1):
        first, n = p.layers[i, FIRST], p.layers[i, WIDTH]
        sent = out[first : first + n]
        if p.layers[i, IDENTITY] > 0 or p.by_jacobian > 0 and i == last:
            copy(control, sent)
        elif p.by_jacobian == 0:
            multiply(feedback_weights(i, p), control, sent)
        else:
            np.dot(weights(i + 1, p).T, out[first + n : first + n + p.layers[i + 1, WIDTH]], sent)
            scale_by_slope(p.layers[i, ACTIVATION], signal(RATE, i, p), sent)


@kernel
def set_control(x: Array, u: Array, p: LayeredParams) -> None:
    """Write the apical voltages that belong to a state and a control."""
    n = p.signals.shape[0] // 4
    apical = p.signals[APICAL * n : RATE * n]
    if p.tau_a > 0:
        copy(_apical_rows(x, p), apical)
    else:
        _feedback(x, u, p, apical)


@kernel
def _advance_layer(i: int, gain: float, x: Array, p: LayeredParams) -> None:
    """Move v of layer i towards v_ff + v_fb, or to it if the soma has no dynamics, and write its rates.

    The basal voltage of the first layer stays as it is; those above get their new one.
    """
    basal, apical, v, rates = signal(BASAL, i, p), signal(APICAL, i, p), voltage(i, x, p), signal(RATE, i, p)
    if i > 0:
        multiply(weights(i, p), signal(RATE, i - 1, p), basal)
    for j in range(v.shape[0]):
        bias = p.theta[p.layers[i, BIASES] + j] if i > 0 else gain - gain
        for s in range(v.shape[1]):
            basal[j, s] += bias
            total = apical[j, s] + basal[j, s]
            v[j, s] = v[j, s] + gain * (total - v[j, s]) if p.tau_v > 0 else total
    activate(p.layers[i, ACTIVATION], v, rates)


@kernel
def output(t: float, x: Array, u: Array, w: Array, p: LayeredParams, y: Array) -> None:
    """Write basal voltages and rates of all layers, and the output, from the state."""
    if p.tau_v == 0:
        set_control(x, u, p)
    for i in range(p.layers.shape[0]):
        if p.tau_v == 0:
            _advance_layer(i, p.tau_v, x, p)
        else:
            if i > 0:
                _write_basal(i, signal(RATE, i - 1, p), p)
            activate(p.layers[i, ACTIVATION], voltage(i, x, p), signal(RATE, i, p))
    copy(signal(RATE, p.layers.shape[0] - 1, p), y)


@kernel
def _relax(target: Array, tau: float, x: Array, dx: Array) -> None:
    """Write dx = (target - x) / tau."""
    for j in range(x.shape[0]):
        for s in range(x.shape[1]):
            dx[j, s] = (target[j, s] - x[j, s]) / tau


@kernel
def dynamics(t: float, x: Array, u: Array, w: Array, p: LayeredParams, dx: Array) -> None:
    """Write dx/dt; `output` and `set_control` have been called for this state and control."""
    n = p.signals.shape[0] // 4
    if p.tau_v > 0:
        basal, apical = p.signals[BASAL * n : APICAL * n], p.signals[APICAL * n : RATE * n]
        for j in range(n):
            for s in range(x.shape[1]):
                dx[j, s] = (basal[j, s] + apical[j, s] - x[j, s]) / p.tau_v
    if p.tau_a > 0:
        slope = _apical_rows(dx, p)
        _feedback(x, u, p, slope)
        _relax(slope, p.tau_a, _apical_rows(x, p), slope)
    if p.tau_f > 0:
        _relax(u, p.tau_f, _filtered(x, u, p), _filtered(dx, u, p))


@kernel
def _advance_control(system: System, k: int, dt: float, b: Block) -> None:
    """Step the filtered control, which starts at the first control, and the apical compartments with their noise."""
    p, x, u = b.p, b.x, b.applied
    n = p.signals.shape[0] // 4
    apical = p.signals[APICAL * n : RATE * n]
    if p.tau_f > 0:
        follow(u, dt / p.tau_f if k > 0 else u.dtype.type(1), _filtered(x, u, p))
    _feedback(x, u, p, apical)
    if p.tau_a > 0:
        rows = _apical_rows(x, p)
        follow(apical, dt / p.tau_a, rows)
        system.disturb(dt, p.tau_a, b, rows)
        copy(rows, apical)
    else:
        system.disturb(dt, dt, b, apical)


@kernel
def advance(system: System, k: int, t: float, dt: float, b: Block) -> None:
    """Step the network as the public DFC implementations do, the new voltages of a layer reaching the next at once.

    With delayed transmission the layers are taken from the last to the first, so that each reads the old
    rates of the layer below.
    """
    p = b.p
    layers = p.layers.shape[0]
    _advance_control(system, k, dt, b)
    gain = dt / p.tau_v if p.tau_v > 0 else dt
    for step in range(layers):
        i = layers - 1 - step if p.delayed > 0 else step
        _advance_layer(i, gain, b.x, p)
    copy(signal(RATE, layers - 1, p), b.y)


@kernel
def observe(b: Block, out: Array) -> None:
    """Write somatic, basal and apical voltages and rates of all layers, one below the other."""
    n = b.p.signals.shape[0] // 4
    copy(b.p.signals, out)
    if b.p.tau_v > 0:
        copy(b.x[:n], out[:n])
