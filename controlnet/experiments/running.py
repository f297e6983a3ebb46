"""Runs an experiment from its settings to its file, or from where its file ends."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from .._parallel import one_blas_thread
from ..base import Array
from ..data import Dataset, load
from ..errors import ConfigError, DivergedError, LearningDivergedError
from ..provenance import describe_machine
from ..storage import Run, claim_folder, write_run
from .chance import seeds
from .config import Plan, from_stored, to_store
from .continuing import begun, changes, continued, unfinished
from .probe import Row, as_diagnostics, is_due
from .settings import Settings
from .training import Trainer
from .watching import Epoch, Watcher


def named(experiment: str, data: str | None) -> tuple[str, ...]:
    """Give the name of an experiment, and that of its data if the first does not tell.

    Parameters
    ----------
    experiment : str
        Its name, or its file.
    data : str or None
        Name or file of a dataset; None if it is not known.

    Returns
    -------
    tuple of str
        One or two names.
    """
    words = Path(experiment).with_suffix("").parts
    told = data is None or any(word == data or word.startswith(f"{data}-") for word in words)
    return (experiment,) if told else (experiment, str(data))


def in_folders(name: str) -> str:
    """Give what stands for an experiment, or its data, in the name of a folder.

    Parameters
    ----------
    name : str
        A name of the catalogue, or a file.

    Returns
    -------
    str
        The whole name with dashes, ``dfc-mnist-bp``; of a file its own name alone.
    """
    path = Path(name)
    return path.stem if path.suffix else "-".join(path.parts)


def new_folder(settings: Settings) -> Path:
    """Give a folder below ``runs`` that does not exist yet.

    Parameters
    ----------
    settings : Settings
        The experiment.

    Returns
    -------
    Path
        ``runs/TIME-EXPERIMENT-METHOD-sSEED``, with the data after the experiment that does not name them.
    """
    names = "-".join(map(in_folders, named(settings.experiment, settings.data.name)))
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{names}-{settings.method}-s{settings.seed}"
    folder, number = Path("runs") / stem, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{stem}-{number}"
    return folder


def run_experiment(
    plan: Plan,
    *,
    folder: Path,
    watcher: Watcher | None = None,
    data_dir: Path | None = None,
    threads: int | None = None,
    samples: str | None = None,
) -> dict[str, Any]:
    """Train, write the run after every epoch, and compare with the methods that the settings name.

    Parameters
    ----------
    plan : Plan
        The experiment and its peers.
    folder : Path
        Where ``run.h5`` goes; must not hold anything yet.
    watcher : Watcher, optional
        Is told of every minibatch and epoch, of the peers too.
    data_dir : Path, optional
        Folder with the dataset's files.
    threads : int, optional
        Number of threads; all cores if not given.
    samples : str, optional
        Hash of the samples that are expected (`Dataset.fingerprint`); the watcher is told of others.

    Returns
    -------
    dict
        The summary, as stored.

    Raises
    ------
    ControlNetError
        If data or folder are unusable or the training diverges.
    KeyboardInterrupt
        After what is complete was saved.
    """
    with claim_folder(folder):
        watcher = watcher or Watcher()
        return train_in(folder, plan, None, watcher=watcher, data_dir=data_dir, threads=threads, samples=samples)


def continue_experiment(
    path: Path,
    *,
    watcher: Watcher | None = None,
    data_dir: Path | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Go on with an interrupted run after its last complete epoch, as if it had never been interrupted.

    The weights and the history become the same bits, with the same versions on the same machine. Methods trained
    beside it for comparison begin again.

    Parameters
    ----------
    path : Path
        The folder of the run, or the file in it.
    watcher : Watcher, optional
        Is told of every minibatch and epoch, and of what has changed since.
    data_dir : Path, optional
        Folder with the dataset's files.
    threads : int, optional
        Number of threads; all cores if not given.

    Returns
    -------
    dict
        The summary, as stored.

    Raises
    ------
    ContinuationError
        If the run is complete, or its file does not hold what that takes; it is left as it is.
    ControlNetError
        If data or folder are unusable or the training diverges.
    KeyboardInterrupt
        After what is complete was saved.
    """
    unfinished(path)
    folder = path if path.is_dir() else path.parent
    with claim_folder(folder, replace=True):
        # Once more, as another process may have gone on with it until now.
        run = unfinished(folder)
        plan = from_stored(run.settings)
        return train_in(folder, plan, run, watcher=watcher or Watcher(), data_dir=data_dir, threads=threads)


def train_in(
    folder: Path,
    plan: Plan,
    before: Run | None,
    *,
    watcher: Watcher,
    data_dir: Path | None,
    threads: int | None,
    samples: str | None = None,
) -> dict[str, Any]:
    """Train in a folder that is held with `claim_folder`.

    Parameters
    ----------
    folder : Path
        Where ``run.h5`` goes; what it holds is replaced.
    plan : Plan
        The experiment and its peers.
    before : Run or None
        An interrupted run of the same settings, to go on with.
    watcher, data_dir, threads, samples
        As for `run_experiment`.

    Returns
    -------
    dict
        The summary, as stored.

    Raises
    ------
    ContinuationError
        If the interrupted run does not hold what going on takes; it is left as it is.
    ControlNetError
        If data or folder are unusable or the training diverges.
    """
    dataset = dataset_of(plan.settings, data_dir)
    if samples not in (None, dataset.fingerprint):
        watcher.on_remark(f"{dataset.name}: these are other samples than those of the run that is repeated")
    trainer = Trainer(plan.settings, dataset, threads, watcher)
    peers = {peer.method: Trainer(peer, dataset, threads, watcher) for peer in plan.peers}
    recorder = _Recorder(plan, folder, dataset)
    if before is None:
        recorder.look(trainer, 0)
        recorder.save(trainer)
    else:
        recorder.go_on(trainer, before)
    for epoch in trainer.stages():
        if epoch is not None:
            recorder.history.append(epoch)
            recorder.look(trainer, epoch.epoch)
        recorder.save(trainer)
        if epoch is not None:
            watcher.on_epoch(epoch)
    recorder.diagnostics |= trainer.diagnostics()
    recorder.save(trainer)
    for method, peer in peers.items():
        recorder.peers[method] = _train_peer(peer)
    recorder.save(trainer, complete=True)
    return recorder.summary()


def dataset_of(settings: Settings, data_dir: Path | None = None) -> Dataset:
    """Load what an experiment learns.

    Parameters
    ----------
    settings : Settings
        The experiment; ``[data]`` and the seed count.
    data_dir : Path, optional
        Folder with the dataset's files.

    Returns
    -------
    Dataset
        With as many training samples as asked for.

    Raises
    ------
    ConfigError
        If more training samples are asked for than there are.
    ControlNetError
        If there is no such dataset, or it is unusable.
    """
    data = settings.data
    dataset = load(data.name, seed=seeds(settings.seed)["split"], data_dir=data_dir, sizes=data.sizes)
    number, most = data.train_samples, len(dataset.train.targets)
    if number is None:
        return dataset
    if number > most:
        raise ConfigError(f"data.train_samples: expected at most {most} for {data.name}, got {number}")
    return dataset.with_train_samples(number)


def _train_peer(trainer: Trainer) -> dict[str, Any]:
    """Give the results of a peer; that it diverged is one of them, and no reason to lose the main run."""
    history = []
    try:
        for epoch in trainer.epochs():
            history.append(epoch)
            trainer.watcher.on_epoch(epoch)
    except (DivergedError, LearningDivergedError) as error:
        return _results(history) | {"error": str(error)}
    return _results(history)


def _results(history: list[Epoch]) -> dict[str, Any]:
    """Give the numbers that sum up a training; losses and errors are those of the last epoch."""
    if not history:
        return {"epochs": 0}
    last = history[-1]._asdict()
    seconds = round(sum(epoch.seconds for epoch in history), 3)
    return {"epochs": last.pop("epoch")} | last | {"seconds": seconds}


class _Recorder:
    """Keeps what a run has brought so far, and writes it."""

    def __init__(self, plan: Plan, folder: Path, dataset: Dataset) -> None:
        self.plan, self.folder = plan, folder
        self.history: list[Epoch] = []
        self.peers: dict[str, dict[str, Any]] = {}
        self.diagnostics: dict[str, Array] = {}
        self.looks: list[Row] = []
        self.provenance = describe_machine() | {"samples": dataset.fingerprint, "official": dataset.official}

    def look(self, trainer: Trainer, epoch: int) -> None:
        """Add a row of what is looked at, if this epoch is one of those."""
        settings = self.plan.settings
        if not is_due(settings.diagnostics, epoch, settings.train.epochs):
            return
        with one_blas_thread():
            look = trainer.probe().look(trainer.plant)
        self.looks.append({"epoch": epoch, **look.row})
        for remark in look.remarks:
            trainer.watcher.on_remark(f"{settings.method}, epoch {epoch}: {remark}")
        self.diagnostics |= as_diagnostics(self.looks)

    def go_on(self, trainer: Trainer, before: Run) -> None:
        """Take over what a run has brought before it was interrupted."""
        progress, self.history, self.looks = begun(before, trainer, self.folder)
        self.diagnostics = as_diagnostics(self.looks)
        changed = changes(before, self.provenance)
        self.provenance = continued(before, progress.epochs, changed, self.provenance)
        trainer.go_on(progress)
        trainer.watcher.on_continue(self.plan.settings.method, progress.epochs, changed)

    def summary(self) -> dict[str, Any]:
        settings = self.plan.settings
        names = {"experiment": settings.experiment, "data": settings.data.name, "method": settings.method}
        run = os.path.join(self.folder, "run.h5")
        return names | {"seed": settings.seed} | _results(self.history) | {"run": run, "peers": self.peers}

    def save(self, trainer: Trainer, complete: bool = False) -> None:
        run = Run(
            settings=to_store(self.plan),
            seed=self.plan.settings.seed,
            summary=self.summary(),
            history=[epoch._asdict() for epoch in self.history],
            weights=trainer.plant.parameters,
            diagnostics=self.diagnostics,
            provenance=self.provenance,
            complete=complete,
            continuation={} if complete else trainer.progress().arrays(),
        )
        write_run(self.folder, run)
