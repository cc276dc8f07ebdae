"""The modalities of observations: vectors, images, grids of cells, and text."""

import math
from collections.abc import Mapping

import gymnasium as gym
import numpy as np

from benchmarks.tasks import Task, spaces
from benchmarks.tasks.games.boards import SHAPE as BOARD
from benchmarks.tasks.images import channels_first, channels_of, from_channels_first, image_layout, image_size
from benchmarks.tasks.observations import packed_dtype
from generalist.network.images import resized

Modalities = dict[str, np.ndarray]
"""Observations by modality, all with the same leading axes: ``vector`` (…, size) float32, ``image`` (…, frames, height,
width) uint8, ``grid`` (…, rows, columns, 3) uint8, ``text`` (…, bytes) uint8. A task has some of them. For a network
that reads boards by convolutions, the ``vector`` of a board game is a ``board`` (…, planes, rows, columns)."""


_MOST_CELLS = 24  # a side of a grid; what is larger is an image
_GRID_CHANNELS = 3  # of a cell: object, colour and state, as MiniGrid has them
_MOST = 1e30  # of an observed number: float32 can still be squashed there


def modality_of(space: gym.Space) -> str | None:
    """``vector``, ``image``, ``grid`` or ``text``; None for what is none of them.

    A Box of any shape that is neither an image (see :mod:`benchmarks.tasks.images`) nor a grid, which has three bytes
    for each of fewer than 24 x 24 cells, is a vector of its numbers.
    """
    if isinstance(space, gym.spaces.Text):
        return "text"
    if isinstance(space, gym.spaces.Discrete):
        return "vector"
    if not isinstance(space, gym.spaces.Box):
        return None
    if image_layout(space):
        return "image"
    shape = space.shape
    if len(shape) == 3 and space.dtype == np.uint8 and shape[2] == _GRID_CHANNELS and max(shape) < _MOST_CELLS:
        return "grid"
    return "vector"


def is_board(space: gym.Space) -> bool:
    """Whether observations are boards: zeros and ones of the shape that all board games have."""
    return isinstance(space, gym.spaces.Box) and space.shape == BOARD and space.dtype == np.int8


def part_spaces(space: gym.Space) -> Mapping[str, gym.Space]:
    """The component spaces of an observation space, by name; a plain space has one component, named ``""``."""
    return dict(space.items()) if isinstance(space, gym.spaces.Dict) else {"": space}


def is_partial(space: gym.Space) -> bool:
    """Whether earlier observations help: a grid shows only the cells around the player, and texts go on."""
    return any(modality_of(part) in ("grid", "text") for part in part_spaces(space).values())


def vector_size(space: gym.Space) -> int:
    """The length of an observation's ``vector``; discrete components are one-hot."""
    sizes = 0
    for part in part_spaces(space).values():
        if isinstance(part, gym.spaces.Discrete):
            sizes += int(part.n)
        elif modality_of(part) == "vector":
            sizes += math.prod(part.shape or ())
    return sizes


def choices(space: gym.Space) -> np.ndarray:
    """``(vector size,)``: for each entry, the discrete component it belongs to, from 1; 0 for a plain number."""
    numbers: list[int] = []
    count = 0
    for part in part_spaces(space).values():
        if isinstance(part, gym.spaces.Discrete):
            count += 1
            numbers += [count] * int(part.n)
        elif modality_of(part) == "vector":
            numbers += [0] * math.prod(part.shape or ())
    return np.array(numbers, dtype=np.int64)


def split_modalities(task: Task, observations: np.ndarray) -> Modalities:
    """Split packed observations (see ``tasks.observations``), ``(n, *shape)``, by modality.

    Vectors are float32: float64 observations keep seven digits, integers are exact up to 2**24. Images are in their own
    size.
    """
    numbers: list[np.ndarray] = []
    modalities: Modalities = {}
    for name, space in part_spaces(spaces(task)[0]).items():
        values = np.asarray(observations[name] if name else observations)
        modality = modality_of(space)
        if isinstance(space, gym.spaces.Discrete):
            numbers.append(np.eye(int(space.n), dtype=np.float32)[values - int(space.start)])
        elif modality == "vector":
            if values.dtype.kind == "f" and values.dtype.itemsize > 2:
                values = np.clip(values, -_MOST, _MOST)
            numbers.append(values.astype(np.float32).reshape(len(values), -1))
        elif modality is not None and modality != "image":
            modalities[modality] = values
    if (images := images_of(task, observations)) is not None:
        modalities["image"] = images
    return ({"vector": np.concatenate(numbers, axis=1)} if numbers else {}) | modalities


def images_of(task: Task, observations: np.ndarray) -> np.ndarray | None:
    """All images of packed observations, ``(n, channels, height, width)``, uint8; None: the task has none."""
    parts = part_spaces(spaces(task)[0]).items()
    images = [
        channels_first(space, np.asarray(observations[name] if name else observations))
        for name, space in parts
        if modality_of(space) == "image"
    ]
    if len(images) < 2:
        return images[0] if images else None
    return np.concatenate([resized(each, images[0].shape[-2:]) for each in images], axis=1)


def join_modalities(task: Task, modalities: Modalities) -> np.ndarray:
    """The inverse of :func:`split_modalities`: packed observations. Images but the first were resized."""
    whole = spaces(task)[0]
    rows = len(next(iter(modalities.values())))
    packed = np.zeros(rows, dtype=packed_dtype(whole)) if isinstance(whole, gym.spaces.Dict) else None
    first = channel = 0
    for name, space in part_spaces(whole).items():
        modality = modality_of(space)
        if modality == "image":
            images = modalities["image"][:, channel : channel + channels_of(space)]
            channel += images.shape[1]
            values = from_channels_first(space, resized(images, image_size(space)))
        elif modality == "vector":
            size = int(space.n) if isinstance(space, gym.spaces.Discrete) else math.prod(space.shape or ())
            numbers = modalities["vector"][:, first : first + size]
            first += size
            if isinstance(space, gym.spaces.Discrete):
                values = numbers.argmax(axis=1) + int(space.start)
            else:
                values = numbers.reshape(rows, *(space.shape or ())).astype(space.dtype)
        else:
            assert modality is not None
            values = modalities[modality]
        if packed is None:
            return values
        packed[name] = values
    assert packed is not None
    return packed
