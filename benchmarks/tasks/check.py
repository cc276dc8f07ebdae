"""Check an environment before training: ``gatito.check_env(task)``."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base import console
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.tasks.actions import sample_action
from benchmarks.tasks.conformity import mask_of, out_of_bounds
from benchmarks.tasks.guard import Guarded
from benchmarks.tasks.snapshots import snapshot
from benchmarks.tasks.task import Task, make_env

_EPISODES = 2
_Step = dict[str, Any]
"""The answer of an environment: ``observation``, ``reward``, ``terminated``, ``truncated``, ``action mask``."""


def check_env(task: Task, steps: int = 300) -> None:
    """Check a task's environment with random actions.

    The checks cover the spaces, the results of ``reset`` and ``step``, types, shapes and bounds, NaN and infinity,
    ``info``, action masks, and whether a seed and the same actions give the same episode: in another copy of the
    environment, and in this one after other episodes. An environment that reuses one array for all observations, or
    cannot be cloned (which ``amplifier=search`` needs), only gets a warning.

    Args:
        task: the task.
        steps: the most steps of an episode.

    Raises:
        GatitoError: names the first problem and its remedy.
    """
    env, other = make_env(task), make_env(task)
    try:
        episodes = [_episode(env, task, seed, steps) for seed in range(_EPISODES)]
        _compare(task, episodes[0], _episode(other, task, 0, steps), "in another copy of the environment")
        _compare(task, episodes[0], _episode(env, task, 0, steps), "after other episodes in the same environment")
        _warn_of_shared_arrays(other, task)
    finally:
        env.close()
        other.close()
    try:
        snapshot.check(task)
    except GatitoError as error:
        console.warn(str(error))


def _episode(env: gym.Env, task: Task, seed: int, steps: int) -> list[_Step]:
    """The answers in an episode of random actions, which follow from the seed."""
    rng = stream("check_env", seed)
    observation, info = env.reset(seed=seed)
    answers = [_step(env, task, 0, observation, 0.0, False, False, info)]
    while len(answers) <= steps and not (answers[-1]["terminated"] or answers[-1]["truncated"]):
        action = sample_action(env.action_space, rng, answers[-1]["action mask"])
        answers.append(_step(env, task, len(answers), *env.step(action)))
    return answers


def _step(env: gym.Env, task: Task, number: int, *answer: Any) -> _Step:  # noqa: ANN401
    observation, reward, terminated, truncated, info = answer
    beyond = out_of_bounds(env.observation_space, observation)
    if beyond and task.family == "registered":  # the other families' bounds are known to be rough
        raise GatitoError(
            f"the environment of task {task.name} breaks the bounds of its observation space in step {number}: "
            f"{beyond[0]}. Widen the bounds.",
            task.name,
        )
    return {
        "observation": observation,
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
        "action mask": mask_of(info),
    }


def _compare(task: Task, first: list[_Step], second: list[_Step], where: str) -> None:
    for number, (one, another) in enumerate(zip(first, second, strict=False)):
        different = next((name for name in one if not _same(one[name], another[name])), None)
        if different:
            raise GatitoError(
                f"the environment of task {task.name} is not decided by its seed: with seed 0 and the same actions, "
                f"the {different} of step {number} is another one {where}. Let reset(seed=…) begin with "
                "super().reset(seed=seed), and draw from self.np_random alone.",
                task.name,
            )


def _same(first: Any, second: Any) -> bool:  # noqa: ANN401
    if isinstance(first, dict):
        return all(_same(first[name], second[name]) for name in first)
    return np.array_equal(first, second)


def _warn_of_shared_arrays(env: gym.Env, task: Task) -> None:
    assert isinstance(env, Guarded)
    _, info = env.reset(seed=0)
    given, kept = env.observation, copy.deepcopy(env.observation)
    env.step(sample_action(env.action_space, stream("check_env"), mask_of(info)))
    if not _same(given, kept):
        console.warn(
            f"the environment of task {task.name} writes each observation into the array of the last one. gatito "
            "copies it; other libraries may not: return a copy."
        )
