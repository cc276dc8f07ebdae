"""The expert stages of a run: train, record, export, release."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.play.policy import Policy
from benchmarks.play.recording import Player
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.runs.stage import STAGES, require
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Suite, Task, spaces
from experts.load import export_expert, load_expert, load_experts
from experts.minari_export import export_dataset
from experts.programs.scripted import make_program
from experts.recipe import DATASET, PROGRAMS, ExpertRecipe, ExpertsConfig
from experts.record import RecordConfig, record_suite, recording_artifact
from experts.released import TABLE, release
from experts.train import REWARD_ONLY, expert_artifact, read_gate, train_experts


@dataclass(frozen=True)
class Experts:
    """The experts of a run, one per task.

    Methods cover the tasks that have not failed so far.

    Attributes:
        run: the run.
        config: the experts' source and shared settings.
        record_config: the recordings' sizes.
        suite_recipes: the recipes in the suite's file, by task name.
        players: what is recorded in place of the experts, by task name; empty: the experts.
    """

    run: Run
    config: ExpertsConfig
    record_config: RecordConfig
    suite_recipes: Mapping[str, ExpertRecipe]
    players: Mapping[str, Player] = field(default_factory=dict)

    def recipe(self, task: Task) -> ExpertRecipe:
        """The recipe of a task's expert, given the source of this run's experts.

        Raises:
            GatitoError: if experts come from datasets and the task has none.
        """
        return self.config.recipe(task.name, self.suite_recipes[task.name])

    def artifact(self, task: Task) -> Artifact:
        """The artifact of a task's expert.

        Raises:
            GatitoError: if the released expert or the dataset that it is made from is missing.
        """
        return expert_artifact(self.run, task, self.recipe(task), self.config)

    def artifacts(self) -> dict[str, Artifact]:
        """The experts' artifacts by task name."""
        return {task.name: self.artifact(task) for task in self.run.survivors("experts")}

    def reward_only(self) -> dict[str, Artifact]:
        """The artifacts of the reward-only experts by task name, for tasks whose expert weighs a hidden cost."""
        return {
            task.name: expert_artifact(self.run, task, recipe, self.config, REWARD_ONLY)
            for task in self.run.survivors("experts")
            if (recipe := self._reward_only_recipe(task)) is not None
        }

    def _reward_only_recipe(self, task: Task) -> ExpertRecipe | None:
        """The recipe of a task's reward-only expert; None if the task's expert weighs no cost.

        Raises:
            GatitoError: if experts are neither trained here nor programs.
        """
        aligned = self.suite_recipes[task.name]
        if not aligned.cost_weight:
            return None
        recipe = self.config.recipe(task.name, aligned.reward_only)
        if recipe != aligned.reward_only:
            raise GatitoError(
                f"task {task.name} has no reward-only expert with experts={self.config.source}: train it with "
                "experts=train, or leave the task out with tasks=[…].",
                task.name,
            )
        return recipe

    def recordings(self) -> dict[str, Artifact]:
        """The artifacts of the experts' recordings by task name."""
        reward_only, run, config = self.reward_only(), self.run, self.record_config
        made = {}
        for task in run.survivors("record"):
            expert, other, player = self.artifact(task), reward_only.get(task.name), self.players.get(task.name)
            made[task.name] = recording_artifact(run, task, "expert", config, expert, other, player)
        return made

    def is_finished(self, stage: str, name: str) -> bool:
        """Whether the expert of a task, or its recording, is there: the result of the stage of that name."""
        tasks = [task for task in self.run.survivors() if task.name == name]
        if stage == "experts":
            return all(self.artifact(task).is_complete() for task in tasks)
        if stage == "record":
            recordings = self.recordings()
            return all(recordings[task.name].is_complete() for task in tasks if task.name in recordings)
        return False

    def agent(self) -> Agent:
        """The experts as an agent to be scored; experts that are datasets are scored by their recordings."""
        artifacts, recordings, tasks = self.artifacts(), self.recordings(), self.run.survivors("evaluate").tasks
        folders = {name: artifact.folder for name, artifact in artifacts.items()}
        recorded = {
            task.name: recordings[task.name].folder
            for task in self.run.suite
            if task.name in recordings and self.recipe(task).algorithm == DATASET
        }
        return Agent(AgentId("expert"), functools.partial(load_experts, folders, tasks), artifacts, recorded)

    def agents(self) -> list[Agent]:
        """The experts as an agent, and the reward-only experts as another if any expert weighs a hidden cost."""
        reward_only = self.reward_only()
        if not reward_only:
            return [self.agent()]
        artifacts = self.artifacts() | reward_only
        folders, tasks = (
            {name: artifact.folder for name, artifact in artifacts.items()},
            self.run.survivors("evaluate").tasks,
        )
        agent_id = AgentId(REWARD_ONLY)
        load = functools.partial(load_experts, folders, tasks, agent_id.name)
        return [self.agent(), Agent(agent_id, load, artifacts)]

    def teacher(self, task: Task) -> Callable[[], Policy]:
        """A picklable function that loads a task's finished expert in the process that queries it."""
        return functools.partial(load_expert, self.artifact(task).folder, task)

    def player(self, task: Task) -> Policy:
        """The policy of a task's expert; a program needs no stage before.

        Raises:
            GatitoError: if it has to be trained and is not finished.
        """
        recipe = self.recipe(task)
        if recipe.algorithm in PROGRAMS:
            return make_program(task, recipe)
        require({task.name: self.artifact(task)}, "experts")
        return load_expert(self.artifact(task).folder, task)

    def labelling_obstacle(self, task: Task) -> str | None:
        """Why a task's expert cannot label a learner's observations; None if it can."""
        if self.players:
            return "is not what record.player records"
        reasons = {DATASET: "is a dataset", "random": "plays at random"}
        return reasons.get(self.recipe(task).algorithm)

    def training_steps(self, suite: Suite) -> int:
        """Environment steps of training in the suite's recipes, whatever the source of this run's experts."""
        recipes = [self.suite_recipes[task.name] for task in suite]
        return sum(recipe.env_steps for recipe in recipes if recipe.trained)

    def gate_means(self) -> dict[str, float]:
        """Each finished expert's mean score on its gate's episodes, by task name."""
        means = {}
        for name, artifact in self.artifacts().items():
            with self.run.failures.of(name):
                means[name] = read_gate(artifact)["mean"]
        return means

    def find(self) -> None:
        """Record as failures the tasks whose released expert or dataset is missing.

        They are not failures of the stage that trains experts: each command looks anew, since its settings may differ.
        """
        for task in self.run.suite:
            try:
                self.artifact(task)
                self._reward_only_recipe(task)
            except FatalError:
                raise
            except GatitoError as error:
                self.run.failures.add(task.name, str(error))

    def check_environments(self) -> None:
        """Make the environment of each task with an unfinished expert, and record those that fail.

        Environments are made in separate processes: a package that crashes must not end the run.
        """
        self.run.failures.stage = "experts"
        missing = [task for task in self.run.survivors() if not self.artifact(task).is_complete()]
        jobs = [Job(f"check {task.name}", 1, {"task": task}, task.name) for task in missing]
        run_jobs(_make_environment, jobs, workers=self.run.workers, failures=self.run.failures)

    def train(self) -> None:
        """Make the missing experts."""
        recipes = {task.name: self.recipe(task) for task in self.run.survivors("experts")}
        train_experts(self.run, recipes, self.config)
        tasks = {task.name: task for task in self.run.survivors("experts")}
        recipes = {name: recipe for name, task in tasks.items() if (recipe := self._reward_only_recipe(task))}
        if recipes:
            train_experts(self.run, recipes, self.config, REWARD_ONLY)

    def record(self) -> None:
        """Record the experts and the random policy.

        Raises:
            GatitoError: if an expert is not finished.
        """
        experts = self.artifacts()
        require(experts, *STAGES["record"].needs)
        reward_only = self.reward_only()
        require(reward_only, *STAGES["record"].needs)
        record_suite(self.run, experts, self.record_config, reward_only, self.players)

    def export(self) -> None:
        """Write every recording as a Minari dataset, and every trained expert for stable-baselines3.

        Raises:
            GatitoError: if an expert's recording is not finished.
        """
        root, recordings = self.run.folder / "minari", self.recordings()
        require(recordings, *STAGES["export"].needs)
        self._export_models(self.run.folder / "sb3")
        for task in self.run.survivors():
            random = recording_artifact(self.run, task, "random", self.record_config, None)
            for agent, artifact in (("expert", recordings[task.name]), ("random", random)):
                if artifact.is_complete():
                    export_dataset(task, agent, Trajectories(artifact.folder), root)
        console.note(f"{root}: read it with MINARI_DATASETS_PATH={root} minari list local")

    def _export_models(self, root: Path) -> None:
        count = 0
        for task in self.run.survivors():
            with self.run.failures.of(task.name):
                if export_expert(self.artifact(task).folder, task, root / f"{task.name}.zip"):
                    count += 1
        if count:
            console.note(f"{root}: {count} experts, for stable-baselines3's load, or experts=sb3")

    def release(self) -> None:
        """Copy the experts to the folder of released experts."""
        suite, folder = self.run.survivors(), Path(self.config.released)
        recipes = {task.name: self.recipe(task) for task in suite}
        rows = release(suite, self.run.folder, folder, recipes, self.config, self.run.seed)
        line = f"{folder / TABLE}: {len(rows)} experts" if rows else "no expert to release: all are released ones"
        console.note(line)

    def show(self) -> None:
        """Print a row per task of the suite."""
        rows = []
        for task in self.run.suite:
            recipe = self.recipe(task)
            expert = f"{recipe.algorithm}, {recipe.env_steps:,} steps" if recipe.trained else recipe.algorithm
            reference = "-" if task.reference is None else f"{task.reference:g}"
            rows.append([task.name, task.env_id, expert, reference, task.metric])
        columns = ["name", "env id", "expert", "reference", "metric"]
        console.show_table(f"suite {self.run.suite.name}", columns, rows)


def _make_environment(*, task: Task, report: Report) -> None:
    spaces(task)
    report(1)
