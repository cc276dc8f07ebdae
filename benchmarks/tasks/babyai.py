"""BabyAI: instructions in a synthetic language, on a grid of which the agent sees seven by seven cells.

Chevalier-Boisvert et al. 2019 (arXiv:1810.08272), in MiniGrid's version. Observations are a dictionary: the agent's
``direction``, the ``image`` ``(7, 7, 3)`` of the cells ahead (kind, colour and state of each) and the ``mission``, a
text.
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
"""Upper bound of a mission's length. The grammar's longest mission has 321 letters (two pairs of put-next joined by
"after you", all four with the longest descriptions, "the yellow ball in front of you"). The longest of 9,000 sampled
missions has 218, but a mission beyond the bound would end a run."""

_MISSING = "pip install 'gatito[babyai]'"
_VIEW = {"agent_view_size": 7}
_NOISE = ("Sampling rejected:", "Timeout during mission generation:")


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """Every argument of the level, and its horizon.

    A level has a time limit for each mission (the size of the maze times the number of walks), which always applies.
    The horizon is one number for all missions of the level; its default is the limit of the longest mission.

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
            f"task {task.name}: {task.env_id} rejects its arguments {dict(task.kwargs)}: {error}"
        ) from None
    return BabyAI(gym.wrappers.TimeLimit(level.unwrapped, task.horizon))


class BabyAI(gym.Wrapper):
    """A level whose missions have bounded length, and whose last step reports success.

    Attributes:
        last_action: the last executed action, or None at the start; the bot needs it when another agent acts.
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
        # Make the maze cheap to copy: walls of one colour are identical and never change, so they share one object.
        grid = self.get_wrapper_attr("grid")
        walls = {(cell.type, cell.color): cell for cell in grid.grid if cell is not None and cell.type == "wall"}
        grid.grid = [cell and walls.get((cell.type, cell.color), cell) for cell in grid.grid]
        for cell in grid.grid:
            if cell is not None and cell.cur_pos is not None:  # NumPy's integers are slow to copy
                cell.cur_pos = (int(cell.cur_pos[0]), int(cell.cur_pos[1]))
                cell.init_pos = cell.init_pos and cell.cur_pos
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Take a step; ``info["success"]`` is set when the episode ends."""
        self.last_action = int(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            info["success"] = terminated and float(reward) > 0
        return observation, reward, terminated, truncated, info


def _longest_limit(level: Any) -> int:  # noqa: ANN401
    """The limit of the longest mission that a level can sample, in steps."""
    kinds = getattr(level, "instr_kinds", None)
    if kinds is None:  # a single kind of mission
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
    roomgrid_level.RoomGridLevel.gen_obs = maze.observe  # type: ignore[assignment]  # inherited from MiniGrid
    return {spec.id: spec for spec in gym.registry.values() if spec.id.startswith("BabyAI-")}


def _print_unless_noise(*values: object, **settings: Any) -> None:  # noqa: ANN401
    """Replace ``print`` in the module that prints a line for every rejected maze."""
    if not (values and str(values[0]).startswith(_NOISE)):
        print(*values, **settings)
