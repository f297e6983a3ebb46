"""What learning under noise makes of feedback weights: the row space of J, the shape J^T (J J^T + gamma I)^-1.

The simulations run compiled; `test_compilation` uses the same loop.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.optimize import brentq

from controlnet import ClosedLoop, Lesson, MeanSquaredError
from controlnet.adaptation import SGD, FeedbackLearning
from controlnet.analysis import condition_two, feedback_angle
from controlnet.base import Array, Parameters
from controlnet.controllers import PI
from controlnet.integrators import FilteredNoise, Sequential, WhiteNoise
from controlnet.objective import OwnOutput
from controlnet.plants import DeepNetwork


class Sleep(NamedTuple):
    """The published time constants of the sleep phase, with a larger gain."""

    dt: float = 0.001
    tau_apical: float = 0.14
    k_p: float = 0.07
    leak: float = 0.4
    steps: int = 44


SLEEP, SIGMA, DECAY, RATE = Sleep(), 0.03, 1.2e-3, 20.0
SIZES, NEURONS = (4, 5, 4, 3), 12


def asleep(net: DeepNetwork, batch: int, noise: Any, **options: Any) -> Parameters:
    """Give the change of one sleep phase, compiled; the batch plays no part in linear networks."""
    law, x = FeedbackLearning(), np.random.default_rng(0).normal(size=(batch, 4))
    objective = OwnOutput(MeanSquaredError())
    lesson = Lesson(net, x, np.zeros((batch, 3)), objective, SLEEP.dt, SLEEP.steps, **options)
    controller, integrator = PI(k_p=SLEEP.k_p, leak=SLEEP.leak), Sequential(noise=noise)
    return law.propose(ClosedLoop(net, controller, integrator=integrator, law=law), lesson).change


def sleeper(activation: str, soma: Any) -> DeepNetwork:
    options = {"tau_v": 0.006, "tau_apical": SLEEP.tau_apical, "soma": soma}
    return DeepNetwork.initialize(SIZES, activation=activation, feedback="random", seed=1, **options)


class Course(NamedTuple):
    """Feedback weights after 0, 5, 20 and 100 updates, and their mean over the later ones; J at the first weights."""

    weights: list[Array]
    J: Array


def train(net: DeepNetwork, updates: int = 300) -> Course:
    optimizer, weights, mean = SGD(learning_rate=RATE, weight_decay=DECAY), [], np.zeros((NEURONS, 3))
    J = net.jacobian(net.voltages(np.random.default_rng(0).normal(size=(128, 4))))
    for k in range(updates):
        if k in (0, 5, 20, 100):
            weights.append(net.stacked_feedback())
        new, _ = optimizer.apply(net.parameters, asleep(net, 128, WhiteNoise(sigma=SIGMA), seed=k), {})
        net = net.with_parameters(new)
        if k >= 100:
            mean += net.stacked_feedback() / (updates - 100)
    return Course([*weights, mean], J)


@pytest.fixture(scope="module")
def linear() -> Course:
    return train(sleeper("linear", "instantaneous"))


@pytest.fixture(scope="module")
def curved() -> Course:
    return train(sleeper("tanh", "dynamic"))


def angle_to_shape(course: Course, Q: Array) -> float:
    """Give the mean angle to J^T (J J^T + gamma I)^-1 for the best gamma."""
    J, eye = course.J, np.eye(3)
    shapes = [np.linalg.solve(J @ J.swapaxes(1, 2) + g * eye, J).swapaxes(1, 2) for g in np.logspace(-2, 2, 41)]
    return min(float(feedback_angle(Q, shape).mean()) for shape in shapes)


@pytest.mark.parametrize(("kind", "share", "angle"), [("linear", 0.9998, 1.5), ("curved", 0.97, 13.0)])
def test_feedback_weights_approach_the_theory(kind: str, share: float, angle: float, request: Any) -> None:
    """Into the row space of J, where condition 2 holds, and towards J^T (J J^T + gamma I)^-1.

    The samples of the tanh network have different J: even the mean of their J^T reaches only 0.988.
    """
    course: Course = request.getfixturevalue(kind)
    inside = [condition_two(course.J, Q).mean() for Q in course.weights]
    away = [angle_to_shape(course, Q) for Q in course.weights]
    assert inside == sorted(inside)
    assert away == sorted(away, reverse=True)
    assert inside[0] < 0.6 < share < inside[-1]
    assert away[0] > 60 > angle > away[-1]


def covariances(q: float) -> tuple[float, float]:
    """Give the mean of n[t] u[t + 1] and of f[t] u[t + 1] in a scalar loop with feedback of gain q.

    Unit white noise makes n in the apical compartment; the control u adds its low-pass part, q f.
    """
    share, steps = SLEEP.dt / SLEEP.tau_apical, SLEEP.steps
    # Each of n, z, u, f as its responses to the unit noise of every step.
    n, z, u, f = np.zeros((4, steps))
    by_noise = by_control = 0.0
    for t in range(steps):
        e = -(n + q * f)
        z = z + SLEEP.dt * (e - SLEEP.leak * u)
        u = z + SLEEP.k_p * e
        by_noise, by_control = by_noise + n @ u / steps, by_control + f @ u / steps
        f, n = f + share * (u - f), (1 - share) * n
        n[t] += math.sqrt(SLEEP.dt) / SLEEP.tau_apical
    return by_noise, by_control


def fixed_point(J: Array) -> Array:
    """Give Q = J^T F: for every eigenvalue a of J J^T, C(q) + q D(q) + beta q / a = 0 at q = a f."""
    eigenvalues, vectors = np.linalg.eigh(J @ J.T)

    def slope(q: float, a: float) -> float:
        by_noise, by_control = covariances(q)
        return by_noise + q * by_control + DECAY * q / a

    factors = [brentq(slope, 0, 1000, args=(a,), xtol=1e-11) / a for a in eigenvalues]
    return J.T @ (vectors * factors) @ vectors.T


def test_linear_network_learns_the_fixed_point_of_the_mean_rule(linear: Course) -> None:
    expected = fixed_point(linear.J[0])
    assert np.linalg.norm(linear.weights[-1] - expected) < 0.02 * np.linalg.norm(expected)
    for other in (linear.J[0].T, np.linalg.pinv(linear.J[0])):
        assert feedback_angle(expected, other[np.newaxis])[0] > 8


def test_mean_change_at_the_fixed_point_is_the_decay() -> None:
    """One unit impulse a sample, of each neuron at each step: the sum of their changes is the mean change by noise."""
    net = sleeper("linear", "instantaneous")
    Q = fixed_point(net.jacobian([np.zeros((1, n)) for n in SIZES[1:]])[0])
    net = net.with_parameters({f"Q{i}": part for i, part in enumerate(np.split(Q, [5, 9]))})
    impulses = np.eye(SLEEP.steps * NEURONS).reshape(-1, SLEEP.steps, NEURONS).swapaxes(0, 1)
    change = asleep(net, impulses.shape[1], WhiteNoise(sigma=SIGMA, recorded=impulses))
    mean = np.concatenate([change[f"Q{i}"] for i in range(3)]) * impulses.shape[1]
    np.testing.assert_allclose(mean, DECAY * Q, rtol=0, atol=1e-9 * DECAY * np.abs(Q).max())


@pytest.mark.parametrize("scaling", [0.0, 0.8])
def test_layer_scaling_undoes_the_lag_of_the_somas(scaling: float) -> None:
    """Correlated noise loses 1 / (1 + (tau_v - dt) / tau_noise) at every soma on its way to the output.

    Without feedback, a unit impulse a neuron: what it leaves over time adds up to the mean change by noise.
    """
    tau_v, tau, dt, steps = 0.05, 0.05, 0.01, 150
    net = DeepNetwork.initialize(SIZES, activation="linear", seed=1, tau_v=tau_v)
    net = net.with_parameters({f"Q{i}": np.zeros((n, 3)) for i, n in enumerate(SIZES[1:])})
    impulses = np.zeros((steps, NEURONS, NEURONS))
    impulses[0] = np.eye(NEURONS)
    objective = OwnOutput(MeanSquaredError())
    lesson = Lesson(net, np.zeros((NEURONS, 4)), np.zeros((NEURONS, 3)), objective, dt, steps)
    law, noise = FeedbackLearning(layer_scaling=scaling), FilteredNoise(sigma=0.1, tau=tau, recorded=impulses)
    loop = ClosedLoop(net, PI(k_p=1.0, k_i=0.0), integrator=Sequential(noise=noise), law=law)
    change = law.propose(loop, lesson).change
    J = np.split(net.jacobian(lesson.voltages)[0], [5, 9], axis=1)
    loss = 1 + (tau_v - dt) / tau
    for i in range(3):
        expected = change["Q2"][0, 0] * ((1 + scaling) / loss) ** (2 - i) * J[i].T
        np.testing.assert_allclose(change[f"Q{i}"], expected, rtol=0, atol=1e-6 * np.abs(expected).max())
