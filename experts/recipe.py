"""How an expert is made: the schema of ``expert:`` in a suite's YAML and of ``conf/experts/*.yaml``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.base.errors import GatitoError, check_at_least, unknown
from benchmarks.tasks import SuiteConfig, TaskConfig

SOURCES = ("train", "released", "scripted", "minari")
PLAYERS = {"script": "metaworld", "bot": "babyai", "random": None}
"""Experts that are programs, and the family of environments that each was written for (``experts.programs``)."""
RELEASED, DATASET = "released", "dataset"
"""What stands for the algorithm where the expert was trained before, or was only recorded."""


@dataclass(kw_only=True)
class ExpertRecipe:
    """How one task's expert is trained.

    Attributes:
        algorithm: a stable-baselines3 algorithm, see ``experts.sb3.algorithms.ALGORITHMS``; or one of :data:`PLAYERS`,
            which play as they are, and for whom nothing below holds but ``episode_seconds``.
        dataset: a Minari dataset (its id or its folder) that holds the expert's episodes; nobody plays then.
        env_steps: environment steps of training.
        num_envs: environments side by side.
        normalize_observations: whether observations are scaled by their running mean and deviation.
        normalize_rewards: whether rewards are scaled by the running deviation of the discounted return (training
            only; scores never are).
        clip_rewards: whether rewards are clipped to [-1, 1] (training only; scores never are).
        episodic_life: whether the loss of a life looks like an end (training only, Atari alone).
        hold_exploration: longest run of steps for which DQN holds an exploratory action; 1: plain epsilon-greedy.
        stop_at: end the training early once the mean score on selection seeds is this good; None: never.
        selection_episodes: episodes that judge a checkpoint; None: as many as ``experts.selection_episodes``.
        episode_seconds: processor time after which a program that comes to no decision gives its episode up.
        hyperparameters: arguments of the algorithm; ``lin_0.001`` is a rate that falls linearly to zero,
            ``lin2_0.001`` one that does so twice, one after the other.
    """

    algorithm: str = "ppo"
    dataset: str | None = None
    env_steps: int = 100_000
    num_envs: int = 8
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
        return self.algorithm not in (*PLAYERS, RELEASED, DATASET)

    @property
    def normalizes(self) -> bool:
        """Whether anything is normalised."""
        return self.normalize_observations or self.normalize_rewards


@dataclass(kw_only=True)
class ExpertsConfig:
    """What holds for the experts of every task.

    Attributes:
        source: where experts come from. ``train``: trained here; ``released``: those that come with the project;
            ``scripted``: programs, and random where a task has none; ``minari``: recorded elsewhere. Programs are
            programs with each of them, but the last.
        released: folder of the released experts.
        datasets: Minari datasets (ids or folders) by task name.
        checkpoints: training is cut into so many segments with a checkpoint after each.
        selection_episodes: episodes that judge a checkpoint; the best one becomes the expert.
        gate_episodes: episodes on fresh seeds that judge the expert against its task's reference.
    """

    source: str = "train"
    released: str = "results/experts"
    datasets: dict[str, str] = field(default_factory=dict)
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
        if self.datasets and self.source != "minari":
            raise GatitoError("experts.datasets is for experts=minari alone.")
        check_at_least("experts", self, checkpoints=1, selection_episodes=1, gate_episodes=2)

    def recipe(self, task: str, recipe: ExpertRecipe) -> ExpertRecipe:
        """A task's recipe, given where experts come from.

        Raises:
            GatitoError: if experts come from datasets and the task has none.
        """
        if self.source == "minari":
            dataset = recipe.dataset or self.datasets.get(task) or self.datasets.get(task.split("/", 1)[1])
            if dataset is None:
                raise GatitoError(
                    f"task {task} has no dataset: name one with +experts.datasets.{task.split('/', 1)[1]}=ID, or "
                    "leave the task out with tasks=[…]."
                )
            return ExpertRecipe(algorithm=DATASET, dataset=dataset)
        if recipe.trained and self.source == "released":
            return ExpertRecipe(algorithm=RELEASED)
        if recipe.trained and self.source == "scripted":
            return ExpertRecipe(algorithm="random")
        return recipe


@dataclass
class TaskEntry(TaskConfig):
    """A task in a suite's file: the environment's part and the expert's recipe."""

    expert: ExpertRecipe = field(default_factory=ExpertRecipe)


@dataclass
class SuiteEntry(SuiteConfig):
    """A suite's file."""

    tasks: dict[str, TaskEntry] = field(default_factory=dict)  # type: ignore[assignment]

    def recipes(self, names: Sequence[str]) -> dict[str, ExpertRecipe]:
        """The recipes of these tasks' experts, by task name."""
        return {name: self.tasks[name.replace("/", "-", 1)].expert for name in names}
