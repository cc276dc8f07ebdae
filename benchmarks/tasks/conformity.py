"""Check and copy the values that an environment returns, and copy the actions that it receives.

One convention holds throughout: observations and actions are the environment's own values, in the type of their
space. A ``Discrete(3, start=1)`` has actions 1, 2 and 3 in policies, recordings, Minari datasets and scores alike; only
a network or an expert's library counts its outputs from 0, and adds ``start`` to its choice. A ``Box`` of integers has
whole numbers.

Every array that leaves an environment is a copy, and so is every action that enters it: neither side can change the
other's data. A value of another type is cast to the space's type if the cast loses at most digits of a float (float64
to float32, ``2.0`` to 2), and rejected otherwise.
"""

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import text_of

Conform = Callable[[Any], Any]
"""An environment's value → a copy in its space's type. Raises ViolationError."""

_NUMBERS = "fiub"
_INTEGERS = (int, np.integer)
_UNBOUNDED = 1e30


class ViolationError(Exception):
    """A value that its space does not allow; the text completes a sentence that begins "the observation …"."""


def conformer(space: gym.Space) -> Conform:
    """A function that checks and copies observations of a canonical space, see ``tasks.canonical``.

    Raises:
        TypeError: if gatito does not support this kind of space.
    """
    if isinstance(space, gym.spaces.Dict):
        return _dict(space)
    if isinstance(space, gym.spaces.Discrete):
        return _discrete(space)
    if isinstance(space, gym.spaces.Text):
        return _text(space)
    if isinstance(space, gym.spaces.Box) and space.dtype is not None and np.dtype(space.dtype).kind in _NUMBERS:
        return _box(space)
    raise TypeError(str(space))


def action_copier(space: gym.Space) -> Conform:
    """A function that checks and copies actions of a space: an ``int`` for Discrete, else an array in the space's type.

    Bounds are not checked: the environment decides which actions are allowed.

    Raises:
        TypeError: if gatito does not support this kind of space.
    """
    if isinstance(space, gym.spaces.Discrete):
        return _whole
    if not isinstance(space, gym.spaces.Box | gym.spaces.MultiDiscrete):
        raise TypeError(str(space))
    dtype, shape = np.dtype(space.dtype), space.shape

    def copied(action: Any) -> np.ndarray:  # noqa: ANN401
        if isinstance(action, np.ndarray) and action.dtype == dtype and action.shape == shape:
            return action.copy()
        return _cast(action, dtype, shape)

    return copied


def reward_of(value: Any) -> float:  # noqa: ANN401
    """A reward as a float: any real number, or an array of one number.

    Raises:
        ViolationError: if it is not a number, or not finite.
    """
    if type(value) is not float:
        try:
            array = _unmasked(value)
            if array.size != 1 or array.dtype.kind not in _NUMBERS:
                raise ViolationError(f"is {_shown(value)}, which is no number")
            value = float(array.reshape(())) if array.ndim else float(array)
        except (TypeError, ValueError) as error:
            raise ViolationError(f"is {_shown(value)}, which is no number") from error
    if not math.isfinite(value):
        raise ViolationError(f"is {value}")
    return value


def flag_of(value: Any) -> bool:  # noqa: ANN401
    """``terminated`` or ``truncated`` as a bool.

    Raises:
        ViolationError: if it is neither a bool, 0 nor 1.
    """
    if type(value) is bool:
        return value
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biu" or int(array.reshape(())) not in (0, 1):
        raise ViolationError(f"is {_shown(value)}, which is neither true nor false")
    return bool(array.reshape(()))


def success_of(info: Any) -> bool | None:  # noqa: ANN401
    """Whether the episode has succeeded, by ``success`` or ``is_success`` of an info; None if the info has neither.

    Raises:
        ViolationError: if the value is neither true nor false.
    """
    if not isinstance(info, dict):
        raise ViolationError(f"is {_shown(info)}, not a dictionary")
    success = info.get("success", info.get("is_success"))
    if success is None or type(success) is bool:
        return success
    array = np.asarray(success)
    if array.size != 1 or array.dtype.kind not in _NUMBERS or not np.isfinite(array).all():
        raise ViolationError(f"has the success {_shown(success)}, which is neither true nor false")
    return bool(array.reshape(()))


def cost_of(info: dict[str, Any]) -> float | None:
    """The hidden cost of a step, ``info["cost"]``; None if the info has none.

    Raises:
        ViolationError: if it is not a finite number of at least 0.
    """
    if "cost" not in info:
        return None
    try:
        cost = reward_of(info["cost"])
    except ViolationError as error:
        raise ViolationError(f"has a cost that {error}") from error
    if cost < 0:
        raise ViolationError(f"has the cost {cost}, which is below 0")
    return cost


def mask_of(info: dict[str, Any]) -> np.ndarray | None:
    """A copy of an info's mask of legal options of actions, ``(options,)`` bool; None if the info has none.

    Raises:
        ViolationError: if the mask is not a list of zeros and ones.
    """
    mask = info.get("action_mask")
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise ViolationError(f"has the action mask {_shown(mask)}, which is no list of zeros and ones")
    return array.astype(bool)


def out_of_bounds(space: gym.Space, observation: Any) -> tuple[str, bool] | None:  # noqa: ANN401
    """The first number of a conforming observation that is outside its Box's bounds.

    Returns:
        A description of it, and whether it is a float; None if all numbers are within bounds.
    """
    if isinstance(space, gym.spaces.Dict):
        found = ((name, out_of_bounds(part, observation[name])) for name, part in space.items())
        return next(((f"in entry {name!r} {part[0]}", part[1]) for name, part in found if part), None)
    if not isinstance(space, gym.spaces.Box):
        return None
    beyond = (observation < space.low) | (observation > space.high)
    if not beyond.any():
        return None
    low, high = space.low[beyond][0], space.high[beyond][0]
    return f"{observation[beyond][0]} where its space has {low} to {high}", observation.dtype.kind == "f"


def has_bounds(space: gym.spaces.Box) -> bool:
    """Whether all bounds of a Box are finite; the largest float counts as infinite."""
    return bool((np.abs(space.low.astype(np.float64)) < _UNBOUNDED).all()) and bool(
        (np.abs(space.high.astype(np.float64)) < _UNBOUNDED).all()
    )


def _box(space: gym.spaces.Box) -> Conform:
    dtype, shape, size = np.dtype(space.dtype), space.shape, math.prod(space.shape)
    floats = dtype.kind == "f"
    zeros = np.zeros(size, dtype)
    flat = len(shape) == 1

    def conform(value: Any) -> np.ndarray:  # noqa: ANN401
        if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
            copied = value.copy()
        else:
            copied = _cast(value, dtype, shape)
        # 0 times NaN or infinity is NaN: a product with zeros costs a quarter of np.isfinite(copied).all().
        if floats and math.isnan(zeros.dot(copied if flat else copied.reshape(size))):
            where = np.argwhere(~np.isfinite(copied))[0]
            raise ViolationError(f"has {copied[tuple(where)]} at index {', '.join(map(str, where))}")
        return copied

    return conform


def _discrete(space: gym.spaces.Discrete) -> Conform:
    first, end = int(space.start), int(space.start + space.n)

    def conform(value: Any) -> int:  # noqa: ANN401
        number = _whole(value)
        if not first <= number < end:
            raise ViolationError(f"is {number}, where its space has {first} to {end - 1}")
        return number

    return conform


def _whole(value: Any) -> int:  # noqa: ANN401
    return int(value) if isinstance(value, _INTEGERS) else int(_cast(value, np.dtype(np.int64), ()))


def text_bytes(space: gym.spaces.Text) -> int:
    """The number of bytes of a space's longest text in UTF-8."""
    return space.max_length * max((len(letter.encode()) for letter in space.character_set), default=1)


def _text(space: gym.spaces.Text) -> Conform:
    longest = text_bytes(space)

    def conform(value: Any) -> str:  # noqa: ANN401
        if not isinstance(value, str):
            raise ViolationError(f"is {_shown(value)}, which is no text")
        if len(value) > longest or (not value.isascii() and len(value.encode()) > longest):
            raise ViolationError(f"is a text of {len(value.encode())} bytes, where its space has {longest}")
        if "\0" in value:
            raise ViolationError("is a text with a zero byte in it")
        return value

    return conform


def _dict(space: gym.spaces.Dict) -> Conform:
    parts = [(name, conformer(part)) for name, part in space.items()]

    def conform(value: Any) -> dict[str, Any]:  # noqa: ANN401
        copied = {}
        for name, part in parts:
            try:
                copied[name] = part(value[name])
            except (KeyError, TypeError, IndexError) as error:
                raise ViolationError(f"is {_shown(value)}, without the entry {name!r} of its space") from error
            except ViolationError as error:
                raise ViolationError(f"has an entry {name!r} that {error}") from error
        return copied

    return conform


def _cast(value: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:  # noqa: ANN401
    """A copy as an array of this type.

    Raises:
        ViolationError: if the shape differs, or the type cannot hold the numbers.
    """
    try:
        array = _unmasked(value)
    except ValueError as error:  # rows of different lengths
        raise ViolationError(f"is {_shown(value)}, which is no array") from error
    if array.dtype.kind not in _NUMBERS:
        raise ViolationError(f"is {_shown(value)} of type {type(value).__name__}, where its space has {dtype}")
    if array.shape != shape:
        raise ViolationError(f"has shape {array.shape}, where its space has {shape}")
    with np.errstate(invalid="ignore", over="ignore"):
        copied = array.astype(dtype)
    if dtype.kind == "f" and array.dtype.kind == "f":
        lost = np.isinf(copied) & np.isfinite(array)
    else:
        lost = copied.astype(np.float64) != array if array.dtype.kind == "f" else copied.astype(array.dtype) != array
        if dtype.kind == "u" and array.dtype.kind == "i":
            lost |= array < 0
    if lost.any():
        raise ViolationError(f"has {array[lost].reshape(-1)[0]} of type {array.dtype}, which {dtype} cannot hold")
    return copied


def _unmasked(value: Any) -> np.ndarray:  # noqa: ANN401
    """``np.asarray``, but reject masked numbers, whose hidden values ``np.asarray`` would show."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ViolationError(f"is {_shown(value)}, which has masked numbers")
    return np.asarray(value)


def _shown(value: Any) -> str:  # noqa: ANN401
    text = text_of(value, repr)
    return text if len(text) <= 80 else f"{text[:79]}…"
