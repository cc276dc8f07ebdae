"""Outputs for each dimension of a continuous action: bins, a normal distribution, or the action itself.

An :class:`Output` defines how many numbers the network predicts per dimension, their distribution and their loss. Bins
are numbered from the action's lower bound to its upper bound; "in bins" means on that axis, from 0 to ``bins``.
"""

import math
from typing import Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from generalist.network.distributions import Binned, Deterministic, Distribution, Normal, bounds, to_unit

_BETA = 0.5  # of the β-NLL: 0 is the likelihood, which neglects hard actions; 1 weights the mean like the squared error
_LEAST_LOG, _MOST_LOG = -6.0, 1.0  # log standard deviations, where half of an action's range is 1


class Output(Protocol):
    """The network's output for one dimension.

    Attributes:
        numbers: how many numbers it has.
    """

    numbers: int

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The losses of ``(…, numbers)``, and whether they miss the expert's action, both ``(…)``.

        ``targets``, ``(…, 2)``: means and standard deviations in bins, see :func:`normals`.
        """
        ...

    def distribution(self, numbers: torch.Tensor) -> Distribution:
        """The action distribution with parameters ``(n, dimensions, numbers)``."""
        ...

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """Change the layer that computes the numbers, see :meth:`generalist.network.heads.ActionHeads.sharpen`."""
        ...


class BinnedOutput:
    """One logit per bin; the loss is the cross-entropy in nats with the expert's distribution."""

    def __init__(self, bins: int, min_std: float) -> None:
        """Args: the number of bins; ``min_std`` is not used, it is already part of the targets."""
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
    """Mean and log standard deviation of a normal distribution.

    The loss is KL(expert || network) in nats, weighted by the network's standard deviation to the power of 2 β (β-NLL:
    Seitzer et al. 2022, arXiv:2203.09168, eq. 8), so that the mean is also learned where an action is hard to predict.
    """

    def __init__(self, bins: int, min_std: float) -> None:
        """Args: the number of bins on the targets' axis, and the smallest standard deviation, in bins."""
        self.numbers, self._half, self._min_std = 2, bins / 2, min_std

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Output`; an action is missed if the mean is at least one bin away."""
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
        """See :class:`Output`; the smallest standard deviation does not change."""
        last.bias[1] += math.log(temperature)

    def _unit(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and standard deviations on the scale where half of an action's range is 1."""
        mean, log = numbers.float().unbind(dim=-1)
        return mean, (log - 2).clamp(_LEAST_LOG, _MOST_LOG).exp().clamp_min(self._min_std / self._half)


class RegressionOutput:
    """The action itself from -1 to 1; the loss is the squared error."""

    numbers = 1

    def __init__(self, bins: int, min_std: float) -> None:
        """Args: the number of bins on the targets' axis; ``min_std`` is not used."""
        self._bins = bins

    def losses(self, numbers: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Output`; an action is missed if it is at least one bin away."""
        squares = (numbers[..., 0] - (targets[..., 0] * (2 / self._bins) - 1)).square()
        return squares, squares.sqrt() * self._bins >= 1

    def distribution(self, numbers: torch.Tensor) -> Deterministic:
        """See :class:`Output`."""
        return Deterministic(numbers[..., 0].float())

    def sharpen(self, last: nn.Linear, temperature: float) -> None:
        """See :class:`Output`; there is no distribution to sharpen."""


OUTPUTS: dict[str, type[BinnedOutput] | type[NormalOutput] | type[RegressionOutput]] = {
    "bins": BinnedOutput,
    "normal": NormalOutput,
    "regression": RegressionOutput,
}
"""Outputs by their name in ``codec.continuous``."""


def binned(mean: torch.Tensor, std: torch.Tensor, bins: int) -> torch.Tensor:
    """Normal distributions on the axis from 0 to ``bins``, discretised into unit bins, ``(…, bins)``.

    Mass beyond the ends is removed, not added to the outermost bins, so that the most likely bin is always the one that
    contains the mean.
    """
    edges = torch.arange(bins + 1, device=mean.device, dtype=mean.dtype)
    below = torch.special.ndtr((edges - mean[..., None]) / std[..., None])
    mass = below.diff(dim=-1)
    return mass / mass.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def normals(
    space: gym.spaces.Box, labels: np.ndarray, distributions: np.ndarray | None, bins: int, min_std: float = 0.5
) -> np.ndarray:
    """Means and standard deviations of continuous actions in bins, ``(n, dimensions, 2)``.

    Without distributions, all standard deviations are ``min_std``. With half a bin, neighbouring bins still show where
    in its bin an action lies.
    """
    mean = to_unit(space, labels)
    std = np.zeros_like(mean)
    if distributions is not None:
        low, high = bounds(space)
        std = distributions[:, 1] * 2 / (high - low)
    scale = bins / 2
    in_bins = np.stack([(mean + 1) * scale, np.maximum(std * scale, min_std)], axis=-1)
    return in_bins.astype(np.float32)
