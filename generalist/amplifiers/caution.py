"""Cautious amplifiers: only actions that the policy itself finds likely are tried.

A quantilizer (Taylor 2016, "Quantilizers: a safer alternative to maximizers for limited optimization") bounds how much
more likely than the policy an amplifier can make any action.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task
from generalist.network.batches import is_discrete


def check_discrete(min_probability: float, tasks: Sequence[Task]) -> None:
    """Reject a least probability where actions are continuous, which have densities.

    Raises:
        GatitoError: names the task.
    """
    for task in tasks if min_probability else ():
        if not is_discrete(task):
            raise GatitoError(
                f"amplifier.min_probability={min_probability:g} is for discrete actions, and those of task {task.name} "
                "are not: set it to 0, or leave the task out with ida.tasks=[…].",
                task.name,
            )


def likely_logits(logits: np.ndarray, min_probability: float) -> np.ndarray:
    """Logits in which actions below a probability have -inf; the most likely action is always kept.

    Args:
        logits: ``(…, actions)``.
        min_probability: the least probability; 0: the logits themselves.
    """
    if not min_probability:
        return logits
    likely = softmax(logits, axis=-1) >= min_probability
    return np.where(likely | (logits == logits.max(axis=-1, keepdims=True)), logits, -np.inf)
