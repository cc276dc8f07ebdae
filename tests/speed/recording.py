"""Recording scripted experts, against random actions in the same episodes, in the environments as packages have them.

And against what was recorded, replayed by nobody there: what an environment costs depends on what is done in it (an arm
that presses a button has contacts to be solved). Ours are the same environments and make their observations quicker.
"""

import functools
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from omegaconf import OmegaConf

from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play.policy import Noisy
from benchmarks.play.rollout import Episode, rollout
from benchmarks.play.trajectories import write_shard
from benchmarks.tasks import Task, make_env, spaces
from benchmarks.tasks.task import TaskConfig
from experts.programs.scripted import make_program
from experts.recipe import ExpertRecipe
from tests.conftest import ROOT
from tests.speed.cases import Case, Measurement

_PLAYERS = {"babyai": "bot", "metaworld": "script"}
_STEPS = 5000
_QUICK = ("babyai/go-to-local", "metaworld/reach")


def cases() -> list[Case]:
    """Every task of ``babyai`` and ``metaworld``."""
    tasks = []
    for family, player in _PLAYERS.items():
        suite = OmegaConf.load(ROOT / "conf" / "suite" / f"{family}.yaml")
        for key, settings in suite.tasks.items():
            known = {name: value for name, value in settings.items() if name in TaskConfig.__annotations__}
            task = Task.resolve(str(key).replace("-", "/", 1), TaskConfig(**known))
            tasks.append((task, ExpertRecipe(algorithm=player)))
    return [
        Case(
            "record",
            task.name,
            against,
            0.8,
            functools.partial(_prepare, task, recipe, at_random),
            repetitions=3,
            quick=task.name in _QUICK,
        )
        for against, at_random in (("random actions, package's view", True), ("its own actions, package's view", False))
        for task, recipe in tasks
    ]


def _prepare(task: Task, recipe: ExpertRecipe, at_random: bool) -> tuple[Measurement, Measurement]:
    """Both make an environment and play the same layouts for as long; ours plans, labels and writes."""
    policy = Noisy(make_program(task, recipe), 0.1)
    seeds = iter([episode_seed(Purpose.RECORDING, index, 0) for index in range(100_000)])
    space = spaces(task)[1]
    discrete = isinstance(space, gym.spaces.Discrete)
    done: dict[int, np.ndarray] = {}

    def played() -> Iterator[Episode]:
        done.clear()
        for episode in rollout(policy, {task: seeds}, envs_per_task=1, keep_steps=True, enough_steps=_STEPS):
            assert episode.steps is not None
            done[episode.seed] = episode.steps.get("actions", np.zeros(0))  # none if it is truncated at once
            yield episode

    def record() -> float:
        folder = Path(tempfile.mkdtemp())
        start = time.perf_counter()
        steps = write_shard(folder / "shard-000", played(), spaces(task)[0])
        seconds = time.perf_counter() - start
        shutil.rmtree(folder)
        return steps / seconds

    def act() -> float:
        drawn = {seed: [space.sample() for _ in actions] for seed, actions in done.items()} if at_random else done
        steps = 0
        start = time.perf_counter()
        env = _packaged(task)
        for seed, actions in drawn.items():
            env.reset(seed=seed)
            for action in actions:
                _, _, terminated, truncated, _ = env.step(int(action) if discrete else action)
                steps += 1
                if terminated or truncated:
                    break
        env.close()
        return steps / (time.perf_counter() - start)

    return record, act


def _packaged(task: Task) -> gym.Env:
    """The environment with the observations that its package makes."""
    if task.family == "metaworld":
        return _PackagedView(make_env(task).env)

    from minigrid.minigrid_env import MiniGridEnv

    env = gym.make(task.env_id, disable_env_checker=True, **task.kwargs)
    level: Any = env.unwrapped
    level.gen_obs = functools.partial(MiniGridEnv.gen_obs, level)
    return env


class _PackagedView(gym.Wrapper):
    """An arm with Meta-World's own observations until it is closed."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._use_fast_observations(False)

    def close(self) -> None:
        self._use_fast_observations(True)
        super().close()

    @staticmethod
    def _use_fast_observations(fast: bool) -> None:
        from benchmarks.tasks.sawyer import use_fast_observations

        use_fast_observations(fast)
