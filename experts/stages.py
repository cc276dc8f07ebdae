"""The stages of a run that concern its experts: train, record, export, release."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.play.policy import Policy
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.runs.stage import STAGES, require
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Suite, Task, spaces
from experts.datasets import export_dataset
from experts.recipe import DATASET, ExpertRecipe, ExpertsConfig
from experts.record import RecordConfig, record_suite, recording_artifact
from experts.released import TABLE, release
from experts.train import REWARD_ONLY, expert_artifact, load_expert, load_experts, read_gate, train_experts


@dataclass(frozen=True)
class Experts:
    """The experts of a run, one per task.

    What a method returns is for the tasks that have not failed when it is called.

    Attributes:
        run: the run.
        config: where the experts come from, and what all their recipes share.
        record_config: how much of them is recorded.
        own_recipes: by task name, as the suite states them.
    """

    run: Run
    config: ExpertsConfig
    record_config: RecordConfig
    own_recipes: Mapping[str, ExpertRecipe]

    def recipe(self, task: Task) -> ExpertRecipe:
        """How a task's expert is made, given where this run's experts come from.

        Raises:
            GatitoError: if experts come from datasets and the task has none.
        """
        return self.config.recipe(task.name, self.own_recipes[task.name])

    def artifact(self, task: Task) -> Artifact:
        """A task's expert.

        Raises:
            GatitoError: if it is to be taken from where it is not.
        """
        return expert_artifact(self.run, task, self.recipe(task), self.config)

    def artifacts(self) -> dict[str, Artifact]:
        """The experts by task name."""
        return {task.name: self.artifact(task) for task in self.run.survivors("experts")}

    def reward_only(self) -> dict[str, Artifact]:
        """The reward-only experts by task name, of the tasks whose own expert weighs a hidden cost."""
        return {
            task.name: expert_artifact(self.run, task, recipe, self.config, REWARD_ONLY)
            for task in self.run.survivors("experts")
            if (recipe := self._reward_only_recipe(task)) is not None
        }

    def _reward_only_recipe(self, task: Task) -> ExpertRecipe | None:
        """The recipe of a task's reward-only expert; None where its own expert weighs no cost.

        Raises:
            GatitoError: if experts are neither trained here nor programs.
        """
        own = self.own_recipes[task.name]
        if not own.cost_weight:
            return None
        recipe = self.config.recipe(task.name, own.reward_only)
        if recipe != own.reward_only:
            raise GatitoError(
                f"task {task.name}: there is no reward-only expert to take from experts={self.config.source}: train it "
                "with experts=train, or leave the task out with tasks=[…].",
                task.name,
            )
        return recipe

    def recordings(self) -> dict[str, Artifact]:
        """Their recordings by task name."""
        reward_only = self.reward_only()
        return {
            task.name: recording_artifact(
                self.run, task, "expert", self.record_config, self.artifact(task), reward_only.get(task.name)
            )
            for task in self.run.survivors("record")
        }

    def agent(self) -> Agent:
        """The experts as an agent to be scored; experts that were only recorded are scored by their recordings."""
        artifacts, recordings, tasks = self.artifacts(), self.recordings(), self.run.survivors("evaluate").tasks
        folders = {name: artifact.folder for name, artifact in artifacts.items()}
        recorded = {
            task.name: recordings[task.name].folder
            for task in self.run.suite
            if task.name in recordings and self.recipe(task).algorithm == DATASET
        }
        return Agent(AgentId("expert"), functools.partial(load_experts, folders, tasks), artifacts, recorded)

    def agents(self) -> list[Agent]:
        """The experts, and beside them the reward-only ones where any expert weighs a hidden cost."""
        reward_only = self.reward_only()
        if not reward_only:
            return [self.agent()]
        artifacts = self.artifacts() | reward_only
        folders, tasks = (
            {name: artifact.folder for name, artifact in artifacts.items()},
            self.run.survivors("evaluate").tasks,
        )
        unrestrained = AgentId(REWARD_ONLY)
        load = functools.partial(load_experts, folders, tasks, unrestrained.name)
        return [self.agent(), Agent(unrestrained, load, artifacts)]

    def teacher(self, task: Task) -> Callable[[], Policy]:
        """Makes a task's finished expert, in the process that asks it; picklable."""
        return functools.partial(load_expert, self.artifact(task).folder, task)

    def cannot_label(self, task: Task) -> str | None:
        """Why a task's expert cannot say what a learner should have done; None if it can."""
        reasons = {DATASET: "was only recorded", "random": "plays at random"}
        return reasons.get(self.recipe(task).algorithm)

    def training_steps(self, suite: Suite) -> int:
        """Environment steps of the trainings in the suite's recipes, wherever this run's experts come from."""
        recipes = [self.own_recipes[task.name] for task in suite]
        return sum(recipe.env_steps for recipe in recipes if recipe.trained)

    def gate_means(self) -> dict[str, float]:
        """Each finished expert's mean score on the episodes of its gate, by task name."""
        means = {}
        for name, artifact in self.artifacts().items():
            with self.run.failures.of(name):
                means[name] = read_gate(artifact)["mean"]
        return means

    def find(self) -> None:
        """Note the tasks whose expert is to be taken from where it is not, such as a release, as failures."""
        self.run.failures.stage = "experts"
        for task in self.run.suite:
            try:
                self.artifact(task)
                self._reward_only_recipe(task)
            except FatalError:
                raise
            except GatitoError as error:
                self.run.failures.add(task.name, str(error))

    def check_environments(self) -> None:
        """Make each task's environment once where its expert is not finished, and note those that fail.

        In processes of their own: a package that crashes as its environment is made must not take the run with it.
        """
        self.run.failures.stage = "experts"
        missing = [task for task in self.run.survivors() if not self.artifact(task).is_complete()]
        jobs = [Job(f"look at {task.name}", 1, {"task": task}, task.name) for task in missing]
        run_jobs(_make_environment, jobs, workers=self.run.workers, failures=self.run.failures)

    def train(self) -> None:
        """Make the experts that are not there yet."""
        recipes = {task.name: self.recipe(task) for task in self.run.survivors("experts")}
        train_experts(self.run, recipes, self.config)
        tasks = {task.name: task for task in self.run.survivors("experts")}
        unrestrained = {name: self._reward_only_recipe(task) for name, task in tasks.items()}
        found = {name: recipe for name, recipe in unrestrained.items() if recipe is not None}
        if found:
            train_experts(self.run, found, self.config, REWARD_ONLY)

    def record(self) -> None:
        """Record the experts and the random policy.

        Raises:
            GatitoError: if an expert is not finished.
        """
        experts = self.artifacts()
        require(experts, *STAGES["record"].needs)
        reward_only = self.reward_only()
        require(reward_only, *STAGES["record"].needs)
        record_suite(self.run, experts, self.record_config, reward_only)

    def export(self) -> None:
        """Write every recording as a Minari dataset below the run's folder.

        Raises:
            GatitoError: if an expert's recording is not finished.
        """
        root, recordings = self.run.folder / "minari", self.recordings()
        require(recordings, *STAGES["export"].needs)
        for task in self.run.survivors():
            random = recording_artifact(self.run, task, "random", self.record_config, None)
            for agent, artifact in (("expert", recordings[task.name]), ("random", random)):
                if artifact.is_complete():
                    export_dataset(task, agent, Trajectories(artifact.folder), root)
        console.note(f"{root}: read it with MINARI_DATASETS_PATH={root} minari list local")

    def release(self) -> None:
        """Copy the experts to the folder of released experts."""
        suite, folder = self.run.survivors(), Path(self.config.released)
        recipes = {task.name: self.recipe(task) for task in suite}
        rows = release(suite, self.run.folder, folder, recipes, self.config, self.run.seed)
        console.note(f"{folder / TABLE}: {len(rows)} experts")

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
