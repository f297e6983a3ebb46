"""What an epoch brought, and who is told of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple


class Epoch(NamedTuple):
    """What one epoch brought.

    The losses are means over the samples of a split, at the feed-forward output, under the loss of the method's own
    objective: for classes against its soft labels, if it has any, for target vectors over the outputs too. That of the
    training samples is taken minibatch by minibatch, before each is learned from; the others, and the errors, after
    the epoch. The errors are None for target vectors.

    `amount_of_control` is the mean of H = |Q u|^2 over the training samples, `simulated` the number of those whose
    controller was judged: none if the law asks for no steady state.  Where settled samples may be extended,
    `simulated_steps` is the mean number of steps that were made, `extension_error` the largest bound of the error.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    test_loss: float
    amount_of_control: float | None
    validation_error_percent: float | None
    test_error_percent: float | None
    converged_percent: float | None
    diverged_percent: float | None
    simulated: int
    converged: int
    diverged: int
    simulated_steps: float | None
    extension_error: float | None
    seconds: float


class Watcher:
    """Is told how a training goes; this one does not care."""

    def on_continue(self, method: str, epoch: int, changed: Sequence[str]) -> None:
        """Hear that an interrupted run goes on.

        Parameters
        ----------
        method : str
            The method.
        epoch : int
            The last complete epoch, 0 if there is none.
        changed : sequence of str
            Versions and machine where they differ from those of the part before, so that the last digits may too.
        """

    def on_start(self, method: str, epochs: int, batches: int) -> None:
        """Hear that a training begins.

        Parameters
        ----------
        method : str
            The method.
        epochs, batches : int
            Number of epochs, and of minibatches in all, those of the feedback phases included.
        """

    def on_batch(self, epoch: int, loss: float | None) -> None:
        """Hear of a minibatch.

        Parameters
        ----------
        epoch : int
            The running epoch, from 1; 0 for the pre-training of the feedback weights.
        loss : float or None
            Its mean loss so far; None while the feedback weights learn alone.
        """

    def on_epoch(self, epoch: Epoch) -> None:
        """Hear of a finished epoch.

        Parameters
        ----------
        epoch : Epoch
            What it brought.
        """

    def on_remark(self, words: str) -> None:
        """Hear what must not go unsaid.

        Parameters
        ----------
        words : str
            A line.
        """


class Remarks(Watcher):
    """Prints only what must not go unsaid, each in a line on stderr."""

    def on_continue(self, method: str, epoch: int, changed: Sequence[str]) -> None:
        if changed:
            self.on_remark(
                f"{method}: goes on after epoch {epoch} with {', '.join(changed)}: the last digits may differ"
            )

    def on_remark(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)
