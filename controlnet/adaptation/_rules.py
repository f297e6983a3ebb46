"""Both rules of Deep Feedback Control as one pair of kernels: which one learns is data, so that one loop serves all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .._kernel import kernel
from ..base import Array, Block
from ..errors import InputError
from ._feedback_rule import FeedbackMemory, adapt_feedback, finish_feedback
from ._forward_rule import ForwardMemory, adapt_forward, finish_forward


class RuleMemory(NamedTuple):
    """What both rules accumulate for one block; a rule without room is switched off."""

    weight: Array
    forward: ForwardMemory
    feedback: FeedbackMemory


@kernel
def adapt(k: int, dt: float, b: Block, l: RuleMemory) -> None:
    """Let the rules see one step.

    Parameters
    ----------
    k : int
        Index of the step.
    dt : float
        Step size.
    b : Block
        The wires.
    l : RuleMemory
        Written.
    """
    if l.forward.theta.size > 0:
        adapt_forward(b, l.weight, l.forward)
    if l.feedback.total.size > 0:
        adapt_feedback(k, dt, b, l.feedback)


@kernel
def finish(b: Block, l: RuleMemory) -> None:
    """Add what the rules still have stacked.

    Parameters
    ----------
    b : Block
        The wires.
    l : RuleMemory
        Written.
    """
    if l.forward.theta.size > 0:
        finish_forward(b, l.forward)
    if l.feedback.total.size > 0:
        finish_feedback(b, l.feedback)


def rule_memory(plant: Any, batch: int, forward: ForwardMemory, feedback: FeedbackMemory) -> RuleMemory:
    """Put the memories of both rules together.

    Parameters
    ----------
    plant : DeepNetwork
        The network.
    batch : int
        Number of samples.
    forward : ForwardMemory
        That of the forward weights.
    feedback : FeedbackMemory
        That of the feedback weights.

    Returns
    -------
    RuleMemory
        The memory of one block.
    """
    return RuleMemory(np.ones(batch, plant.dtype), forward, feedback)


def summed(memories: Iterable[RuleMemory]) -> list[RuleMemory]:
    """Add up what the blocks accumulated, one after the other, so that none is kept.

    Parameters
    ----------
    memories : iterable of RuleMemory
        One entry a block.

    Returns
    -------
    list of RuleMemory
        The first, to which the others were added.
    """
    total: list[RuleMemory] = []
    for memory in memories:
        if not total:
            total.append(memory)
            continue
        np.add(total[0].forward.theta, memory.forward.theta, out=total[0].forward.theta)
        np.add(total[0].feedback.total, memory.feedback.total, out=total[0].feedback.total)
    return total


def require_network(law: str, plant: Any, parameter: str = "W0") -> None:
    """Raise unless a plant is a layered network with the weights that a law changes.

    Parameters
    ----------
    law : str
        Name of the law.
    plant : AbstractPlant
        The plant.
    parameter : str
        Name of a parameter it must have.

    Raises
    ------
    InputError
        If it has none.
    """
    if parameter in plant.parameters:
        return
    if parameter == "Q0":
        raise InputError(f"{law}: {type(plant).__name__} has no feedback weights Q to learn")
    raise InputError(f"{law}: expected a layered network as plant, got {type(plant).__name__}")
