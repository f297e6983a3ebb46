"""The phases of training: what learns at the same time, in which loop, towards what."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as changed
from typing import Any

import numpy as np
from msgspec.structs import replace

from ..base import Parameters
from .methods import METHODS, simulates
from .settings import Noise, Objective, Settings


def sleeps(settings: Settings) -> bool:
    """Say whether the feedback weights ever learn in a phase of their own.

    Parameters
    ----------
    settings : Settings
        A complete experiment.

    Returns
    -------
    bool
        True for two-phase learning, pre-training and extra epochs.
    """
    feedback = settings.feedback
    if feedback.learning == "single-phase":
        return feedback.pretraining_epochs + feedback.extra_epochs > 0
    return feedback.learning == "two-phase"


def asleep(settings: Settings) -> Settings:
    """Give the experiment as it is while the feedback weights learn in a phase of their own.

    Parameters
    ----------
    settings : Settings
        The experiment.

    Returns
    -------
    Settings
        The same with network, controller, simulation and noise of ``[feedback]``.
    """
    feedback = settings.feedback
    return replace(
        settings,
        network=replace(settings.network, **_fields(feedback.network)),
        controller=feedback.controller or settings.controller,
        simulation=replace(settings.simulation, **_fields(feedback.simulation)),
        noise=Noise(**_fields(feedback.noise)),
    )


@dataclass(frozen=True, eq=False)
class Phase:
    """What learns at the same time.

    Parameters
    ----------
    name : str
        ``forward``, ``feedback`` or ``pretraining``.
    parts : dict
        Controller, integrator, law and comparator of the loop.
    dynamics : dict
        Fields of the network that differ in this phase.
    objective : Nudged, Strong or OwnOutput
        Loss and reference.
    dt : float
        Step size.
    steps : int
        Number of steps.
    simulates : bool
        Whether the law steps the loop through time.
    extend : float, optional
        Relative error with which settled samples may be extended in closed form.
    """

    name: str
    parts: dict[str, Any]
    dynamics: dict[str, Any]
    objective: Any
    dt: float
    steps: int
    simulates: bool
    extend: float | None = None

    def check(self, plant: Any) -> None:
        """Raise unless the loop of this phase can be closed around a network, and stepped.

        Parameters
        ----------
        plant : DeepNetwork
            The network.

        Raises
        ------
        InputError
            Naming the part that does not fit.
        """
        from ..slow_motion import require_slow_motion

        loop = self.loop(plant)
        if self.simulates:
            loop.check_step(self.dt)
        if self.extend is not None:
            require_slow_motion(loop)

    def loop(self, plant: Any, compiled: bool = True) -> Any:
        """Close the loop around a network.

        Parameters
        ----------
        plant : DeepNetwork
            The network.
        compiled : bool
            False to run the kernels as plain Python.

        Returns
        -------
        ClosedLoop
            The loop, its network with the dynamics of this phase.
        """
        from ..loop import ClosedLoop

        plant = changed(plant, **self.dynamics) if self.dynamics else plant
        return ClosedLoop(plant, compiled=compiled, **self.parts)


def forward_phase(settings: Settings) -> Phase:
    """Give the phase in which the forward weights learn, and in single-phase learning the feedback weights too.

    Parameters
    ----------
    settings : Settings
        A complete experiment.

    Returns
    -------
    Phase
        The phase.
    """
    law = METHODS[settings.method].law(settings)
    if settings.feedback.learning == "single-phase":
        from ..adaptation import SinglePhase

        law = SinglePhase(law, _feedback_law(settings, settings))
    phase = _phase("forward", settings, law, make_objective(settings.objective), {})
    extend = settings.simulation.extend if METHODS[settings.method].simulates else None
    return changed(phase, simulates=simulates(settings), extend=extend)


def feedback_phase(settings: Settings, name: str = "feedback") -> Phase | None:
    """Give the phase in which the feedback weights alone learn ("sleep").

    Parameters
    ----------
    settings : Settings
        A complete experiment.
    name : str
        ``feedback`` or ``pretraining``: which optimiser applies the change.

    Returns
    -------
    Phase or None
        The phase; None if the feedback weights stay as they are.
    """
    from ..objective import OwnOutput

    if settings.feedback.learning == "none":
        return None
    own = asleep(settings)
    objective = make_objective(settings.objective)
    if settings.objective.feedback == "nudged":
        objective = OwnOutput(objective.loss)
    law = _feedback_law(settings, own)
    if settings.feedback.linearized:
        from ..adaptation import LinearFeedbackLearning

        law = LinearFeedbackLearning(law)
    comparator = settings.feedback.pretraining_comparator if name == "pretraining" else None
    return _phase(name, own, law, objective, _fields(settings.feedback.network), comparator)


def _phase(
    name: str, settings: Settings, law: Any, objective: Any, dynamics: dict[str, Any], comparator: str | None = None
) -> Phase:
    from ..comparator import COMPARATORS
    from ..controllers import CONTROLLERS

    strong_classes = settings.objective.feedback == "strong" and settings.objective.loss == "cross-entropy"
    kind = settings.controller.__struct_config__.tag
    parts = {
        "controller": CONTROLLERS[str(kind)](**_fields(settings.controller)),
        "integrator": _integrator(settings),
        "law": law,
        "comparator": COMPARATORS[comparator or ("softmax-difference" if strong_classes else "difference")](),
    }
    return Phase(name, parts, dynamics, objective, settings.simulation.dt, settings.simulation.steps, True)


def _feedback_law(settings: Settings, own: Settings) -> Any:
    """Give the rule of the feedback weights in a phase with settings of its own."""
    from ..adaptation import FeedbackLearning

    feedback, high_pass = settings.feedback, None
    if feedback.learning == "single-phase":
        # The public code keeps the forward phase's scale and its share dt / high_pass of each step in pre-training too.
        high_pass = own.simulation.dt * (feedback.high_pass / settings.simulation.dt)
        own = settings
    ratio = own.network.tau_v / own.noise.tau if feedback.layer_scaling and own.noise.tau else 0.0
    return FeedbackLearning(ratio, high_pass, feedback.output_layer)


def _integrator(settings: Settings) -> Any:
    from ..integrators import INTEGRATORS, make_noise

    simulation = settings.simulation
    if simulation.integrator != "sequential":
        return INTEGRATORS[simulation.integrator]()
    return INTEGRATORS["sequential"](control=simulation.control, noise=make_noise(**_fields(settings.noise)))


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


class Optimizers:
    """The optimisers of a training with their memories: forward weights, feedback weights, and their pre-training.

    Parameters
    ----------
    settings : Settings
        The experiment.
    """

    def __init__(self, settings: Settings) -> None:
        feedback = settings.feedback
        self._own_pretraining = feedback.pretraining_optimizer is not None
        tables: dict[str, Any] = {"forward": settings.optimizer, "feedback": feedback.optimizer}
        tables["pretraining"] = feedback.pretraining_optimizer or feedback.optimizer
        self.optimizers = {name: _optimizer(table) for name, table in tables.items()}
        self.memories: dict[str, Parameters] = {name: {} for name in tables}

    def apply(self, phase: Phase, parameters: Parameters, change: Parameters) -> Parameters:
        """Give the new values of the parameters that a phase changes.

        Parameters
        ----------
        phase : Phase
            What has learned.
        parameters, change : dict of arrays
            The network's parameters, and what the law wants.

        Returns
        -------
        dict of arrays
            New values of the parameters named in `change`, locked: the network can take them without a copy.
        """
        groups: dict[str, Parameters] = {}
        for key, delta in change.items():
            groups.setdefault(_optimizer_of(phase, key), {})[key] = delta
        new: Parameters = {}
        for name, part in groups.items():
            values, self.memories[name] = self.optimizers[name].apply(parameters, part, self.memories[name])
            new |= values
        for array in new.values():
            array.flags.writeable = False
        return new

    def table(self, phase: Phase, parameter: str) -> str:
        """Give where the settings of the optimiser of a parameter stand.

        Parameters
        ----------
        phase : Phase
            What has learned.
        parameter : str
            Name of the parameter.

        Returns
        -------
        str
            Path of the table.
        """
        name = _optimizer_of(phase, parameter)
        if name == "pretraining" and self._own_pretraining:
            return "feedback.pretraining_optimizer"
        return "optimizer" if name == "forward" else "feedback.optimizer"


def _optimizer_of(phase: Phase, parameter: str) -> str:
    """Give which optimiser applies the change of a parameter: forward, feedback or pretraining."""
    if not parameter.startswith("Q"):
        return "forward"
    return "pretraining" if phase.name == "pretraining" else "feedback"


def _optimizer(table: Any) -> Any:
    from ..adaptation import OPTIMIZERS

    return OPTIMIZERS[str(table.__struct_config__.tag)](**_fields(table))
