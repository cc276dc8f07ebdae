"""The environments for training Atari experts, against stable-baselines3's."""

import time
from typing import Any

import numpy as np

from benchmarks.tasks import Task
from benchmarks.tasks.task import TaskConfig
from experts.recipe import ExpertRecipe
from experts.sb3.vector_env import AtariVecEnv
from tests.speed.cases import Case, Measurement

_ENVS, _STEPS = 16, 60


def cases() -> list[Case]:
    """Three games of ``mixed``, and one that scrolls."""
    return [
        Case(
            "train",
            f"{game}, {_ENVS} environments",
            "stable-baselines3's make_atari_env",
            2.5 if game == "Pong" else 1.3,
            lambda game=game: _pair(game),
        )
        for game in ("Pong", "Boxing", "Freeway", "Breakout")
    ]


def _pair(game: str) -> tuple[Measurement, Measurement]:
    import ale_py
    import gymnasium as gym
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gym.register_envs(ale_py)
    task = Task.resolve(f"atari/{game.lower()}", TaskConfig(family="atari", env_id=f"ALE/{game}-v5"))
    ours = AtariVecEnv(task, ExpertRecipe(num_envs=_ENVS, clip_rewards=True), seed=0)
    theirs = VecFrameStack(make_atari_env(f"{game}NoFrameskip-v4", n_envs=_ENVS), 4)
    return _stepped(ours), _stepped(theirs)


def _stepped(envs: Any) -> Measurement:
    envs.reset()
    rng = np.random.default_rng(0)

    def rate() -> float:
        start = time.perf_counter()
        for _ in range(_STEPS):
            envs.step(rng.integers(0, envs.action_space.n, _ENVS))
        return _STEPS * _ENVS / (time.perf_counter() - start)

    return rate
