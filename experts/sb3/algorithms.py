"""The one module that knows stable-baselines3: which algorithms there are, and how one is built from its recipe.

An algorithm is always built from its recipe and its numbers put in: ``PPO.load`` would run pickled code from the file.
"""

import copy
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks.base.errors import GatitoError, text_of, unknown
from benchmarks.base.settings import check_settings
from benchmarks.tasks import Task, has_action_mask
from experts.recipe import ALGORITHMS, PROGRAMS, ExpertRecipe
from experts.sb3.normalizer import put_moments
from experts.sb3.spaces import ANOTHER_EXPERT
from experts.sb3.vector_env import AtariVecEnv, ReplayableVecEnv

MASKABLE = "maskable_ppo"
"""The algorithm for environments that give ``info["action_mask"]``."""
_ACTIVATIONS = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "elu": torch.nn.ELU,
    "silu": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
    "leaky_relu": torch.nn.LeakyReLU,
    "sigmoid": torch.nn.Sigmoid,
}
_HAS_BFLOAT16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
_OURS = (
    "policy",
    "env",
    "seed",
    "device",
    "verbose",
    "tensorboard_log",
    "_init_setup_model",
    "stats_window_size",
)


class HoldingDQN(DQN):
    """DQN whose exploratory actions are held for a while: temporally extended epsilon-greedy.

    Where single random steps lead nowhere (a car in a valley), runs of them do (Dabney et al. 2021, arXiv:2006.01782;
    here with durations uniform from 1 to ``longest``). The exploration rate stays the share of exploratory steps.
    """

    longest = 1

    def let_go(self) -> None:
        """Hold nothing, as at the start of a segment."""
        self._held = np.zeros(self.n_envs, dtype=np.int64)
        self._left = np.zeros(self.n_envs, dtype=np.int64)

    def _sample_action(
        self,
        learning_starts: int,
        action_noise: Any = None,  # noqa: ANN401
        n_envs: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.longest == 1:
            return super()._sample_action(learning_starts, action_noise, n_envs)
        assert isinstance(self.action_space, gym.spaces.Discrete) and self._last_obs is not None
        share = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        mean = (1 + self.longest) / 2
        begins = (self._left == 0) & (np.random.random(n_envs) < share / (mean * (1 - share) + share))  # noqa: NPY002
        count = int(self.action_space.n)
        self._held = np.where(begins, np.random.randint(count, size=n_envs), self._held)  # noqa: NPY002
        self._left = np.where(begins, np.random.randint(1, self.longest + 1, size=n_envs), self._left)  # noqa: NPY002
        greedy, _ = self.policy.predict(self._last_obs, deterministic=True)  # type: ignore[arg-type]
        actions = np.where(self._left > 0, self._held, greedy)
        self._left = np.maximum(self._left - 1, 0)
        return actions, actions


class _PixelConv2d(torch.nn.Conv2d):
    """A convolution that scales pixels to [0, 1] by its weights, which are fewer than the pixels."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.weight / 255, self.bias)


class SmallCNN(BaseFeaturesExtractor):
    """Three convolutions for stacked 84 x 84 frames, a half to a third as wide as SB3's ``NatureCNN``.

    On a processor the network is what PPO waits for. With images laid out channels-last, one learns from 3.6 times as
    many frames a second as with ``NatureCNN``, and from 1.45 times as many again with products in bfloat16, where the
    processor has them.
    """

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 256) -> None:
        super().__init__(observation_space, features_dim)
        frames, height, width = observation_space.shape
        rows, columns = (((size - 8) // 4 + 1 - 4) // 2 + 1 - 3 + 1 for size in (height, width))
        self.layers = torch.nn.Sequential(
            _PixelConv2d(frames, 16, 8, 4),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 4, 2),
            torch.nn.ReLU(),
            torch.nn.Conv2d(32, 32, 3),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(32 * rows * columns, features_dim),
            torch.nn.ReLU(),
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """``(batch, frames, height, width)``, from 0 to 255 → ``(batch, features)``."""
        with torch.autocast("cpu", torch.bfloat16, enabled=_HAS_BFLOAT16):
            return self.layers(observations.contiguous(memory_format=torch.channels_last)).float()


_NETWORKS: dict[str, type[BaseFeaturesExtractor]] = {
    "small_cnn": SmallCNN,
    "nature_cnn": NatureCNN,
    "flatten": FlattenExtractor,
    "combined": CombinedExtractor,
}
_WORDS = {"activation_fn": _ACTIVATIONS, "features_extractor_class": _NETWORKS}
"""Arguments in policy_kwargs that are classes, and the words that a recipe names them by."""


def word_of(argument: str, class_name: str) -> str | None:
    """The word for a class that is named in full, such as ``torch.nn.modules.activation.ReLU``; None: there is none."""
    names = {f"{found.__module__}.{found.__qualname__}": word for word, found in _WORDS[argument].items()}
    return names.get(class_name)


_ADAM: dict[str, dict[str, Any]] = {
    "ppo": {"fused": True, "eps": 1e-5},  # SB3's own epsilon, which it forgets where anything is given
    MASKABLE: {"fused": True, "eps": 1e-5},
    "dqn": {"fused": True},
    "sac": {"fused": True},
    "td3": {"fused": True},
    "ddpg": {"fused": True},
    "tqc": {"fused": True},
    "trpo": {"fused": True, "eps": 1e-5},
}
"""One call for all weights: small networks wait for calls, not for products."""

torch.distributions.Distribution.set_default_validate_args(False)  # they cost calls, too; NaN is seen anyway


def check_recipe(task: Task, recipe: ExpertRecipe) -> None:
    """Refuse a recipe that cannot be run, before anything is.

    Raises:
        GatitoError: for an unknown algorithm or hyperparameter (with the valid ones), or a wrong number.
    """
    if recipe.algorithm not in ALGORITHMS:
        raise unknown(f"algorithm of task {task.name}", recipe.algorithm, (*ALGORITHMS, *PROGRAMS))
    arguments = inspect.signature(ALGORITHMS.load(recipe.algorithm).__init__).parameters
    valid = [name for name in arguments if name != "self" and name not in _OURS]
    for name in recipe.hyperparameters:
        if name not in valid:
            raise unknown(f"{recipe.algorithm} hyperparameter of task {task.name}", name, valid)
    check_settings(f"suite.tasks.{task.key}.expert", recipe)
    if recipe.hold_exploration > 1 and recipe.algorithm != "dqn":
        raise GatitoError(f"task {task.name}: expert.hold_exploration is for dqn alone, not for {recipe.algorithm}.")
    if recipe.episodic_life and task.family != "atari":
        raise GatitoError(f"task {task.name}: expert.episodic_life is for Atari games alone.")
    for name, value in recipe.hyperparameters.items():
        try:
            _parsed(value)
        except ValueError:
            raise GatitoError(f"task {task.name}: {name}={value} is no rate; write a number or lin_NUMBER.") from None


def check_masks(task: Task, recipe: ExpertRecipe) -> None:
    """Refuse to train an algorithm that would take illegal actions. It makes the environment.

    Raises:
        GatitoError: naming the algorithm that would not.
    """
    if recipe.algorithm != MASKABLE and task.family != "atari" and has_action_mask(task):
        raise GatitoError(
            f"task {task.name}: its environment gives info['action_mask'], and {recipe.algorithm} would take illegal "
            f"actions: set algorithm: {MASKABLE} (pip install 'gatito[contrib]'), or {ANOTHER_EXPERT}.",
            task.name,
        )


def make_vec_env(task: Task, recipe: ExpertRecipe, seed: int) -> VecEnv:
    """A recipe's environments, in one process; episodes follow from the seed and can be replayed."""
    kind = AtariVecEnv if task.family == "atari" else ReplayableVecEnv
    env: VecEnv = kind(task, recipe, seed)
    if not recipe.normalizes:
        return env
    return VecNormalize(
        env,
        norm_obs=recipe.normalize_observations,
        norm_reward=recipe.normalize_rewards,
        gamma=recipe.hyperparameters.get("gamma", 0.99),
    )


def build(task: Task, recipe: ExpertRecipe, env: VecEnv, seed: int) -> BaseAlgorithm:
    """An untrained algorithm.

    Raises:
        GatitoError: if stable-baselines3 refuses the recipe.
    """
    check_recipe(task, recipe)
    # A copy: SB3 writes into the dicts that it is given.
    arguments = {name: _parsed(value) for name, value in copy.deepcopy(recipe.hyperparameters).items()}
    for name, words in _WORDS.items():
        word = arguments.get("policy_kwargs", {}).get(name)
        if isinstance(word, str):
            if word not in words:
                raise unknown(f"{name} of task {task.name}", word, words)
            arguments["policy_kwargs"][name] = words[word]
            if words[word] is SmallCNN:
                arguments["policy_kwargs"]["normalize_images"] = False  # it does so itself
    if recipe.algorithm in _ADAM:
        kwargs = arguments.setdefault("policy_kwargs", {})
        kwargs["optimizer_kwargs"] = _ADAM[recipe.algorithm] | kwargs.get("optimizer_kwargs", {})
    observation, action = env.observation_space, env.action_space
    if isinstance(arguments.get("action_noise"), float | int):
        sigma = np.full(math.prod(action.shape or ()), float(arguments["action_noise"]))
        arguments["action_noise"] = NormalActionNoise(np.zeros_like(sigma), sigma)
    policy = "CnnPolicy" if len(observation.shape or ()) == 3 else "MlpPolicy"
    if isinstance(observation, gym.spaces.Dict):
        policy = "MultiInputPolicy"
    try:
        model = ALGORITHMS.load(recipe.algorithm)(policy, env, seed=seed, device="cpu", verbose=0, **arguments)
    except (AssertionError, TypeError, ValueError, NotImplementedError) as error:
        reason = text_of(error)
        if "action space" in reason:
            reason += f" Set algorithm: ppo, or {ANOTHER_EXPERT}."
        raise GatitoError(f"task {task.name}: {recipe.algorithm} refuses its recipe: {reason}") from error
    if isinstance(model, HoldingDQN):
        model.longest = recipe.hold_exploration
    return model


def save_model(model: BaseAlgorithm, path: Path) -> None:
    """Save a model so that stable-baselines3 loads it where gatito is not installed."""
    module = sys.modules[SmallCNN.__module__]
    cloudpickle.register_pickle_by_value(module)
    try:
        with path.open("wb") as file:
            model.save(file)
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def save_statistics(numbers: Mapping[str, Any], env: VecEnv, path: Path) -> None:
    """Save statistics of observations, see :func:`experts.sb3.normalizer.normalize`, as VecNormalize loads them."""
    parts = {"": numbers} if "mean" in numbers else numbers
    bounds = next(iter(parts.values()))
    keys = None if "mean" in numbers else list(numbers)
    normalizer = VecNormalize(
        env,
        training=False,
        norm_reward=False,
        clip_obs=float(bounds["clip"]),
        epsilon=float(bounds["epsilon"]),
        norm_obs_keys=keys,
    )
    moments: Any = normalizer.obs_rms
    for key, own in parts.items():
        put_moments(moments[key] if keys else moments, own)
    normalizer.save(str(path))


def use_empty_logger(model: BaseAlgorithm) -> None:
    """Give a model a new logger that writes nowhere.

    Without one of its own, SB3 makes an empty folder in the temporary directory each time that it learns.
    """
    model.set_logger(Logger(folder=None, output_formats=[]))


class Watch(BaseCallback):
    """Tells how far a segment is, and its metrics once a rollout that ended an episode."""

    def __init__(
        self, on_progress: Callable[[int], None], on_metrics: Callable[[int, Mapping[str, float]], None]
    ) -> None:
        super().__init__()
        self._on_progress = on_progress
        self._on_metrics = on_metrics
        self._last = 0

    def _on_step(self) -> bool:
        self._on_progress(self.num_timesteps)
        return True

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        if not episodes or self.num_timesteps - self._last < 500:
            return
        self._last = self.num_timesteps
        metrics = {
            "charts/episodic_return": float(np.mean([episode["r"] for episode in episodes])),
            "charts/episodic_length": float(np.mean([episode["l"] for episode in episodes])),
        }
        values = self.model.logger.name_to_value
        metrics |= {f"losses/{name[6:]}": float(value) for name, value in values.items() if name.startswith("train/")}
        self._on_metrics(self.num_timesteps, metrics)


def _parsed(value: Any) -> Any:  # noqa: ANN401
    """``lin_0.001`` → a schedule from 0.001 to 0, as in RL-Zoo's files; anything else as it is.

    ``lin2_0.001`` does so twice, one after the other (warm restarts: Loshchilov and Hutter 2017, arXiv:1608.03983).
    """
    schedule = re.fullmatch(r"lin(\d*)_(.+)", value) if isinstance(value, str) else None
    if schedule is None:
        return value
    times, start = int(schedule[1] or 1), float(schedule[2])
    if times < 1:
        raise ValueError("a rate falls at least once")

    def rate(remaining: float) -> float:
        done = times * min(1 - remaining, 1.0)
        return start * (1 - (done - min(int(done), times - 1)))

    return rate
