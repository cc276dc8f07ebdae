"""Compare a task's spaces with those of a model that was trained elsewhere, and convert between them."""

import contextlib
import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task, spaces
from experts.sb3.spaces import Translator

_NUMBER = re.compile(r"-?(?:inf|\d+\.?\d*(?:e[+-]?\d+)?)")
_KEY = re.compile(r"'([^']*)'(?::|,)")


class Between(Protocol):
    """Converts between a task and a stable-baselines3 model; see :class:`experts.sb3.spaces.Translator`."""

    observation_space: gym.Space
    action_space: gym.Space

    def observe(self, observations: np.ndarray) -> Any:  # noqa: ANN401
        """Packed observations, ``(n, *shape)``, as the model's observations."""
        ...

    def act(self, actions: np.ndarray) -> np.ndarray:
        """The model's actions, ``(n, *shape)``, as actions of the environment."""
        ...

    def normals(self, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """Normal distributions, ``(n, dimensions)`` each, as ``(n, 2, dimensions)`` of the environment's actions."""
        ...


class Native:
    """No conversion: the model has the task's own spaces."""

    def __init__(self, task: Task) -> None:
        self.observation_space, self.action_space = spaces(task)

    def observe(self, observations: np.ndarray) -> Any:  # noqa: ANN401
        """Dictionaries as dictionaries of arrays; other observations unchanged."""
        if isinstance(self.observation_space, gym.spaces.Dict):
            return {name: observations[name] for name in self.observation_space}
        return observations

    def act(self, actions: np.ndarray) -> np.ndarray:
        """The actions, unchanged."""
        return actions

    def normals(self, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """Means and deviations, unchanged, ``(n, 2, dimensions)``."""
        return np.stack([means, deviations], axis=1)


def spaces_of(task: Task, settings: Mapping[str, Any], path: object) -> Between:
    """The conversion between a task and a saved model: gatito's translation, or none.

    Raises:
        GatitoError: if the model has other spaces; names both.
    """
    observation, action = (settings.get(f"{kind}_space") for kind in ("observation", "action"))
    candidates: list[Between] = [Native(task)]
    with contextlib.suppress(GatitoError):  # no algorithm can be trained here on such spaces
        candidates.insert(0, Translator(task))
    for candidate in candidates:
        if _is_observed(observation, candidate.observation_space) and _is_space(action, candidate.action_space, True):
            return candidate
    raise GatitoError(
        f"task {task.name} observes {_one_line(spaces(task)[0])} and acts in {_one_line(spaces(task)[1])}; the model "
        f"{path} observes {_described(observation)} and acts in {_described(action)}: name a model of this task, or "
        "wrap the environment as it was wrapped in training."
    )


def _is_observed(described: object, space: gym.Space) -> bool:
    """Whether a model observes a space; stable-baselines3 moves the channels of images to the front."""
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8:
        height, width, channels = space.shape
        turned = gym.spaces.Box(0, 255, (channels, height, width), np.uint8)
        return _is_space(described, space, False) or (channels < height and _is_space(described, turned, False))
    return _is_space(described, space, False)


def _is_space(described: object, space: gym.Space, bounded: bool) -> bool:
    """Whether a saved model's texts describe this space."""
    if not isinstance(described, Mapping):
        return False
    kinds = {kind.__name__ for kind in type(space).__mro__}  # a FrameStack is a Box elsewhere
    if _kind(described) not in kinds:
        return False
    if isinstance(space, gym.spaces.Box):
        same = _shape(described) == space.shape and str(described.get("dtype")) == str(space.dtype)
        return same and (not bounded or (_is(described, "low", space.low) and _is(described, "high", space.high)))
    if isinstance(space, gym.spaces.Discrete):
        return _is(described, "n", np.asarray(space.n)) and int(described.get("start") or 0) == int(space.start)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return _is(described, "nvec", np.asarray(space.nvec))
    if isinstance(space, gym.spaces.MultiBinary):
        return _shape(described) == space.shape
    if isinstance(space, gym.spaces.Dict):
        return {*_KEY.findall(str(described.get("spaces")))} == set(space)
    return False


def _is(described: Mapping[str, Any], name: str, expected: np.ndarray) -> bool:
    """Whether a text states these numbers; an abbreviated text (with ``...``) always matches."""
    text = str(described.get(name))
    if "..." in text:
        return True
    numbers = np.array([float(word) for word in _NUMBER.findall(text)])
    return len(numbers) == math.prod(expected.shape) and np.allclose(numbers, expected.reshape(-1), rtol=1e-4)


def _kind(described: Mapping[str, Any]) -> str:
    return str(described.get(":type:")).rstrip("'>").rpartition(".")[2]


def _shape(described: Mapping[str, Any]) -> tuple[int, ...]:
    shape = described.get("_shape", described.get("shape"))
    return tuple(shape) if isinstance(shape, list) else ()


def _described(described: object) -> str:
    """A saved model's space, written like Gymnasium's."""
    if not isinstance(described, Mapping):
        return "a space that it does not state"
    kind = _kind(described)
    if kind == "Box":
        bounds = [" ".join(str(described.get(name)).split())[:40] for name in ("low", "high")]
        return f"Box({bounds[0]}, {bounds[1]}, {_shape(described)}, {described.get('dtype')})"
    inside = next((str(described[name]) for name in ("n", "nvec", "spaces") if name in described), "")
    return f"{kind}({' '.join(inside.split())[:120]})"


def _one_line(space: gym.Space) -> str:
    return " ".join(str(space).split())[:200]
