"""Exceptions of controlnet: each says what is wrong, what was expected and what to do."""

from __future__ import annotations


class ControlNetError(Exception):
    """Base of every error that controlnet raises on purpose; its text is one line."""


class DimensionError(ControlNetError, ValueError):
    """An array has another shape than the model it is given to."""


class InputError(ControlNetError, ValueError):
    """A value (a number, a name, an array's content) is outside what is allowed."""


class NoRestError(InputError):
    """A plant has no single state in which it rests under a constant control."""


class ConfigError(ControlNetError, ValueError):
    """A setting of an experiment is unknown, of the wrong type or out of range."""


class KernelError(ControlNetError, TypeError):
    """A kernel cannot be compiled."""


class DataError(ControlNetError):
    """A dataset is missing, damaged or not what its name says."""


class StorageError(ControlNetError):
    """A run's file or folder cannot be written or read."""


class FolderInUseError(StorageError):
    """Another process holds a folder."""


class UnreadableError(StorageError):
    """A file may be whole, but the system refuses to read it, or another version wrote it."""


class ContinuationError(StorageError):
    """A run cannot be continued: it is complete, or its file does not hold what that takes."""


class OtherSamplesError(ContinuationError):
    """A run learned other samples than those that are here."""


class LearningDivergedError(ControlNetError, ArithmeticError):
    """The loss or the parameters of a plant that learns are not finite any more."""


class DivergedError(ControlNetError, ArithmeticError):
    """The closed loop left every bound while it was simulated.

    Parameters
    ----------
    step : int
        Index of the first time point that is not finite or exceeds the limit.
    time : float
        Its time, in the plant's units.
    sample : int
        Index of the sample in the batch.
    doing : str
        What was being done, if that is not plain.
    """

    def __init__(self, step: int, time: float, sample: int, doing: str = "") -> None:
        self.step, self.time, self.sample = step, time, sample
        during, more = (f" during {doing}", ", or less noise or a smaller learning rate of it") if doing else ("", "")
        super().__init__(
            f"the loop diverged{during} at step {step} (t = {time:g}) in sample {sample}: "
            f"take a smaller dt or gain, or more leak{more}"
        )

    def during(self, doing: str) -> DivergedError:
        """Give the same error with words about what was being done.

        Parameters
        ----------
        doing : str
            For example ``the learning of the feedback weights``.

        Returns
        -------
        DivergedError
            The error.
        """
        return DivergedError(self.step, self.time, self.sample, doing)
