"""How well updates agree: those of DFC and DFA with backpropagation, Gauss-Newton and minimum norm."""

import numpy as np

import controlnet as cn

REFERENCES = ("bp", "gn", "mn")
LAWS = {"DFC": cn.adaptation.DFC(), "DFA": cn.adaptation.DFA()}


def whole_angles(law, lesson):
    """Give the angles between what a law and the references want, all weights and biases as one vector."""
    controller = cn.controllers.PI(k_p=1.0, leak=0.01)
    # So few steps of so small a network take less time than compiling the loop.
    loop = cn.ClosedLoop(lesson.plant, controller, law=law, compiled=False)
    change = law.propose(loop, lesson).change
    angles = cn.analysis.alignment(loop, lesson, change, REFERENCES)
    return [angles[name].whole for name in REFERENCES]


def conditions(lesson):
    """Give how far the lesson's network is from condition 1, and how far condition 2 holds, means over samples."""
    spread = cn.analysis.condition_one(lesson.below())
    J, Q = lesson.plant.jacobian(lesson.voltages), lesson.plant.stacked_feedback()
    return spread.deviation.mean(), cn.analysis.condition_two(J, Q).mean()


if __name__ == "__main__":
    sizes, inputs = (15, 10, 10, 5), np.random.default_rng(0).uniform(-1, 1, size=(32, 15))
    targets = cn.plants.DeepNetwork.initialize(sizes, seed=1).predict(inputs)
    nudging = cn.Nudged(cn.MeanSquaredError(), stepsize=0.01)
    for feedback in ("weight-product", "random"):
        student = cn.plants.DeepNetwork.initialize(sizes, feedback=feedback, seed=2)
        lesson = cn.Lesson(student, inputs, targets, nudging, dt=0.1, steps=50)
        one, two = conditions(lesson)
        print(f"{feedback} feedback: condition 1 {one:.2f} (0 where it holds), condition 2 {two:.2f} (1)")
        print("degrees", *(f"{name:>6}" for name in REFERENCES))
        for name, law in LAWS.items():
            print(f"{name:7}", *(f"{angle:6.1f}" for angle in whole_angles(law, lesson)))
