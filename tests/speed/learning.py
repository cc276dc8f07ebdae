"""Env steps that a learner learns from in a second, against stable-baselines3's own ``learn``.

The same algorithm, settings and sizes of network; on Atari, gatito's is laid out channels-last and multiplies in
bfloat16 where the processor has it. gatito trains one expert a core, as it does with a suite;
stable-baselines3 trains one with as many threads as torch takes by default.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from benchmarks.base.memory import keep_freed_memory
from experts.recipe import ExpertRecipe
from experts.sb3.training import Training
from tests.speed.cases import Case, Measurement
from tests.speed.crew import Crew
from tests.speed.tasks import recipe_of, suite_of

_STEPS = {"td3": 2_000, "sac": 2_000, "ppo": 2_048}
"""Of a measurement; PPO's is one rollout of the recipe."""
_TASKS = {
    # suite, task, the task whose recipe is used, and what is to be reached
    "td3": ("mujoco", "mujoco/halfcheetah", "mujoco/halfcheetah", 2),
    "sac": ("mujoco", "mujoco/halfcheetah", "mujoco/humanoid", 2),
    "ppo": ("atari57", "atari/pong", "atari/alien", 2.5),
}


def cases() -> list[Case]:
    """TD3 and SAC on HalfCheetah, PPO on Pong."""
    return [
        Case(
            "train",
            f"{task} by {algorithm.upper()}, one expert a core",
            "stable-baselines3's learn, one expert on all cores",
            reach,
            lambda algorithm=algorithm: (
                Crew(_ours, [(algorithm,)] * (os.cpu_count() or 1)).rate,
                Crew(_theirs, [(algorithm,)], threads=torch.get_num_threads()).rate,
            ),
            repetitions=3,
        )
        for algorithm, (_, task, _, reach) in _TASKS.items()
    ]


def _recipe(algorithm: str) -> ExpertRecipe:
    suite, _, trained, _ = _TASKS[algorithm]
    recipe = recipe_of(suite, trained)
    settings = dict(recipe.hyperparameters)
    if algorithm != "ppo":
        settings |= {"learning_starts": 100, "buffer_size": 20_000}
    return replace(recipe, hyperparameters=settings, env_steps=10_000_000, stop_at=None)


def _ours(algorithm: str) -> Measurement:
    keep_freed_memory()  # as in gatito's own processes
    suite, name, _, _ = _TASKS[algorithm]
    training = Training(suite_of(suite, None, name).tasks[0], _recipe(algorithm), seed=1)

    def rate() -> float:
        until = training.steps + _STEPS[algorithm]
        start = time.perf_counter()
        training.advance(until, lambda _: None, lambda *_: None)
        return _STEPS[algorithm] / (time.perf_counter() - start)

    rate()
    return rate


def _theirs(algorithm: str) -> Measurement:
    import stable_baselines3

    recipe = _recipe(algorithm)
    policy, env, settings = _peer(algorithm, recipe)
    model: Any = getattr(stable_baselines3, algorithm.upper())(policy, env, device="cpu", seed=1, **settings)

    def rate() -> float:
        start = time.perf_counter()
        model.learn(_STEPS[algorithm], reset_num_timesteps=False)
        return _STEPS[algorithm] / (time.perf_counter() - start)

    rate()
    return rate


def _peer(algorithm: str, recipe: ExpertRecipe) -> tuple[str, Any, Mapping[str, Any]]:
    """stable-baselines3's policy, environments and settings."""
    import ale_py
    import gymnasium as gym
    from stable_baselines3.common.env_util import make_atari_env, make_vec_env
    from stable_baselines3.common.noise import NormalActionNoise
    from stable_baselines3.common.utils import get_linear_fn
    from stable_baselines3.common.vec_env import VecFrameStack

    settings = dict(recipe.hyperparameters)
    if algorithm != "ppo":
        env: Any = make_vec_env("HalfCheetah-v5", n_envs=recipe.num_envs)
        if "action_noise" in settings:
            size = env.action_space.shape
            settings["action_noise"] = NormalActionNoise(torch.zeros(size).numpy(), torch.full(size, 0.1).numpy())
        return "MlpPolicy", env, settings
    gym.register_envs(ale_py)
    env = VecFrameStack(make_atari_env("PongNoFrameskip-v4", n_envs=recipe.num_envs), 4)
    settings |= {"learning_rate": get_linear_fn(5e-4, 0, 1), "clip_range": get_linear_fn(0.1, 0, 1)}
    settings["policy_kwargs"] = {"features_extractor_class": _plain_cnn(), "net_arch": []}
    return "CnnPolicy", env, settings


def _plain_cnn() -> type[Any]:
    """The layers of our ``small_cnn``, as stable-baselines3 writes its own."""
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from torch import nn

    class PlainCNN(BaseFeaturesExtractor):
        def __init__(self, observation_space: Any, features_dim: int = 256) -> None:
            super().__init__(observation_space, features_dim)
            convolutions = [nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Conv2d(32, 32, 3)]
            self.layers = nn.Sequential(
                *convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(1568, features_dim), nn.ReLU()
            )

        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return self.layers(observations)

    return PlainCNN
