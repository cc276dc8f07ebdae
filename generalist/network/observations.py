"""Encoders that map each observation of any task to one vector, and each action where actions are inputs.

The vector is the sum of an encoding per modality. Observation vectors are squashed and pass through one projection that
all tasks share; a task uses as many of its columns as its vector is long. Images, grids and texts have their own
encoders. No weight belongs to one task. Each squashed number is accompanied by Fourier features of it (Mildenhall et
al. 2020, arXiv:2003.08934, eq. 4), so that a linear projection can resolve small differences.
"""

import math
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.actions import first_options, options_of
from benchmarks.tasks.conformity import text_bytes
from benchmarks.tasks.images import channels_of
from generalist.config.codec import CodecConfig
from generalist.network.distributions import to_unit
from generalist.network.encoders import BoardEncoder, ByteEncoder, GridEncoder, ImageEncoder, TextEncoder, WordEncoder
from generalist.network.inputs import Inputs
from generalist.network.modalities import BOARD, modality_of, part_spaces, vector_size

_MU, _M = 100.0, 256.0  # Gato's mu-law constants (Reed et al. 2022, arXiv:2205.06175, eq. 3)
_CHANNELS = 3  # of each number: mu-law, symlog, and whether it is present; its Fourier features come on top


class ObservationEncoder(nn.Module):
    """One vector of the model's width for each observation."""

    octaves: torch.Tensor

    def __init__(self, config: CodecConfig, width: int) -> None:
        super().__init__()
        self.register_buffer("octaves", math.pi * 2.0 ** torch.arange(config.fourier_features), persistent=False)
        self.vector = nn.Parameter(torch.empty(width, _CHANNELS + 2 * config.fourier_features, config.vector_width))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.vector, std=0.3)
        nn.init.normal_(self.vector[:, _CHANNELS:], std=0.1)  # smaller, since there are more of them
        self.image = (
            ImageEncoder(
                config.image_frames, config.image_size, width, film=config.image_film, detail=config.image_detail
            )
            if config.image_frames
            else None
        )
        self.text = _text_encoder(config, width) if config.text_length else None
        self.grid = GridEncoder(config.grid_size, width, config.grid_blocks) if config.grid_size else None
        self.board = BoardEncoder(BOARD, width, config.board_features) if config.board_features else None

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """Observations of several tasks → ``(B, L, width)``; vectors of padded steps are meaningless."""
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
            instructions = instruction[inputs.places["image"]]
            tokens = self._put(tokens, inputs, "image", self.image(inputs.images, inputs.values["image"], instructions))
        if "grid" in inputs.values:
            assert self.grid is not None
            instructions = instruction[inputs.places["grid"]]
            tokens = self._put(tokens, inputs, "grid", self.grid(inputs.values["grid"], instructions))
        if "board" in inputs.values:
            assert self.board is not None
            tokens = self._put(tokens, inputs, "board", self.board(inputs.values["board"]))
        return tokens.view(windows, length, width)

    @staticmethod
    def _put(tokens: torch.Tensor, inputs: Inputs, modality: str, values: torch.Tensor) -> torch.Tensor:
        return tokens.index_add(0, inputs.places[modality], values.to(tokens.dtype))  # bfloat16 on a GPU

    def _project(self, vectors: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """``(n, longest)`` padded vectors, and their sizes → ``(n, width)``."""
        longest = vectors.shape[-1]
        present = (torch.arange(longest, device=vectors.device) < sizes[:, None]).to(vectors.dtype)
        squashed = symlog(vectors)
        angles = squashed[:, None] * self.octaves[:, None]
        waves = torch.stack([angles.sin(), angles.cos() * present[:, None]], dim=2)
        channels = torch.cat([mu_law(vectors), squashed, present, waves.flatten(1)], dim=-1)
        return nn.functional.linear(channels, self.vector[:, :, :longest].flatten(1))


class ActionEncoder(nn.Module):
    """One vector of the model's width for each action, where an action is an input."""

    def __init__(self, config: CodecConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.discrete_actions + config.action_dimensions + 1, width, bias=False)
        nn.init.normal_(self.project.weight, std=0.3)

    def numbers(self, task: Task, actions: np.ndarray) -> np.ndarray:
        """``(n, *action shape)`` → ``(n, size)``: a one-hot discrete action, continuous numbers, and a constant 1."""
        space = spaces(task)[1]
        numbers = np.zeros((len(actions), self.project.in_features), np.float32)
        numbers[:, -1] = 1.0
        if isinstance(space, gym.spaces.Discrete):
            numbers[np.arange(len(actions)), actions - int(space.start)] = 1.0
        elif isinstance(space, gym.spaces.MultiDiscrete):
            numbers[np.arange(len(actions))[:, None], first_options(options_of(space)) + actions] = 1.0
        else:
            assert isinstance(space, gym.spaces.Box)
            unit = to_unit(space, actions)
            numbers[:, self.config.discrete_actions : self.config.discrete_actions + unit.shape[1]] = unit
        return numbers

    def collate(self, windows: Sequence[tuple[Task, np.ndarray]], length: int) -> torch.Tensor:
        """The numbers of windows of actions, ``(windows, length, size)``, padded with zeros."""
        numbers = np.zeros((len(windows), length, self.project.in_features), np.float32)
        for row, (task, actions) in zip(numbers, windows, strict=True):
            row[: len(actions)] = self.numbers(task, actions)
        return torch.from_numpy(numbers)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """``(…, size)``, see :meth:`numbers`; zeros where there is no action → ``(…, width)``."""
        return self.project(numbers)


def _text_encoder(config: CodecConfig, width: int) -> TextEncoder:
    return WordEncoder(width) if config.text == "words" else ByteEncoder(config.text_length, width)


def check_observations(config: CodecConfig, task: Task) -> list[tuple[int, str, str]]:
    """The sizes that a task's observations need: each size, the setting that limits it, and its unit.

    Raises:
        GatitoError: for a modality without an encoder, or a grid of another size.
    """
    observation = spaces(task)[0]
    limits = [(vector_size(observation), "vector_width", "observation numbers")]
    modalities = [modality_of(part) for part in part_spaces(observation).values()]
    if None in modalities or any(modalities.count(modality) > 1 for modality in ("grid", "text")):
        raise GatitoError(
            f"task {task.name}: codec {config.name} cannot carry observations {observation}; it carries numbers, "
            "images, and at most one grid of cells and one text: leave the task out with tasks=[…], or register a "
            "version that is wrapped to say less."
        )
    images = [part for part in part_spaces(observation).values() if modality_of(part) == "image"]
    if images:
        limits.append((sum(map(channels_of, images)), "image_frames", "channels in its images"))
    for part in part_spaces(observation).values():
        modality, shape = modality_of(part), tuple(part.shape or ())
        if modality == "text":
            assert isinstance(part, gym.spaces.Text)
            limits.append((text_bytes(part), "text_length", "bytes of text"))
        if modality == "grid" and shape[:2] != (config.grid_size, config.grid_size):
            raise GatitoError(
                f"task {task.name} has a grid {shape}, codec {config.name} carries {config.grid_size} x "
                f"{config.grid_size} cells: set codec.grid_size={shape[0]}, if it is a square."
            )
    return limits


def mu_law(x: torch.Tensor) -> torch.Tensor:
    """Gato's companding: steep near zero, so that a velocity of 0.01 is not lost beside an angle of 3."""
    return x.sign() * (x.abs() * _MU + 1).log() / math.log(_M * _MU + 1)


def symlog(x: torch.Tensor) -> torch.Tensor:
    """sign(x) log(1 + |x|) (Hafner et al. 2023, arXiv:2301.04104, eq. 9): linear near zero, never saturating."""
    return x.sign() * x.abs().log1p()
