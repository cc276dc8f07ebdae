"""Training targets of windows of several tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from generalist.network.batches import Window


@dataclass(frozen=True)
class ChoiceTargets:
    """Targets of M windows of L steps whose actions have the same choices.

    Attributes:
        windows: ``(M,)`` indices.
        probabilities: ``(M, L, options)``, of all choices in order.
        legal: ``(M, L, options)``; None: see :class:`Targets`.
    """

    windows: torch.Tensor
    probabilities: torch.Tensor
    legal: torch.Tensor | None


@dataclass(frozen=True)
class ContinuousTargets:
    """Targets of M windows of L steps whose actions have the same number of dimensions.

    Attributes:
        windows: ``(M,)`` indices.
        normals: ``(M, L, dimensions, 2)``, means and standard deviations in bins.
    """

    windows: torch.Tensor
    normals: torch.Tensor


@dataclass(frozen=True)
class Targets:
    """Targets of B windows of L steps.

    Attributes:
        valid: ``(B, L)``, false where a window is padding.
        discrete: the windows with discrete actions, ``(D,)`` indices.
        counts: ``(D,)`` their numbers of actions.
        probabilities: ``(D, L, actions)``.
        legal: ``(D, L, actions)``, which actions were legal; None: all, or unknown.
        choices: the targets of windows with several choices per action, by the choices' numbers of options.
        continuous: the targets of windows with continuous actions, by their number of dimensions.
        returns: ``(B, L)``, discounted returns, NaN where unknown; None: not needed.
    """

    valid: torch.Tensor
    discrete: torch.Tensor
    counts: torch.Tensor
    probabilities: torch.Tensor
    returns: torch.Tensor | None = None
    legal: torch.Tensor | None = None
    choices: Mapping[tuple[int, ...], ChoiceTargets] = field(default_factory=dict)
    continuous: Mapping[int, ContinuousTargets] = field(default_factory=dict)


def legal_options(windows: Sequence[Window], length: int, width: int) -> torch.Tensor | None:
    """``(windows, length, width)``, true beyond a window's end and its actions; None: no window has masks."""
    if all(window.masks is None for window in windows):
        return None
    legal = np.ones((len(windows), length, width), dtype=bool)
    for row, window in zip(legal, windows, strict=True):
        if window.masks is not None:
            row[: len(window), : window.masks.shape[1]] = window.masks
    return torch.from_numpy(legal)


def returns_of(windows: Sequence[Window], length: int) -> np.ndarray:
    """``(B, L)`` returns, NaN beyond a window's end and where unknown."""
    returns = np.full((len(windows), length), np.nan, dtype=np.float32)
    for row, window in zip(returns, windows, strict=True):
        if window.returns is not None:
            row[: len(window)] = window.returns
    return returns


def pad(arrays: list[np.ndarray], length: int) -> np.ndarray:
    """Stack ``(n, a, …)`` arrays into ``(arrays, length, most a, …)``, zeros where one is shorter."""
    if not arrays:
        return np.zeros((0, length, 1), dtype=np.float32)
    width = max(array.shape[1] for array in arrays)
    padded = np.zeros((len(arrays), length, width, *arrays[0].shape[2:]), dtype=np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: array.shape[0], : array.shape[1]] = array
    return padded
