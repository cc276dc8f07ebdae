"""How an expert is made: the schema of ``expert:`` in a suite's YAML and of ``conf/experts/*.yaml``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.base.errors import GatitoError
from benchmarks.base.files import read_json, removal
from benchmarks.base.registry import Registry
from benchmarks.base.settings import check_settings, from_file, setting
from benchmarks.tasks import SuiteConfig, TaskConfig

SOURCES = ("train", "released", "scripted", "sb3", "minari", "files")
_RECORDED = ("minari", "files")
POLICY, RECIPE = "policy.safetensors", "expert.json"
"""The files of a finished expert: its acting weights, and how it was made."""
RELEASED, DATASET, IMPORTED = "released", "dataset", "imported"
"""The algorithm of experts that are released, that are existing datasets, or that were trained elsewhere."""
ALGORITHMS: Registry[Any] = Registry(
    "algorithm",
    {
        "ppo": "stable_baselines3:PPO",
        "a2c": "stable_baselines3:A2C",
        "dqn": "experts.sb3.algorithms:HoldingDQN",
        "sac": "stable_baselines3:SAC",
        "td3": "stable_baselines3:TD3",
        "ddpg": "stable_baselines3:DDPG",
        "qrdqn": "sb3_contrib:QRDQN",
        "tqc": "sb3_contrib:TQC",
        "trpo": "sb3_contrib:TRPO",
        "maskable_ppo": "sb3_contrib:MaskablePPO",
    },
    attributes=("learn", "get_parameters"),
)
"""Algorithms that train experts, subclasses of stable-baselines3's ``BaseAlgorithm``, by ``expert.algorithm``."""
PROGRAMS: Registry[Any] = Registry(
    "program",
    {
        "script": "experts.programs.scripted:SCRIPT",
        "bot": "experts.programs.scripted:BOT",
        "planner": "experts.programs.scripted:PLANNER",
        "mcts": "experts.programs.scripted:MCTS",
        "perfect": "experts.programs.scripted:PERFECT",
        "random": "experts.programs.scripted:RANDOM",
        "reference": "experts.programs.scripted:REFERENCE",
        "sighted": "experts.programs.scripted:SIGHTED",
        "recall": "experts.programs.scripted:RECALL",
    },
    attributes=("make", "family", "check"),
    reserved=(*ALGORITHMS, RELEASED, DATASET, IMPORTED),
)
"""Experts that are programs (:class:`experts.programs.program.Program`), by ``expert.algorithm``."""
ALGORITHMS.reserved = (*PROGRAMS, RELEASED, DATASET, IMPORTED)


@dataclass(kw_only=True)
class ExpertRecipe:
    """How one task's expert is made: the entry ``expert`` of a task in a suite's YAML."""

    algorithm: str = setting(
        "ppo",
        "A stable-baselines3 algorithm (maskable_ppo, of gatito[contrib], for info['action_mask']); imported, for a "
        "model that it saved; or a program: script (Meta-World), bot (BabyAI), planner (restraint), mcts or perfect "
        "(games), reference (words), sighted or recall (memory), or random. Of the other settings, programs only use "
        "episode_seconds (bot), cost_weight (planner) and hyperparameters: {simulations: N} (mcts) or {task: "
        "GROUP/NAME} (sighted).",
    )
    dataset: str | None = setting(
        None,
        "A folder of episodes or a Minari dataset (id or folder) with the expert's episodes, with experts=files or "
        "experts=minari.",
    )
    model: str | None = setting(
        None, "A zip that stable-baselines3 saved, with experts=sb3 or algorithm: imported.", decides=False
    )
    normalizer: str | None = setting(
        None, "Its vecnormalize.pkl; null: the one that lies beside the zip, if there is one.", decides=False
    )
    env_steps: int = setting(100_000, "Environment steps of training.", at_least=1)
    num_envs: int = setting(8, "Parallel environments.", at_least=1)
    normalize_observations: bool = setting(
        False, "Whether observations are normalised by their running mean and standard deviation."
    )
    normalize_rewards: bool = setting(
        False,
        "Whether rewards are scaled by the running standard deviation of the discounted return; in training only.",
    )
    clip_rewards: bool = setting(False, "Whether rewards are clipped to [-1, 1]; in training only.")
    episodic_life: bool = setting(False, "Whether the loss of a life ends a training episode; Atari only.")
    hold_exploration: int = setting(
        1, "Longest run of steps for which DQN repeats an exploratory action; 1: epsilon-greedy.", at_least=1
    )
    stop_at: float | None = setting(
        None, "Mean score on selection seeds that ends training early; null: train to the end."
    )
    selection_episodes: int | None = setting(
        None, "Episodes that evaluate a checkpoint; null: experts.selection_episodes.", at_least=1
    )
    cost_weight: float = setting(
        0.0,
        "Weight of the hidden cost that is subtracted from rewards in training and planning, never from scores; 0: "
        "the cost is ignored.",
        at_least=0,
    )
    episode_seconds: float = setting(
        10.0, "CPU time after which the program bot abandons an episode.", at_least=1, decides=False
    )
    hyperparameters: dict[str, Any] = setting(
        {},
        "Arguments of the algorithm; lin_0.001 is a rate that decays linearly to zero, lin2_0.001 one that does so "
        "twice in succession.",
    )

    @property
    def reward_only(self) -> "ExpertRecipe":
        """The same recipe on the reward alone: it makes the expert that is not restrained by the hidden cost."""
        return replace(self, cost_weight=0.0)

    @property
    def trained(self) -> bool:
        """Whether this run trains the expert."""
        return self.algorithm not in (*PROGRAMS, RELEASED, DATASET, IMPORTED)

    @property
    def normalizes(self) -> bool:
        """Whether anything is normalised."""
        return self.normalize_observations or self.normalize_rewards


def recipe_of(folder: Path) -> ExpertRecipe:
    """The recipe that a finished expert was made by.

    Raises:
        GatitoError: if its file is damaged.
    """
    stated = read_json(folder / RECIPE, {"recipe": dict})["recipe"]
    return from_file(ExpertRecipe, stated, "suite.tasks.*.expert", folder / RECIPE, removal(folder))


@dataclass(kw_only=True)
class ExpertsConfig:
    """Settings of the experts of all tasks."""

    source: str = setting(
        "train",
        "Where experts come from: train, trained in this run; released, those of the project; scripted, programs, or "
        "the random policy for tasks without one; sb3, models that stable-baselines3 saved; minari and files, existing "
        "datasets. All sources but minari and files use programs.",
        choices=SOURCES,
    )
    released: str = setting(
        "results/experts", "Folder of released experts, which stages=[release] writes and experts=released reads."
    )
    hub: str | None = setting(
        None,
        "Repository of the Hugging Face Hub that released experts are fetched from, as experts=hub:OWNER/NAME or "
        "hub:OWNER/NAME@REVISION.",
    )
    datasets: dict[str, str] = setting(
        {},
        "Folders of episodes by task, with experts=files: +experts.datasets.cartpole=FOLDER; or Minari datasets, with "
        "experts=minari: +experts.datasets.cartpole=gatito/classic/cartpole/expert-v0",
    )
    models: dict[str, str] = setting(
        {}, "Zips that stable-baselines3 saved by task, with experts=sb3: +experts.models.cartpole=PATH.zip"
    )
    normalizers: dict[str, str] = setting({}, "Their vecnormalize.pkl by task, where it does not lie beside the zip.")
    checkpoints: int = setting(
        16, "Segments of a training, with a checkpoint after each: a killed run loses at most one segment.", at_least=1
    )
    selection_episodes: int = setting(
        50, "Episodes on selection seeds that evaluate a checkpoint; the best becomes the expert.", at_least=1
    )
    gate_episodes: int = setting(
        100, "Episodes on new seeds that compare an expert with its task's reference.", at_least=2
    )

    def check(self) -> None:
        """Reject invalid settings.

        Raises:
            GatitoError: if a setting is invalid.
        """
        check_settings("experts", self)
        if self.datasets and self.source not in _RECORDED:
            raise GatitoError("experts.datasets is only for experts=minari and experts=files.")
        if (self.models or self.normalizers) and self.source != "sb3":
            raise GatitoError("experts.models and experts.normalizers are only for experts=sb3.")

    def recipe(self, task: str, recipe: ExpertRecipe) -> ExpertRecipe:
        """A task's recipe, given the source of this run's experts.

        Raises:
            GatitoError: if experts come from datasets or models and the task has none.
        """
        if recipe.algorithm == DATASET and recipe.dataset is None:
            raise GatitoError(
                f"task {task} has no dataset: name one with expert: {{algorithm: dataset, dataset: FOLDER}}."
            )
        if self.source == "sb3":
            return self._imported(task, recipe)
        if self.source in _RECORDED:
            dataset = recipe.dataset or _of_task(self.datasets, task)
            if dataset is None:
                raise GatitoError(
                    f"task {task} has no dataset: set +experts.datasets.{task.split('/', 1)[1]}=ID, or leave the task "
                    "out with tasks=[…]."
                )
            return ExpertRecipe(algorithm=DATASET, dataset=dataset)
        if recipe.trained and self.source == "released":
            return ExpertRecipe(algorithm=RELEASED)
        if recipe.trained and self.source == "scripted":
            return ExpertRecipe(algorithm="random")
        return recipe

    def _imported(self, task: str, recipe: ExpertRecipe) -> ExpertRecipe:
        """The recipe that names a task's model; a program's own where it has none."""
        model = _of_task(self.models, task) or recipe.model
        if model is None and recipe.algorithm in PROGRAMS:
            return recipe
        if model is None:
            raise GatitoError(
                f"task {task} has no model: name one with +experts.models.{task.split('/', 1)[1]}=PATH.zip, or leave "
                "the task out with tasks=[…]."
            )
        normalizer = _of_task(self.normalizers, task) or recipe.normalizer
        return ExpertRecipe(algorithm=IMPORTED, model=model, normalizer=normalizer)


def _of_task(named: Mapping[str, str], task: str) -> str | None:
    """What is named for a task, which may be called ``group/name`` or ``name``."""
    return named.get(task) or named.get(task.split("/", 1)[1])


@dataclass
class TaskEntry(TaskConfig):
    """A task in a suite's file: its environment and its expert's recipe."""

    expert: ExpertRecipe = setting(ExpertRecipe, "How the task's expert is made.")


@dataclass
class SuiteEntry(SuiteConfig):
    """A suite's file."""

    tasks: dict[str, TaskEntry] = setting({}, "Tasks by key GROUP-NAME; everywhere else a task is called GROUP/NAME.")  # type: ignore[assignment]

    def recipes(self, names: Sequence[str]) -> dict[str, ExpertRecipe]:
        """The recipes of these tasks' experts, by task name."""
        return {name: self.tasks[name.replace("/", "-", 1)].expert for name in names}
