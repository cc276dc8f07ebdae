"""The settings of PPO, and what it asks of tasks and codecs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import gymnasium as gym

from benchmarks.base.errors import GatitoError, check_at_least
from benchmarks.tasks import Task, spaces
from generalist.config.codec import CodecConfig

_LEARNERS = ("step", "jat")  # codecs that tell the distribution of a whole action at once


@dataclass(frozen=True)
class PPOConfig:
    """How PPO trains a network on several tasks at once, see :mod:`generalist.ppo.loss`.

    Attributes:
        env_steps: environment steps per task, at most; the critic's warm-up is among them.
        num_envs: environments of each task, side by side.
        rollout_length: steps of each environment between two updates.
        temperature: of the choices of a network that has learnt before, once and for all; below 1, it is surer of them.
        epochs: passes over what was met, per update.
        minibatches: optimiser steps per epoch.
        learning_rate: Adam's at first; it falls linearly to a tenth.
        critic_learning_rate: that of the critic's own weights, likewise.
        clip_range: how far the ratio of new to old probabilities may move from 1 before its gradient is cut.
        gae_lambda: from 0, trusting the critic, to 1, trusting returns.
        value_weight: of the critic's loss beside the policy's.
        entropy_weight: bonus per nat of entropy of a step's action.
        kl_weight: penalty per nat of KL(network || where it started) of a step; 0: no anchor.
        target_kl: an update ends early once the new policy is half as much again from the old one, in nats; 0: never.
        max_grad_norm: largest norm of the gradient.
        critic_warmup: updates at first that teach the critic alone.
        select_every: updates between two trials of the network, of which the best is kept.
        select_episodes: of each task in a trial.
        checkpoint_every: updates between checkpoints.
    """

    env_steps: int = 200_000
    num_envs: int = 16
    rollout_length: int = 128
    temperature: float = 1.0
    epochs: int = 4
    minibatches: int = 8
    learning_rate: float = 1e-4
    critic_learning_rate: float = 1e-3
    clip_range: float = 0.2
    gae_lambda: float = 0.95
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    kl_weight: float = 0.1
    target_kl: float = 0.03
    max_grad_norm: float = 0.5
    critic_warmup: int = 4
    select_every: int = 10
    select_episodes: int = 10
    checkpoint_every: int = 5

    @property
    def iterations(self) -> int:
        """How often the network is updated, the critic's warm-up included."""
        return self.env_steps // (self.num_envs * self.rollout_length)

    def check_training(self, group: str) -> None:
        """Refuse settings that cannot work; ``group`` is where they stand, such as ``amplifier``.

        Raises:
            GatitoError: naming the setting.
        """
        counts = dict.fromkeys(
            ("num_envs", "rollout_length", "epochs", "minibatches", "select_every", "select_episodes"), 1
        )
        weights = dict.fromkeys(("gae_lambda", "value_weight", "entropy_weight", "kl_weight", "target_kl"), 0)
        check_at_least(group, self, **counts, **weights, checkpoint_every=1, critic_warmup=0)
        for name in ("learning_rate", "critic_learning_rate", "clip_range", "max_grad_norm", "temperature"):
            if not getattr(self, name) > 0:
                raise GatitoError(f"{group}.{name}={getattr(self, name)} must be above 0.")
        if self.gae_lambda > 1:
            raise GatitoError(f"{group}.gae_lambda={self.gae_lambda} is a share: from 0 to 1.")
        if self.clip_range >= 1:
            raise GatitoError(f"{group}.clip_range={self.clip_range} would clip nothing: set it below 1, such as 0.2.")
        if self.iterations <= self.critic_warmup:
            least = (self.critic_warmup + 1) * self.num_envs * self.rollout_length
            raise GatitoError(
                f"{self.env_steps} steps per task are {self.iterations} updates of {group}.num_envs={self.num_envs} "
                f"x {group}.rollout_length={self.rollout_length} steps, and {group}.critic_warmup={self.critic_warmup} "
                f"teach the critic alone: lower one of the three, or let it take {least} steps per task or more."
            )


def check_learnable(what: str, tasks: Sequence[Task], codec: CodecConfig) -> None:
    """Refuse a codec whose network cannot learn from rewards.

    Raises:
        GatitoError: saying which setting to change; it begins with ``what``, such as ``amplifier finetune``.
    """
    if codec.name not in _LEARNERS:
        raise GatitoError(
            f"{what} cannot train codec={codec.name}, which draws an action token by token: take codec=step, or "
            "another amplifier or control."
        )
    continuous = [task.name for task in tasks if not isinstance(spaces(task)[1], gym.spaces.Discrete)]
    if codec.continuous == "regression" and continuous:
        raise GatitoError(
            f"{what} needs a distribution to draw the actions of task {continuous[0]} from, and "
            "codec.continuous=regression has none: set codec.continuous=normal, or bins."
        )
    with_critic(codec).check()


def with_critic(codec: CodecConfig) -> CodecConfig:
    """The codec with a critic, if it has none."""
    return replace(codec, critic=codec.critic or 1.0)


def settings_of(tasks: Sequence[Task], config: PPOConfig, seed: int) -> dict[str, Any]:
    """What decides what is learnt from rewards, for an artifact's config."""
    named = {task.name: {"digest": task.digest, "metric": task.metric} for task in tasks}
    return {"tasks": named, "ppo": asdict(config), "seed": seed}
