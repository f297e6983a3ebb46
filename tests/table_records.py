"""Records and runs of the papers' experiments, without training."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from controlnet.experiments import resolve, to_store
from controlnet.reproduction.records import Record
from controlnet.storage import Run

EXPERIMENT = "dfc/mnist/bp"
HISTORY: dict[str, list[float | None]] = {
    "train_loss": [0.5, 0.2, 0.3],
    "validation_error_percent": [3.0, 2.0, 2.5],
    "test_error_percent": [3.5, 2.1, 2.0],
}


def record(experiment: str = EXPERIMENT, seed: int = 0, epochs: int = 100, note: str = "", **result: Any) -> Record:
    """Make a record as a run of an experiment of the catalogue would leave it; its last epochs are all alike."""
    history = {name: [*column, *column[-1:] * epochs][:epochs] for name, column in HISTORY.items()}
    stored = to_store(resolve(experiment, seed=seed, epochs=epochs))
    result = {"test_error_percent": 2.0, "seconds": 60.0} | result
    return Record(experiment, stored["method"], seed, epochs, result, history, stored, {}, note)


def run(epochs: int = 3, planned: int = 5, complete: bool = False, **settings: Any) -> Run:
    """Give a run of BP, cut short unless it is complete."""
    stored = to_store(resolve(EXPERIMENT, seed=4, epochs=planned)) | settings
    history = [
        {"epoch": i + 1, "train_loss": 1 / (i + 3), "test_error_percent": 2.0, "seconds": 0.5} for i in range(epochs)
    ]
    summary = {"test_error_percent": 2.0, "seconds": 1.5, "run": "somewhere/run.h5", "peers": {}}
    provenance = {"argv": ["/home/someone/controlnet"], "cpu": "a processor", "cores": 2}
    return Run(stored, 4, summary, history, {"W0": np.zeros(2)}, {}, provenance, complete)


def changed(kept: Record, rate: float) -> Record:
    """Give a record of other settings."""
    settings = kept.settings | {"optimizer": kept.settings["optimizer"] | {"learning_rate": rate}}
    return msgspec.structs.replace(kept, settings=settings)
