"""How likely a network's choices are: one of several actions, or one bin of each dimension of a continuous action.

An action is a set of choices: of a discrete one there is one, of a continuous one as many as it has dimensions. Given
the hidden state they are independent, so logarithms of probabilities, entropies and divergences add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.tasks import Task
from generalist.network.batches import is_discrete
from generalist.network.heads import ActionHeads, action_count


@dataclass(frozen=True)
class Choices:
    """What was chosen at N steps of any tasks.

    Attributes:
        discrete: ``(D,)``, the steps with discrete actions.
        counts: ``(D,)``, their numbers of actions.
        continuous: ``(C,)``, the others.
        dimensions: ``(C,)``, their numbers of action dimensions.
        chosen: ``(N, most choices)``, the option that each choice fell on; 0 where a step has fewer choices.
    """

    discrete: torch.Tensor
    counts: torch.Tensor
    continuous: torch.Tensor
    dimensions: torch.Tensor
    chosen: torch.Tensor

    @staticmethod
    def gather(parts: Sequence[tuple[Task, np.ndarray]]) -> "Choices":
        """Of steps one after another: a task, and what was chosen, ``(n, choices)``."""
        most = max(chosen.shape[1] for _, chosen in parts)
        lengths = [len(chosen) for _, chosen in parts]
        kinds = torch.from_numpy(np.repeat([is_discrete(task) for task, _ in parts], lengths))
        sizes = torch.from_numpy(np.repeat([action_count(task) for task, _ in parts], lengths))
        padded = [np.pad(chosen, ((0, 0), (0, most - chosen.shape[1]))) for _, chosen in parts]
        discrete, continuous = kinds.nonzero()[:, 0], (~kinds).nonzero()[:, 0]
        chosen = torch.from_numpy(np.concatenate(padded))
        return Choices(discrete, sizes[discrete], continuous, sizes[continuous], chosen)


@dataclass(frozen=True)
class ActionDistribution:
    """The distributions of the choices of some of N steps, n of them.

    Attributes:
        steps: ``(n,)``, which steps.
        logs: ``(n, choices, options)``, log-probabilities, minus infinity where there is no such option.
        there: ``(n, choices)``, false where a step has fewer choices.
    """

    steps: torch.Tensor
    logs: torch.Tensor
    there: torch.Tensor


def chances_of(heads: ActionHeads, hidden: torch.Tensor, choices: Choices) -> list[ActionDistribution]:
    """The distributions that ``(N, width)`` hidden states mean."""
    found = []
    if len(choices.discrete):
        logits = heads.discrete_logits(hidden[choices.discrete], choices.counts)[:, None]
        there = torch.ones(logits.shape[:2], dtype=torch.bool)
        found.append(ActionDistribution(choices.discrete, logits.float().log_softmax(dim=-1), there))
    if len(choices.continuous):
        most = int(choices.dimensions.max())
        logits = heads.numbers(hidden[choices.continuous], most)
        there = torch.arange(most) < choices.dimensions[:, None]
        found.append(ActionDistribution(choices.continuous, logits.float().log_softmax(dim=-1), there))
    return found


def log_probabilities(chances: Sequence[ActionDistribution], choices: Choices) -> torch.Tensor:
    """Of what was chosen, ``(N,)``."""
    parts = []
    for each in chances:
        chosen = choices.chosen[each.steps, : each.logs.shape[1], None]
        parts.append((each.steps, each.logs.gather(-1, chosen)[..., 0], each.there))
    return _added_up(parts, len(choices.chosen))


def entropies(chances: Sequence[ActionDistribution], steps: int) -> torch.Tensor:
    """Of each step's action in nats, ``(N,)``."""
    parts = [(each.steps, -(each.logs.exp() * _finite(each.logs)).sum(dim=-1), each.there) for each in chances]
    return _added_up(parts, steps)


def divergences(
    chances: Sequence[ActionDistribution], others: Sequence[ActionDistribution], steps: int
) -> torch.Tensor:
    """KL(chances || others) of each step's action in nats, ``(N,)``; both are of the same steps."""
    parts = []
    for each, other in zip(chances, others, strict=True):
        apart = each.logs.exp() * (_finite(each.logs) - _finite(other.logs))
        parts.append((each.steps, apart.sum(dim=-1), each.there))
    return _added_up(parts, steps)


def _added_up(parts: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], steps: int) -> torch.Tensor:
    """``(n, choices)`` values of some steps each, added up over the choices that are there, ``(steps,)``."""
    whole = torch.zeros(steps)
    for places, values, there in parts:
        whole = whole.index_add(0, places, (values * there).sum(dim=-1))
    return whole


def _finite(logs: torch.Tensor) -> torch.Tensor:
    """An option that a task lacks has probability 0, and must count as 0, not as NaN."""
    return logs.masked_fill(logs.isneginf(), 0.0)
