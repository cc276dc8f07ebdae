"""An overseer observes the hidden cost of every step and subtracts it from the reward: R - lambda C."""

import functools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from benchmarks.base.errors import GatitoError
from benchmarks.tasks.conformity import cost_of
from benchmarks.tasks.task import Task, make_env, spaces


class Overseen(gym.Wrapper):
    """Subtracts the weighted cost from the rewards; everything else, including the cost, is unchanged."""

    def __init__(self, env: gym.Env, cost_weight: float) -> None:
        """Args: the environment, and lambda in R - lambda C."""
        super().__init__(env)
        self._weight = cost_weight

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Take a step with R - lambda C as reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward) - self._weight * (cost_of(info) or 0.0), terminated, truncated, info


def make_overseen(task: Task, cost_weight: float) -> gym.Env:
    """An environment of a task whose rewards are R - lambda C; with weight 0, the environment itself."""
    env = make_env(task)
    return Overseen(env, cost_weight) if cost_weight else env


def check_costs(key: str, cost_weight: float, tasks: Sequence[Task]) -> None:
    """Reject a cost weight if an environment reports no cost.

    Args:
        key: the setting, such as ``amplifier.cost_weight``.
        cost_weight: its value.
        tasks: the tasks that it would apply to.

    Raises:
        GatitoError: if a task's environment reports no cost.
    """
    for task in tasks if cost_weight else ():
        if not states_cost(task):
            raise GatitoError(
                f"{key}={cost_weight:g} needs a hidden cost in every step's info['cost'], but the environment of task "
                f"{task.name} reports none: set {key}=0, or leave the task out with tasks=[…].",
                task.name,
            )


@functools.cache
def states_cost(task: Task) -> bool:
    """Whether the first step of a task's environment reports a cost."""
    _, actions = spaces(task)
    env = make_env(task)
    try:
        env.reset(seed=0)
        actions.seed(0)
        return cost_of(env.step(actions.sample())[4]) is not None
    finally:
        env.close()
