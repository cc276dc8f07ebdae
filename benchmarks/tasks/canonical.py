"""A few kinds of spaces for all environments, so that policies, recordings and networks handle only these.

For actions, see :mod:`benchmarks.tasks.actions`. A Box, Discrete, Text or a flat Dict of these is unchanged as
observation. Others are converted without loss:

- MultiDiscrete becomes a Box of zeros and ones, one-hot for each choice; MultiBinary becomes a Box of its shape;
- Tuple and nested Dict become a flat Dict with entries named by their path: ``"arm.0"`` is the first entry of the
  Tuple ``"arm"``.

Outside agents see the environment's own spaces, through :func:`native_observation` and :func:`canonical_action`.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.tasks.actions import ActionAdapter, adapt_actions, assembled
from benchmarks.tasks.conformity import ViolationError, conformer
from benchmarks.tasks.observations import text_of

_PLAIN = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.Text)
_Path = tuple[Any, ...]


@dataclass(frozen=True)
class ObservationAdapter:
    """Converts between an environment's observation space and a canonical one.

    Attributes:
        space: Box, Discrete, Text or a flat Dict of these.
        canonical: the environment's observation → a copy of that space. Raises ViolationError.
        native: the inverse, of one packed observation (see ``tasks.observations``).
    """

    space: gym.Space
    canonical: Callable[[Any], Any]
    native: Callable[[Any], Any]


class Canonical(gym.Wrapper):
    """An environment with canonical spaces, the layer below the guard."""

    def __init__(self, env: gym.Env, observations: ObservationAdapter | None, actions: ActionAdapter | None) -> None:
        """Args: the environment, and the adapters of its spaces; None for a space that is canonical already."""
        super().__init__(env)
        # Functions rather than adapters: snapshots keep references to functions and copy all other attributes.
        self._see = observations.canonical if observations else None
        self._native, self._mask = (actions.native, actions.mask) if actions else (None, None)
        if observations:
            self.observation_space = observations.space
        if actions:
            self.action_space = actions.space
        self._legal: np.ndarray | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's own."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._seen(observation), self._masked(info)

    def step(self, action: Any) -> Any:  # noqa: ANN401
        """As the environment's own."""
        answer = self.env.step(action if self._native is None else self._native(action, self._legal))
        if not (isinstance(answer, tuple) and len(answer) == 5):
            return answer  # the guard says what is wrong
        observation, reward, terminated, truncated, info = answer
        return self._seen(observation), reward, terminated, truncated, self._masked(info)

    def _seen(self, observation: Any) -> Any:  # noqa: ANN401
        return observation if self._see is None else self._see(observation)

    def _masked(self, info: Any) -> Any:  # noqa: ANN401
        if self._mask is None or not isinstance(info, dict) or info.get("action_mask") is None:
            self._legal = None
            return info
        legal = self._mask(info["action_mask"])
        if isinstance(self.action_space, gym.spaces.Box):
            self._legal = legal
            return {name: value for name, value in info.items() if name != "action_mask"}
        return info | {"action_mask": legal.astype(np.int8)}


def canonical(env: gym.Env) -> gym.Env:
    """An environment with canonical spaces; unchanged if it has them already, or has spaces of unknown kinds."""
    try:
        observations = adapt_observations(env.observation_space)
    except TypeError:
        return env  # the guard names the space
    try:
        actions = adapt_actions(env.action_space)
    except TypeError:
        actions = None
    return Canonical(env, observations, actions) if observations or actions else env


def adapt_observations(space: gym.Space) -> ObservationAdapter | None:
    """The adapter of an environment's observation space; None: the space is canonical already.

    Raises:
        TypeError: if a part has an unknown kind, or two parts would have the same name.
    """
    if isinstance(space, _PLAIN) or (
        isinstance(space, gym.spaces.Dict) and all(isinstance(part, _PLAIN) for part in space.values())
    ):
        return None
    if not isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        leaf = _leaf(space)
        return ObservationAdapter(leaf.space, leaf.canonical, leaf.native)
    leaves = [(path, _leaf(part)) for path, part in _parts(space)]
    names = [".".join(map(str, path)) for path, _ in leaves]
    if len(set(names)) != len(names) or not names or not all(names):
        raise TypeError(f"{space}, two entries of which would be called alike")
    parts = dict(zip(names, (leaf for _, leaf in leaves), strict=True))

    def see(observation: Any) -> dict[str, Any]:  # noqa: ANN401
        found = {}
        for name, (path, leaf) in zip(names, leaves, strict=True):
            try:
                found[name] = leaf.canonical(_at(observation, path))
            except ViolationError as error:
                raise ViolationError(f"has an entry {name!r} that {error}") from error
        return found

    def native(packed: Any) -> Any:  # noqa: ANN401
        return assembled(space, iter([leaf.native(packed[name]) for name, leaf in parts.items()]))

    return ObservationAdapter(gym.spaces.Dict({name: leaf.space for name, leaf in parts.items()}), see, native)


def native_observation(space: gym.Space, packed: Any) -> Any:  # noqa: ANN401
    """One packed observation in the environment's own observation space ``space``."""
    adapter = adapt_observations(space)
    if adapter is not None:
        return adapter.native(packed)
    if isinstance(space, gym.spaces.Dict):
        return {name: _plain(part)(packed[name]) for name, part in space.items()}
    return _plain(space)(packed)


def canonical_action(space: gym.Space, action: Any) -> Any:  # noqa: ANN401
    """An action of the environment's own action space ``space`` in its canonical space."""
    adapter = adapt_actions(space)
    return action if adapter is None else adapter.canonical(action)


@dataclass(frozen=True)
class _Leaf:
    space: gym.Space
    canonical: Callable[[Any], Any]
    native: Callable[[Any], Any]


def _leaf(space: gym.Space) -> _Leaf:
    if isinstance(space, _PLAIN):
        return _Leaf(space, conformer(space), _plain(space))
    if isinstance(space, gym.spaces.MultiDiscrete):
        return _one_hot(space)
    if isinstance(space, gym.spaces.MultiBinary):
        seen = gym.spaces.Box(0, 1, space.shape, np.int8)
        conform, dtype = conformer(seen), space.dtype
        return _Leaf(seen, functools.partial(_within, conform=conform, options=2), lambda row: row.astype(dtype))
    raise TypeError(str(space))


def _one_hot(space: gym.spaces.MultiDiscrete) -> _Leaf:
    options, start, shape = space.nvec.reshape(-1), space.start.reshape(-1), space.shape
    conform = conformer(gym.spaces.Box(0, int((space.nvec + space.start).max()), shape, np.int64))
    first = np.cumsum(options) - options
    total = int(options.sum())

    def see(value: Any) -> np.ndarray:  # noqa: ANN401
        indices = _within(conform(value).reshape(-1) - start, lambda given: given, options)
        row = np.zeros(total, np.uint8)
        row[first + indices] = 1
        return row

    def native(row: np.ndarray) -> np.ndarray:
        chosen = [int(row[begin : begin + count].argmax()) for begin, count in zip(first, options, strict=True)]
        return (np.array(chosen) + start).reshape(shape).astype(space.dtype)

    return _Leaf(gym.spaces.Box(0, 1, (total,), np.uint8), see, native)


def _within(value: Any, conform: Callable[[Any], Any], options: Any) -> np.ndarray:  # noqa: ANN401
    """Options as indices from 0.

    Raises:
        ViolationError: if an index is not below its number of options.
    """
    array = conform(value)
    beyond = (array < 0) | (array >= options)
    if beyond.any():
        where = tuple(int(index) for index in np.argwhere(beyond)[0])
        count = np.broadcast_to(options, array.shape)[where]
        raise ViolationError(
            f"has option {array[where]}, counted from 0, of {count} at index {', '.join(map(str, where))}"
        )
    return array


def _plain(space: gym.Space) -> Callable[[Any], Any]:
    if isinstance(space, gym.spaces.Text):
        return text_of
    if isinstance(space, gym.spaces.Discrete):
        return int
    shape, dtype = space.shape or (), space.dtype
    return lambda row: np.array(row, dtype).reshape(shape)


def _parts(space: gym.Space, path: _Path = ()) -> Iterator[tuple[_Path, gym.Space]]:
    if isinstance(space, gym.spaces.Dict):
        for name, part in space.items():
            yield from _parts(part, (*path, name))
    elif isinstance(space, gym.spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _parts(part, (*path, index))
    else:
        yield path, space


def _at(observation: Any, path: _Path) -> Any:  # noqa: ANN401
    for key in path:
        try:
            observation = observation[key]
        except (KeyError, TypeError, IndexError) as error:
            name = ".".join(map(str, path))
            raise ViolationError(
                f"is not there: it is {str(observation)[:60]!r}, without {key!r} of {name!r}"
            ) from error
    return observation
