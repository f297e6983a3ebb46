"""Where steady states may come from: what root finding cannot give is refused by name, the rest runs."""

from __future__ import annotations

import pytest
from test_checks import AS_LIMIT, LAST_STEP, neutral, run, settled
from test_training import tiny

from controlnet.errors import ConfigError
from controlnet.experiments.methods import simulates
from controlnet.experiments.training import Trainer

__all__ = ["neutral"]

ROOT_FINDING = "law.steady_state=root-finding"
JACOBIAN = "network.feedback=jacobian-transpose"
ASLEEP = "feedback.simulation.dt=0.02"
UNDER_NOISE = "law.steady_state: expected last-step under noise, got root-finding"

REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "noise": ("dfc-ss", ("noise.sigma=0.1",), UNDER_NOISE),
    "filtered noise": ("dfc-fixed-ss", ("noise={sigma=0.1, tau=0.1}",), UNDER_NOISE),
    "noise of the output": ("strong-dfc-2phase", ("noise={sigma=0, sigma_output=0.1}",), UNDER_NOISE),
    "the Jacobian": (
        "dfc-fixed-ss",
        (JACOBIAN,),
        "law.steady_state: expected last-step with feedback through the Jacobian, got root-finding",
    ),
    "another name": (
        "dfc-ss",
        ("law.steady_state=newton",),
        'law.steady_state: expected "last-step" or "root-finding", got "newton"',
    ),
    "long steps of what is simulated": (
        "strong-dfc-2phase",
        (LAST_STEP, "simulation.dt=0.3", ASLEEP),
        f"simulation.dt: expected at most 0.2, {AS_LIMIT.format('network.tau_v')}, got 0.3",
    ),
    "long steps under noise": (
        "dfc-fixed-ss",
        ("law.steady_state=last-step", "noise.sigma=0.1", "simulation.dt=0.3"),
        f"simulation.dt: expected at most 0.2, {AS_LIMIT.format('network.tau_v')}, got 0.3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_root_finding_cannot_give_is_refused_by_name(case: str) -> None:
    method, overrides, message = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        settled(method, (ROOT_FINDING, *overrides))
    assert str(caught.value) == message
    assert run(method, (ROOT_FINDING, *overrides)) == f"Error: {message}"


ACCEPTED: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "root finding": ("dfc-fixed-ss", (ROOT_FINDING,), False),
    "root finding by default": ("strong-dfc-2phase", (), False),
    "any steps, as none are made": ("dfc-fixed-ss", ("simulation={dt=5.0, integrator='rk4'}",), False),
    "any steps awake": ("dfc-ss", ("simulation={dt=5.0}", ASLEEP), False),
    "noise asleep": ("dfc-ss", (ROOT_FINDING, "feedback.noise.sigma=0.3"), False),
    "noise that nothing draws": ("dfc-fixed-ssa", (ROOT_FINDING, "noise.sigma=0.1"), False),
    "methods that do not ask": ("dfc-fixed", (ROOT_FINDING, "noise.sigma=0.1"), True),
    "the last step": ("dfc-ss", (LAST_STEP,), True),
    "the last step under noise": ("dfc-fixed-ss", (LAST_STEP, "noise.sigma=0.1"), True),
    "the last step with the Jacobian": ("dfc-fixed-ss", (LAST_STEP, JACOBIAN), True),
    "the last step under noise by default": ("dfc-ss", ("noise.sigma=0.1",), True),
    "the last step with the Jacobian by default": ("dfc-fixed-ss", (JACOBIAN,), True),
    "a warm start": ("dfc-ss", ("law.warm_start=true",), False),
    "a warm start of nothing": ("dfc-ss", (LAST_STEP, "law.warm_start=true"), True),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_the_rest_is_accepted_and_runs(case: str) -> None:
    method, overrides, simulated = ACCEPTED[case]
    settings = settled(method, overrides)
    assert simulates(settings) == simulated
    (epoch,) = Trainer(settings, tiny(), threads=1, compiled=False).epochs()
    assert epoch.epoch == 1
