"""Play episodes of a policy, for evaluation and recording.

Environments of several tasks share one batched call of the policy. Every episode has its own seed and random stream, so
its result does not depend on the episodes beside it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.seeds import stream
from benchmarks.play.policy import Policy
from benchmarks.play.slots import Slot, by_task, close_all, policy_input
from benchmarks.tasks import Task, make_env
from benchmarks.tasks.observations import FrameStack, stack

Steps = dict[str, np.ndarray]
"""An episode's arrays of T steps: ``observations`` (T + 1 rows; of stacked frames only the newest), ``actions``,
``labels``, ``rewards`` (float64), ``terminated``, ``truncated``, ``distributions`` if the policy has them, ``masks``
(``(T, options)`` bool, the legal actions) if the environment provides ``info["action_mask"]``, ``values`` (float32) if
they are kept, and ``costs`` (float64) if it provides ``info["cost"]``; no learner reads costs."""


@dataclass(frozen=True)
class Episode:
    """One finished episode.

    Attributes:
        task: the task's name.
        seed: the seed of the environment's reset.
        total_return: undiscounted sum of rewards.
        length: number of steps.
        success: whether the environment reported success at any step; None if it never reports it.
        truncated_by_policy: whether the policy could not continue (a planner that stalls); the episode ends there.
        steps: the episode's arrays; None if they are not kept.
        cost: sum of ``info["cost"]``, which is not part of the return; None if the environment has no cost.
    """

    task: str
    seed: int
    total_return: float
    length: int
    success: bool | None
    truncated_by_policy: bool
    steps: Steps | None
    cost: float | None = None


def rollout(
    policy: Policy,
    seeds: Mapping[Task, Iterable[int]],
    *,
    envs_per_task: int = 32,
    keep_steps: bool = False,
    enough_steps: int | None = None,
    keep_values: bool = False,
    make: Callable[[Task], gym.Env] = make_env,
    report: Callable[[int], None] = lambda done: None,
) -> Iterator[Episode]:
    """Play one episode per seed of every task, and yield each when it ends.

    Args:
        policy: the policy.
        seeds: the episodes to play, by task.
        envs_per_task: parallel environments per task.
        keep_steps: whether episodes keep their arrays.
        enough_steps: number of steps after which no new episode of a task begins (running episodes are finished).
        keep_values: whether these arrays have the policy's values.
        make: makes a task's environment.
        report: called with the number of environment steps so far.

    Raises:
        GatitoError: if an environment raises an error or violates its spaces; names task, seed and step.
    """
    slots: list[_Player] = []
    try:
        for task, task_seeds in seeds.items():
            queue = _Queue(task_seeds, enough_steps)
            for _ in range(queue.most(envs_per_task)):
                slots.append(_Player(len(slots), task, make(task), policy.name, queue, keep_steps))
        state = policy.initial_state(len(slots))
        done_steps = 0
        active = [slot for slot in slots if slot.begin()]
        while active:
            groups = by_task(active)
            outputs, state = policy.act([policy_input(task, group) for task, group in groups], state)
            for (task, group), output in zip(groups, outputs, strict=True):
                distributions = output.distributions if task.name in policy.distribution_kind else None
                for row, slot in enumerate(group):
                    if output.truncated_by_policy is not None and output.truncated_by_policy[row]:
                        episode = slot.end(truncated_by_policy=True)
                    else:
                        estimates = {} if distributions is None else {"distributions": np.array(distributions[row])}
                        if keep_values and output.values is not None:
                            estimates["values"] = np.array(output.values[row], np.float32)
                        episode = slot.play(output.actions[row], output.labels[row], estimates)
                    if episode is not None:
                        yield episode
                        slot.begin()
            done_steps += len(active)
            report(done_steps)
            active = [slot for slot in active if not slot.idle]
    finally:
        close_all(slots)


class _Queue:
    """The remaining seeds of one task; it ends early once there are enough steps."""

    def __init__(self, seeds: Iterable[int], enough_steps: int | None) -> None:
        self._count = len(seeds) if isinstance(seeds, Sized) else None
        self._seeds = iter(seeds)
        self._enough = enough_steps
        self.steps = 0

    def most(self, envs: int) -> int:
        """The number of environments, of at most ``envs``, that will have an episode to play."""
        return envs if self._count is None else min(envs, self._count)

    def next(self) -> int | None:
        """The next episode's seed; None at the end."""
        if self._enough is not None and self.steps >= self._enough:
            return None
        return next(self._seeds, None)


class _Player(Slot):
    """A slot that plays episodes of a queue one after another, and optionally keeps their steps.

    Attributes:
        idle: whether the queue has ended.
    """

    def __init__(self, env_id: int, task: Task, env: gym.Env, agent: str, queue: _Queue, keep_steps: bool) -> None:
        super().__init__(env_id, task, env)
        self.idle = True
        self._agent, self._queue, self._keep = agent, queue, keep_steps
        self._stacked = isinstance(env.observation_space, FrameStack)
        self._rows: dict[str, list[Any]] = {}

    def begin(self) -> bool:
        """Start the next episode, if there is one."""
        seed = self._queue.next()
        self.idle = seed is None
        if seed is None:
            return False
        self.rng = stream(self.task.name, self._agent, seed)
        self.reset(seed)
        self._rows = {"observations": [self._newest()]} if self._keep else {}
        return True

    def play(self, action: np.ndarray, label: np.ndarray, estimates: Mapping[str, np.ndarray]) -> Episode | None:
        """Take one step; returns the episode if this step ended it. ``estimates``: the policy's, to be kept."""
        mask = self.action_mask
        self.step(action)
        self._queue.steps += 1
        if self._keep:
            row = {
                "observations": self._newest(),
                # Copies, since a policy may reuse its arrays.
                "actions": np.array(action),
                "labels": np.array(label),
                "rewards": np.float64(self.reward),
                "terminated": self.terminated,
                "truncated": self.truncated,
                **estimates,
            }
            if self.cost is not None:
                row["costs"] = np.float64(self.cost)
            if self.has_masks:
                row["masks"] = np.ones(self.options, dtype=bool) if mask is None else mask
            for name, value in row.items():
                self._rows.setdefault(name, []).append(value)
        return self.end(truncated_by_policy=False) if self.terminated or self.truncated else None

    def end(self, truncated_by_policy: bool) -> Episode:
        """The episode up to now."""
        steps = {name: stack(rows) for name, rows in self._rows.items()} if self._keep else None
        success = bool(self.success) if truncated_by_policy else self.success
        return Episode(
            self.task.name,
            self.seed,
            self.total_return,
            self.length,
            success,
            truncated_by_policy,
            steps,
            None if self.cost is None else self.total_cost,
        )

    def _newest(self) -> np.ndarray:
        return self.observation[-1].copy() if self._stacked else self.observation
