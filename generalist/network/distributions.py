"""Action distributions, modelled on stable-baselines3's ``common/distributions.py``.

Each object holds the distributions of n actions of one task. An action is a tensor row: the index of a discrete action,
``(n,)``, the indices of several choices, ``(n, choices)`` (see ``multi_categorical``), or the dimensions of a
continuous one, ``(n, dimensions)``, scaled so that the bounds are -1 and 1. Dimensions are independent, so their
log-probabilities, entropies and divergences add up. :func:`environment_actions` converts such actions to the
environment's.

The batch size of a forward pass changes the last bits of its floats, which would make long episodes diverge. Continuous
actions are therefore rounded to 1/1024 of half their range (bins round far more), so that an episode depends on its
batch only if a number lies on the edge between two steps.
"""

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import gymnasium as gym
import numpy as np
import torch

from benchmarks.play.policy import PolicyOutput
from benchmarks.tasks import Task, spaces

_GRID = 1024  # steps from the middle of an action's range to a bound


class Distribution(abc.ABC):
    """The distributions of n actions."""

    @abc.abstractmethod
    def mode(self) -> torch.Tensor:
        """The most likely actions."""

    @abc.abstractmethod
    def sample(self, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        """Sample each row's action with the row's own random stream."""

    @abc.abstractmethod
    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (of continuous actions, log-densities) of one action per row, ``(n,)``."""

    @abc.abstractmethod
    def entropy(self) -> torch.Tensor:
        """Entropies in nats, ``(n,)``."""

    @abc.abstractmethod
    def kl(self, other: Any) -> torch.Tensor:  # noqa: ANN401
        """KL(self || other) in nats, ``(n,)``; ``other`` is of the same kind."""

    @classmethod
    @abc.abstractmethod
    def mixture(cls, members: Sequence[Any]) -> Self:
        """The equally weighted mixture of several distributions of the same actions."""

    @abc.abstractmethod
    def parameters(self, task: Task) -> np.ndarray | None:
        """The parameters in the format of :class:`~benchmarks.play.policy.PolicyOutput`; None if there are none."""


class Categorical(Distribution):
    """One of several discrete actions."""

    def __init__(self, logits: torch.Tensor) -> None:
        """Args: ``(n, actions)`` logits; minus infinity excludes an action."""
        self.logits = logits

    def masked(self, legal: torch.Tensor) -> "Categorical":
        """The same without illegal actions; ``legal``: ``(n, actions)`` bool."""
        return Categorical(self.logits.masked_fill(~legal, -torch.inf))

    def mode(self) -> torch.Tensor:
        """See :class:`Distribution`."""
        return self.logits.argmax(dim=-1)

    def sample(self, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        """See :class:`Distribution`; by the Gumbel-max trick."""
        return (self.logits.float() + gumbel_noise(rngs, self.logits)).argmax(dim=-1)

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """See :class:`Distribution`."""
        return _log_probabilities(self.logits).gather(-1, actions[:, None])[:, 0]

    def entropy(self) -> torch.Tensor:
        """See :class:`Distribution`."""
        return _entropy(self.logits)

    def kl(self, other: "Categorical") -> torch.Tensor:
        """See :class:`Distribution`."""
        return _divergence(self.logits, other.logits)

    @classmethod
    def mixture(cls, members: Sequence["Categorical"]) -> "Categorical":
        """See :class:`Distribution`."""
        return cls(_mean_probabilities([member.logits for member in members]))

    def parameters(self, task: Task) -> np.ndarray:
        """The logits."""
        return self.logits.float().cpu().numpy()


class Binned(Distribution):
    """A categorical distribution over equal bins for each dimension; an action is the middle of a bin."""

    def __init__(self, logits: torch.Tensor) -> None:
        """Args: ``(n, dimensions, bins)`` logits."""
        self.logits = logits

    def mode(self) -> torch.Tensor:
        """See :class:`Distribution`."""
        return self._middles(self.logits.argmax(dim=-1))

    def sample(self, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        """See :class:`Distribution`; by the Gumbel-max trick."""
        return self._middles((self.logits.float() + gumbel_noise(rngs, self.logits)).argmax(dim=-1))

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """See :class:`Distribution`; the probability of the bins, not a density."""
        bins = self.logits.shape[-1]
        chosen = ((actions.double() + 1) / 2 * bins).long().clamp(0, bins - 1)
        return _log_probabilities(self.logits).gather(-1, chosen[..., None])[..., 0].sum(dim=-1)

    def entropy(self) -> torch.Tensor:
        """See :class:`Distribution`."""
        return _entropy(self.logits).sum(dim=-1)

    def kl(self, other: "Binned") -> torch.Tensor:
        """See :class:`Distribution`."""
        return _divergence(self.logits, other.logits).sum(dim=-1)

    @classmethod
    def mixture(cls, members: Sequence["Binned"]) -> "Binned":
        """See :class:`Distribution`; dimension by dimension."""
        return cls(_mean_probabilities([member.logits for member in members]))

    def parameters(self, task: Task) -> np.ndarray:
        """The logits."""
        return self.logits.float().cpu().numpy()

    def _middles(self, indices: torch.Tensor) -> torch.Tensor:
        return (indices.double() + 0.5) / self.logits.shape[-1] * 2 - 1


class Normal(Distribution):
    """Independent normal distributions of a continuous action's dimensions, not truncated at its bounds.

    Samples may lie beyond the bounds. The environment gets the clipped action; the log-probability is that of the
    unclipped sample (as in stable-baselines3).
    """

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Args: means and standard deviations, ``(n, dimensions)`` each."""
        self.mean, self.std = mean, std

    def mode(self) -> torch.Tensor:
        """The means, clipped to the bounds."""
        return _rounded(self.mean.clamp(-1, 1))

    def sample(self, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        """See :class:`Distribution`."""
        noise = np.stack([rng.standard_normal(self.mean.shape[1:], np.float32) for rng in rngs])
        return _rounded(self.mean + self.std * torch.from_numpy(noise).to(self.mean.device))

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """See :class:`Distribution`."""
        return self._torch().log_prob(actions.to(self.mean.dtype)).sum(dim=-1)

    def entropy(self) -> torch.Tensor:
        """See :class:`Distribution`; a differential entropy, which may be negative."""
        return self._torch().entropy().sum(dim=-1)

    def kl(self, other: "Normal") -> torch.Tensor:
        """See :class:`Distribution`."""
        return torch.distributions.kl_divergence(self._torch(), other._torch()).sum(dim=-1)

    @classmethod
    def mixture(cls, members: Sequence["Normal"]) -> "Normal":
        """A normal distribution of the mixture's mean and variance (Lakshminarayanan et al. 2017, arXiv:1612.01474)."""
        means = torch.stack([member.mean for member in members])
        variances = torch.stack([member.std for member in members]).square() + means.square()
        mean = means.mean(dim=0)
        return cls(mean, (variances.mean(dim=0) - mean.square()).clamp_min(1e-12).sqrt())

    def parameters(self, task: Task) -> np.ndarray:
        """Means and standard deviations in the environment's units, ``(n, 2, dimensions)``."""
        space = spaces(task)[1]
        assert isinstance(space, gym.spaces.Box)
        low, high = bounds(space)
        half = (high - low) / 2
        mean, std = self.mean.cpu().numpy(), self.std.cpu().numpy()
        return np.stack([low + (mean + 1) * half, std * half], axis=1)

    def _torch(self) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.mean, self.std, validate_args=False)


class Deterministic(Distribution):
    """A continuous action without a distribution: sampling returns it, and densities are undefined."""

    def __init__(self, value: torch.Tensor) -> None:
        """Args: the actions, ``(n, dimensions)``."""
        self.value = value

    def mode(self) -> torch.Tensor:
        """The actions, clipped to the bounds."""
        return _rounded(self.value.clamp(-1, 1))

    def sample(self, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        """The same as :meth:`mode`."""
        return self.mode()

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """Undefined."""
        raise TypeError("a deterministic action has no probability.")

    def entropy(self) -> torch.Tensor:
        """Undefined."""
        raise TypeError("a deterministic action has no entropy.")

    def kl(self, other: "Deterministic") -> torch.Tensor:
        """Undefined."""
        raise TypeError("a deterministic action has no divergence from another.")

    @classmethod
    def mixture(cls, members: Sequence["Deterministic"]) -> "Deterministic":
        """The mean action."""
        return cls(torch.stack([member.value for member in members]).mean(dim=0))

    def parameters(self, task: Task) -> None:
        """None."""


Selector: TypeAlias = Callable[[Any, Sequence[np.random.Generator]], torch.Tensor]
"""A rule for choosing actions: a distribution and each row's random stream → one action per row."""


def greedy(distribution: Distribution, rngs: Sequence[np.random.Generator] = ()) -> torch.Tensor:
    """The most likely actions; the random streams are not used."""
    return distribution.mode()


def sample(distribution: Distribution, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
    """Actions sampled from the distribution."""
    return distribution.sample(rngs)


@dataclass(frozen=True)
class NetworkOutput(PolicyOutput):
    """A network's actions with their distribution.

    Attributes:
        distribution: the action distribution; None if the network decodes actions token by token.
        chosen: the chosen actions before clipping to the bounds, see :class:`Distribution`.
    """

    distribution: Distribution | None = None
    chosen: torch.Tensor | None = None


def environment_actions(task: Task, chosen: torch.Tensor) -> np.ndarray:
    """Convert chosen actions (see the module) to the environment's, ``(n, *action shape)``."""
    space = spaces(task)[1]
    if isinstance(space, gym.spaces.Discrete):
        return chosen.cpu().numpy() + int(space.start)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return chosen.cpu().numpy()
    assert isinstance(space, gym.spaces.Box)
    return from_unit(space, chosen.double().clamp(-1, 1).cpu().numpy())


def bounds(space: gym.spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds for computations, ``(dimensions,)`` each: integers as floats, and never equal."""
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    if space.dtype.kind in "iu":  # 127 - -128 is -1 in eight bits
        low, high = low.astype(np.float64), high.astype(np.float64)
    return low, np.where(high > low, high, low + 1).astype(high.dtype)


def to_unit(space: gym.spaces.Box, actions: np.ndarray) -> np.ndarray:
    """``(n, *action shape)`` actions → ``(n, dimensions)`` from -1 to 1."""
    low, high = bounds(space)
    return np.clip((actions.reshape(len(actions), -1) - low) / (high - low) * 2 - 1, -1, 1)


def from_unit(space: gym.spaces.Box, unit: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_unit`; integer actions are rounded."""
    low, high = bounds(space)
    actions = (low + (unit + 1) / 2 * (high - low)).reshape(-1, *space.shape)
    whole = np.rint(actions) if space.dtype.kind in "iu" else actions
    return np.clip(whole, space.low, space.high).astype(space.dtype)


def gumbel_noise(rngs: Sequence[np.random.Generator], logits: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise for ``(n, …)`` logits, from each row's own random stream."""
    noise = np.stack([rng.gumbel(size=logits.shape[1:]) for rng in rngs]).astype(np.float32)
    return torch.from_numpy(noise).to(logits.device)


def _rounded(unit: torch.Tensor) -> torch.Tensor:
    return (unit.double() * _GRID).round() / _GRID


def _log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    return logits.float().log_softmax(dim=-1)


def _entropy(logits: torch.Tensor) -> torch.Tensor:
    logs = _log_probabilities(logits)
    return -(logs.exp() * _finite(logs)).sum(dim=-1)


def _divergence(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    logs = _log_probabilities(logits)
    return (logs.exp() * (_finite(logs) - _finite(_log_probabilities(others)))).sum(dim=-1)


def _mean_probabilities(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([_log_probabilities(values) for values in logits]).logsumexp(dim=0) - math.log(len(logits))


def _finite(logs: torch.Tensor) -> torch.Tensor:
    """Replace minus infinity by 0: an excluded action has probability 0 and must add 0, not NaN."""
    return logs.masked_fill(logs.isneginf(), 0.0)
