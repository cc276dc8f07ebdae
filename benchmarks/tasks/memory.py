"""The family ``memory``: tasks in which one observation is not enough.

Two kinds: environments of Gymnasium's registry with some numbers of the observation hidden (velocities, as in Heess et
al. 2015, arXiv:1512.04455), and MiniGrid-Memory, whose agent must remember an object while it walks down a hallway.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from benchmarks.base.errors import FatalError, GatitoError, unknown
from benchmarks.tasks import registered
from benchmarks.tasks.babyai import BabyAI

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task, TaskConfig

_MAZE = "MiniGrid-Memory"
_HIDDEN = "hidden"


def is_maze(env_id: str) -> bool:
    """Whether an id is one of MiniGrid-Memory's."""
    return env_id.startswith(_MAZE)


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """Every argument of the environment, including ``hidden``, and its horizon.

    Raises:
        FatalError: if nothing is hidden, or what is hidden is no number of the observation.
        GatitoError: if a package is missing, or there is no such environment.
    """
    if is_maze(config.env_id):
        spec = _maze(name, config.env_id)
        if config.kwargs:
            raise FatalError(f"task {name}: {config.env_id} takes no arguments; remove its kwargs.")
        size = (
            spec.kwargs.get("size") or inspect.signature(load_env_creator(spec.entry_point)).parameters["size"].default
        )
        return {}, config.horizon or 5 * size**2  # MiniGrid's own limit
    kwargs = dict(config.kwargs)
    hidden = kwargs.pop(_HIDDEN, None)
    if not hidden:
        raise FatalError(
            f"task {name}: nothing is hidden; name numbers of the observation by their index, as in kwargs: "
            "{hidden: [1, 3]}."
        )
    arguments, horizon = registered.resolve(name, replace(config, kwargs=kwargs))
    return {**arguments, _HIDDEN: list(hidden)}, horizon


def make(task: "Task", render_mode: str | None = None) -> gym.Env:
    """The environment with its time limit.

    Raises:
        FatalError: if what is hidden is no number of the observation.
        GatitoError: if a package is missing, or an argument does not fit.
    """
    if is_maze(task.env_id):
        _maze(task.name, task.env_id)
        level = gym.make(task.env_id, disable_env_checker=True, render_mode=render_mode)
        return BabyAI(gym.wrappers.TimeLimit(level.unwrapped, task.horizon))
    env = registered.make(whole(task, task.name), render_mode)
    space, hidden = env.observation_space, task.kwargs[_HIDDEN]
    size = space.shape[0] if isinstance(space, gym.spaces.Box) and len(space.shape) == 1 else 0
    if not size:
        raise FatalError(
            f"task {task.name}: {task.env_id} has no vector as observation, of which numbers could be hidden."
        )
    if not set(hidden) < set(range(size)):
        raise FatalError(
            f"task {task.name}: kwargs.hidden={list(hidden)} must name some of the observation's {size} numbers, from "
            f"0 to {size - 1}, and not all."
        )
    return Hidden(env, hidden)


class Hidden(gym.ObservationWrapper):
    """An environment without some numbers of its observation.

    Attributes:
        whole: the latest observation with nothing hidden, for experts that see everything.
    """

    whole: np.ndarray

    def __init__(self, env: gym.Env, hidden: Sequence[int]) -> None:
        """Args: an environment with vectors as observations, and the indices of the numbers to hide."""
        super().__init__(env)
        space = env.observation_space
        assert isinstance(space, gym.spaces.Box)
        self._shown = np.setdiff1d(np.arange(space.shape[0]), hidden)
        low, high = space.low[self._shown], space.high[self._shown]
        self.observation_space: gym.Space = gym.spaces.Box(low, high, dtype=space.dtype.type)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """The numbers that are shown, ``(n - hidden,)``, of the whole observation, ``(n,)``."""
        self.whole = observation
        return observation[self._shown]


def whole(task: "Task", name: str) -> "Task":
    """The task with nothing hidden, by the name that it has in another suite."""
    kwargs = {key: value for key, value in task.kwargs.items() if key != _HIDDEN}
    return replace(task, name=name, family="registered", kwargs=kwargs)


def _maze(name: str, env_id: str) -> Any:  # noqa: ANN401
    """The registration of one of MiniGrid-Memory's mazes."""
    try:
        import minigrid
    except ImportError as error:
        raise GatitoError(
            f"task {name} needs a package that is not installed ({error}): pip install 'gatito[babyai]'."
        ) from None
    gym.register_envs(minigrid)
    mazes = {spec.id: spec for spec in gym.registry.values() if is_maze(spec.id)}
    if env_id not in mazes:
        raise unknown(f"maze of task {name}", env_id, mazes)
    return mazes[env_id]
