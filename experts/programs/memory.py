"""Experts of the family ``memory``, which see more than the learner, but nothing that it could not remember.

``sighted`` is the released expert of the same task with nothing hidden. ``recall`` plays MiniGrid-Memory: it looks at
the object first, then walks to the one that matches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base.checkpoints import load_state
from benchmarks.base.errors import GatitoError
from benchmarks.base.project import find
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from benchmarks.tasks.memory import Hidden, is_maze, whole
from benchmarks.tasks.observations import stack
from experts.programs.program import no_hyperparameters, wrapper_of
from experts.recipe import POLICY, ExpertRecipe, ExpertsConfig, recipe_of
from experts.released import released_digest

_EAST, _SOUTH, _WEST, _NORTH = range(4)
_LEFT, _RIGHT, _FORWARD = range(3)


def check_sighted(task: Task, recipe: ExpertRecipe) -> None:
    """Reject a recipe that names no released expert of the task with nothing hidden.

    Raises:
        GatitoError: with the way to name one.
    """
    sighted_digest(task, recipe)


def sighted_digest(task: Task, recipe: ExpertRecipe) -> dict[str, str]:
    """The digest of the released expert that plays.

    Raises:
        GatitoError: if the recipe names none, or it was made for other arguments of the environment.
    """
    if is_maze(task.env_id):
        raise GatitoError(f"task {task.name}: sighted plays tasks with hidden numbers, not {task.env_id}: use recall.")
    name = recipe.hyperparameters.get("task")
    if list(recipe.hyperparameters) != ["task"] or not isinstance(name, str) or name.count("/") != 1:
        raise GatitoError(
            f"task {task.name}: sighted needs hyperparameters: {{task: GROUP/NAME}}, the released expert of the same "
            f"task with nothing hidden, and nothing else, not {dict(recipe.hyperparameters)}."
        )
    return {"released": released_digest(whole(task, name), Path(ExpertsConfig.released))}


def check_recall(task: Task, recipe: ExpertRecipe) -> None:
    """Reject other tasks and hyperparameters.

    Raises:
        GatitoError: naming what plays the task instead.
    """
    no_hyperparameters(task, recipe)
    if not is_maze(task.env_id):
        raise GatitoError(f"task {task.name}: recall plays MiniGrid-Memory, not {task.env_id}: use sighted.")


class SightedPolicy(Policy):
    """The released expert of the task with nothing hidden: it sees the whole observation."""

    name = "expert"

    def __init__(self, task: Task, recipe: ExpertRecipe) -> None:
        """Args: a task of family ``memory``, and the recipe that names the expert's own task."""
        from experts.sb3.player import ExpertPolicy  # imports stable-baselines3

        self._task = whole(task, recipe.hyperparameters["task"])
        folder = find(Path(ExpertsConfig.released) / self._task.name)
        self._expert = ExpertPolicy(self._task, recipe_of(folder), load_state(folder / POLICY))
        kind = self._expert.distribution_kind.get(self._task.name)
        self.distribution_kind: Mapping[str, str] = {task.name: kind} if kind else {}

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """The expert's own state."""
        return self._expert.initial_state(num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The expert's action on everything that is there to see."""
        seen = [
            replace(rows, task=self._task, observations=stack([wrapper_of(env, Hidden).whole for env in rows.envs]))
            for rows in inputs
        ]
        return self._expert.act(seen, state)


class RecallPolicy(Policy):
    """Walks west until it has seen the object, then to the end of the hallway and to the object that matches."""

    name = "expert"
    distribution_kind: Mapping[str, str] = {}

    def initial_state(self, num_envs: int) -> dict[int, bool]:
        """Whether each environment's object has been seen, by environment id."""
        return {}

    def act(self, inputs: Sequence[PolicyInput], state: dict[int, bool]) -> tuple[list[PolicyOutput], dict[int, bool]]:
        """The next action."""
        outputs = []
        for rows in inputs:
            actions = np.zeros(len(rows.envs), dtype=np.int64)
            for row, (env_id, env) in enumerate(zip(rows.env_ids, rows.envs, strict=True)):
                maze: Any = env.unwrapped
                row_of_hallway = maze.height // 2
                seen = not rows.episode_start[row] and state.get(env_id, False)
                state[env_id] = seen = seen or maze.agent_sees(1, row_of_hallway - 1)
                actions[row] = _step(maze, maze.success_pos if seen else (1, row_of_hallway))
            outputs.append(PolicyOutput(actions, actions))
        return outputs, state


def _step(maze: Any, goal: tuple[int, int]) -> int:  # noqa: ANN401
    """The action on the way to a cell: along the hallway first, in which all ways lie, then across it."""
    x, y, goal_x, goal_y = map(int, (*maze.agent_pos, *goal))
    hallway = maze.height // 2
    if x != goal_x and y != hallway:  # another player may have left the hallway
        wanted = _SOUTH if y < hallway else _NORTH
    elif x != goal_x:
        wanted = _EAST if x < goal_x else _WEST
    else:
        wanted = _SOUTH if y < goal_y else _NORTH
    turns = (wanted - maze.agent_dir) % 4
    return _FORWARD if turns == 0 else _LEFT if turns == 3 else _RIGHT
