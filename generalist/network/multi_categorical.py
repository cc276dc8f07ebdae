"""The distribution of actions that make several choices at once."""

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.tasks import Task
from benchmarks.tasks.actions import split_options
from generalist.network.distributions import Categorical, Distribution


class MultiCategorical(Distribution):
    """Several independent choices, a categorical distribution each; an action is their indices, ``(n, choices)``."""

    def __init__(self, logits: torch.Tensor, options: Sequence[int]) -> None:
        """Args: ``(n, options)`` logits of all choices in order, and how many options each has."""
        self.logits, self.options = logits, tuple(options)
        self.choices = [Categorical(part) for part in split_options(logits, options)]

    def masked(self, legal: torch.Tensor) -> "MultiCategorical":
        """The same without illegal options; ``legal``: ``(n, options)`` bool."""
        return MultiCategorical(self.logits.masked_fill(~legal, -torch.inf), self.options)

    def mode(self) -> torch.Tensor:
        """See :class:`Distribution`."""
        return torch.stack([choice.mode() for choice in self.choices], dim=-1)

    def sample(self, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        """See :class:`Distribution`."""
        return torch.stack([choice.sample(rngs) for choice in self.choices], dim=-1)

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """See :class:`Distribution`."""
        pairs = zip(self.choices, actions.unbind(dim=-1), strict=True)
        return torch.stack([choice.log_prob(chosen) for choice, chosen in pairs]).sum(dim=0)

    def entropy(self) -> torch.Tensor:
        """See :class:`Distribution`."""
        return torch.stack([choice.entropy() for choice in self.choices]).sum(dim=0)

    def kl(self, other: "MultiCategorical") -> torch.Tensor:
        """See :class:`Distribution`."""
        pairs = zip(self.choices, other.choices, strict=True)
        return torch.stack([choice.kl(theirs) for choice, theirs in pairs]).sum(dim=0)

    @classmethod
    def mixture(cls, members: Sequence["MultiCategorical"]) -> "MultiCategorical":
        """See :class:`Distribution`; choice by choice."""
        mixed = [Categorical.mixture(choices).logits for choices in zip(*(m.choices for m in members), strict=True)]
        return cls(torch.cat(mixed, dim=-1), members[0].options)

    def parameters(self, task: Task) -> np.ndarray:
        """The logits."""
        return self.logits.float().cpu().numpy()
