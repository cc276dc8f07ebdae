"""The settings of PPO, and its requirements on tasks and codecs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym

from benchmarks.base.errors import GatitoError
from benchmarks.base.settings import check_settings, decisive, setting
from benchmarks.tasks import Task, spaces
from generalist.config.codec import CodecConfig
from generalist.config.networks import network_kind
from generalist.config.objective import cost_weight


@dataclass
class PPOConfig:
    """How PPO trains a network on several tasks at once, see :mod:`generalist.ppo.loss`."""

    env_steps: int = setting(200_000, "Most environment steps per task, the critic's warm-up among them.", at_least=1)
    num_envs: int = setting(16, "Parallel environments of each task; with fewer, gradients are noisier.", at_least=1)
    rollout_length: int = setting(128, "Steps of each environment between two updates.", at_least=1)
    temperature: float = setting(
        1.0, "Temperature of a pretrained network's action distribution, applied once; below 1: sharper.", above=0
    )
    epochs: int = setting(4, "Passes over each rollout.", at_least=1)
    minibatches: int = setting(8, "Optimiser steps per epoch.", at_least=1)
    learning_rate: float = setting(1e-4, "Initial learning rate; it falls linearly to a tenth.", above=0)
    critic_learning_rate: float = setting(1e-3, "Initial learning rate of the critic's weights; likewise.", above=0)
    clip_range: float = setting(0.2, "Clipping range of the probability ratio.", above=0, below=1)
    gae_lambda: float = setting(
        0.95,
        "Lambda of generalised advantage estimation: 0 trusts the critic, 1 the returns; the discount is "
        "codec.discount.",
        at_least=0,
        at_most=1,
    )
    value_weight: float = setting(0.5, "Weight of the critic's loss.", at_least=0)
    entropy_weight: float = setting(0.0, "Entropy bonus per nat and step.", at_least=0)
    kl_weight: float = setting(
        0.1, "Penalty per nat and step of divergence from the initial network; 0: no anchor.", at_least=0
    )
    target_kl: float = setting(
        0.03,
        "Target divergence of an update, in nats; the update ends early beyond 1.5 times this value; 0: no limit.",
        at_least=0,
    )
    cost_weight: float = cost_weight()
    max_grad_norm: float = setting(0.5, "Largest norm of the gradient.", above=0)
    critic_warmup: int = setting(4, "First updates, in which only the critic is trained.", at_least=0)
    select_every: int = setting(
        10, "Updates between evaluations on selection seeds; the best network is kept.", at_least=1
    )
    select_episodes: int = setting(10, "Episodes of each task in such an evaluation.", at_least=1)
    checkpoint_every: int = setting(5, "Updates between checkpoints.", at_least=1, decides=False)

    @property
    def iterations(self) -> int:
        """The number of updates, the critic's warm-up included."""
        return self.env_steps // (self.num_envs * self.rollout_length)

    def check_training(self, group: str) -> None:
        """Reject settings that cannot work; ``group`` is their config group, such as ``amplifier``.

        Raises:
            GatitoError: names the setting.
        """
        check_settings(group, self)
        if self.iterations <= self.critic_warmup:
            least = (self.critic_warmup + 1) * self.num_envs * self.rollout_length
            raise GatitoError(
                f"{self.env_steps} steps per task are {self.iterations} updates of {group}.num_envs={self.num_envs} "
                f"x {group}.rollout_length={self.rollout_length} steps, and the first "
                f"{group}.critic_warmup={self.critic_warmup} updates train only the critic: lower one of the three, or "
                f"set {group}.env_steps={least} or more."
            )


@dataclass
class MultitaskConfig(PPOConfig):
    """How the control ``multitask-rl`` is trained: PPO from random weights, without an anchor."""

    env_steps: int = setting(
        0,
        "Most environment steps per task; 0: all tasks together have as many as all their experts' recipes together.",
        at_least=0,
    )
    num_envs: int = setting(8, "Parallel environments of each task.", at_least=1)
    learning_rate: float = setting(3e-4, "Initial learning rate; it falls linearly to a tenth.", above=0)
    entropy_weight: float = setting(0.01, "Entropy bonus per nat and step.", at_least=0)
    kl_weight: float = setting(0.0, "There is no network to stay close to.", at_least=0, at_most=0)
    critic_warmup: int = setting(2, "First updates, in which only the critic is trained.", at_least=0)
    select_every: int = setting(
        20, "Updates between evaluations on selection seeds; the best network is kept.", at_least=1
    )


def check_learnable(method: str, tasks: Sequence[Task], codec: CodecConfig) -> None:
    """Reject a codec whose network PPO cannot train.

    Raises:
        GatitoError: names the setting to change; it begins with ``method``, such as ``amplifier finetune``.
    """
    if not network_kind(codec.name).supports_ppo:
        raise GatitoError(
            f"{method} cannot train codec={codec.name}, which decodes an action token by token: set codec=step, or "
            "choose another amplifier or control."
        )
    continuous = [task.name for task in tasks if isinstance(spaces(task)[1], gym.spaces.Box)]
    if codec.continuous == "regression" and continuous:
        raise GatitoError(
            f"{method} needs a distribution of the actions of task {continuous[0]}, and codec.continuous=regression "
            "has none: set codec.continuous=normal, or bins."
        )
    with_critic(codec).check()


def with_critic(codec: CodecConfig) -> CodecConfig:
    """The codec with a critic, if it has none."""
    return replace(codec, critic=codec.critic or 1.0)


def settings_of(tasks: Sequence[Task], config: PPOConfig, seed: int) -> dict[str, Any]:
    """The settings that determine the result of PPO, for an artifact's config."""
    named = {task.name: {"digest": task.digest, "metric": task.metric} for task in tasks}
    return {"tasks": named, "ppo": decisive(config), "seed": seed}
