"""``multitask-rl``: the generalist's network, trained by PPO on all tasks at once, without demonstrations.

What distillation is worth is the gap between the generalist and this control, which may take as many environment steps
as the generalist's experts took together.

Run by ``gatito stages=[controls]``.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.artifacts import Artifact
from benchmarks.failures import Failures
from benchmarks.tasks import Suite
from benchmarks.tracking import Tracker
from generalist.codecs.config import CodecConfig
from generalist.ppo_settings import PPOConfig, check_learnable, settings_of
from generalist.reinforced import Reinforced, make_reinforced
from generalist.settings import ModelConfig

AGENT = "multitask-rl"
_GROUP = "controls.multitask"


@dataclass
class MultitaskRl:
    """``controls.multitask``; see :class:`generalist.ppo_settings.PPOConfig`, there is no anchor.

    Attributes:
        lanes: environments of each task, side by side.
        rollout: steps of each lane between two updates.
        epochs: passes over what was met, per update.
        minibatches: optimiser steps per epoch.
        learning_rate: Adam's at first; it falls linearly to a tenth.
        critic_learning_rate: that of the critic's own weights, likewise.
        clip: of the ratio of new to old probabilities.
        gae_lambda: from 0, trusting the critic, to 1, trusting returns.
        value_weight: of the critic's loss beside the policy's.
        entropy: bonus per nat of entropy of a step's action.
        target_kl: an update ends early once the new policy is half as much again from the old one, in nats; 0: never.
        gradient_norm: largest norm of the gradient.
        critic_warmup: updates at first that teach the critic alone.
        select_every: updates between two trials of the network, of which the best is kept.
        select_episodes: of each task in a trial.
        checkpoint_every: updates between checkpoints.
    """

    lanes: int = 8
    rollout: int = 128
    epochs: int = 4
    minibatches: int = 8
    learning_rate: float = 3e-4
    critic_learning_rate: float = 1e-3
    clip: float = 0.2
    gae_lambda: float = 0.95
    value_weight: float = 0.5
    entropy: float = 0.01
    target_kl: float = 0.03
    gradient_norm: float = 0.5
    critic_warmup: int = 2
    select_every: int = 20
    select_episodes: int = 10
    checkpoint_every: int = 5

    def ppo(self, steps: int, tasks: int) -> PPOConfig:
        """PPO that takes at most so many environment steps on so many tasks together."""
        return PPOConfig(**asdict(self), steps=steps // tasks, kl_weight=0.0)

    def check(self, suite: Suite, codec: CodecConfig, steps: int) -> None:
        """Refuse settings and tasks that cannot work, for so many environment steps in all.

        Raises:
            GatitoError: in one line, with the way out.
        """
        check_learnable(f"control {AGENT}", suite.tasks, codec)
        self.ppo(steps, len(suite.tasks)).check_training(_GROUP)


def multitask_artifact(
    run: Path,
    suite: Suite,
    config: MultitaskRl,
    model: ModelConfig,
    codec: CodecConfig,
    *,
    steps: int,
    seed: int,
) -> Artifact:
    """Where a run's network of all tasks lives, and what decides it; ``steps`` are those of all tasks together."""
    settings: dict[str, Any] = settings_of(suite.tasks, config.ppo(steps, len(suite.tasks)), seed)
    settings |= {"model": asdict(model), "codec": asdict(codec)}
    return Artifact(run / "controls" / AGENT, AGENT, settings)


def train_multitask(
    artifact: Artifact,
    suite: Suite,
    config: MultitaskRl,
    model: ModelConfig,
    codec: CodecConfig,
    *,
    steps: int,
    seed: int,
    run: Path,
    workers: int,
    tracker: Tracker,
    failures: Failures,
) -> None:
    """Train that network, unless it is there; an interrupted training goes on from its last checkpoint.

    Raises:
        GatitoError: if a setting does not fit, or learning comes to nothing; the last good checkpoint is kept.
    """
    ppo = config.ppo(steps, len(suite.tasks))
    learner = Reinforced(artifact, suite.tasks, None, ppo, model, codec, seed, _GROUP)
    make_reinforced(learner, AGENT, suite.name, run=run, workers=workers, tracker=tracker, failures=failures)
