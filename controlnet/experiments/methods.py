"""The methods by the papers' names, and the parts that settings make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .settings import Objective, Settings, Simulation


class Method(NamedTuple):
    """A method: one line about it, and the law that settings make."""

    description: str
    law: Callable[[Settings], Any]


def _dfc(update: Any) -> Callable[[Settings], Any]:
    def make(settings: Settings) -> Any:
        from ..adaptation import DFC

        return DFC(update=update, rule=settings.law.rule, converged_only=settings.law.converged_only)

    return make


def _backprop(settings: Settings) -> Any:
    from ..adaptation import Backprop

    return Backprop()


METHODS = {
    "dfc": Method("Deep Feedback Control: learns at every step of the simulated loop", _dfc("continuous")),
    "dfc-ss": Method("DFC from the last step of the simulated loop", _dfc("steady-state")),
    "dfc-ssa": Method("DFC from the linearised steady state, without simulation", _dfc("analytic")),
    "bp": Method("error backpropagation", _backprop),
}


def _fields(settings: Any) -> dict[str, Any]:
    """Give the fields of a table that are set."""
    return {name: value for name in settings.__struct_fields__ if (value := getattr(settings, name)) is not None}


def make_network(settings: Settings, inputs: int, outputs: int, seed: np.random.SeedSequence) -> Any:
    """Draw the network.

    Parameters
    ----------
    settings : Settings
        The experiment.
    inputs, outputs : int
        Widths that the data ask for.
    seed : SeedSequence
        Source of the weights.

    Returns
    -------
    DeepNetwork
        The network.
    """
    from ..plants import DeepNetwork

    options = _fields(settings.network)
    sizes = [inputs, *options.pop("hidden"), outputs]
    return DeepNetwork.initialize(sizes, seed=seed, **options)


def make_loop(settings: Settings, plant: Any) -> Any:
    """Close the loop around a network.

    Parameters
    ----------
    settings : Settings
        The experiment.
    plant : DeepNetwork
        The network.

    Returns
    -------
    ClosedLoop
        The loop, with the law of the method.
    """
    from ..comparator import COMPARATORS
    from ..controllers import CONTROLLERS
    from ..loop import ClosedLoop

    strong_classes = settings.objective.feedback == "strong" and settings.objective.loss == "cross-entropy"
    kind = settings.controller.__struct_config__.tag
    return ClosedLoop(
        plant,
        CONTROLLERS[str(kind)](**_fields(settings.controller)),
        integrator=_integrator(settings.simulation),
        law=METHODS[settings.method].law(settings),
        comparator=COMPARATORS["softmax-difference" if strong_classes else "difference"](),
    )


def _integrator(simulation: Simulation) -> Any:
    from ..integrators import INTEGRATORS

    options = {"control": simulation.control} if simulation.integrator == "sequential" else {}
    return INTEGRATORS[simulation.integrator](**options)


def make_objective(objective: Objective) -> Any:
    """Make loss and reference.

    Parameters
    ----------
    objective : Objective
        The table of the settings; a strong target of classes is 0.99 unless it says otherwise.

    Returns
    -------
    Nudged or Strong
        The objective.
    """
    from ..objective import LOSSES, Nudged, Strong

    strong = objective.feedback == "strong"
    value = objective.target_value or (0.99 if strong else 1.0)
    loss = LOSSES[objective.loss](value)
    return Strong(loss) if strong else Nudged(loss, objective.stepsize)


def make_optimizer(settings: Settings) -> Any:
    """Make the optimiser.

    Parameters
    ----------
    settings : Settings
        The experiment.

    Returns
    -------
    AbstractOptimizer
        The optimiser.
    """
    from ..adaptation import OPTIMIZERS

    kind = settings.optimizer.__struct_config__.tag
    return OPTIMIZERS[str(kind)](**_fields(settings.optimizer))
