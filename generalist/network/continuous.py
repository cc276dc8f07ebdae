"""What the network says of a continuous action, dimension by dimension: bins, a normal distribution, or the action.

Each is an :class:`Output`: how many numbers the network gives for a dimension, what they mean as a distribution, and
what they cost. Bins are numbered from the lower bound of an action to its upper one, and "in bins" is the same axis as
a number from 0 to ``bins``.
"""

import math
from typing import Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from generalist.network.distributions import Binned, Deterministic, Distribution, Normal, bounds, to_unit

_BETA = 0.5  # of the β-NLL: 0 is the likelihood, which neglects what is hard; 1 weighs the mean as squared error does
_LEAST_LOG, _MOST_LOG = -6.0, 1.0  # of standard deviations, where half of an action's range is 1


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

    def distribution(self, numbers: torch.Tensor) -> Distribution:
        """The distribution of actions that ``(n, dimensions, numbers)`` mean."""
        ...

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """Change the layer that gives the numbers, see :meth:`generalist.network.heads.ActionHeads.sharpen`."""
        ...


class BinnedOutput:
    """A logit for each bin; the loss is the cross-entropy in nats to the expert's distribution."""

    def __init__(self, bins: int, min_std: float) -> None:
        """Args: the bins; the smallest standard deviation is already in the targets."""
        self.numbers = self._bins = bins

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Output`."""
        wanted = binned(targets[..., 0], targets[..., 1], self._bins)
        return -(wanted * numbers.log_softmax(dim=-1)).sum(dim=-1), numbers.argmax(dim=-1) != wanted.argmax(dim=-1)

    def distribution(self, numbers: torch.Tensor) -> Binned:
        """See :class:`Output`."""
        return Binned(numbers)

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """See :class:`Output`."""
        last.weight.div_(temperature)
        last.bias.div_(temperature)


class NormalOutput:
    """Mean and logarithm of the standard deviation of a normal distribution.

    The loss is KL(expert || network) in nats, weighted by the network's standard deviation to the power of 2 β (β-NLL:
    Seitzer et al. 2022, arXiv:2203.09168, eq. 8): where an action is hard to predict, its mean is learnt all the same.
    """

    def __init__(self, bins: int, min_std: float) -> None:
        """Args: the bins that targets are given in, and the smallest standard deviation, in bins."""
        self.numbers, self._half, self._min_std = 2, bins / 2, min_std

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Output`; an action is missed if its mean is a bin away or more."""
        mean, std = self._unit(numbers)
        wanted, wide = targets.unbind(dim=-1)
        weight = std.detach() ** (2 * _BETA)
        mean, std = (mean + 1) * self._half, std * self._half
        error = (wanted - mean).square()
        nats = (error + wide.square()) / (2 * std.square()) - 0.5 + (std / wide).log()
        return weight * nats, error >= 1

    def distribution(self, numbers: torch.Tensor) -> Normal:
        """See :class:`Output`."""
        return Normal(*self._unit(numbers))

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """See :class:`Output`; the smallest standard deviation stays."""
        last.bias[1] += math.log(temperature)

    def _unit(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and standard deviations where half of an action's range is 1."""
        mean, log = numbers.float().unbind(dim=-1)
        return mean, (log - 2).clamp(_LEAST_LOG, _MOST_LOG).exp().clamp_min(self._min_std / self._half)


class RegressionOutput:
    """The action itself from -1 to 1; the loss is the squared error."""

    numbers = 1

    def __init__(self, bins: int, min_std: float) -> None:
        """Args: the bins that targets are given in; there is no standard deviation."""
        self._bins = bins

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Output`; an action is missed by a bin or more."""
        squares = (numbers[..., 0] - (targets[..., 0] * (2 / self._bins) - 1)).square()
        return squares, squares.sqrt() * self._bins >= 1

    def distribution(self, numbers: torch.Tensor) -> Deterministic:
        """See :class:`Output`."""
        return Deterministic(numbers[..., 0].float())

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """See :class:`Output`; a single action cannot become sharper."""


OUTPUTS: dict[str, type[BinnedOutput] | type[NormalOutput] | type[RegressionOutput]] = {
    "bins": BinnedOutput,
    "normal": NormalOutput,
    "regression": RegressionOutput,
}
"""By the name in ``codec.continuous``."""


def binned(mean: torch.Tensor, std: torch.Tensor, bins: int) -> torch.Tensor:
    """Normal distributions on the axis from 0 to ``bins``, cut into unit bins, ``(…, bins)``.

    Mass beyond the ends is cut off, not piled up on the outermost bins: the most likely bin is then always the one with
    the mean in it.
    """
    edges = torch.arange(bins + 1, device=mean.device, dtype=mean.dtype)
    below = torch.special.ndtr((edges - mean[..., None]) / std[..., None])
    mass = below.diff(dim=-1)
    return mass / mass.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def normals(
    space: gym.spaces.Box, labels: np.ndarray, distributions: np.ndarray | None, bins: int, min_std: float = 0.5
) -> np.ndarray:
    """Means and standard deviations of continuous actions in bins, ``(n, dimensions, 2)``.

    Without distributions, all standard deviations are ``min_std``. Half a bin still tells where in its bin an action
    lies.
    """
    mean = to_unit(space, labels)
    std = np.zeros_like(mean)
    if distributions is not None:
        low, high = bounds(space)
        std = distributions[:, 1] * 2 / (high - low)
    scale = bins / 2
    in_bins = np.stack([(mean + 1) * scale, np.maximum(std * scale, min_std)], axis=-1)
    return in_bins.astype(np.float32)
