"""Which runs are the same: their settings without names, length and what nothing reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ..errors import ConfigError
from ..experiments.config import Plan, from_stored, resolve, to_store
from ..experiments.methods import simulates
from ..experiments.phases import asleep, sleeps
from ..experiments.settings import Diagnostics, FeedbackSimulation, Settings, Simulation
from ..studies.tasks import identity

if TYPE_CHECKING:
    from .records import Record


@cache
def published(experiment: str) -> dict[str, Any] | None:
    """Give the settings of an experiment of the catalogue.

    Parameters
    ----------
    experiment : str
        Its name.

    Returns
    -------
    dict or None
        As `to_store` gives them; None if there is no such experiment.
    """
    try:
        return to_store(resolve(experiment))
    except ConfigError:
        return None


def filled(stored: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give kept settings with what later versions have added.

    Parameters
    ----------
    stored : mapping
        Settings of a run.

    Returns
    -------
    dict or None
        The same with the defaults of this version; None if it does not know them.
    """
    try:
        return to_store(from_stored(stored))
    except ConfigError:
        return None


def kind(stored: Mapping[str, Any]) -> str:
    """Name settings apart from seed, length, what only watches and what no phase of the training reads.

    Parameters
    ----------
    stored : mapping
        Settings of a run.

    Returns
    -------
    str
        The same for runs that learn the same bits from the same seed; ``unknown`` for those of other versions.
    """
    try:
        settings = from_stored({key: value for key, value in stored.items() if key != "diagnostics"}).settings
    except ConfigError:
        return "unknown"
    train = replace(settings.train, epochs=1, compare_with=())
    plain = replace(_without_unread(settings), seed=0, train=train, diagnostics=Diagnostics())
    return identity(to_store(Plan(plain)))


@cache
def kind_of(record: Record) -> str:
    """Name the settings of a record as `kind` does.

    Parameters
    ----------
    record : Record
        A finished run.

    Returns
    -------
    str
        Its kind.
    """
    return kind(record.settings)


def _without_unread(settings: Settings) -> Settings:
    """Leave out ``[simulation]`` where the forward weights learn without one.

    A phase of the feedback weights is simulated all the same: what it takes from there becomes its own.
    """
    if simulates(settings):
        return settings
    own = FeedbackSimulation()
    if sleeps(settings):
        shared = asleep(settings).simulation
        own = FeedbackSimulation(shared.integrator, shared.control, shared.dt, shared.steps)
    return replace(settings, simulation=Simulation(), feedback=replace(settings.feedback, simulation=own))
