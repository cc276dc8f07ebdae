"""What the network says of a continuous action, dimension by dimension: bins, a normal distribution, or the action.

Each is an :class:`Output`: how many numbers the network gives for a dimension, what they mean as an action or as
log-probabilities of bins, and what they cost. Bins are numbered from the lower bound of an action to its upper one, and
"in bins" is the same axis as a number from 0 to ``bins``.
"""

import math
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import nn

_BETA = 0.5  # of the β-NLL: 0 is the likelihood, which neglects what is hard; 1 weighs the mean as squared error does
_LEAST_LOG, _MOST_LOG = -6.0, 1.0  # of deviations, where half of an action's range is 1


class Output(Protocol):
    """What the network says of each dimension.

    Attributes:
        numbers: how many numbers it gives.
    """

    numbers: int

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What ``(…, numbers)`` cost, and whether they miss the expert's action, both ``(…)``.

        ``targets``, ``(…, 2)``: means and standard deviations in bins, see :func:`normals`.
        """
        ...

    def logits(self, numbers: torch.Tensor) -> torch.Tensor:
        """``(…, numbers)`` as logits of bins, ``(…, bins)``; of what is no distribution, the numbers themselves."""
        ...

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """Change the layer that gives the numbers, see :meth:`generalist.network.heads.ActionHeads.sharpen`."""
        ...


class Bins:
    """A logit for each bin; the loss is the cross-entropy in nats to the expert's distribution."""

    def __init__(self, bins: int, least: float) -> None:
        """Args: the bins; the least deviation is the targets' own."""
        self.numbers = self._bins = bins

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Output`."""
        wanted = binned(targets[..., 0], targets[..., 1], self._bins)
        return -(wanted * numbers.log_softmax(dim=-1)).sum(dim=-1), numbers.argmax(dim=-1) != wanted.argmax(dim=-1)

    def logits(self, numbers: torch.Tensor) -> torch.Tensor:
        """See :class:`Output`."""
        return numbers

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """See :class:`Output`."""
        last.weight.div_(temperature)
        last.bias.div_(temperature)


class Normal:
    """Mean and log-deviation of a normal distribution.

    The loss is KL(expert || network) in nats, weighed by the network's deviation to the power of 2 β (β-NLL: Seitzer et
    al. 2022, arXiv:2203.09168, eq. 8): where an action is hard to foresee, its mean is learnt all the same.
    """

    def __init__(self, bins: int, least: float) -> None:
        """Args: the bins, and the least deviation that may be said, in bins."""
        self.numbers, self._bins, self._least = 2, bins, least

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Output`; an action is missed if its mean is a bin away or more."""
        mean, deviation = self._normal(numbers)
        wanted, wide = targets.unbind(dim=-1)
        error = (wanted - mean).square()
        nats = (error + wide.square()) / (2 * deviation.square()) - 0.5 + (deviation / wide).log()
        weight = (deviation.detach() * (2 / self._bins)) ** (2 * _BETA)
        return weight * nats, error >= 1

    def logits(self, numbers: torch.Tensor) -> torch.Tensor:
        """The density at each bin's middle, so the most likely bin has the mean in it."""
        mean, deviation = self._normal(numbers)
        middles = torch.arange(self._bins, device=numbers.device) + 0.5
        return -((middles - mean[..., None]) / deviation[..., None]).square() / 2

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """See :class:`Output`; the least deviation stays."""
        last.bias[1] += math.log(temperature)

    def _normal(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log = numbers.float().unbind(dim=-1)
        half = self._bins / 2
        return (mean + 1) * half, (log - 2).clamp(_LEAST_LOG, _MOST_LOG).exp().mul(half).clamp_min(self._least)


class Regression:
    """The action itself from -1 to 1; the loss is the squared error."""

    numbers = 1

    def __init__(self, bins: int, least: float) -> None:
        """Args: the bins that targets are told in; there is no deviation."""
        self._bins = bins

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Output`; an action is missed by a bin or more."""
        each = (numbers[..., 0] - (targets[..., 0] * (2 / self._bins) - 1)).square()
        return each, each.sqrt() * self._bins >= 1

    def logits(self, numbers: torch.Tensor) -> torch.Tensor:
        """See :class:`Output`."""
        return numbers

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """See :class:`Output`; one action alone is as sharp as can be."""


OUTPUTS: dict[str, type[Bins] | type[Normal] | type[Regression]] = {
    "bins": Bins,
    "normal": Normal,
    "regression": Regression,
}
"""By the name in ``codec.continuous``."""


def binned(mean: torch.Tensor, deviation: torch.Tensor, bins: int) -> torch.Tensor:
    """Normal distributions on the axis from 0 to ``bins``, cut into unit bins, ``(…, bins)``.

    Mass beyond the ends is cut off, not piled up on the outermost bins: the most likely bin is then always the one with
    the mean in it.
    """
    edges = torch.arange(bins + 1, device=mean.device, dtype=mean.dtype)
    below = torch.special.ndtr((edges - mean[..., None]) / deviation[..., None])
    mass = below.diff(dim=-1)
    return mass / mass.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def normals(
    space: gym.spaces.Box, labels: np.ndarray, distributions: np.ndarray | None, bins: int, least: float = 0.5
) -> np.ndarray:
    """Means and standard deviations of continuous actions in bins, ``(n, dimensions, 2)``.

    Without distributions, the deviation is the least. One of half a bin still tells where in its bin an action lies.
    """
    mean = to_unit(space, labels)
    deviation = np.zeros_like(mean)
    if distributions is not None:
        low, high = _bounds(space)
        deviation = distributions[:, 1] * 2 / (high - low)
    scale = bins / 2
    in_bins = np.stack([(mean + 1) * scale, np.maximum(deviation * scale, least)], axis=-1)
    return in_bins.astype(np.float32)


def _bounds(space: gym.spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds, ``(dimensions,)`` each, to compute with: integers as floats, and never equal."""
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    if space.dtype.kind in "iu":  # 127 - -128 is -1 in eight bits
        low, high = low.astype(np.float64), high.astype(np.float64)
    return low, np.where(high > low, high, low + 1).astype(high.dtype)


def to_unit(space: gym.spaces.Box, actions: np.ndarray) -> np.ndarray:
    """``(n, *action shape)`` actions → ``(n, dimensions)`` from -1 to 1."""
    low, high = _bounds(space)
    return np.clip((actions.reshape(len(actions), -1) - low) / (high - low) * 2 - 1, -1, 1)


def bin_middles(indices: np.ndarray, bins: int) -> np.ndarray:
    """The middles of bins, from -1 to 1."""
    return (indices + 0.5) / bins * 2 - 1


def from_unit(space: gym.spaces.Box, unit: np.ndarray) -> Any:  # noqa: ANN401
    """The inverse of :func:`to_unit`; integer actions are rounded."""
    low, high = _bounds(space)
    actions = (low + (unit + 1) / 2 * (high - low)).reshape(-1, *space.shape)
    whole = np.rint(actions) if space.dtype.kind in "iu" else actions
    return np.clip(whole, space.low, space.high).astype(space.dtype)
