"""What the closed loop asks of an adaptation law."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ._idle import finish_nothing, keep_parameters
from .wires import Array, Kernel, Parameters

if TYPE_CHECKING:
    from .loop import ClosedLoop
    from .objective import Lesson


class Proposal(NamedTuple):
    """What a law wants to change, and what it saw.

    `converged` and `diverged` (batch,) judge the samples of the simulation, if any; `control` (batch, n_L) is the
    control at the steady state, if the law knows it.  `simulated_steps` and `extension_error` (batch,) are those of
    the `Response`, if settled samples could be extended.
    """

    change: Parameters
    converged: Array | None = None
    diverged: Array | None = None
    control: Array | None = None
    simulated_steps: Array | None = None
    extension_error: Array | None = None


class AbstractLaw:
    """An adaptation law: gives the change of the plant's parameters that it wants, for an optimiser to apply.

    A law that works inside the loop binds ``adapt(k, dt, block, l)``, called after every step, and
    ``finish(block, l)``, called once at the end; both accumulate into `l`, what `accumulators` gave.
    """

    extendable: bool = False
    """Whether `adapt` looks at the plant's state alone, so that samples that have settled can be extended: it is shown
    fewer states then, and ``l.weight`` (batch,) says how much each of them counts."""
    adapt: ClassVar[Kernel] = staticmethod(keep_parameters)
    finish: ClassVar[Kernel] = staticmethod(finish_nothing)

    def accumulators(self, plant: Any, batch: int) -> NamedTuple | tuple[()]:
        """Give zeroed memory for one block.

        Parameters
        ----------
        plant : AbstractPlant
            The plant whose parameters are to change.
        batch : int
            Number of samples in the block.

        Returns
        -------
        NamedTuple
            Arrays and floats; passed to the kernels as `l`.
        """
        return ()

    def gather(self, memories: Iterable[Any]) -> list[Any]:
        """Take what the blocks accumulated as they come to their end, in the order of the samples.

        Parameters
        ----------
        memories : iterable
            One entry a block.

        Returns
        -------
        list
            What `collect` gets: all of them, or fewer if a law adds them up at once and so keeps none.
        """
        return list(memories)

    def collect(self, plant: Any, accumulators: list[Any], samples: int, steps: int) -> Parameters:
        """Turn what all blocks accumulated into the change of the parameters.

        Parameters
        ----------
        plant : AbstractPlant
            The plant whose parameters are to change.
        accumulators : list
            What `gather` gave: one entry a block, in the order of the samples.
        samples : int
            Size of the batch.
        steps : int
            Number of simulated steps.

        Returns
        -------
        dict of arrays
            The change, by the plant's parameter names; empty if nothing changes.
        """
        return {}

    def propose(self, loop: ClosedLoop, lesson: Lesson) -> Proposal:
        """Give the change of the parameters that one batch calls for.

        Parameters
        ----------
        loop : ClosedLoop
            The loop whose plant learns.
        lesson : Lesson
            Inputs, labels, objective, and the time grid of the simulation.

        Returns
        -------
        Proposal
            The change, already in the direction to move in.
        """
        lesson.require(loop.plant)
        return Proposal(lesson.simulate(loop).change)


class Frozen(AbstractLaw):
    """The law that changes nothing."""

    extendable = True
