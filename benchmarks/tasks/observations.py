"""Observations as rows of one array, whatever their space: dictionaries become structured arrays, text becomes bytes.

Policies, recordings and codecs then handle every kind of observation alike: ``(rows, *shape)`` arrays that stack, slice
and memory-map.
"""

import functools
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.errors import GatitoError


class FrameStack(gym.spaces.Box):
    """Stacked frames, ``(depth, height, width)``: each observation is the one before, moved on by one frame.

    An episode begins with zeros and its first frame. Recordings keep the newest frame alone and stack them again.
    """


def pack(space: gym.Space, observation: Any) -> np.ndarray:  # noqa: ANN401
    """One observation as an array of :func:`packed_dtype`; arrays and numbers stay what they are.

    Text is UTF-8 in as many bytes as the space's longest text, zeros after its end.

    Raises:
        GatitoError: if a text is longer than its space says.
    """
    if isinstance(space, gym.spaces.Dict):
        packed = np.zeros((), dtype=packed_dtype(space))
        for name, part in space.items():
            packed[name] = pack(part, observation[name])
        return packed
    if isinstance(space, gym.spaces.Text):
        text = observation.encode()
        if len(text) > space.max_length:
            raise GatitoError(f"the text '{observation}' is longer than the {space.max_length} bytes of its space.")
        return np.frombuffer(text.ljust(space.max_length, b"\0"), dtype=np.uint8)
    return np.asarray(observation)


def packed_dtype(space: gym.Space) -> np.dtype:
    """The type of a packed observation of a dictionary space: one field for each of its entries."""
    if not isinstance(space, gym.spaces.Dict):
        raise TypeError(f"{space} is packed as it is")
    return _dtype(tuple((name, *_field(part)) for name, part in space.items()))


def text_of(row: np.ndarray) -> str:
    """The text that :func:`pack` made bytes of."""
    return bytes(row).rstrip(b"\0").decode()


def _field(space: gym.Space) -> tuple[Any, tuple[int, ...]]:
    if isinstance(space, gym.spaces.Text):
        return np.uint8, (space.max_length,)
    if isinstance(space, gym.spaces.Dict):
        return packed_dtype(space), ()
    if isinstance(space, gym.spaces.Box | gym.spaces.Discrete) and space.dtype is not None:
        return space.dtype, space.shape or ()
    raise GatitoError(f"observations of kind {space} are not supported; Box, Discrete, Text and Dict of them are.")


@functools.cache
def _dtype(fields: tuple[Any, ...]) -> np.dtype:
    return np.dtype(list(fields))
