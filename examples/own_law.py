"""A law of one's own: the delta rule, by which only the output layer learns from the controller."""

from typing import NamedTuple

import numpy as np

from controlnet import ClosedLoop, Lesson, MeanSquaredError, Nudged, kernel
from controlnet.base import AbstractLaw
from controlnet.controllers import PI
from controlnet.layered import APICAL, RATE, signal
from controlnet.plants import DeepNetwork


class Memory(NamedTuple):
    """What one block accumulates."""

    product: np.ndarray


@kernel
def adapt(k, dt, b, l):
    """Add v_fb r^T: what the controller gives to the output neurons, times the rates below them."""
    last = b.p.layers.shape[0] - 1
    l.product[:] += np.dot(signal(APICAL, last, b.p), signal(RATE, last - 1, b.p).T)


class DeltaRule(AbstractLaw):
    """Change of the output weights by the mean of v_fb r^T over samples and steps."""

    adapt = staticmethod(adapt)

    def accumulators(self, plant, batch):
        return Memory(np.zeros_like(plant.weights[-1]))

    def collect(self, plant, accumulators, samples, steps):
        return {f"W{len(plant.weights) - 1}": sum(block.product for block in accumulators) / (samples * steps)}


if __name__ == "__main__":
    rng, losses = np.random.default_rng(0), []
    inputs, teacher, network = rng.normal(size=(40, 5)), rng.normal(size=(5, 2)), DeepNetwork.initialize((5, 30, 2))
    for _ in range(20):
        lesson = Lesson(network, inputs, np.tanh(inputs @ teacher), Nudged(MeanSquaredError(), 0.5), dt=0.1, steps=20)
        losses.append(lesson.objective.loss.value(lesson.output, lesson.labels))
        loop = ClosedLoop(network, PI(k_p=0.5), law=DeltaRule())
        change = loop.law.propose(loop, lesson).change
        network = network.with_parameters({name: network.parameters[name] + dw for name, dw in change.items()})
    print(f"loss {losses[0]:.3f} before and {losses[-1]:.3f} after {len(losses)} lessons")
