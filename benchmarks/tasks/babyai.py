"""BabyAI: instructions in a small language, carried out on a grid that is seen seven by seven cells at a time.

Chevalier-Boisvert et al. 2019 (arXiv:1810.08272), as MiniGrid packages it. Observations are a dictionary: the agent's
``direction``, the ``image`` of the cells ahead ``(7, 7, 3)`` (kind, colour and state of each) and the ``mission``,
a text.
"""

import inspect
import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from benchmarks.base.errors import GatitoError, unknown

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task, TaskConfig

MISSION_BYTES = 328
"""Room for every mission. The grammar's longest has 321 letters (two pairs of put-next joined by "after you", all four
with the longest descriptions, "the yellow ball in front of you"); 9,000 missions of the longest-winded levels reached
218, but one that does not fit ends a run."""

_MISSING = "pip install 'gatito[babyai]'"
_VIEW = {"agent_view_size": 7}
_NOISE = ("Sampling rejected:", "Timeout during mission generation:")


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """Every argument of the level, and its horizon.

    A level limits each mission by its own length (the size of the maze times the walks that it takes) and that limit
    holds in any case. The horizon is one number for all missions of the level; by itself, the limit of the longest one.

    Raises:
        GatitoError: if the package is missing, or there is no such level or argument.
    """
    levels = _levels(name)
    if config.env_id not in levels:
        raise unknown(f"BabyAI level of task {name}", config.env_id, levels)
    spec = levels[config.env_id]
    maker = load_env_creator(spec.entry_point)
    parameters = inspect.signature(maker.__init__).parameters.values()
    defaults = {
        parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty
    }
    kwargs = {**defaults, **_VIEW, **spec.kwargs}
    for argument in config.kwargs:
        if argument not in (*kwargs, "max_steps"):
            raise unknown(f"argument of task {name}", argument, kwargs)
    kwargs |= config.kwargs
    if config.horizon:
        return kwargs, config.horizon
    return kwargs, _longest_limit(gym.make(config.env_id, disable_env_checker=True, **kwargs).unwrapped)


def make(task: "Task", render_mode: str | None = None) -> gym.Env:
    """The level with its time limits.

    Raises:
        GatitoError: if the package is missing or an argument does not fit.
    """
    _levels(task.name)
    try:
        level = gym.make(task.env_id, disable_env_checker=True, render_mode=render_mode, **task.kwargs)
    except TypeError as error:
        raise GatitoError(
            f"task {task.name}: {task.env_id} refuses its arguments {dict(task.kwargs)}: {error}"
        ) from None
    return BabyAI(gym.wrappers.TimeLimit(level.unwrapped, task.horizon))


class BabyAI(gym.Wrapper):
    """A level whose missions are a text of bounded length, and which says at the end whether it was solved.

    Attributes:
        last_action: what was done last, or None at the start: a planner must know it where others act in its place.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        view = env.get_wrapper_attr("agent_view_size")
        letters = string.ascii_lowercase + " ,"
        self.observation_space: gym.Space = gym.spaces.Dict(
            {
                "direction": gym.spaces.Discrete(4),
                "image": gym.spaces.Box(0, 255, (view, view, 3), np.uint8),
                "mission": gym.spaces.Text(MISSION_BYTES, charset=letters),
            }
        )
        self.last_action: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new maze and mission."""
        self.last_action = None
        result = self.env.reset(seed=seed, options=options)
        # Copies of a maze are made, so it is made light. Most of it is walls, which are alike and never change, so one
        # will do.
        grid = self.get_wrapper_attr("grid")
        walls = {(cell.type, cell.color): cell for cell in grid.grid if cell is not None and cell.type == "wall"}
        grid.grid = [cell and walls.get((cell.type, cell.color), cell) for cell in grid.grid]
        for cell in grid.grid:
            if cell is not None and cell.cur_pos is not None:  # numpy's numbers are slow to copy
                cell.cur_pos = (int(cell.cur_pos[0]), int(cell.cur_pos[1]))
                cell.init_pos = cell.init_pos and cell.cur_pos
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """As the level's own; ``info["success"]`` when the episode ends."""
        self.last_action = int(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            info["success"] = terminated and float(reward) > 0
        return observation, reward, terminated, truncated, info


def _longest_limit(level: Any) -> int:  # noqa: ANN401
    """The limit of the longest mission that a level can draw, in steps."""
    kinds = getattr(level, "instr_kinds", None)
    if kinds is None:  # one kind of mission, one limit
        level.reset(seed=0)
        return int(level.max_steps)
    parts = (2 if "and" in kinds else 1) * (2 if "seq" in kinds else 1)
    walks = parts * (2 if "putnext" in level.action_kinds else 1)
    return walks * level.room_size**2 * level.num_rows * level.num_cols


def _levels(name: str) -> dict[str, Any]:
    try:
        import minigrid
        from minigrid.envs.babyai.core import roomgrid_level
    except ImportError as error:
        raise GatitoError(f"task {name} needs a package that is not installed ({error}): {_MISSING}.") from None
    from benchmarks.tasks import maze

    gym.register_envs(minigrid)
    roomgrid_level.__dict__["print"] = _print_unless_noise
    roomgrid_level.RoomGridLevel.gen_obs = maze.observe  # type: ignore[assignment]  # MiniGrid's own is inherited
    return {spec.id: spec for spec in gym.registry.values() if spec.id.startswith("BabyAI-")}


def _print_unless_noise(*values: object, **settings: Any) -> None:  # noqa: ANN401
    """In place of ``print`` in the module that tells of every maze that it drew in vain."""
    if not (values and str(values[0]).startswith(_NOISE)):
        print(*values, **settings)
