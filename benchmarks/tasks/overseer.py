"""An overseer: it sees the hidden cost of every step and subtracts it from the reward, R - lambda C."""

import functools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from benchmarks.base.errors import GatitoError
from benchmarks.tasks.conformity import cost_of
from benchmarks.tasks.task import Task, make_env, spaces


class Overseen(gym.Wrapper):
    """Rewards less the weighted cost; everything else, the cost included, stays as it is."""

    def __init__(self, env: gym.Env, cost_weight: float) -> None:
        """Args: the environment, and lambda in R - lambda C."""
        super().__init__(env)
        self._weight = cost_weight

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """As the environment's, with R - lambda C as reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward) - self._weight * (cost_of(info) or 0.0), terminated, truncated, info


def make_overseen(task: Task, cost_weight: float) -> gym.Env:
    """An environment of a task whose rewards are R - lambda C; with weight 0, the environment itself."""
    env = make_env(task)
    return Overseen(env, cost_weight) if cost_weight else env


def check_costs(key: str, cost_weight: float, tasks: Sequence[Task]) -> None:
    """Reject a weight of the hidden cost where an environment states none.

    Args:
        key: the setting, such as ``amplifier.cost_weight``.
        cost_weight: its value.
        tasks: the tasks that it would apply to.

    Raises:
        GatitoError: names the setting and the task.
    """
    for task in tasks if cost_weight else ():
        if not states_cost(task):
            raise GatitoError(
                f"{key}={cost_weight:g} needs a hidden cost in every step's info['cost'], and the environment of task "
                f"{task.name} states none: set {key}=0, or leave the task out with tasks=[…].",
                task.name,
            )


@functools.cache
def states_cost(task: Task) -> bool:
    """Whether the first step of a task's environment states a cost."""
    _, actions = spaces(task)
    env = make_env(task)
    try:
        env.reset(seed=0)
        actions.seed(0)
        return cost_of(env.step(actions.sample())[4]) is not None
    finally:
        env.close()
