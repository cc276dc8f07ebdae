"""Pack observations of any space as rows of one array: dictionaries become structured arrays, text becomes bytes.

Policies, recordings and codecs thus handle all kinds of observations in the same way, as ``(rows, *shape)`` arrays that
can be stacked, sliced and memory-mapped.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.tasks.conformity import text_bytes


class FrameStack(gym.spaces.Box):
    """Stacked frames, ``(depth, height, width)``: each observation adds one frame and drops the oldest.

    The first stack of an episode has zeros before the first frame. Recordings keep only the newest frame of each stack.
    """


Pack = Callable[[Any], np.ndarray]
"""An observation → an array of its shape; of a dictionary, an array without axes of :func:`packed_dtype`."""


def pack(space: gym.Space, observation: Any) -> np.ndarray:  # noqa: ANN401
    """Pack one observation: a dictionary as an array of :func:`packed_dtype`; arrays and numbers are unchanged.

    Text becomes UTF-8, padded with zeros to the size of the space's longest text.

    Raises:
        GatitoError: if a text is longer than its space allows.
    """
    return packer(space)(observation)


def packer(space: gym.Space) -> Pack:
    """:func:`pack` for many observations of one space, which is examined only once."""
    if isinstance(space, gym.spaces.Dict):
        dtype = packed_dtype(space)
        parts = [(name, packer(part)) for name, part in space.items()]
        return lambda observation: np.array(tuple(pack(observation[name]) for name, pack in parts), dtype)
    if isinstance(space, gym.spaces.Text):
        return functools.partial(_text, longest=text_bytes(space))
    return np.asarray


def stack(rows: Sequence[Any]) -> np.ndarray:
    """``n`` rows of one shape → ``(n, *shape)``, faster than ``np.stack`` (7 microseconds per packed row)."""
    dtype = np.asarray(rows[0]).dtype
    return np.array(rows, dtype if dtype.names else None)


def packed_dtype(space: gym.Space) -> np.dtype:
    """The type of a packed observation of a dictionary space: one field per entry."""
    if not isinstance(space, gym.spaces.Dict):
        raise TypeError(f"{space} has no packed type: it is not a dictionary")
    return _dtype(tuple((name, *_field(part)) for name, part in space.items()))


def text_of(row: np.ndarray) -> str:
    """The text of a row of bytes: the inverse of :func:`pack`."""
    return bytes(row).rstrip(b"\0").decode()


@functools.lru_cache(1024)  # a mission is the same for a whole episode
def _text(text: str, longest: int) -> np.ndarray:
    encoded = text.encode()
    if len(encoded) > longest:
        raise GatitoError(f"the text '{text}' is longer than the {longest} bytes of its space.")
    return np.frombuffer(encoded.ljust(longest, b"\0"), dtype=np.uint8)


def _field(space: gym.Space) -> tuple[Any, tuple[int, ...]]:
    if isinstance(space, gym.spaces.Text):
        return np.uint8, (text_bytes(space),)
    if isinstance(space, gym.spaces.Dict):
        return packed_dtype(space), ()
    if isinstance(space, gym.spaces.Box | gym.spaces.Discrete) and space.dtype is not None:
        return space.dtype, space.shape or ()
    raise GatitoError(f"observations of kind {space} are not supported; Box, Discrete, Text and Dict of them are.")


@functools.cache
def _dtype(fields: tuple[Any, ...]) -> np.dtype:
    return np.dtype(list(fields))
