"""Chosen actions and their distributions for steps of several tasks, grouped by task."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.tasks import Task
from generalist.network.distributions import Distribution
from generalist.network.heads import ActionHeads


@dataclass(frozen=True)
class Choices:
    """The chosen actions at n of N steps that belong to one task.

    Attributes:
        task: the task.
        steps: ``(n,)``, the indices of the steps.
        actions: see :mod:`generalist.network.distributions`.
        legal: ``(n, options)`` bool, which options were legal; None: all.
    """

    task: Task
    steps: torch.Tensor
    actions: torch.Tensor
    legal: torch.Tensor | None = None

    def on(self, device: torch.device) -> "Choices":
        """The same on a device."""
        legal = None if self.legal is None else self.legal.to(device)
        return replace(self, steps=self.steps.to(device), actions=self.actions.to(device), legal=legal)


def by_task(parts: Sequence[tuple[Task, np.ndarray, np.ndarray | None]]) -> list[Choices]:
    """Group N consecutive steps by task; each part is a task, its chosen actions, ``(n, …)``, and their masks."""
    first = np.cumsum([0, *(len(actions) for _, actions, _ in parts)])
    steps = [np.arange(start, end) for start, end in itertools.pairwise(first)]
    found = []
    for task in dict.fromkeys(task for task, _, _ in parts):
        numbers = [number for number, (other, _, _) in enumerate(parts) if other == task]
        places = np.concatenate([steps[number] for number in numbers])
        actions = np.concatenate([parts[number][1] for number in numbers])
        masks = [mask for number in numbers if (mask := parts[number][2]) is not None]
        legal = torch.from_numpy(np.concatenate(masks)) if masks else None
        found.append(Choices(task, torch.from_numpy(places), torch.from_numpy(actions), legal))
    return found


def distributions_of(heads: ActionHeads, hidden: torch.Tensor, choices: Sequence[Choices]) -> list[Distribution]:
    """The action distributions of ``(N, width)`` hidden states, one object for each task's choices."""
    return [heads.distribution(chosen.task, hidden[chosen.steps], chosen.legal) for chosen in choices]


def log_probs(distributions: Sequence[Distribution], choices: Sequence[Choices]) -> torch.Tensor:
    """Log-probabilities of the chosen actions, ``(N,)``."""
    pairs = zip(distributions, choices, strict=True)
    return _per_step([distribution.log_prob(chosen.actions) for distribution, chosen in pairs], choices)


def entropies(distributions: Sequence[Distribution], choices: Sequence[Choices]) -> torch.Tensor:
    """Entropy of each step's action in nats, ``(N,)``."""
    return _per_step([distribution.entropy() for distribution in distributions], choices)


def divergences(
    distributions: Sequence[Distribution], others: Sequence[Distribution], choices: Sequence[Choices]
) -> torch.Tensor:
    """KL(distributions || others) of each step's action in nats, ``(N,)``; both belong to the same choices."""
    pairs = zip(distributions, others, strict=True)
    return _per_step([distribution.kl(other) for distribution, other in pairs], choices)


def _per_step(values: Sequence[torch.Tensor], choices: Sequence[Choices]) -> torch.Tensor:
    """Values of each task's steps, ``(n,)``, in the order of all steps, ``(N,)``."""
    order = torch.cat([chosen.steps for chosen in choices])
    return torch.cat(list(values))[order.argsort()]
