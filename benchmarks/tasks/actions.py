"""Conversion of all action spaces to one of three kinds: Discrete, MultiDiscrete or a bounded Box.

| action space of the environment | canonical action space |
|---|---|
| Discrete with any start; bounded Box of floats or integers | unchanged |
| MultiDiscrete, MultiBinary, of any shape | ``MultiDiscrete``, flat, from 0; with one choice, ``Discrete`` |
| Box with a missing bound | a Box with these numbers on the symlog scale, see below |
| Dict and Tuple, nested, of choices only | ``MultiDiscrete`` of all their choices, in order |
| Dict and Tuple of numbers only | a flat Box of all their numbers |
| Dict and Tuple of both | a flat Box: a choice of n is n numbers from -1 to 1, and the largest one is chosen, as in Hausknecht & Stone 2016 (arXiv:1511.04143) |

A number without bounds is sign(x) expm1(abs(x)) of an action x between -6.9 and 6.9: it lies within ±1000 and has the
action's resolution near 0. With one bound, this offset is measured from the bound. Integers are rounded.
"""  # noqa: E501

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.tasks.conformity import ViolationError, has_bounds

_REACH = math.log1p(1000.0)  # of an action without a bound, on the symlog scale
_UNBOUNDED = 1e30


@dataclass(frozen=True)
class ActionAdapter:
    """Converts between a canonical action space and an environment's own.

    Attributes:
        space: Discrete, MultiDiscrete or a bounded Box.
        native: a canonical action, and the mask of the choices within a Box (None: all are legal) → the environment's.
        canonical: the inverse; values beyond the bounds are clipped.
        mask: the environment's ``info["action_mask"]`` → ``(options,)`` bool, all options of all choices in order.
            Raises ViolationError.
    """

    space: gym.Space
    native: Callable[[Any, np.ndarray | None], Any]
    canonical: Callable[[Any], np.ndarray]
    mask: Callable[[Any], np.ndarray]


def options_of(space: gym.Space) -> tuple[int, ...]:
    """The number of options of each choice in a canonical action; empty for a Box."""
    if isinstance(space, gym.spaces.Discrete):
        return (int(space.n),)
    return tuple(map(int, space.nvec)) if isinstance(space, gym.spaces.MultiDiscrete) else ()


def first_options(options: Sequence[int]) -> np.ndarray:
    """``(choices,)``, the index of each choice's first option among the options of all choices in order."""
    return np.array(list(itertools.accumulate(options, initial=0))[:-1], dtype=np.int64)


def split_options(values: Any, options: Sequence[int]) -> list[Any]:  # noqa: ANN401
    """``(…, options)`` values of all choices, such as masks or logits, as one array ``(…, n)`` per choice."""
    ends = itertools.accumulate(options)
    return [values[..., end - count : end] for count, end in zip(options, ends, strict=True)]


def sample_action(space: gym.Space, rng: np.random.Generator, mask: np.ndarray | None = None) -> np.ndarray:
    """A uniform action of a canonical space from an explicit stream.

    Args:
        space: the action space; ``space.sample`` would use a stream hidden in it.
        rng: the stream.
        mask: ``(options,)`` bool, which options of the choices are legal; None: all.

    Raises:
        TypeError: if the space is not canonical.
    """
    if isinstance(space, gym.spaces.Discrete):
        legal = np.arange(space.n) if mask is None else np.flatnonzero(mask)
        return np.asarray(space.start + legal[rng.integers(len(legal))], dtype=np.int64)
    if isinstance(space, gym.spaces.MultiDiscrete):
        if mask is None:
            return rng.integers(space.nvec).astype(np.int64)
        legal = [np.flatnonzero(choice) for choice in split_options(mask, options_of(space))]
        return np.array([choice[rng.integers(len(choice))] for choice in legal], np.int64)
    if isinstance(space, gym.spaces.Box) and has_bounds(space):
        if space.dtype.kind in "iu":
            return np.asarray(rng.integers(space.low, space.high, dtype=space.dtype.type, endpoint=True))
        return np.asarray(rng.uniform(space.low, space.high)).astype(space.dtype)
    raise TypeError(str(space))


def is_legal(space: gym.Space, actions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether a mask, ``(options,)``, allows all choices of canonical actions, ``(…, *action shape)``."""
    if isinstance(space, gym.spaces.Discrete):
        return mask[np.asarray(actions) - int(space.start)]
    return np.asarray(mask[first_options(options_of(space)) + np.asarray(actions)].all(axis=-1))


def nothing_is_legal(space: gym.Space, mask: np.ndarray) -> bool:
    """Whether a mask, ``(options,)``, leaves no option of a choice."""
    return not all(choice.any() for choice in split_options(mask, options_of(space)))


def adapt_actions(space: gym.Space) -> ActionAdapter | None:
    """The adapter of an environment's action space; None: the space is canonical already.

    Raises:
        TypeError: if a part has an unknown kind.
    """
    leaves = [_leaf(part) for part in _parts(space)]
    if isinstance(space, gym.spaces.Discrete) or (isinstance(space, gym.spaces.Box) and leaves[0].is_linear):
        return None
    options = tuple(itertools.chain.from_iterable(leaf.options for leaf in leaves))
    mask = _masker(space, leaves)
    if not any(leaf.size for leaf in leaves):
        one = len(options) == 1
        canonical = gym.spaces.Discrete(options[0]) if one else gym.spaces.MultiDiscrete(list(options))
        sizes = [len(leaf.options) for leaf in leaves]
        return _adapter(space, canonical, leaves, sizes, mask, one=one)
    if not options:
        return _adapter(space, _box(space, leaves), leaves, [leaf.size for leaf in leaves], mask)
    return _mixed(space, leaves, mask)


@dataclass(frozen=True)
class _Leaf:
    """A part of an action other than a Dict or Tuple.

    Attributes:
        options: the number of options of each choice; empty for a Box.
        low: ``(size,)``, the numbers' lower bounds; empty for choices.
        high: ``(size,)``, their upper bounds; empty for choices.
        native: canonical ``(choices,)`` indices or ``(size,)`` numbers → the environment's.
        canonical: the inverse.
        is_linear: whether all its numbers are the environment's own.
    """

    options: tuple[int, ...]
    low: np.ndarray
    high: np.ndarray
    native: Callable[[np.ndarray], Any]
    canonical: Callable[[Any], np.ndarray]
    is_linear: bool = False

    @property
    def size(self) -> int:
        """The number of numbers."""
        return len(self.low)


def _parts(space: gym.Space) -> list[gym.Space]:
    if isinstance(space, gym.spaces.Dict):
        return [leaf for part in space.values() for leaf in _parts(part)]
    if isinstance(space, gym.spaces.Tuple):
        return [leaf for part in space.spaces for leaf in _parts(part)]
    return [space]


def assembled(space: gym.Space, values: Iterator[Any]) -> Any:  # noqa: ANN401
    """A nested value of a space, from the values of its leaves in order."""
    if isinstance(space, gym.spaces.Dict):
        return {name: assembled(part, values) for name, part in space.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(assembled(part, values) for part in space.spaces)
    return next(values)


def _taken_apart(space: gym.Space, action: Any) -> list[Any]:  # noqa: ANN401
    if isinstance(space, gym.spaces.Dict):
        return [leaf for name, part in space.items() for leaf in _taken_apart(part, action[name])]
    if isinstance(space, gym.spaces.Tuple):
        pairs = zip(space.spaces, action, strict=True)
        return [leaf for part, value in pairs for leaf in _taken_apart(part, value)]
    return [action]


def _leaf(space: gym.Space) -> _Leaf:
    nothing = np.zeros(0)
    if isinstance(space, gym.spaces.Discrete):
        start = int(space.start)
        options = (int(space.n),)
        return _Leaf(options, nothing, nothing, lambda index: int(index[0]) + start, lambda x: np.array([x - start]))
    if isinstance(space, gym.spaces.MultiDiscrete):
        start, shape, dtype = space.start, space.shape, space.dtype
        return _Leaf(
            tuple(map(int, space.nvec.reshape(-1))),
            nothing,
            nothing,
            lambda indices: (indices.reshape(shape) + start).astype(dtype),
            lambda action: (np.asarray(action) - start).reshape(-1),
        )
    if isinstance(space, gym.spaces.MultiBinary):
        shape, dtype = space.shape, space.dtype
        return _Leaf(
            (2,) * math.prod(shape),
            nothing,
            nothing,
            lambda indices: indices.reshape(shape).astype(dtype),
            lambda action: np.asarray(action).reshape(-1),
        )
    if isinstance(space, gym.spaces.Box) and np.dtype(space.dtype).kind in "fiu":
        return _numbers(space)
    raise TypeError(str(space))


def _numbers(space: gym.spaces.Box) -> _Leaf:
    shape, dtype = space.shape, np.dtype(space.dtype)
    low, high = space.low.astype(np.float64).reshape(-1), space.high.astype(np.float64).reshape(-1)
    no_low, no_high = low <= -_UNBOUNDED, high >= _UNBOUNDED
    if dtype.kind in "iu" and dtype.itemsize >= 4:  # an unbounded Box of integers has its type's bounds
        no_low |= space.low.reshape(-1) == np.iinfo(dtype.name).min if dtype.kind == "i" else False
        no_high |= space.high.reshape(-1) == np.iinfo(dtype.name).max
    linear = ~(no_low | no_high)
    anchor = np.where(no_low, np.where(no_high, 0.0, high), low)
    lowest = np.where(linear, low, np.where(no_low, -_REACH, 0.0))
    highest = np.where(linear, high, np.where(no_high, _REACH, 0.0))
    whole = dtype.kind in "iu"

    def native(numbers: np.ndarray) -> np.ndarray:
        numbers = np.clip(numbers.astype(np.float64), lowest, highest)
        with np.errstate(over="ignore"):  # for the linear ones, whose result is not used
            spread = anchor + np.sign(numbers) * np.expm1(np.abs(numbers))
        action = np.clip(np.where(linear, numbers, spread), low, high)
        return (np.rint(action) if whole else action).reshape(shape).astype(dtype)

    def canonical(action: Any) -> np.ndarray:  # noqa: ANN401
        numbers = np.asarray(action, np.float64).reshape(-1)
        away = numbers - anchor
        return np.clip(np.where(linear, numbers, np.sign(away) * np.log1p(np.abs(away))), lowest, highest)

    return _Leaf((), lowest, highest, native, canonical, bool(linear.all()))


def _box(space: gym.Space, leaves: Sequence[_Leaf]) -> gym.spaces.Box:
    """The Box of all numbers; the Box of a space that is one keeps its shape."""
    low, high = (np.concatenate(bounds).astype(np.float32) for bounds in _bounds(leaves))
    if isinstance(space, gym.spaces.Box):
        low, high = low.reshape(space.shape), high.reshape(space.shape)
    return gym.spaces.Box(low, high, dtype=np.float32)


def _bounds(leaves: Sequence[_Leaf]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The bounds of each leaf's numbers; an option is a number from -1 to 1."""
    lows, highs = [], []
    for leaf in leaves:
        count = sum(leaf.options)
        lows.append(np.full(count, -1.0) if count else leaf.low)
        highs.append(np.full(count, 1.0) if count else leaf.high)
    return lows, highs


def _adapter(
    space: gym.Space,
    canonical: gym.Space,
    leaves: Sequence[_Leaf],
    sizes: Sequence[int],
    mask: Callable[[Any], np.ndarray],
    *,
    one: bool = False,
) -> ActionAdapter:
    """The adapter of choices only, or of numbers only; ``one``: of a single choice."""
    ends = np.cumsum(sizes)[:-1]

    def native(action: Any, mask: np.ndarray | None = None) -> Any:  # noqa: ANN401
        pieces = np.split(np.asarray(action).reshape(-1), ends)
        return assembled(space, (leaf.native(piece) for leaf, piece in zip(leaves, pieces, strict=True)))

    def back(action: Any) -> np.ndarray:  # noqa: ANN401
        parts = zip(leaves, _taken_apart(space, action), strict=True)
        flat = np.concatenate([leaf.canonical(part).reshape(-1) for leaf, part in parts])
        return flat[0].astype(np.int64) if one else flat.reshape(canonical.shape).astype(canonical.dtype)

    return ActionAdapter(canonical, native, back, mask)


def _mixed(space: gym.Space, leaves: Sequence[_Leaf], mask: Callable[[Any], np.ndarray]) -> ActionAdapter:
    """The adapter of choices and numbers: the option with the largest number is chosen."""
    ends = np.cumsum([sum(leaf.options) or leaf.size for leaf in leaves])[:-1]

    def native(action: Any, legal: np.ndarray | None = None) -> Any:  # noqa: ANN401
        values, seen = [], 0
        for leaf, piece in zip(leaves, np.split(np.asarray(action, np.float64).reshape(-1), ends), strict=True):
            count = sum(leaf.options)
            if count and legal is not None:
                piece = np.where(legal[seen : seen + count], piece, -np.inf)
            seen += count
            indices = [options.argmax() for options in split_options(piece, leaf.options)]
            values.append(leaf.native(np.array(indices) if count else piece))
        return assembled(space, iter(values))

    def canonical(action: Any) -> np.ndarray:  # noqa: ANN401
        pieces = []
        for leaf, part in zip(leaves, _taken_apart(space, action), strict=True):
            numbers = leaf.canonical(part).reshape(-1)
            if leaf.options:
                chosen = [np.eye(n)[int(index)] * 2 - 1 for n, index in zip(leaf.options, numbers, strict=True)]
                numbers = np.concatenate(chosen)
            pieces.append(numbers)
        return np.concatenate(pieces).astype(np.float32)

    return ActionAdapter(_box(space, leaves), native, canonical, mask)


def _masker(space: gym.Space, leaves: Sequence[_Leaf]) -> Callable[[Any], np.ndarray]:
    total = sum(sum(leaf.options) for leaf in leaves)

    def mask(given: Any) -> np.ndarray:  # noqa: ANN401
        legal = _flat_mask(space, given)
        if len(legal) != total:
            raise ViolationError(
                f"has an action mask of {len(legal)} values, the action space has {total} options: give one value for "
                "each option of each choice, one after another, or what gymnasium's sample(mask) takes"
            )
        return legal

    return mask


def _flat_mask(space: gym.Space, given: Any) -> np.ndarray:  # noqa: ANN401
    """``(options,)`` bool from a mask, nested as for Gymnasium's ``sample`` or flat as in SB3-Contrib."""
    if given is None or isinstance(space, gym.spaces.Box):
        return np.ones(sum(sum(_leaf(part).options) for part in _parts(space)), bool)
    if isinstance(space, gym.spaces.Dict) and isinstance(given, Mapping):
        return np.concatenate([_flat_mask(part, given.get(name)) for name, part in space.items()])
    nested = isinstance(given, tuple | list) and any(np.ndim(part) or part is None for part in given)
    if nested and isinstance(space, gym.spaces.Tuple) and len(given) == len(space.spaces):
        return np.concatenate([_flat_mask(part, mask) for part, mask in zip(space.spaces, given, strict=True)])
    if nested and isinstance(space, gym.spaces.MultiDiscrete):
        given = np.concatenate([np.asarray(part).reshape(-1) for part in given])
    try:
        values = np.asarray(given)
    except ValueError as error:
        raise ViolationError("has an action mask that is no array") from error
    if values.dtype.kind not in "biu" or not np.isin(values, (0, 1, 2)).all():
        raise ViolationError(f"has the action mask {str(given)[:80]}, which is no list of zeros and ones")
    if isinstance(space, gym.spaces.MultiBinary) and values.shape == space.shape:  # 2 means that both are legal
        return np.stack([values != 1, values != 0], axis=-1).reshape(-1)
    return values.reshape(-1).astype(bool)
