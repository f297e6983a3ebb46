"""Eigenvalues of J Q: a loop with a slow controller is stable where their real parts are above minus the leak."""

import sys

import numpy as np
from matplotlib.figure import Figure

import controlnet as cn

SIZES = (15, 10, 10, 5)


def learn_feedback(network, inputs, lessons=8):
    """Let the feedback weights learn from noise, asleep: the network's own output is the reference."""
    controller, optimizer = cn.controllers.PI(k_p=0.07, leak=0.4), cn.adaptation.SGD(learning_rate=5.0)
    noisy = cn.integrators.Sequential(noise=cn.integrators.WhiteNoise(sigma=0.03))
    law, objective = cn.adaptation.FeedbackLearning(), cn.Strong(cn.MeanSquaredError())
    for k in range(lessons):
        some = inputs[16 * k % len(inputs) :][:16]
        lesson = cn.Lesson(network, some, network.predict(some), objective, dt=0.001, steps=44, seed=k)
        # So little of it is sooner done by Python than compiled.
        loop = cn.ClosedLoop(network, controller, integrator=noisy, law=law, compiled=False)
        change = law.propose(loop, lesson).change
        network = network.with_parameters(optimizer.apply(network.parameters, change, {})[0])
    return network


def draw(eigenvalues, path):
    """Draw the eigenvalues of all samples in the complex plane, one panel a network."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axis, (name, values) in zip(
        figure.subplots(1, len(eigenvalues), sharey=True), eigenvalues.items(), strict=True
    ):
        axis.plot(values.real.ravel(), values.imag.ravel(), ".", markersize=3)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set(title=f"{name} feedback", xlabel="real part")
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("imaginary part")
    figure.savefig(path)


if __name__ == "__main__":
    inputs, found = np.random.default_rng(0).normal(size=(128, SIZES[0])), {}
    options = {"seed": 0, "tau_v": 0.006, "tau_apical": 0.14}
    drawn = ("weight-product", "random")
    networks = {name: cn.plants.DeepNetwork.initialize(SIZES, feedback=name, **options) for name in drawn}
    networks["learned"] = learn_feedback(networks["random"], inputs)
    for name, network in networks.items():
        voltages = network.voltages(inputs)
        found[name] = cn.analysis.eigenvalues_of_jq(network, voltages)
        abscissa = -found[name].real.min(axis=1)
        angle = cn.analysis.feedback_alignment(network, voltages).to_transpose.mean()
        print(
            f"{name:14} feedback: J Q positive for {(abscissa < 0).mean():4.0%} of samples, "
            f"spectral abscissa of -J Q {abscissa.max():6.3f}, {angle:2.0f} degrees from J^T"
        )
    if len(sys.argv) > 1:
        draw(found, sys.argv[1])
