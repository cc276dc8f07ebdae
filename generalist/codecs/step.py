"""The ``step`` codec: one token per time step, no task identity, nothing to learn that belongs to one task.

A token is the sum of what is known at the step: observation vectors are squashed and pass through one projection that
is shared by all tasks, of which a task uses as many columns as its vector is long; images, grids and texts have an
encoder each. Actions are categories: discrete ones masked to the task's own number, continuous ones cut into bins.
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
from generalist.codecs.encoders import GridEncoder, ImageEncoder, TextEncoder
from generalist.codecs.inputs import Inputs
from generalist.codecs.parts import Parts, kind_of, part_spaces, put_together, take_apart, vector_size

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
        self.image = ImageEncoder(config.image_frames, config.image_size, width) if config.image_frames else None
        self.text = TextEncoder(config.text_length, width) if config.text_length else None
        self.grid = GridEncoder(config.grid_size, width) if config.grid_size else None

    def encode(self, task: Task, observations: np.ndarray) -> Parts:
        """Packed observations, ``(n, *shape)``, as the parts that :meth:`embed` takes."""
        return take_apart(task, observations)

    def decode(self, task: Task, parts: Parts) -> np.ndarray:
        """The inverse of :meth:`encode`."""
        return put_together(task, parts)

    def embed(self, inputs: Inputs) -> torch.Tensor:
        """Tokens of observations of many tasks at once, ``(B, L, width)``; those of padded steps mean nothing."""
        windows, length = inputs.shape
        width = len(self.bias)
        tokens = self.bias.expand(windows * length, width)
        instruction = tokens.new_zeros(tokens.shape)
        if "text" in inputs.values:
            assert self.text is not None
            instruction = self._put(instruction, inputs, "text", self.text(inputs.texts)[inputs.values["text"]])
            tokens = tokens + instruction
        if "vector" in inputs.values:
            tokens = self._put(tokens, inputs, "vector", self._project(inputs.values["vector"], inputs.sizes))
        if "image" in inputs.values:
            assert self.image is not None
            tokens = self._put(tokens, inputs, "image", self.image(inputs.values["image"]))
        if "grid" in inputs.values:
            assert self.grid is not None
            asked = instruction[inputs.places["grid"]]
            tokens = self._put(tokens, inputs, "grid", self.grid(inputs.values["grid"], asked))
        return tokens.view(windows, length, width)

    @staticmethod
    def _put(tokens: torch.Tensor, inputs: Inputs, kind: str, values: torch.Tensor) -> torch.Tensor:
        return tokens.index_add(0, inputs.places[kind], values)

    def _project(self, vectors: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """``(n, longest)`` vectors padded at their ends, and their sizes → ``(n, width)``."""
        longest = vectors.shape[-1]
        there = (torch.arange(longest, device=vectors.device) < sizes[:, None]).to(vectors.dtype)
        channels = torch.cat([mu_law(vectors), symlog(vectors), there], dim=-1)
        return nn.functional.linear(channels, self.vector[:, :, :longest].flatten(1))

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
    limits = [(vector_size(observation), "vector_width", "observation numbers")]
    kinds = [kind_of(part) for part in part_spaces(observation).values()]
    if None in kinds or any(kinds.count(kind) > 1 for kind in ("image", "grid", "text")):
        raise GatitoError(
            f"task {task.name}: codec {config.name} cannot carry observations {observation}; it carries numeric "
            "Box and Discrete, and at most one image, one grid of cells and one text."
        )
    for part in part_spaces(observation).values():
        kind, shape = kind_of(part), tuple(part.shape or ())
        if kind == "text":
            assert isinstance(part, gym.spaces.Text)
            limits.append((part.max_length, "text_length", "bytes of text"))
        if kind == "image" and shape != (config.image_frames, config.image_size, config.image_size):
            raise GatitoError(
                f"task {task.name} has images {shape}, codec {config.name} carries "
                f"({config.image_frames}, {config.image_size}, {config.image_size}): set codec.image_frames and "
                "codec.image_size, or change the task's own size."
            )
        if kind == "grid" and shape[:2] != (config.grid_size, config.grid_size):
            raise GatitoError(
                f"task {task.name} has a grid {shape}, codec {config.name} carries {config.grid_size} x "
                f"{config.grid_size} cells: set codec.grid_size={shape[0]}, if it is a square."
            )
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
