"""The ``step`` codec: one token per time step, no task identity, nothing to learn that belongs to one task.

Observation vectors are squashed and pass through one projection shared by all tasks, of which a task uses as many
columns as its vector is long. Actions are categories: discrete ones masked to the task's own number, continuous ones
cut into equal bins per dimension.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from benchmarks.errors import GatitoError
from benchmarks.tasks import Task, spaces
from generalist.codecs.config import CodecConfig

_MU, _M = 100.0, 256.0  # Gato's mu-law constants (Reed et al. 2022, arXiv:2205.06175, eq. 3)
_CHANNELS = 3  # of each number: mu-law, symlog, and whether it is there at all
_MIN_DEVIATION = 0.5  # in bins: a narrower target would be a single bin and lose where in the bin the action lies


class StepCodec(nn.Module):
    """Embeds observations, and turns hidden states into action logits."""

    def __init__(self, config: CodecConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.vector = nn.Parameter(torch.empty(width, _CHANNELS, config.vector_width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.discrete_head = nn.Linear(width, config.discrete_actions)
        self.dimension = nn.Parameter(torch.empty(config.action_dimensions, width))
        self.bin_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.bins))
        nn.init.normal_(self.vector, std=0.3)
        nn.init.normal_(self.dimension, std=0.3)
        nn.init.normal_(self.discrete_head.weight, std=0.02)

    def encode(self, task: Task, observations: np.ndarray) -> np.ndarray:
        """Observations as vectors, ``(n, *shape)`` → ``(n, size)``; discrete ones become one-hot.

        Vectors are float32: float64 observations keep seven digits, integers are exact up to 2**24.
        """
        return to_vectors(task, observations)

    def decode(self, task: Task, vectors: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`encode`."""
        space, _ = spaces(task)
        if isinstance(space, gym.spaces.Discrete):
            return vectors.argmax(axis=-1) + int(space.start)
        return vectors.reshape(len(vectors), *(space.shape or ())).astype(space.dtype)

    def embed(self, vectors: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Tokens of observations of many tasks at once.

        Args:
            vectors: shape ``(rows, …, longest)``, each row padded at its end.
            sizes: shape ``(rows,)``, how many numbers of each row are there.

        Returns:
            Shape ``(rows, …, width)``.
        """
        longest = vectors.shape[-1]
        there = (torch.arange(longest, device=vectors.device) < sizes[:, None]).to(vectors.dtype)
        there = there.view(len(vectors), *[1] * (vectors.dim() - 2), longest).expand(vectors.shape)
        channels = torch.cat([mu_law(vectors), symlog(vectors), there], dim=-1)
        return nn.functional.linear(channels, self.vector[:, :, :longest].flatten(1), self.bias)

    def discrete_logits(self, hidden: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Logits of discrete actions, those that a task does not have at minus infinity.

        Args:
            hidden: shape ``(rows, …, width)``.
            counts: shape ``(rows,)``, each row's number of actions.

        Returns:
            Shape ``(rows, …, discrete_actions)``.
        """
        logits = self.discrete_head(hidden)
        legal = torch.arange(logits.shape[-1], device=hidden.device) < counts[:, None]
        return logits.masked_fill(~legal.view(len(hidden), *[1] * (hidden.dim() - 2), -1), -torch.inf)

    def bin_logits(self, hidden: torch.Tensor, dimensions: int) -> torch.Tensor:
        """Logits over the bins of the first ``dimensions`` action dimensions, ``(…, dimensions, bins)``."""
        return self.bin_head(hidden[..., None, :] + self.dimension[:dimensions])

    def actions(self, task: Task, logits: torch.Tensor) -> np.ndarray:
        """The most likely actions, ``(rows, *action shape)``, from :meth:`discrete_logits` or :meth:`bin_logits`."""
        _, space = spaces(task)
        chosen = logits.argmax(dim=-1).cpu().numpy()
        if isinstance(space, gym.spaces.Discrete):
            return chosen + int(space.start)
        assert isinstance(space, gym.spaces.Box)
        unit = (chosen + 0.5) / self.config.bins * 2 - 1
        actions = _from_unit(space, unit).reshape(-1, *space.shape)
        return (np.rint(actions) if space.dtype.kind in "iu" else actions).astype(space.dtype)

    def targets(
        self,
        task: Task,
        labels: np.ndarray,
        distributions: np.ndarray | None,
        kind: str | None,
        temperature: float,
    ) -> np.ndarray:
        """What the model should answer.

        Args:
            task: whose actions they are.
            labels: shape ``(n, *action shape)``, the expert's clean actions.
            distributions: the expert's distributions as recorded; None: learn the labels alone.
            kind: ``logits``, ``q`` or ``gaussian``.
            temperature: softens ``q`` before the softmax (Rusu et al. 2015, arXiv:1511.06295, use 0.01).

        Returns:
            Discrete: probabilities, ``(n, discrete_actions)``. Continuous: mean and standard deviation in bins,
            ``(n, dimensions, 2)``; without distributions, the deviation is the narrowest.
        """
        _, space = spaces(task)
        if isinstance(space, gym.spaces.Discrete):
            probabilities = np.zeros((len(labels), self.config.discrete_actions), dtype=np.float32)
            if distributions is None:
                probabilities[np.arange(len(labels)), labels - int(space.start)] = 1.0
            else:
                probabilities[:, : int(space.n)] = _softmax(distributions / (temperature if kind == "q" else 1.0))
            return probabilities
        assert isinstance(space, gym.spaces.Box)
        mean = _to_unit(space, labels.reshape(len(labels), -1))
        deviation = np.zeros_like(mean)
        if distributions is not None:
            deviation = distributions[:, 1] * 2 / (space.high - space.low).reshape(-1)
        scale = self.config.bins / 2
        in_bins = np.stack([(mean + 1) * scale, np.maximum(deviation * scale, _MIN_DEVIATION)], axis=-1)
        return in_bins.astype(np.float32)

    def bin_probabilities(self, targets: torch.Tensor) -> torch.Tensor:
        """The normal distributions that ``(…, 2)`` targets describe, cut into bins, ``(…, bins)``.

        Mass beyond the action's bounds is cut off, not piled up on the outermost bins: the most likely bin is then
        always the one with the mean in it.
        """
        edges = torch.arange(self.config.bins + 1, device=targets.device, dtype=targets.dtype)
        below = torch.special.ndtr((edges - targets[..., :1]) / targets[..., 1:])
        mass = below.diff(dim=-1)
        return mass / mass.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def check_task(config: CodecConfig, task: Task) -> None:
    """Refuse a task that the step codec cannot carry, before anything trains on it.

    Raises:
        GatitoError: naming the task, what does not fit and the setting to raise.
    """
    observation, action = spaces(task)
    size = vector_size(observation)
    if size is None:
        raise GatitoError(
            f"task {task.name}: codec {config.name} cannot carry observations {observation}; it carries "
            "numeric Box and Discrete."
        )
    limits = [(size, "vector_width", "observation numbers")]
    if isinstance(action, gym.spaces.Discrete):
        limits.append((int(action.n), "discrete_actions", "discrete actions"))
    elif isinstance(action, gym.spaces.Box) and action.is_bounded():
        limits.append((math.prod(action.shape), "action_dimensions", "action dimensions"))
    else:
        raise GatitoError(
            f"task {task.name}: codec {config.name} cannot carry actions {action}; it carries Discrete and bounded Box."
        )
    for needed, setting, what in limits:
        limit = getattr(config, setting)
        if needed > limit:
            raise GatitoError(
                f"task {task.name} has {needed} {what}, codec {config.name} carries {limit}: "
                f"set codec.{setting}={needed}."
            )


def vector_size(space: gym.Space) -> int | None:
    """How many numbers an observation becomes; None for spaces that are no vectors."""
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gym.spaces.Box) and len(space.shape) <= 1:
        return math.prod(space.shape)
    return None


def to_vectors(task: Task, observations: np.ndarray) -> np.ndarray:
    """Observations as float32 vectors, ``(n, *shape)`` → ``(n, size)``; discrete ones become one-hot."""
    space, _ = spaces(task)
    if isinstance(space, gym.spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[np.asarray(observations) - int(space.start)]
    return np.asarray(observations, dtype=np.float32).reshape(len(observations), -1)


def mu_law(x: torch.Tensor) -> torch.Tensor:
    """Gato's companding: steep near zero, so that a velocity of 0.01 is seen beside an angle of 3."""
    return x.sign() * (x.abs() * _MU + 1).log() / math.log(_M * _MU + 1)


def symlog(x: torch.Tensor) -> torch.Tensor:
    """sign(x) log(1 + |x|) (Hafner et al. 2023, arXiv:2301.04104, eq. 9): linear near zero, never saturating."""
    return x.sign() * x.abs().log1p()


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _to_unit(space: gym.spaces.Box, actions: np.ndarray) -> np.ndarray:
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    return np.clip((actions - low) / (high - low) * 2 - 1, -1, 1)


def _from_unit(space: gym.spaces.Box, unit: np.ndarray) -> Any:  # noqa: ANN401
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    return low + (unit + 1) / 2 * (high - low)
