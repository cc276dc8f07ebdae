"""Demonstrations in a batch: which windows follow one, and what is shown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from generalist.codecs.inputs import Inputs, collate
from generalist.codecs.observations import ActionEncoder
from generalist.codecs.parts import Parts
from generalist.codecs.windows import Window, valid_steps


@dataclass(frozen=True)
class Shown:
    """Demonstrations, P steps of each of Q windows.

    Attributes:
        windows: ``(Q,)``, which windows of the batch have one.
        inputs: their observations.
        actions: ``(Q, P, size)``, see :meth:`ActionEncoder.numbers`.
        there: ``(Q, P)``, false where a demonstration is padding.
    """

    windows: torch.Tensor
    inputs: Inputs
    actions: torch.Tensor
    there: torch.Tensor


def show(prompts: Mapping[int, Window], acts: ActionEncoder, parts: Callable[[Window], Parts]) -> Shown:
    """Demonstrations by the window that each belongs to.

    Args:
        prompts: what is shown, at least one.
        acts: encodes what should be done there.
        parts: what is seen there, each part of shape ``(1, steps, …)``.
    """
    windows = list(prompts.values())
    length = max(map(len, windows))
    return Shown(
        torch.tensor(list(prompts)),
        collate([parts(window) for window in windows], length),
        acts.collate([(window.task, window.labels) for window in windows], length),
        torch.from_numpy(valid_steps(windows, length)),
    )


def run_after(model: Any, tokens: torch.Tensor, windows: torch.Tensor, prefix: Any) -> torch.Tensor:  # noqa: ANN401
    """Hidden states of ``(B, L, width)`` tokens, of which these windows follow the prompts in ``prefix``."""
    alone = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    alone[windows] = False
    hidden = torch.empty_like(tokens)
    hidden[windows] = model(tokens[windows], prefix)
    if alone.any():
        hidden[alone] = model(tokens[alone])
    return hidden
