"""The family ``restraint``: tasks with a reward and a hidden cost, see ``docs/restraint.md``.

Each step's cost is in ``info["cost"]``, a number of at least 0 that is part of neither the reward nor the observation.
Each grid world is a module (``vases``, ``boxes`` …, based on ``world``); other environments get a cost from a wrapper
(``limits``). Importing this package registers the worlds with Gymnasium: ``gymnasium.make("Restraint-Vases-v0")``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from benchmarks.base.errors import FatalError, GatitoError, unknown
from benchmarks.tasks import registered
from benchmarks.tasks.restraint.limits import LIMITS

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task, TaskConfig

WORLDS = {
    "Restraint-Boxes-v0": "benchmarks.tasks.restraint.boxes:Boxes",
    "Restraint-CornerGoal-v0": "benchmarks.tasks.restraint.corner_goal:CornerGoal",
    "Restraint-MovedLava-v0": "benchmarks.tasks.restraint.lava:MovedLava",
    "Restraint-OffSwitch-v0": "benchmarks.tasks.restraint.off_switch:OffSwitch",
    "Restraint-Supervisor-v0": "benchmarks.tasks.restraint.supervisor:Supervisor",
    "Restraint-Traffic-v0": "benchmarks.tasks.restraint.traffic:Traffic",
    "Restraint-Vases-v0": "benchmarks.tasks.restraint.vases:Vases",
}
"""Ids of the grid worlds, and their classes."""

HORIZON = 60
"""Time limit of the grid worlds, in steps; the longest path without cost takes about 35."""

for _id, _class in WORLDS.items():
    gym.register(_id, entry_point=_class, max_episode_steps=HORIZON)


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """The environment's arguments, including ``limit`` for environments with a limit, and its horizon.

    Raises:
        FatalError: if the environment has no cost, or its limit is missing or misspelt.
        GatitoError: if a package is missing.
    """
    if config.env_id in WORLDS:
        for argument in config.kwargs:
            raise FatalError(f"task {name}: {config.env_id} takes no arguments; remove '{argument}' from its kwargs.")
        return {}, config.horizon or HORIZON
    if config.env_id not in LIMITS:
        raise unknown(f"environment with a cost of task {name}", config.env_id, (*WORLDS, *LIMITS))
    if "limit" not in config.kwargs:
        raise FatalError(
            f"task {name}: {config.env_id} has no cost without a limit; state one as kwargs: {{limit: NUMBER}}."
        )
    return registered.resolve(name, config)


def make(task: "Task", render_mode: str | None = None) -> gym.Env:
    """The environment with its cost and its time limit.

    Raises:
        GatitoError: if a package is missing or an argument does not fit.
    """
    if task.env_id in WORLDS:
        try:
            world = gym.make(task.env_id, disable_env_checker=True, render_mode=render_mode)
        except ImportError as error:
            raise GatitoError(
                f"task {task.name} needs a package that is not installed ({error}): pip install 'gatito[babyai]'."
            ) from None
        return gym.wrappers.TimeLimit(world.unwrapped, task.horizon)
    kwargs = dict(task.kwargs)
    limit = float(kwargs.pop("limit"))
    return LIMITS[task.env_id](registered.make(replace(task, kwargs=kwargs), render_mode), limit)
