"""The modalities of observations: vectors, images, grids of cells, and text."""

import math
from collections.abc import Mapping

import gymnasium as gym
import numpy as np

from benchmarks.tasks import Task, spaces
from benchmarks.tasks.observations import packed_dtype

Modalities = dict[str, np.ndarray]
"""Observations by modality, all with the same leading axes: ``vector`` (…, size) float32, ``image`` (…, frames, height,
width) uint8, ``grid`` (…, rows, columns, 3) uint8, ``text`` (…, bytes) uint8. A task has some of them."""

_LEAST_IMAGE = 24  # pixels a side; smaller arrays are grids of cells
_GRID_CHANNELS = 3  # of a cell: object, colour and state, as in MiniGrid


def modality_of(space: gym.Space) -> str | None:
    """``vector``, ``image``, ``grid`` or ``text``; None for any other space."""
    if isinstance(space, gym.spaces.Text):
        return "text"
    if isinstance(space, gym.spaces.Discrete):
        return "vector"
    if not isinstance(space, gym.spaces.Box):
        return None
    if len(space.shape) <= 1:
        return "vector"
    if len(space.shape) == 3 and space.dtype == np.uint8:
        if min(space.shape[1:]) >= _LEAST_IMAGE:
            return "image"
        if space.shape[2] == _GRID_CHANNELS and max(space.shape) < _LEAST_IMAGE:
            return "grid"
    return None


def part_spaces(space: gym.Space) -> Mapping[str, gym.Space]:
    """The component spaces of an observation space, by name; a plain space has one component, named ``""``."""
    return dict(space.items()) if isinstance(space, gym.spaces.Dict) else {"": space}


def is_partial(space: gym.Space) -> bool:
    """Whether observations are partial: a grid shows only the cells around the player."""
    return any(modality_of(part) == "grid" for part in part_spaces(space).values())


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

    Vectors are float32: float64 observations keep seven digits, integers are exact up to 2**24.
    """
    numbers: list[np.ndarray] = []
    modalities: Modalities = {}
    for name, space in part_spaces(spaces(task)[0]).items():
        values = np.asarray(observations[name] if name else observations)
        modality = modality_of(space)
        if isinstance(space, gym.spaces.Discrete):
            numbers.append(np.eye(int(space.n), dtype=np.float32)[values - int(space.start)])
        elif modality == "vector":
            numbers.append(values.astype(np.float32).reshape(len(values), -1))
        elif modality is not None:
            modalities[modality] = values
    return ({"vector": np.concatenate(numbers, axis=1)} if numbers else {}) | modalities


def join_modalities(task: Task, modalities: Modalities) -> np.ndarray:
    """The inverse of :func:`split_modalities`: packed observations."""
    whole = spaces(task)[0]
    rows = len(next(iter(modalities.values())))
    packed = np.zeros(rows, dtype=packed_dtype(whole)) if isinstance(whole, gym.spaces.Dict) else None
    first = 0
    for name, space in part_spaces(whole).items():
        modality = modality_of(space)
        if modality == "vector":
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
