"""A loop as a linear system of python-control: margins, bandwidth and poles, before and after some learning."""

import sys

import control
import numpy as np
from matplotlib.figure import Figure

import controlnet as cn

CONTROLLERS = {"I": cn.controllers.PI(leak=0.01), "PI": cn.controllers.PI(k_p=1.0, leak=0.01)}
OMEGA, NUDGED = np.geomspace(0.01, 100, 500), cn.Nudged(cn.MeanSquaredError(), stepsize=0.1)


def learn(network, inputs, labels, lessons=20):
    """Let the forward weights learn by DFC at the linearised steady state."""
    law, optimizer, memory = cn.adaptation.DFC("analytic"), cn.adaptation.Adam(learning_rate=0.01), {}
    for _ in range(lessons):
        loop = cn.ClosedLoop(network, CONTROLLERS["I"], law=law)
        change = law.propose(loop, cn.Lesson(network, inputs, labels, NUDGED)).change
        new, memory = optimizer.apply(network.parameters, change, memory)
        network = network.with_parameters(new)
    return network


def draw(systems, path):
    """Draw the loop transfer functions after Bode, and the closed poles of the first at gains from 0 to 3."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    panels = figure.subplot_mosaic([["size", "locus"], ["phase", "locus"]])
    bode = np.array([[panels["size"]], [panels["phase"]]])
    control.bode_plot(list(systems.values()), OMEGA, ax=bode, label=list(systems), title="")
    name, cut = next(iter(systems.items()))
    control.root_locus_map(cut, gains=np.linspace(0, 3, 301)).plot(ax=panels["locus"], title="")
    panels["locus"].set(title=f"closed poles of {name}, gain 0 to 3", xlim=(-14, 3), ylim=(-8, 8))
    figure.savefig(path)


if __name__ == "__main__":
    inputs, systems = np.random.default_rng(0).normal(size=(64, 4)), {}
    labels = 2 * np.sin(inputs.sum(axis=1, keepdims=True))
    first = cn.plants.DeepNetwork.initialize((4, 10, 10, 1), seed=0, tau_apical=0.1)
    for when, network in {"before": first, "after": learn(first, inputs, labels)}.items():
        for name, controller in CONTROLLERS.items():
            loop = cn.ClosedLoop(network, controller)
            steady = loop.equilibrium(cn.Lesson(network, inputs, labels, NUDGED).reference, inputs=inputs)
            closed, cut = (loop.linearize(steady, 0, each, minimal=True) for each in ("closed-loop", "open-loop"))
            systems[f"{name} {when}"] = cut
            encircled = control.nyquist_response(cut).count
            gain, phase, *_ = control.stability_margins(control.frequency_response(cut, OMEGA))
            width, slowest = control.bandwidth(closed), closed.poles().real.max()
            print(
                f"{name:2} {when:6}: gain margin {gain:4.2f}, phase margin {phase:2.0f} degrees, "
                f"bandwidth {width:4.1f}, slowest pole {slowest:6.3f}, {encircled} encirclements"
            )
    if len(sys.argv) > 1:
        draw(systems, sys.argv[1])
