"""The same work in plain NumPy, to compare with: what it costs without compiled kernels, and what it has to give.

Samples are rows.  Letters: inputs x, reference r*, error e, integral z, control u; by layer the weights W and b,
voltages v (soma) and v_ff = W r + b (basal), rates r = tanh(v), linear in the last layer; for all layers side by side
the feedback weights Q and the voltages v_fb (apical).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

Array = np.ndarray
Change = dict[str, Array]


class Network(NamedTuple):
    """Weights by layer, Q one below the other; time constants of soma and, if it has dynamics, apical compartment."""

    W: tuple[Array, ...]
    b: tuple[Array, ...]
    Q: Array
    tau_v: float
    tau_apical: float | None = None


class Control(NamedTuple):
    """PI controller whose leak acts on u, and the time grid."""

    k_p: float
    k_i: float
    leak: float
    dt: float
    steps: int


class Noise(NamedTuple):
    """Numbers from N(0, 1) (batch, n) step by step; strength of each neuron; tau of its filter, None if white."""

    numbers: Iterable[Array]
    sigma: Array
    tau: float | None = None


class State(NamedTuple):
    """What is known after a step."""

    u: Array
    v_ff: list[Array]
    v_fb: Array
    r: list[Array]


def feed_forward(net: Network, x: Array) -> list[Array]:
    v = [x @ net.W[0].T + net.b[0]]
    for W, b in zip(net.W[1:], net.b[1:], strict=True):
        v.append(np.tanh(v[-1]) @ W.T + b)
    return v


def rates(v: list[Array]) -> list[Array]:
    return [*map(np.tanh, v[:-1]), v[-1]]


def by_layer(net: Network, array: Array, axis: int) -> list[Array]:
    return np.split(array, np.cumsum([len(b) for b in net.b])[:-1], axis)


def disturbances(net: Network, dt: float, noise: Noise) -> Iterator[Array]:
    """Give what the noise adds to v_fb, step by step."""
    n: Any = 0
    for xi in noise.numbers:
        if noise.tau is None:
            n = dt**0.5 / (net.tau_apical or dt) * xi
        else:
            n = dt**0.5 / noise.tau * xi + (1 - dt / noise.tau) * n
        yield noise.sigma * n


def simulate(
    net: Network, control: Control, x: Array, target: Array, noise: Noise | None = None, error: Any = np.subtract
) -> Iterator[State]:
    """Step the loop by the papers' scheme: the controller on the last error, then layer by layer; e = error(r*, y)."""
    dt, last = control.dt, len(net.W) - 1
    disturbing = disturbances(net, dt, noise) if noise is not None else None
    v = feed_forward(net, x)
    v_ff, r = list(v), rates(v)
    u, z, v_fb = np.zeros_like(target), np.zeros_like(target), np.zeros((len(x), len(net.Q)), x.dtype)
    for _ in range(control.steps):
        e = error(target, r[-1])
        z = z + dt * (control.k_i * e - control.leak * u)
        u = z + control.k_p * e
        sent = u @ net.Q.T
        v_fb = sent if net.tau_apical is None else v_fb + dt / net.tau_apical * (sent - v_fb)
        v_fb = v_fb if disturbing is None else v_fb + next(disturbing)
        v_ff, r = list(v_ff), list(r)
        for i, apical in enumerate(by_layer(net, v_fb, axis=1)):
            if i > 0:  # the input is constant
                v_ff[i] = r[i - 1] @ net.W[i].T + net.b[i]
            v[i] = v[i] + dt / net.tau_v * (apical + v_ff[i] - v[i])
            r[i] = np.tanh(v[i]) if i < last else v[i]
        yield State(u, v_ff, v_fb, r)


def forward_rule(states: Iterable[State], x: Array, number: int) -> Change:
    """Sum 2 / number (phi(v) - phi(v_ff)) r^T of every layer over samples and states."""
    total: Any = defaultdict(float)
    for state in states:
        for i, (r, r_ff) in enumerate(zip(state.r, rates(state.v_ff), strict=True)):
            total[f"W{i}"] += (r - r_ff).T @ (state.r[i - 1] if i else x)
            total[f"b{i}"] += (r - r_ff).sum(axis=0)
    return {name: 2 / number * array for name, array in total.items()}


def feedback_rule(states: Iterable[State], total: Array, share: float | None = None) -> Iterator[State]:
    """Add v_fb u^T to the total, u one step after v_fb, and pass the states on.

    With a share, dt / tau of a low-pass filter, u goes without its low-pass part.
    """
    low = v_fb = None
    for state in states:
        u = state.u
        if share is not None:
            low = u if low is None else low + share * (u - low)
            u = u - low
        if v_fb is not None:
            total += v_fb.T @ u
        v_fb = state.v_fb
        yield state


def feedback_change(net: Network, noise: Noise, total: Array, number: int) -> Change:
    scale = np.maximum(noise.sigma, 0.01)[:, np.newaxis] ** 2
    return {f"Q{i}": layer for i, layer in enumerate(by_layer(net, -total / (number * scale), axis=0))}


def dfc(net: Network, control: Control, x: Array, target: Array) -> Change:
    """Continuous DFC: the mean of the rule over the whole simulation."""
    return forward_rule(simulate(net, control, x, target), x, len(x) * (control.steps + 1))


def dfc_last_step(net: Network, control: Control, x: Array, target: Array) -> Change:
    """DFC-SS: the rule at the last step."""
    return forward_rule(deque(simulate(net, control, x, target), maxlen=1), x, len(x))


def feedback_step(net: Network, control: Control, x: Array, noise: Noise) -> Change:
    """Two-phase learning of Q: the network's own output is the reference, so that only noise moves the controller."""
    own, total = feed_forward(net, x)[-1], np.zeros_like(net.Q)
    deque(feedback_rule(simulate(net, control, x, own, noise), total), maxlen=0)
    return feedback_change(net, noise, total, len(x) * control.steps)


def single_phase(net: Network, control: Control, x: Array, target: Array, noise: Noise, high_pass: float) -> Change:
    """Strong-DFC: all weights learn from one noisy simulation towards the label."""
    feedback = np.zeros_like(net.Q)
    states = simulate(net, control, x, target, noise, error=lambda r, y: r - softmax(y, axis=1))
    states = feedback_rule(states, feedback, control.dt / high_pass)
    forward = forward_rule(states, x, len(x) * (control.steps + 1))
    return forward | feedback_change(net, noise, feedback, len(x) * control.steps)
