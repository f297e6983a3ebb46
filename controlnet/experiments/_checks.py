"""Settings that are allowed alone but not together."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from ..data import DATASETS, Dataset
from ..data.files import SUFFIXES, is_file_name
from ..errors import ConfigError, InputError
from ._explain import suggestion
from .methods import METHODS, Method, simulates
from .phases import asleep, feedback_phase, forward_phase, make_network, sleeps
from .settings import Settings


def refuse_together(settings: Settings) -> None:
    """Raise if settings contradict each other or the method.

    Parameters
    ----------
    settings : Settings
        A complete experiment.

    Raises
    ------
    ConfigError
        Naming the setting, what was expected, and what it is.
    """
    method, learning = METHODS[settings.method], settings.feedback.learning
    _refuse_data(settings)
    _refuse_network(settings, method)
    _refuse_objective(settings, method)
    _refuse_learning(settings, method)
    if method.steady and settings.law.steady_state == "root-finding":
        _refuse_root_finding(settings)
    if simulates(settings):
        _refuse_simulation(settings, "")
    if simulates(settings) and learning == "single-phase":
        _refuse_silence(settings, "")
    if sleeps(settings):
        _refuse_simulation(asleep(settings), "feedback.")
        _refuse_silence(asleep(settings), "feedback.")


def refuse_parts(settings: Settings) -> None:
    """Raise if the parts that settings ask for cannot make a loop, whatever the data.

    Parameters
    ----------
    settings : Settings
        A complete experiment.

    Raises
    ------
    ConfigError
        Naming the part, what was expected, and what it is.
    """
    # Whether parts fit does not depend on the widths, so one neuron stands for each layer.
    narrow = replace(settings.network, hidden=(1,) * len(settings.network.hidden))
    try:
        network = make_network(replace(settings, network=narrow), 1, 1, np.random.SeedSequence(0))
        forward_phase(settings).check(network)
        sleep = feedback_phase(settings) if sleeps(settings) else None
        if sleep is not None:
            sleep.check(network)
    except InputError as error:
        raise ConfigError(str(error)) from None


def refuse_unfitting(settings: Settings, dataset: Dataset) -> None:
    """Raise if settings do not fit the data that are to be learned.

    Parameters
    ----------
    settings : Settings
        A complete experiment.
    dataset : Dataset
        The data.

    Raises
    ------
    ConfigError
        Naming the setting, what was expected, and what it is.
    """
    samples, objective = len(dataset.train.targets), settings.objective
    if settings.train.batch_size > samples:
        _refuse("train.batch_size", f"at most the {samples} training samples", settings.train.batch_size)
    if dataset.by_class:
        return
    if objective.loss != "mse":
        _refuse("objective.loss", f"mse for {dataset.name}, as its targets are vectors", objective.loss)
    if objective.target_value is not None:
        expected = f"none for {dataset.name}, as its targets are vectors"
        _refuse("objective.target_value", expected, objective.target_value)


def _refuse(path: str, expected: str, got: object) -> None:
    raise ConfigError(f"{path}: expected {expected}, got {got}")


def _refuse_data(settings: Settings) -> None:
    """Refuse data that are not there to choose, and minibatches of more samples than are asked for."""
    data, size = settings.data, settings.train.batch_size
    if data.name not in DATASETS and not is_file_name(data.name):
        known = f"one of {', '.join(DATASETS)}, or a file ending in {', '.join(SUFFIXES)}"
        _refuse("data.name", known, f"{data.name!r}{suggestion(data.name, DATASETS)}")
    if data.train_samples is not None and size > data.train_samples:
        _refuse("train.batch_size", f"at most the {data.train_samples} training samples", size)
    if data.sizes is not None and data.name != "student-teacher":
        _refuse("data.sizes", f"none for {data.name}, as only student-teacher takes any", list(data.sizes))


def _refuse_network(settings: Settings, method: Method) -> None:
    network = settings.network
    if not isinstance(network.activation, str) and len(network.activation) != len(network.hidden):
        expected = f"one name, or one for each of {len(network.hidden)} hidden layers"
        _refuse("network.activation", expected, len(network.activation))
    needs_weights = settings.feedback.learning != "none" or method.analytic or settings.method == "dfa"
    if needs_weights and network.feedback == "jacobian-transpose":
        expected = f"weight-product or random, as {settings.method} needs feedback weights Q"
        _refuse("network.feedback", expected, network.feedback)


def _refuse_objective(settings: Settings, method: Method) -> None:
    feedback = settings.objective.feedback
    if method.strong and feedback != "strong":
        _refuse("objective.feedback", f"strong for {settings.method}", feedback)
    if method.analytic and feedback == "strong":
        expected = (
            f"nudged for {settings.method}: strong feedback leaves the point where the analytic update linearises"
        )
        _refuse("objective.feedback", expected, feedback)


def _refuse_root_finding(settings: Settings) -> None:
    """Refuse what has no steady state, or none that root finding could give."""
    reason = ""
    if settings.noise.sigma or settings.noise.sigma_output:
        reason = "under noise"
    elif settings.network.feedback == "jacobian-transpose":
        reason = "with feedback through the Jacobian"
    if reason:
        _refuse("law.steady_state", f"last-step {reason}", "root-finding")


def _refuse_learning(settings: Settings, method: Method) -> None:
    feedback = settings.feedback
    if feedback.learning not in method.learning:
        _refuse("feedback.learning", f"{' or '.join(method.learning)} for {settings.method}", feedback.learning)
    if feedback.linearized and feedback.learning != "none":
        if feedback.learning != "two-phase":
            _refuse("feedback.linearized", "false, as single-phase learning simulates one loop for all weights", "true")
        if settings.objective.feedback == "strong":
            expected = "false under strong feedback, which leaves the state where the loop is linearised"
            _refuse("feedback.linearized", expected, "true")
    if feedback.learning == "single-phase" and settings.law.converged_only:
        _refuse("law.converged_only", "false, as single-phase learning takes all samples", "true")


def _refuse_silence(settings: Settings, prefix: str) -> None:
    """Refuse feedback learning without noise, and time constants that it cannot use; pre-training may share them."""
    noise, feedback = settings.noise, settings.feedback
    if not noise.sigma and not noise.sigma_output:
        _refuse(f"{prefix}noise.sigma", "a number > 0, as feedback weights learn from noise", noise.sigma)
    shared = prefix and feedback.learning == "single-phase"
    if feedback.layer_scaling and noise.tau is None and not shared:
        _refuse(f"{prefix}noise.tau", "a number > 0, as feedback.layer_scaling takes tau_v / tau", "none")
    if feedback.learning == "single-phase" and not shared and feedback.high_pass < settings.simulation.dt:
        _refuse("feedback.high_pass", f"at least simulation.dt = {settings.simulation.dt:g}", feedback.high_pass)


def _path(settings: Settings, prefix: str, name: str) -> str:
    """Give where a setting of the simulation stands that the feedback phase may share with the experiment."""
    own = prefix and getattr(settings.feedback.simulation, name) is not None
    return f"{prefix if own else ''}simulation.{name}"


def _refuse_simulation(settings: Settings, prefix: str) -> None:
    """Refuse steps that are too long for the fastest time constant, and noise that the scheme does not know."""
    network, simulation, noise = settings.network, settings.simulation, settings.noise
    where = _path(settings, prefix, "dt")
    times = {"tau_apical": network.tau_apical, "tau_control": network.tau_control}
    times |= {"tau_v": network.tau_v} if network.soma == "dynamic" else {}
    name, shortest = min(
        ((name, time) for name, time in times.items() if time), key=lambda each: each[1], default=("", 0)
    )
    if 0 < shortest < simulation.dt:
        own = prefix and getattr(settings.feedback.network, name) is not None
        expected = f"at most {shortest:g}, the limit that {prefix if own else ''}network.{name} sets for explicit steps"
        _refuse(where, expected, simulation.dt)
    if noise.tau is not None and noise.tau < simulation.dt:
        _refuse(f"{prefix}noise.tau", f"at least {where} = {simulation.dt:g}", noise.tau)
    if not prefix and (noise.sigma or noise.sigma_output) and simulation.extend is not None:
        _refuse("simulation.extend", "none under noise, which lets nothing settle", simulation.extend)
    if (noise.sigma or noise.sigma_output) and simulation.integrator != "sequential":
        _refuse(_path(settings, prefix, "integrator"), "sequential, which alone takes noise", simulation.integrator)
