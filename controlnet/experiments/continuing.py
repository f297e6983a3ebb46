"""Goes on with an interrupted run: what its file must hold for that, and what has changed since it was written."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._check import all_finite
from ..errors import ContinuationError, OtherSamplesError
from ..provenance import PACKAGES, parts_of
from ..storage import RUN_FILE, Run, read_run
from .probe import PROBED, Row, from_diagnostics, is_due
from .progress import Progress, remembered
from .settings import Settings
from .training import Trainer
from .watching import Epoch


class Begun(NamedTuple):
    """What an interrupted run has brought so far, and how far it came."""

    progress: Progress
    history: list[Epoch]
    looks: list[Row]


def unfinished(path: Path) -> Run:
    """Read a run that can be continued.

    Parameters
    ----------
    path : Path
        Its folder, or the file in it.

    Returns
    -------
    Run
        The run; what it holds is yet to be checked.

    Raises
    ------
    ContinuationError
        If it is complete, lacks what continuing takes, or its file has been renamed.
    StorageError
        If there is no run, or its file is damaged.
    """
    run = read_run(path)
    if run.complete:
        raise ContinuationError(
            f"{path} holds a complete run: expected an interrupted one: `{_repeating(path)}` runs it again"
        )
    if not run.continuation:
        raise ContinuationError(_because(path, "it was written by a version that kept no state of the optimisers"))
    if not path.is_dir() and path.name != RUN_FILE:
        raise ContinuationError(f"{path} has been renamed: expected a file {RUN_FILE}: name the folder of a run")
    return run


def begun(run: Run, trainer: Trainer, folder: Path) -> Begun:
    """Check what an interrupted run holds.

    Parameters
    ----------
    run : Run
        The run; the file may come from anybody.
    trainer : Trainer
        A training of the same settings that has not begun.
    folder : Path
        What the run is called in an error.

    Returns
    -------
    Begun
        How far it came.

    Raises
    ------
    ContinuationError
        Naming what does not fit; `OtherSamplesError` if that is the samples.
    """
    # First of all, because other samples may change the shapes of all the rest.
    if run.provenance.get("samples") != trainer.dataset.fingerprint:
        words = "expected the samples that it began with, got others: name their folder with --data-dir"
        raise OtherSamplesError(_because(folder, words))
    try:
        history = _history(run, trainer.settings.train.epochs)
        looks = _looks(run, trainer.settings, len(history))
        progress = _progress(run, trainer, len(history))
    except _Unfit as error:
        raise ContinuationError(_because(folder, str(error))) from None
    return Begun(progress, history, looks)


class _Unfit(Exception):
    """A part of a run does not fit its settings."""


def _because(path: Path, reason: str) -> str:
    return f"{path} cannot be continued: {reason}: `{_repeating(path)}` begins again"


def _repeating(path: Path) -> str:
    return shlex.join(["controlnet", "run", "--from", str(path)])


def _history(run: Run, most: int) -> list[Epoch]:
    if len(run.history) > most:
        raise _Unfit(f"expected a history of at most {most} epochs, got {len(run.history)}")
    for number, row in enumerate(run.history, 1):
        if apart := sorted(row.keys() ^ set(Epoch._fields)):
            raise _Unfit(f"expected the columns of this version in its history, got others in {apart[0]!r:.40}")
        if row["epoch"] != number or not isinstance(row["seconds"], float):
            raise _Unfit(f"expected epoch {number} in row {number} of its history, got {row['epoch']!r:.40}")
        if texts := [name for name, value in row.items() if isinstance(value, str)]:
            raise _Unfit(f"expected numbers as {texts[0]} in its history, got {row[texts[0]]!r:.40}")
    return [Epoch(**row) for row in run.history]  # type: ignore[arg-type]


def _looks(run: Run, settings: Settings, epochs: int) -> list[Row]:
    last = settings.train.epochs
    due = [epoch for epoch in range(epochs + 1) if is_due(settings.diagnostics, epoch, last)]
    arrays = {name: array for name, array in run.diagnostics.items() if name.startswith(PROBED)}
    for name, array in arrays.items():
        if array.shape != (len(due),) or array.dtype.kind not in "if":
            raise _Unfit(f"diagnostics/{name}: expected {len(due)} numbers, got {_kind(array)}")
    looks = from_diagnostics(arrays)
    if [row.get("epoch") for row in looks] != due:
        raise _Unfit(f"diagnostics/{PROBED}epoch: expected looks at the epochs {due}, got others")
    return looks


def _progress(run: Run, trainer: Trainer, epochs: int) -> Progress:
    arrays, most = run.continuation, trainer.schedule.pretraining
    number = arrays.get("pretraining", np.empty(0))
    least = most if epochs else 0
    if number.shape != () or number.dtype.kind != "i" or not least <= int(number) <= most:
        raise _Unfit(f"continuation/pretraining: expected the number of passes, {least} to {most}, got something else")
    expected = _expected(trainer, epochs, int(number))
    _require_alike("weights", run.weights, expected.weights)
    _require_alike("continuation", arrays, expected.arrays())
    seconds = float(arrays["seconds"])
    if not 0 <= seconds < math.inf:
        raise _Unfit(f"continuation/seconds: expected a finite number >= 0, got {seconds:g}")
    memories = {
        optimizer: {key: arrays[remembered(optimizer, key)] for key in memory}
        for optimizer, memory in expected.memories.items()
    }
    return Progress(epochs, int(number), seconds, run.weights, memories, arrays.get("controls"))


def _expected(trainer: Trainer, epochs: int, pretraining: int) -> Progress:
    """Give a progress with all arrays in their shapes and types, and the numbers of minibatches in their values."""
    start, memories = trainer.progress(), {}
    for name, passes in trainer.schedule.applied(epochs, pretraining).items():
        optimizer, memory = trainer.optimizers.optimizers[name], {}
        if passes:
            change = {key: np.zeros_like(start.weights[key]) for key in _moved(trainer, name)}
            memory = optimizer.apply(start.weights, change, {})[1]
        counts = {key: np.asarray(passes * trainer.batches) for key, array in memory.items() if array.dtype.kind == "i"}
        memories[name] = memory | counts
    return start._replace(pretraining=pretraining, memories=memories)


def _moved(trainer: Trainer, optimizer: str) -> list[str]:
    """Give the parameters that an optimiser is used on."""
    fixed = "" if trainer.settings.feedback.output_layer else f"Q{len(trainer.plant.weights) - 1}"
    moved = [name for name in trainer.plant.parameters if (name[0] == "Q") == (optimizer != "forward")]
    return [name for name in moved if name != fixed]


def _require_alike(group: str, arrays: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise unless arrays have the expected names, shapes and types, and possible values."""
    for word, names in {"lacks": expected.keys() - arrays.keys(), "holds an unknown": arrays.keys() - expected}.items():
        if names:
            raise _Unfit(f"it {word} '{group}/{min(names)}', which does not fit its settings and its history")
    for name, array in expected.items():
        got, where = arrays[name], f"{group}/{name}"
        if (got.shape, got.dtype) != (array.shape, array.dtype):
            raise _Unfit(f"{where}: expected {_kind(array)}, got {_kind(got)}")
        if array.dtype.kind == "i" and int(got) != int(array):
            raise _Unfit(f"{where}: expected {int(array)}, got {int(got)}")
        if wanted := _lacking(group, name, got):
            raise _Unfit(f"{where}: expected {wanted}, got others")


def _lacking(group: str, name: str, array: Any) -> str:
    """Say what the numbers of an array should be but are not."""
    if group == "weights":
        return "" if all_finite(array) else "finite numbers"
    if name == "controls":
        # A search for a steady state that has not been made yet has no control to begin with: NaN.
        return "no infinite numbers" if np.isinf(array).any() else ""
    # A mean of squares may have overflowed: the steps are zero then.
    return "no NaN" if np.isnan(array).any() else ""


def _kind(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}"


def changes(run: Run, machine: Mapping[str, Any]) -> list[str]:
    """Say what a run's bits may depend on and is no longer as it was when its last part was written.

    Parameters
    ----------
    run : Run
        The run.
    machine : mapping
        What `describe_machine` says now.

    Returns
    -------
    list of str
        Such as ``numpy '2.4.6' (was '2.4.5')``.
    """
    before = [run.provenance, *parts_of(run.provenance)][-1]
    then, now = _traits(before), _traits(machine)
    said = [f"{name} {now[name]!r:.60} (was {then[name]!r:.60})" for name in now if now[name] != then[name]]
    libraries, others = _blas(before), _blas(machine)
    # Which of them are known depends on what has been loaded.
    if not libraries <= others and not others <= libraries:
        said.append("another BLAS library")
    if before.get("source") != machine["source"]:
        said.append("another source text of controlnet")
    return said


def continued(run: Run, epoch: int, changed: list[str], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Give the provenance of a run that goes on.

    Parameters
    ----------
    run : Run
        The run.
    epoch : int
        The last complete epoch.
    changed : list of str
        As `changes` gave it.
    machine : mapping
        What `describe_machine` says now.

    Returns
    -------
    dict
        That of the run, with a part more in the list ``continued``.
    """
    part = {"after_epoch": epoch, "changed": changed, **machine}
    return run.provenance | {"continued": [*parts_of(run.provenance), part]}


def _traits(machine: Mapping[str, Any]) -> dict[str, Any]:
    packages = machine.get("packages")
    packages = packages if isinstance(packages, dict) else {}
    return {name: packages.get(name) for name in PACKAGES} | {name: machine.get(name) for name in ("python", "cpu")}


def _blas(machine: Mapping[str, Any]) -> set[str]:
    libraries = machine.get("blas")
    known = [library for library in libraries if isinstance(library, dict)] if isinstance(libraries, list) else []
    return {f"{library.get('internal_api')} {library.get('version')}" for library in known}
