"""Reads a case of the public DFC implementations and sets up the same one here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from controlnet import ClosedLoop, CrossEntropy, Difference, Lesson, MeanSquaredError, Nudged, SoftmaxDifference, Strong
from controlnet.adaptation import DFC
from controlnet.base import Array, Parameters
from controlnet.controllers import PI
from controlnet.integrators import Sequential
from controlnet.plants import DeepNetwork

DATA = Path(__file__).parent / "data"
LAYERS = range(3)
LOSSES = {"mse": MeanSquaredError(), "ce_int": CrossEntropy(), "ce_soft:0.99": CrossEntropy(0.99)}
COMPARATORS = {"mse": Difference(), "cross_entropy": SoftmaxDifference()}
SIGNALS = {"v": "v", "v_basal": "v_ff", "v_apical": "v_fb", "r": "r"}
"""The names of the signals by layer, here and there."""

TRAJECTORIES = (
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


@dataclass(frozen=True, eq=False)
class Golden:
    """One case: its arrays by the reference's names, and the same model made of this package's parts."""

    name: str

    @cached_property
    def arrays(self) -> dict[str, Array]:
        with np.load(DATA / f"{self.name}.npz") as file:
            return {name: file[name] for name in file.files}

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads(str(self.arrays["meta"]))

    @property
    def options(self) -> dict[str, Any]:
        return self.meta["hyperparameters"]

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
            tau_control=h.get("tau_f"),
            soma="instantaneous" if h["inst_system_dynamics"] else "dynamic",
            transmission="instantaneous" if h["inst_transmission"] else "delayed",
        )

    @cached_property
    def lesson(self) -> Lesson:
        h, a = self.options, self.arrays
        loss = LOSSES[self.meta.get("loss", "mse")]
        objective = Strong(loss) if h.get("strong_feedback") else Nudged(loss, h["target_stepsize"])
        labels = a["labels"] if "labels" in a else a["y"]
        return Lesson(self.network, a["x"], labels, objective, h["dt_di"], h["tmax_di"] - 1)

    def loop(self, compiled: bool = False, **law: str) -> ClosedLoop:
        h = self.options
        return ClosedLoop(
            self.network,
            PI(k_p=h["k_p"], leak=h["alpha_di"]),
            integrator=Sequential("new" if h["proactive_controller"] else "old"),
            law=DFC(converged_only=not h.get("include_non_converged_samples", True), **law),
            comparator=COMPARATORS[self.meta.get("error", "mse")],
            compiled=compiled,
        )

    def simulate(self, compiled: bool = False) -> Any:
        """Simulate the case with everything recorded."""
        return self.loop(compiled).simulate(
            self.lesson.reference,
            inputs=self.lesson.inputs,
            dt=self.lesson.dt,
            steps=self.lesson.steps,
            record=("y", "u", *SIGNALS),
        )


def assert_equal(got: Array, expected: Array, tolerance: float = 1e-10) -> None:
    """Raise unless the arrays agree to the tolerance, relative where the values are large (the case that diverges)."""
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max(initial=0)))


def assert_descends(change: Parameters, gradients: dict[str, Array], suffix: str, factor: float = -1.0) -> None:
    """Raise unless the gradients ``dW{suffix}{i}``, ``db{suffix}{i}`` are that factor times the change."""
    assert change.keys() >= {f"{letter}{i}" for letter in "Wb" for i in LAYERS}
    for i in LAYERS:
        assert_equal(factor * change[f"W{i}"], gradients[f"dW{suffix}{i}"])
        assert_equal(factor * change[f"b{i}"], gradients[f"db{suffix}{i}"])


def assert_trajectories_equal(response: Any, case: Golden) -> None:
    """Raise unless the control, and voltages and rates at the kept time points, agree."""
    expected = case.arrays
    assert_equal(response.u, expected["u"])
    for name, theirs in SIGNALS.items():
        for i in LAYERS:
            assert_equal(getattr(response, name)[i][expected["points"]], expected[f"{theirs}{i}"])
