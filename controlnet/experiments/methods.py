"""The methods by the papers' names: their laws, and what else they ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

from msgspec.structs import replace

from .settings import Learning, Settings

LEARNING: tuple[str, ...] = get_args(Learning)


class Method(NamedTuple):
    """A method.

    Parameters
    ----------
    description : str
        One line about it.
    law : callable
        ``law(settings)`` gives the law of the forward weights.
    learning : tuple of str
        Ways in which the feedback weights may learn, the default first.
    feedback : str
        What the feedback weights are at first.
    strong : bool
        Whether feedback must be strong.
    simulates : bool
        Whether the forward weights always learn from a simulation.
    steady : bool
        Whether they learn from the steady state.
    analytic : bool
        Whether they learn from the linearised steady state.
    rule : str
        Default of ``law.rule``.
    """

    description: str
    law: Callable[[Settings], Any]
    learning: tuple[Learning, ...] = ("none",)
    feedback: Literal["weight-product", "random"] = "weight-product"
    strong: bool = False
    simulates: bool = False
    steady: bool = False
    analytic: bool = False
    rule: Literal["nonlinear-difference", "voltage-difference"] = "nonlinear-difference"


def _dfc(update: Any) -> Callable[[Settings], Any]:
    def make(settings: Settings) -> Any:
        from ..adaptation import DFC

        law = settings.law
        last_step = update == "steady-state" and law.steady_state == "last-step"
        return DFC("last-step" if last_step else update, law.rule or "nonlinear-difference", law.converged_only)

    return make


def _backprop(settings: Settings) -> Any:
    from ..adaptation import Backprop

    return Backprop()


def _dfa(settings: Settings) -> Any:
    from ..adaptation import DFA

    return DFA(settings.law.derivative)


def _minimum_norm(settings: Settings) -> Any:
    from ..adaptation import MinimumNorm

    return MinimumNorm(settings.law.damping, settings.law.rule or "voltage-difference")


def _gauss_newton(settings: Settings) -> Any:
    from ..adaptation import GaussNewton

    return GaussNewton(settings.law.damping)


def _learned(description: str, update: str, **more: Any) -> Method:
    ways: tuple[Learning, ...] = ("two-phase", "single-phase") if update == "continuous" else ("two-phase",)
    return Method(description, _dfc(update), ways, "random", **_kind(update), **more)


def _fixed(description: str, update: str) -> Method:
    return Method(description, _dfc(update), **_kind(update))


def _kind(update: str) -> dict[str, Any]:
    kinds = {"continuous": "simulates", "steady-state": "steady", "analytic": "analytic"}
    return {kinds[update]: True}


METHODS = {
    "dfc": _learned("Deep Feedback Control: learns at every step of the simulated loop", "continuous"),
    "dfc-ss": _learned("DFC from the steady state of the loop, found without simulation", "steady-state"),
    "dfc-ssa": _learned("DFC from the linearised steady state, without simulation", "analytic"),
    "dfc-fixed": _fixed("DFC with feedback weights that stay as they are", "continuous"),
    "dfc-fixed-ss": _fixed("DFC-SS with feedback weights that stay as they are", "steady-state"),
    "dfc-fixed-ssa": _fixed("DFC-SSA with feedback weights that stay as they are", "analytic"),
    "strong-dfc": Method(
        "Strong-DFC: label as reference, all weights from one noisy simulation",
        _dfc("continuous"),
        ("single-phase", "two-phase", "none"),
        "random",
        strong=True,
        simulates=True,
    ),
    "strong-dfc-2phase": Method(
        "Strong-DFC from the steady state, feedback weights in a phase of their own",
        _dfc("steady-state"),
        ("two-phase", "none"),
        "random",
        strong=True,
        steady=True,
    ),
    "dfa": Method("direct feedback alignment", _dfa, ("none", "two-phase"), "random"),
    "bp": Method("error backpropagation", _backprop),
    "mn": Method("minimum-norm update of the voltages", _minimum_norm, rule="voltage-difference"),
    "gn": Method("Gauss-Newton update of the weights", _gauss_newton),
}


def complete(settings: Settings) -> Settings:
    """Fill in what a method decides where the settings do not.

    Parameters
    ----------
    settings : Settings
        An experiment of a known method.

    Returns
    -------
    Settings
        The same with nothing of this kind unset.
    """
    method = METHODS[settings.method]
    network = replace(settings.network, feedback=settings.network.feedback or method.feedback)
    steady_state = settings.law.steady_state
    if method.steady and steady_state is None:
        noisy = settings.noise.sigma or settings.noise.sigma_output
        steady_state = "last-step" if noisy or network.feedback == "jacobian-transpose" else "root-finding"
    return replace(
        settings,
        network=network,
        objective=replace(
            settings.objective, feedback=settings.objective.feedback or ("strong" if method.strong else "nudged")
        ),
        law=replace(settings.law, rule=settings.law.rule or method.rule, steady_state=steady_state),
        feedback=replace(settings.feedback, learning=settings.feedback.learning or method.learning[0]),
    )


def simulates(settings: Settings) -> bool:
    """Say whether the forward weights learn from a simulation.

    Parameters
    ----------
    settings : Settings
        A complete experiment.

    Returns
    -------
    bool
        False for methods that need none, and for steady states by root finding.
    """
    method = METHODS[settings.method]
    return method.simulates or (method.steady and settings.law.steady_state == "last-step")
