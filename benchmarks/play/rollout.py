"""The only environment loop in the project: recording and evaluation both play through it.

Many environments of several tasks step behind one batched call of the policy. Every episode has its own seed and its
own random stream, so its result does not depend on what runs beside it.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.seeds import stream
from benchmarks.play.policy import Policy, PolicyInput
from benchmarks.tasks import Task, make_env
from benchmarks.tasks.observations import FrameStack, packer, stack

Steps = dict[str, np.ndarray]
"""An episode's arrays of T steps: ``observations`` (T + 1 rows; of stacked frames the newest ones alone), ``actions``,
``labels``, ``rewards`` (float64),
``terminated``, ``truncated``, and ``distributions`` where the policy has one."""


@dataclass(frozen=True)
class Episode:
    """One finished episode.

    Attributes:
        task: the task's name.
        seed: the seed of the environment's reset.
        total_return: undiscounted sum of rewards.
        length: steps.
        success: whether the environment said so at any step; None if it never speaks of it.
        truncated_by_policy: whether the policy could not continue (a planner that stalls); the episode ends
            there, unfinished.
        steps: the episode's arrays, or None if they were not asked for.
    """

    task: str
    seed: int
    total_return: float
    length: int
    success: bool | None
    truncated_by_policy: bool
    steps: Steps | None


def rollout(
    policy: Policy,
    seeds: Mapping[Task, Iterable[int]],
    *,
    envs_per_task: int = 32,
    keep_steps: bool = False,
    enough_steps: int | None = None,
    make: Callable[[Task], gym.Env] = make_env,
    report: Callable[[int], None] = lambda done: None,
) -> Iterator[Episode]:
    """Play one episode per seed of every task and yield each as it ends.

    Args:
        policy: who plays.
        seeds: the episodes to play, by task.
        envs_per_task: environments that play one task side by side.
        keep_steps: whether episodes carry their arrays.
        enough_steps: begin no further episode of a task once it has so many steps (episodes under way are finished).
        make: makes a task's environment.
        report: called with the number of environment steps so far.

    Raises:
        GatitoError: if an environment raises; the line names task and seed.
    """
    slots = _make_slots(policy.name, seeds, envs_per_task, keep_steps, enough_steps, make)
    state = policy.initial_state(len(slots))
    done_steps = 0
    active = [slot for slot in slots if slot.begin()]
    try:
        while active:
            groups = [(task, list(group)) for task, group in itertools.groupby(active, key=lambda slot: slot.task)]
            inputs = [_observe(task, group) for task, group in groups]
            decisions, state = policy.act(inputs, state)
            for (_, group), decision in zip(groups, decisions, strict=True):
                told = group[0].task.name in policy.distribution_kind
                distributions = decision.distributions if told else None
                for row, slot in enumerate(group):
                    if decision.truncated_by_policy is not None and decision.truncated_by_policy[row]:
                        episode = slot.give_up()
                    else:
                        distribution = None if distributions is None else distributions[row]
                        episode = slot.step(decision.actions[row], decision.labels[row], distribution)
                    if episode is not None:
                        yield episode
                        slot.begin()
            done_steps += len(active)
            report(done_steps)
            active = [slot for slot in active if not slot.idle]
    finally:
        for slot in slots:
            slot.env.close()


class _Queue:
    """Seeds still to be played on one task; it runs dry early once there are enough steps."""

    def __init__(self, seeds: Iterable[int], enough_steps: int | None) -> None:
        self._seeds = iter(seeds)
        self._enough = enough_steps
        self.steps = 0

    def next(self) -> int | None:
        if self._enough is not None and self.steps >= self._enough:
            return None
        return next(self._seeds, None)


class _Slot:
    """One environment and the episode that it is in."""

    def __init__(self, index: int, task: Task, env: gym.Env, agent: str, queue: _Queue, keep_steps: bool) -> None:
        self.index = index
        self.task = task
        self.env = env
        self.idle = True
        self.episode_start = True
        self.reward = 0.0
        self.observation: Any = None
        self.action_mask: np.ndarray | None = None
        self.rng = np.random.default_rng(0)
        self._agent = agent
        self._queue = queue
        self._keep = keep_steps
        self._pack = packer(env.observation_space)
        self._stacked = isinstance(env.observation_space, FrameStack)
        self._discrete = isinstance(env.action_space, gym.spaces.Discrete)

    def begin(self) -> bool:
        """Start the next episode, if there is one."""
        seed = self._queue.next()
        self.idle = seed is None
        if seed is None:
            return False
        self._seed = seed
        self.rng = stream(self.task.name, self._agent, seed)
        observation, info = self.env.reset(seed=seed)
        self.observation = self._pack(observation)
        self.action_mask = info.get("action_mask")
        self.episode_start, self.reward = True, 0.0
        self._return, self._length, self._success = 0.0, 0, None
        self._rows: dict[str, list[Any]] = {"observations": [self._newest()]} if self._keep else {}
        return True

    def step(self, action: np.ndarray, label: np.ndarray, distribution: np.ndarray | None) -> Episode | None:
        """Take one step; the finished episode if this ended it."""
        observation, reward, terminated, truncated, info = self.env.step(int(action) if self._discrete else action)
        self.observation = self._pack(observation)
        self.action_mask = info.get("action_mask")
        self.episode_start, self.reward = False, float(reward)
        self._return += self.reward
        self._length += 1
        self._queue.steps += 1
        success = info.get("success", info.get("is_success"))
        if success is not None:
            self._success = bool(success) or bool(self._success)
        if self._keep:
            row = {
                "observations": self._newest(),
                "actions": action,
                "labels": label,
                "rewards": np.float64(reward),
                "terminated": terminated,
                "truncated": truncated,
            }
            if distribution is not None:
                row["distributions"] = distribution
            for name, value in row.items():
                self._rows.setdefault(name, []).append(value)
        return self._end(truncated_by_policy=False) if terminated or truncated else None

    def _newest(self) -> np.ndarray:
        return self.observation[-1].copy() if self._stacked else self.observation

    def give_up(self) -> Episode:
        """End the episode where it is."""
        return self._end(truncated_by_policy=True)

    def _end(self, truncated_by_policy: bool) -> Episode:
        steps = {name: stack(rows) for name, rows in self._rows.items()} if self._keep else None
        success = bool(self._success) if truncated_by_policy else self._success
        return Episode(self.task.name, self._seed, self._return, self._length, success, truncated_by_policy, steps)


def _make_slots(
    agent: str,
    seeds: Mapping[Task, Iterable[int]],
    envs_per_task: int,
    keep_steps: bool,
    enough: int | None,
    make: Callable[[Task], gym.Env],
) -> list[_Slot]:
    slots: list[_Slot] = []
    for task, task_seeds in seeds.items():
        count = min(envs_per_task, len(task_seeds)) if hasattr(task_seeds, "__len__") else envs_per_task  # type: ignore[arg-type]
        queue = _Queue(task_seeds, enough)
        slots += [_Slot(len(slots) + offset, task, make(task), agent, queue, keep_steps) for offset in range(count)]
    return slots


def _observe(task: Task, slots: list[_Slot]) -> PolicyInput:
    masks = [slot.action_mask for slot in slots if slot.action_mask is not None]
    return PolicyInput(
        task=task,
        observations=stack([slot.observation for slot in slots]),
        env_ids=np.array([slot.index for slot in slots]),
        episode_start=np.array([slot.episode_start for slot in slots]),
        rewards=np.array([slot.reward for slot in slots]),
        rngs=[slot.rng for slot in slots],
        envs=[slot.env for slot in slots],
        action_masks=np.array(masks, dtype=bool) if masks else None,
    )
