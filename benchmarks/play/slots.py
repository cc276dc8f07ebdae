"""An environment with its current episode: the only place where the project steps real environments.

Evaluation and recording (:mod:`benchmarks.play.rollout`) and reinforcement learning (:mod:`generalist.ppo.rollouts`)
both use slots, many of them with one batched call of a policy.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from benchmarks.play.policy import PolicyInput, stack_masks
from benchmarks.tasks import Task
from benchmarks.tasks.actions import options_of
from benchmarks.tasks.conformity import cost_of, mask_of, success_of
from benchmarks.tasks.observations import packer, stack


class Slot:
    """One environment made by ``make_env``, and its current episode.

    Attributes:
        env_id: its index among the parallel environments.
        task: the task.
        env: the environment. It copies its observations and actions.
        observation: the last observation, packed; no other code has a reference to it.
        action_mask: ``(options,)`` bool, which actions are legal now; None if the environment has no mask.
        options: the number of options of all choices of an action; 0 for continuous actions.
        has_masks: whether the environment has given a mask at the start of an episode.
        rng: the random stream of the episode.
        seed: the seed of the episode's reset.
        episode_start: whether no step has been taken yet.
        reward: the reward of the last step; 0 at the start.
        total_return: undiscounted sum of the rewards.
        cost: the cost of the last step; None without a hidden cost, and at the start.
        total_cost: sum of the costs.
        length: number of steps so far.
        success: whether the environment has reported success at any step; None if it never reports it.
        terminated: whether the episode has terminated.
        truncated: whether it was truncated.
    """

    def __init__(self, env_id: int, task: Task, env: gym.Env) -> None:
        self.env_id, self.task, self.env = env_id, task, env
        self._pack = packer(env.observation_space)
        self.observation: Any = None
        self.action_mask: np.ndarray | None = None
        self.options = sum(options_of(env.action_space))
        self.has_masks = False
        self.rng = np.random.default_rng(0)

    def reset(self, seed: int, options: dict[str, Any] | None = None) -> None:
        """Begin an episode; ``options`` are those of the environment's ``reset``."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.observation, self.action_mask = self._pack(observation), mask_of(info)
        self.has_masks |= self.action_mask is not None
        self.seed = seed
        self.episode_start, self.reward = True, 0.0
        self.total_return, self.length = 0.0, 0
        self.cost: float | None = None
        self.total_cost = 0.0
        self.success: bool | None = None
        self.terminated = self.truncated = False

    def step(self, action: np.ndarray) -> None:
        """Take one step; ``action`` has the shape of the task's actions, without axes for discrete ones."""
        observation, reward, self.terminated, self.truncated, info = self.env.step(action)
        self.observation, self.action_mask = self._pack(observation), mask_of(info)
        self.episode_start, self.reward = False, float(reward)
        self.total_return += self.reward
        self.length += 1
        self.cost = cost_of(info)
        self.total_cost += self.cost or 0.0
        success = success_of(info)
        if success is not None:
            self.success = success or bool(self.success)


AnySlot = TypeVar("AnySlot", bound=Slot)


def by_task(slots: Iterable[AnySlot]) -> list[tuple[Task, list[AnySlot]]]:
    """Group slots by task; they must be sorted by task."""
    return [(task, list(group)) for task, group in itertools.groupby(slots, key=lambda slot: slot.task)]


def policy_input(task: Task, slots: Sequence[Slot]) -> PolicyInput:
    """The policy input for slots of one task."""
    return PolicyInput(
        task=task,
        observations=stack([slot.observation for slot in slots]),
        env_ids=np.array([slot.env_id for slot in slots]),
        episode_start=np.array([slot.episode_start for slot in slots]),
        rewards=np.array([slot.reward for slot in slots]),
        rngs=[slot.rng for slot in slots],
        envs=[slot.env for slot in slots],
        action_masks=stack_masks([slot.action_mask for slot in slots]),
    )


def close_all(slots: Iterable[Slot]) -> None:
    """Close the environments."""
    for slot in slots:
        slot.env.close()
