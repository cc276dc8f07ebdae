"""How one of several options is chosen: the most likely one, or a draw."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch

Chooser: TypeAlias = Callable[[torch.Tensor, Sequence[np.random.Generator]], torch.Tensor]
"""``(rows, …, options)`` logits and each row's random stream → ``(rows, …)`` indices."""


def most_likely(logits: torch.Tensor, rngs: Sequence[np.random.Generator] = ()) -> torch.Tensor:
    """The option of the largest logit; nothing is drawn."""
    return logits.argmax(dim=-1)


def drawn(logits: torch.Tensor, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
    """Options with the probabilities that the logits say, each row's from its own stream (the Gumbel-max trick)."""
    noise = np.stack([rng.gumbel(size=logits.shape[1:]) for rng in rngs]).astype(np.float32)
    return (logits.float() + torch.from_numpy(noise).to(logits.device)).argmax(dim=-1)
