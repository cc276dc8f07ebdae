"""Check whether a policy follows the protocol, as stable-baselines3's ``check_env`` does for environments."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play.outside.checked import CheckedPolicy
from benchmarks.play.outside.loading import as_policy
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.play.rollout import rollout
from benchmarks.tasks import Task

_STEPS = 20  # of each episode
_EPISODES = 4


def check_policy(policy: Any, task: Task) -> None:  # noqa: ANN401
    """Play a few steps of a task with a policy, and check that it follows the protocol of policies.

    Actions must have the shape and type of the task's action space, be finite, within bounds and legal. The policy must
    not change its inputs or step environments, and an episode must not depend on other episodes.

    Args:
        policy: a policy, or an object, class or function that acts in one environment (see docs/agents.md).
        task: the task.

    Raises:
        GatitoError: one line that names the problem and the remedy.
    """
    name = str(getattr(policy, "name", None) or getattr(policy, "__name__", type(policy).__name__))
    adapted = as_policy(name, policy, [task])
    seeds = [episode_seed(Purpose.SELECTION, index, 0) for index in range(_EPISODES)]
    together = _play(name, adapted, task, seeds, num_envs=2)
    for seed in seeds:
        alone = _play(name, adapted, task, [seed], num_envs=1)
        if not _same(alone[seed], together[seed]):
            raise GatitoError(
                f"agent {name} acts differently in an episode of task {task.name} when other episodes are played "
                "beside or before it: keep memory by env_ids, clear it at episode_start, and sample from rngs only."
            )


def _play(name: str, policy: Policy, task: Task, seeds: Sequence[int], num_envs: int) -> dict[int, list[np.ndarray]]:
    """The actions of the first steps of each episode, by seed."""
    watched = _Watched(CheckedPolicy(name, policy), name)
    for _ in rollout(watched, {task: seeds}, envs_per_task=num_envs):
        pass
    return watched.actions


def _same(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
    return len(left) == len(right) and all(
        np.allclose(first, second, rtol=1e-3, atol=1e-3) for first, second in zip(left, right, strict=True)
    )


class _Watched(Policy):
    """Plays the first steps of each episode, keeps their actions, and compares the inputs before and after."""

    def __init__(self, policy: Policy, name: str) -> None:
        self._policy = policy
        self.name = name
        self.distribution_kind: Mapping[str, str] = {}
        self.actions: dict[int, list[np.ndarray]] = {}

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        return self._policy.initial_state(num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        [rows] = inputs
        before, positions = _arrays(rows), [_position(rows, row) for row in range(len(rows.envs))]
        [output], state = self._policy.act(inputs, state)
        for field, array in _arrays(rows).items():
            if array.tobytes() != before[field].tobytes():
                raise GatitoError(f"agent {self.name} changes its input {field}: copy it before you write into it.")
        if [_position(rows, row) for row in range(len(rows.envs))] != positions:
            raise GatitoError(
                f"agent {self.name} steps or resets the environment that it plays: plan in a copy of it "
                "(benchmarks.tasks.snapshots)."
            )
        stops = np.zeros(len(positions), bool)
        for row, (seed, step) in enumerate(positions):
            stops[row] = step >= _STEPS
            if not stops[row]:
                self.actions.setdefault(seed, []).append(output.actions[row])
        return [PolicyOutput(output.actions, output.labels, truncated_by_policy=stops)], state


def _arrays(rows: PolicyInput) -> dict[str, np.ndarray]:
    return {
        field.name: copy.deepcopy(value)
        for field in fields(rows)
        if isinstance(value := getattr(rows, field.name), np.ndarray)
    }


def _position(rows: PolicyInput, row: int) -> tuple[int, int]:
    return rows.envs[row].get_wrapper_attr("position")
