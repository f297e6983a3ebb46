"""Where a network under PI control is stable: a map over proportional gain and time constant of the somas."""

import sys

import numpy as np
from matplotlib.figure import Figure

import controlnet as cn

GAINS, TIMES = np.geomspace(0.1, 100, 25), np.geomspace(0.01, 10, 13)


def find_map(k_i):
    """Give the spectral abscissa (times, gains) of the loop of one sample, at the steady state of each."""
    network = cn.plants.DeepNetwork.initialize((4, 10, 10, 10, 2), seed=0)
    loop = cn.ClosedLoop(network, cn.controllers.PI(k_i=k_i, leak=0.01))
    inputs = np.random.default_rng(0).normal(size=(1, 4))
    grid = {"plant.tau_v": TIMES, "controller.k_p": GAINS}
    return cn.analysis.stability_map(loop, network.predict(inputs) + 0.3, grid, inputs=inputs)[:, :, 0]


def draw(maps, path):
    """Draw the maps, and the boundaries of stability."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes, levels = figure.subplots(1, len(maps), sharey=True), np.linspace(-1, 1, 21)
    for axis, (k_i, abscissa) in zip(axes, maps.items(), strict=True):
        # In units of the somas' own rate.
        filled = axis.contourf(GAINS, TIMES, abscissa * TIMES[:, np.newaxis], levels, cmap="RdBu_r", extend="both")
        axis.contour(GAINS, TIMES, abscissa, levels=[0], colors="black")
        axis.set(xscale="log", yscale="log", xlabel="proportional gain k_p", title=f"k_i = {k_i:g}")
    axes[0].set_ylabel("time constant tau_v")
    figure.colorbar(filled, ax=axes, label="spectral abscissa x tau_v")
    figure.savefig(path)


if __name__ == "__main__":
    maps = {k_i: find_map(k_i) for k_i in (1.0, 10.0)}
    for k_i, abscissa in maps.items():
        print(f"k_i = {k_i:g}: {(abscissa < 0).mean():.0%} of the map stable (.), the rest not (#)")
        for tau, row in zip(TIMES, abscissa, strict=True):
            print(f"tau_v {tau:6.3f}  " + "".join(".#"[int(value >= 0)] for value in row))
    print(f"k_p from {GAINS[0]:g} on the left to {GAINS[-1]:g} on the right")
    if len(sys.argv) > 1:
        draw(maps, sys.argv[1])
