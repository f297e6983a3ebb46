"""Examines a run: its network before learning and after, and what was recorded between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._parallel import one_blas_thread
from ..base import Array
from ..errors import InputError, OtherSamplesError
from ..storage import Run, read_run
from .config import from_stored
from .probe import PROBED, Look, Row
from .running import dataset_of
from .settings import Settings
from .training import Trainer


@dataclass(frozen=True, eq=False)
class Examined:
    """What came out.

    Parameters
    ----------
    settings : Settings
        The experiment.
    loops : dict of ClosedLoop
        By epoch: the loop before learning, and that of the epoch asked for.
    looks : dict of Look
        What was seen of each.
    recorded : dict of arrays
        What was recorded during training, a number for each look; empty if nothing was.
    """

    settings: Settings
    loops: dict[int, Any]
    looks: dict[int, Look]
    recorded: dict[str, Array]

    def as_dict(self) -> dict[str, Any]:
        """Give all numbers, as JSON would hold them.

        Returns
        -------
        dict
            ``epochs`` with a row each, ``verdicts``, ``recorded``; what is not defined is None.
        """
        return {
            "experiment": self.settings.experiment,
            "method": self.settings.method,
            "seed": self.settings.seed,
            "epochs": {str(epoch): _plain(look.row) for epoch, look in self.looks.items()},
            "verdicts": {str(epoch): [*verdicts(look.row), *look.remarks] for epoch, look in self.looks.items()},
            "recorded": {name: [_number(value) for value in array] for name, array in self.recorded.items()},
        }


def examine(
    path: Path,
    *,
    at: int | None = None,
    samples: int | None = None,
    data_dir: Path | None = None,
    threads: int | None = None,
) -> Examined:
    """Look at the network of a run, before learning and after an epoch.

    Parameters
    ----------
    path : Path
        The run's file or folder.
    at : int, optional
        The epoch; the last if not given.  One between is trained up to once more, to the same bits.
    samples : int, optional
        Number of training samples; as the run's settings say if not given.
    data_dir : Path, optional
        Folder with the dataset's files.
    threads : int, optional
        Number of threads.

    Returns
    -------
    Examined
        What was seen.

    Raises
    ------
    InputError
        If the run has no such epoch.
    OtherSamplesError
        If the run learned other samples.
    ControlNetError
        If run or data are unusable.
    """
    run = read_run(path)
    settings, last = from_stored(run.settings).settings, len(run.history)
    at = last if at is None else at
    if not 0 <= at <= last:
        raise InputError(f"--at: expected an epoch from 0 to {last}, which is how far {path} came, got {at}")
    dataset = dataset_of(settings, data_dir)
    if run.provenance.get("samples") not in (None, dataset.fingerprint):
        words = f"{path} learned other samples of {settings.data.name} than those that are here"
        raise OtherSamplesError(f"{words}: name theirs with --data-dir, or take a run that learned these")
    trainer = Trainer(settings, dataset, threads)
    probe = trainer.probe(samples)
    plants = {0: trainer.plant}
    if at > 0:
        plants[at] = _trained(trainer, run, at)
    with one_blas_thread():
        looks = {epoch: probe.look(plant) for epoch, plant in plants.items()}
    loops = {epoch: trainer.forward.loop(plant) for epoch, plant in plants.items()}
    recorded = {name[len(PROBED) :]: array for name, array in run.diagnostics.items() if name.startswith(PROBED)}
    return Examined(settings, loops, looks, recorded)


def _trained(trainer: Trainer, run: Run, at: int) -> Any:
    if at == len(run.history):
        return trainer.plant.with_parameters(run.weights)
    for epoch in trainer.epochs():
        if epoch.epoch == at:
            break
    return trainer.plant


def verdicts(row: Row) -> list[str]:
    """Say in words what the numbers of a look mean for the papers' conditions.

    Parameters
    ----------
    row : dict of float
        What a probe saw.

    Returns
    -------
    list of str
        A sentence for each condition that was looked at.
    """
    said = []
    if "condition_one" in row:
        deviation = row["condition_one"]
        grade = _grade(deviation < 0.1, deviation < 0.3)
        said.append(
            f"condition 1 {grade}: the norms of what the layers receive differ by {deviation:.0%} of their mean"
        )
    if "condition_two" in row:
        share = row["condition_two"]
        grade = _grade(share > 0.95, share > 0.7)
        said.append(f"condition 2 {grade}: {share:.0%} of Q lies in the row space of J")
    if "stable" in row:
        stable, converged, samples = (int(row[name]) for name in ("stable", "converged", "samples"))
        grade = _grade(stable == samples, stable >= 0.9 * samples)
        said.append(
            f"condition 3 {grade}: {stable} of {samples} samples are stable at their steady state, "
            f"{converged - stable} unstable, {samples - converged} without one"
        )
    if "loop_samples" in row:
        loops, good = int(row["loop_samples"]), int(row["loop_stable"])
        said.append(
            f"with the network's own dynamics, at the step size of training: {good} of {loops} loops are stable"
        )
    return said


def _grade(holds: bool, nearly: bool) -> str:
    return "holds" if holds else "nearly holds" if nearly else "does not hold"


def _plain(row: Row) -> dict[str, float | None]:
    return {name: _number(value) for name, value in row.items()}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
