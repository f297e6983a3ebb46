"""Reads a case of the public DFC implementations and sets up the same one here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from controlnet import ClosedLoop, CrossEntropy, Difference, Lesson, MeanSquaredError, Nudged, SoftmaxDifference, Strong
from controlnet.adaptation import DFC
from controlnet.base import AbstractLaw, Array, Parameters
from controlnet.comparator import AbstractComparator
from controlnet.controllers import PI
from controlnet.integrators import AbstractNoise, FilteredNoise, Sequential, WhiteNoise
from controlnet.objective import OwnOutput
from controlnet.plants import DeepNetwork

DATA = Path(__file__).parent / "data"
LAYERS = range(3)
LOSSES = {
    "mse": MeanSquaredError(),
    "ce_int": CrossEntropy(),
    "ce_soft:0.9": CrossEntropy(0.9),
    "ce_soft:0.99": CrossEntropy(0.99),
}
COMPARATORS = {"mse": Difference(), "cross_entropy": SoftmaxDifference()}
SIGNALS = {"v": "v", "v_basal": "v_ff", "v_apical": "v_fb", "r": "r"}
"""The names of the signals by layer, here and there."""
INPUTS = re.compile(r"meta|points|[WbQ]\d|x|y|labels|noise\d")
"""The arrays of a file that are given, not found."""
BASE: dict[str, Any] = {
    "alpha_di": 0.0015,
    "dt_di": 0.02,
    "tmax_di": 200,
    "k_p": 2.0,
    "time_constant_ratio": 0.2,
    "inst_transmission": True,
    "proactive_controller": True,
    "apical_time_constant": -1,
    "target_stepsize": 0.1,
}
"""The hyperparameters of the base case, for files that do not repeat them."""

CONTROLLED = (
    "a_controller_base",
    "a2_nudged_ce",
    "a3_low_pass_u",
    "a4_jacobian_feedback",
    "a5_convergence_mask",
    "b_no_inst_transmission",
    "c_pure_integral",
    "d_not_proactive",
    "e_inst_system",
    "e2_inst_system_kp2",
    "f_apical_time_constant",
    "g_strong_ce",
    "g2_strong_mse_error",
)
ASLEEP = ("j1_fb_two_phase", "j2_fb_two_phase_filtered", "j3_fb_two_phase_strong", "j5_single_phase_pretrain")
"""The cases that are simulated with the hyperparameters of the sleep phase, named ..._fb."""


@dataclass(frozen=True, eq=False)
class Golden:
    """One case: its arrays by the reference's names, and the same model made of this package's parts."""

    name: str

    @cached_property
    def arrays(self) -> dict[str, Array]:
        with np.load(DATA / f"{self.name}.npz") as file:
            return {name: file[name] for name in file.files}

    @property
    def outputs(self) -> dict[str, Array]:
        """What the reference found."""
        return {name: array for name, array in self.arrays.items() if not INPUTS.fullmatch(name)}

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads(str(self.arrays["meta"]))

    @cached_property
    def options(self) -> dict[str, Any]:
        """The hyperparameters of the simulation."""
        given = BASE | self.meta.get("hyperparameters", {})
        if self.name in ASLEEP:
            given |= {name.removesuffix("_fb"): value for name, value in given.items() if name.endswith("_fb")}
        return given

    @cached_property
    def network(self) -> DeepNetwork:
        h, a = self.options, self.arrays
        tau_apical = h["apical_time_constant"]
        return DeepNetwork(
            weights=tuple(a[f"W{i}"] for i in LAYERS),
            biases=tuple(a[f"b{i}"] for i in LAYERS),
            feedback=None if h.get("use_jacobian_as_fb") else tuple(a[f"Q{i}"] for i in LAYERS),
            activations=("tanh", "tanh", "linear"),
            tau_v=h["time_constant_ratio"],
            tau_apical=None if tau_apical == -1 else tau_apical,
            tau_control=h["tau_f"] if h.get("low_pass_filter_u") else None,
            soma="instantaneous" if h.get("inst_system_dynamics") else "dynamic",
            transmission="instantaneous" if h["inst_transmission"] else "delayed",
        )

    @cached_property
    def lesson(self) -> Lesson:
        h, a = self.options, self.arrays
        loss = LOSSES[self.meta.get("loss", "mse")]
        objective: Any = OwnOutput(loss) if self.name in ASLEEP else Nudged(loss, h["target_stepsize"])
        objective = Strong(loss) if h.get("strong_feedback") else objective
        labels = a["labels"] if "labels" in a and "loss" in self.meta else a["y"]
        return Lesson(self.network, a["x"], labels, objective, h["dt_di"], h["tmax_di"] - 1)

    @property
    def noise(self) -> AbstractNoise | None:
        """The noise of the case, with the numbers that the reference drew."""
        h, a = self.options, self.arrays
        if "noise0" not in a:
            return None
        recorded = np.concatenate([a[f"noise{i}"] for i in LAYERS], axis=2)
        given: dict[str, Any] = {"sigma": h["sigma"], "sigma_output": h["sigma_output"], "recorded": recorded}
        return FilteredNoise(tau=h["tau_noise"], **given) if h.get("low_pass_filter_noise") else WhiteNoise(**given)

    def loop(self, compiled: bool = False, law: AbstractLaw | None = None) -> ClosedLoop:
        h = self.options
        return ClosedLoop(
            self.network,
            PI(k_p=h["k_p"], leak=h["alpha_di"]),
            integrator=Sequential("new" if h["proactive_controller"] else "old", noise=self.noise),
            law=law or self.dfc(),
            comparator=COMPARATORS[self.meta.get("error", "mse")],
            compiled=compiled,
        )

    def dfc(self, **choices: Any) -> DFC:
        return DFC(converged_only=not self.options.get("include_non_converged_samples", True), **choices)

    def simulate(self, compiled: bool = False) -> Any:
        """Simulate the case with everything recorded."""
        return self.lesson.simulate(self.loop(compiled), record=("y", "u", *SIGNALS))

    def change(self, law: AbstractLaw) -> Parameters:
        """Give the change that a law wants on the case's lesson."""
        return law.propose(self.loop(law=law), self.lesson).change


def by_layer(name: str, values: Any) -> dict[str, Array]:
    return {f"{name}{i}": value for i, value in enumerate(values)}


def gradients(change: Parameters, suffix: str, letters: str = "Wb", factor: float = -1.0) -> dict[str, Array]:
    """Name a change as the reference names its gradients, ``dW{suffix}{i}``: that factor, -1 to descend, times it."""
    return {f"d{letter}{suffix}{i}": factor * change[f"{letter}{i}"] for letter in letters for i in LAYERS}


def trajectories(response: Any, case: Golden) -> dict[str, Array]:
    """Name the control, and voltages and rates at the time points that the file keeps, as the reference does."""
    points = case.arrays.get("points", slice(None))
    found = {"u": response.u}
    for ours, theirs in SIGNALS.items():
        found |= by_layer(theirs, [layer[points] for layer in getattr(response, ours)])
    return found


def distance(comparator: AbstractComparator, reference: Array, y: Array) -> Array:
    """Give the loss whose negative gradient in y points along the error, for each sample."""
    if isinstance(comparator, SoftmaxDifference):
        return -np.sum(reference * log_softmax(y, axis=-1), axis=-1)
    return np.asarray(np.linalg.norm(reference - y, axis=-1))


def assert_equal(found: Parameters, expected: Parameters, tolerance: float = 1e-10) -> None:
    """Raise unless all that was expected was found, to this share of its largest value."""
    assert expected
    assert found.keys() >= expected.keys()
    for name, array in expected.items():
        assert np.shape(found[name]) == array.shape
        atol = tolerance * np.abs(array).max(initial=0)
        np.testing.assert_allclose(found[name], array, rtol=0, atol=atol, err_msg=name)
