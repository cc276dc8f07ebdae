"""How an expert is made: the schema of ``expert:`` in a suite's YAML and of ``conf/experts/*.yaml``."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import check_at_least, unknown

SOURCES = ("train",)
PLAYERS = {"script": "metaworld", "bot": "babyai"}
"""Experts that are programs, and the family of environments that each was written for (see ``experts.scripted``)."""


@dataclass
class ExpertRecipe:
    """How one task's expert is trained.

    Attributes:
        algorithm: a stable-baselines3 algorithm, see ``experts.algorithms.ALGORITHMS``; or one of :data:`PLAYERS`,
            which play as they are, and for whom nothing below holds but ``episode_seconds``.
        steps: environment steps of training.
        envs: environments side by side.
        normalize_observations: whether observations are scaled by their running mean and deviation.
        normalize_rewards: whether rewards are scaled by the running deviation of the discounted return (training
            only; scores never are).
        clip_rewards: whether rewards are clipped to [-1, 1] (training only; scores never are).
        episodic_life: whether the loss of a life looks like an end (training only, Atari alone).
        hold_exploration: longest run of steps for which DQN holds an exploratory action; 1: plain epsilon-greedy.
        stop_at: end the training early once the mean score on selection seeds is this good; None: never.
        selection_episodes: episodes that judge a checkpoint; None: as many as ``experts.selection_episodes``.
        episode_seconds: processor time after which a program that comes to no decision gives its episode up.
        hyperparameters: arguments of the algorithm; ``lin_0.001`` is a rate that falls linearly to zero.
    """

    algorithm: str = "ppo"
    steps: int = 100_000
    envs: int = 8
    normalize_observations: bool = False
    normalize_rewards: bool = False
    clip_rewards: bool = False
    episodic_life: bool = False
    hold_exploration: int = 1
    stop_at: float | None = None
    selection_episodes: int | None = None
    episode_seconds: float = 10.0
    hyperparameters: dict[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether the expert is trained; a program plays as it is."""
        return self.algorithm not in PLAYERS

    @property
    def normalizes(self) -> bool:
        """Whether anything is normalised."""
        return self.normalize_observations or self.normalize_rewards


@dataclass
class ExpertsConfig:
    """What holds for the experts of every task.

    Attributes:
        source: where experts come from; ``train``: trained here.
        checkpoints: training is cut into so many segments with a checkpoint after each.
        selection_episodes: episodes that judge a checkpoint; the best one becomes the expert.
        gate_episodes: episodes on fresh seeds that judge the expert against its task's reference.
    """

    source: str = "train"
    checkpoints: int = 10
    selection_episodes: int = 30
    gate_episodes: int = 100

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        if self.source not in SOURCES:
            raise unknown("source of experts", self.source, SOURCES)
        check_at_least("experts", self, checkpoints=1, selection_episodes=1, gate_episodes=2)
