"""Scoring the generalist: many environments behind one forward pass, against one environment at a time.

And against the ceiling, the same environments stepped with random actions by as many processes. The network is
untrained, which costs the same; episodes are cut off after a hundred steps; no side pays for making environments.
"""

import functools
import itertools
import os
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.play.rollout import rollout
from benchmarks.scoring.evaluate import EvaluateConfig
from benchmarks.tasks import Suite, make_env, spaces
from generalist.network.network import make_network
from generalist.network.policy import NetworkPolicy
from tests.speed.cases import Case, Measurement, timed
from tests.speed.crew import Crew
from tests.speed.tasks import HALF_CHEETAH, Environments, codec_of, model_of, suite_of

_HORIZON = 100
_PROCESSES = os.cpu_count() or 1
_REACHES = {HALF_CHEETAH: 25, "babyai/synth-loc": 4, "metaworld/reach": 3, "": 4}
"""Against our own network at batch 1; but for HalfCheetah's, half the ceiling where a pass takes 2 ms."""


def cases() -> list[Case]:
    """HalfCheetah, a level of BabyAI, an arm of Meta-World, and all of ``mixed``."""
    found = [
        Case(
            "evaluate",
            HALF_CHEETAH,
            "JAT's way: a Hugging Face GPT-2, cached, one environment",
            20,
            lambda: (Crew(batched, parts(HALF_CHEETAH)).rate, Crew(_gpt2, [()]).rate),
            needs=("transformers",),
        )
    ]
    for task, reach in _REACHES.items():
        name = task or "all of mixed"
        most = None if task else 3
        ceiling_reach = 0.55 if task == HALF_CHEETAH else 0.5
        alone = functools.partial(_against, task, _alone, [(task,)])
        ceiling = functools.partial(_against, task, _at_random, parts(task))
        found += [
            Case("evaluate", name, "one environment, batch 1, one process", reach, alone, repetitions=most),
            Case(
                "evaluate", name, "random actions", ceiling_reach, ceiling, repetitions=most, quick=task == HALF_CHEETAH
            ),
        ]
    return found


def parts(task: str, processes: int = _PROCESSES) -> list[tuple[str, int]]:
    """The tasks of each process."""
    return [(task, part) for part in range(processes)]


def _against(task: str, ready: Callable[..., Measurement], theirs: list[tuple]) -> tuple[Measurement, Measurement]:
    return Crew(batched, parts(task)).rate, Crew(ready, theirs).rate


def _suite(task: str) -> Suite:
    return suite_of("mixed", _HORIZON, *([task] if task else []))


def _num_envs(suite: Suite) -> int:
    return EvaluateConfig().num_envs(len(suite.tasks))


def _policy(suite: Suite) -> NetworkPolicy:
    network = make_network(model_of("nano"), codec_of(), [task.name for task in suite])
    # BabyAI searches all objects of its mission whenever something is picked up or dropped: a step's cost there
    # depends on the actions, so they must be as random as the ceiling's.
    return NetworkPolicy(network.eval().accelerate(), deterministic=not any(task.family == "babyai" for task in suite))


def batched(name: str, part: int) -> Measurement:
    """As ``harness.evaluate`` plays a part of the episodes."""
    suite = _suite(name)
    num_envs = _num_envs(suite)
    policy, environments = _policy(suite), Environments()
    seeds = {task: itertools.count(1_000_000 * part) for task in suite}

    def work() -> int:
        enough = num_envs * (_HORIZON - 1) + 1  # each plays one episode, or several short ones
        played = rollout(policy, seeds, envs_per_task=num_envs, enough_steps=enough, make=environments.take)
        return sum(episode.length for episode in played)

    return timed(work)


def _alone(name: str) -> Measurement:
    suite = _suite(name)
    policy, environments = _policy(suite), Environments()
    seeds = itertools.count()

    def work() -> int:
        steps = 0
        for task in suite:
            played = rollout(policy, {task: seeds}, envs_per_task=1, enough_steps=_HORIZON, make=environments.take)
            steps += sum(episode.length for episode in played)
        return steps

    return timed(work)


def _at_random(name: str, part: int) -> Measurement:
    suite = _suite(name)
    envs = [(task, make_env(task)) for task in suite for _ in range(_num_envs(suite))]
    seeds = itertools.count(1_000_000 * part)
    actions = {task: [spaces(task)[1].sample() for _ in range(_HORIZON)] for task in suite}

    def work() -> int:
        for _, env in envs:
            env.reset(seed=next(seeds))
        for step in range(_HORIZON):
            for task, env in envs:
                _, _, terminated, truncated, _ = env.step(actions[task][step])
                if (terminated or truncated) and step < _HORIZON - 1:
                    env.reset(seed=next(seeds))
        return _HORIZON * len(envs)

    return timed(work)


def _gpt2() -> Measurement:
    """An observation and an action token for each step, decoded with the library's cache."""
    from tests.speed.gpt2 import Imitator

    task = suite_of("mixed", _HORIZON, HALF_CHEETAH).tasks[0]
    observations, actions = spaces(task)
    assert observations.shape and actions.shape
    imitator = Imitator(model_of("nano"), observations.shape[0], actions.shape[0], 2 * _HORIZON).eval()
    env, seeds = make_env(task), itertools.count()

    @torch.inference_mode()
    def work() -> int:
        observation, _ = env.reset(seed=next(seeds))
        cache = action = None
        for _ in range(_HORIZON):
            seen = torch.from_numpy(observation.astype(np.float32))[None, None]
            action, cache = imitator.act(seen, action, cache)
            observation, *_ = env.step(action[0, 0].clamp(-1, 1).numpy())
        return _HORIZON

    return timed(work)
