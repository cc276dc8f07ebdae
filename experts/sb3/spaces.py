"""Conversion of a task's observations and actions to spaces that stable-baselines3 supports.

The library counts discrete values from 0, sends fractions to a Box of integers, explores continuous actions with a
deviation of about 1 for all bounds, and supports dictionaries only in part. So an algorithm receives:

- ``Discrete(n)`` from 0, for a Discrete space with any start;
- a flat vector for a dictionary of numbers, with discrete entries as one-hot, and for a Box without axes, or with
  three or more that is not an image;
- images channels first (see ``tasks.images``), in their own size;
- actions from -1 to 1 for a Box of integers, which are rounded, and for bounds that are far from -1 and 1.

Other spaces are unchanged, so trained networks and recipes of tasks with ordinary spaces stay valid.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.actions import options_of
from benchmarks.tasks.conformity import mask_of
from benchmarks.tasks.images import channels_first, channels_of, image_layout, image_size
from benchmarks.tasks.observations import packer

ANOTHER_EXPERT = (
    "give the task a scripted expert (a program, registered by a plugin), or a recorded one (experts=minari), see "
    "docs/suites-and-experts.md"
)
"""The remedy where stable-baselines3 cannot train an expert."""
_LEAST_PICTURE = 36  # pixels per side that stable-baselines3's convolutions need
_NARROWEST, _WIDEST = 0.1, 10.0  # symmetric bounds between these are unchanged


class Translator:
    """Converts between a task and stable-baselines3.

    Attributes:
        observation_space: the algorithm's observation space.
        action_space: the algorithm's action space.
    """

    def __init__(self, task: Task) -> None:
        """Determine the spaces.

        Raises:
            GatitoError: if stable-baselines3 cannot learn from the task's observations or actions.
        """
        self._observation, self._action = spaces(task)
        self._pack = packer(self._observation)
        self.observation_space = self._observations(task)
        self._scales = isinstance(self._action, gym.spaces.Box) and _is_scaled(self._action)
        if isinstance(self._action, gym.spaces.Discrete):
            self.action_space: gym.Space = gym.spaces.Discrete(int(self._action.n))
        elif self._scales:
            self.action_space = gym.spaces.Box(-1.0, 1.0, self._action.shape, np.float32)
        else:
            self.action_space = self._action

    def observe(self, observations: np.ndarray) -> np.ndarray:
        """Packed observations, ``(n, *shape)``, as the algorithm's observations."""
        space = self._observation
        if isinstance(space, gym.spaces.Discrete):
            return observations - int(space.start) if space.start else observations
        if isinstance(space, gym.spaces.Dict):
            return _flat(space, observations)
        if self.observation_space is space:
            return observations
        return (
            channels_first(space, observations) if _is_picture(space) else observations.reshape(len(observations), -1)
        )

    def observe_one(self, observation: Any) -> Any:  # noqa: ANN401
        """One observation of the environment as the algorithm's observation."""
        if self.observation_space is not self._observation:
            return self.observe(np.asarray(self._pack(observation))[None])[0]
        return observation

    def act(self, actions: np.ndarray) -> np.ndarray:
        """The algorithm's actions, ``(n, *shape)``, as actions of the environment."""
        space = self._action
        if isinstance(space, gym.spaces.Discrete):
            return np.asarray(actions) + int(space.start) if space.start else actions
        if not self._scales:
            return actions
        assert isinstance(space, gym.spaces.Box)
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        unscaled = low + (np.clip(actions, -1.0, 1.0).astype(np.float64) + 1.0) / 2.0 * (high - low)
        if space.dtype.kind in "iu":
            unscaled = np.rint(unscaled)
        return np.clip(unscaled, low, high).astype(space.dtype)

    def normals(self, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """Normal distributions of the algorithm's actions, ``(n, dimensions)`` each, as those of the environment's.

        Returns:
            Means and deviations, ``(n, 2, dimensions)``.
        """
        if self._scales:
            assert isinstance(self._action, gym.spaces.Box)
            low = self._action.low.astype(np.float64).reshape(-1)
            half = (self._action.high.astype(np.float64).reshape(-1) - low) / 2
            means, deviations = low + (means + 1.0) * half, deviations * half
            return np.stack([means, deviations], axis=1).astype(np.float32)
        return np.stack([means, deviations], axis=1)

    def _observations(self, task: Task) -> gym.Space:
        space = self._observation
        if isinstance(space, gym.spaces.Discrete):
            return gym.spaces.Discrete(int(space.n)) if space.start else space
        if isinstance(space, gym.spaces.Dict):
            if _size(space) is None:
                raise GatitoError(
                    f"task {task.name}: a trained expert learns from numbers alone, not from the texts in its "
                    f"observations: {ANOTHER_EXPERT}.",
                    task.name,
                )
            return gym.spaces.Box(-np.inf, np.inf, (int(_size(space) or 0),), np.float32)
        if not isinstance(space, gym.spaces.Box):
            raise GatitoError(
                f"task {task.name}: a trained expert cannot learn from observations of kind {space}: {ANOTHER_EXPERT}.",
                task.name,
            )
        return _box(space)


class Translated(gym.Wrapper):
    """An environment with spaces that stable-baselines3 supports."""

    def __init__(self, env: gym.Env, translator: Translator) -> None:
        super().__init__(env)
        self._translator = translator
        self._mask: np.ndarray | None = None
        self.observation_space = translator.observation_space
        self.action_space = translator.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's own."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._mask = mask_of(info)
        return self._translator.observe_one(observation), info

    def action_masks(self) -> np.ndarray:
        """Which options are legal now, ``(options,)`` bool; sb3-contrib calls this."""
        options = sum(options_of(self.env.action_space))
        return np.ones(options, dtype=bool) if self._mask is None else self._mask

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """As the environment's own."""
        observation, reward, terminated, truncated, info = self.env.step(self._translator.act(action))
        self._mask = mask_of(info)
        return self._translator.observe_one(observation), reward, terminated, truncated, info


def _is_scaled(space: gym.spaces.Box) -> bool:
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    ordinary = np.array_equal(low, -high) and (high >= _NARROWEST).all() and (high <= _WIDEST).all()
    return space.dtype.kind in "iu" or not ordinary


def _box(space: gym.spaces.Box) -> gym.spaces.Box:
    """What an algorithm observes of a Box; the Box itself where it can learn from that."""
    if _is_picture(space):
        if image_layout(space) == "CHW" and space.dtype == np.uint8:
            return space
        return gym.spaces.Box(0, 255, (channels_of(space), *image_size(space)), np.uint8)
    if len(space.shape) in (1, 2):
        return space
    return gym.spaces.Box(space.low.reshape(-1), space.high.reshape(-1), dtype=space.dtype.type)


def _is_picture(space: gym.Space) -> bool:
    return image_layout(space) is not None and min(image_size(space)) >= _LEAST_PICTURE


def _size(space: gym.spaces.Dict) -> int | None:
    """Numbers of a dictionary as a flat vector; None: it is not of numbers alone."""
    size = 0
    for part in space.values():
        if isinstance(part, gym.spaces.Discrete):
            size += int(part.n)
        elif isinstance(part, gym.spaces.Box):
            size += math.prod(part.shape)
        else:
            return None
    return size


def _flat(space: gym.spaces.Dict, packed: np.ndarray) -> np.ndarray:
    """Packed dictionaries, ``(n,)``, as float32 vectors, ``(n, size)``."""
    columns = []
    for name, part in space.items():
        values = packed[name]
        if isinstance(part, gym.spaces.Discrete):
            values = np.eye(int(part.n), dtype=np.float32)[values - int(part.start)]
        columns.append(values.reshape(len(packed), -1).astype(np.float32))
    return np.concatenate(columns, axis=1)
