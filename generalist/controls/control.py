"""The protocol of controls: baselines that learn from the same recordings as the generalist.

A new control is one module here, with a class that follows :class:`Control`, and one line in
``generalist.config.settings.CONTROLS``; a plugin registers its class there.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import Artifact
from benchmarks.play.policy import Policy
from benchmarks.runs.run import Run
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Suite, Task
from generalist.config.recipe import NetworkRecipe, memory_artifact
from generalist.config.settings import ControlsConfig


@dataclass(frozen=True)
class Student:
    """A network of a control that is distilled from the recording of one task.

    Attributes:
        agent: the name of the control, such as ``specialist``.
        task: the task that it learns.
        recording: the recording that it learns from.
        recipe: its settings, with its share of the generalist's training.
        seed: its training seed.
        artifact: the finished network.
    """

    agent: str
    task: Task
    recording: Artifact
    recipe: NetworkRecipe
    seed: int
    artifact: Artifact


@dataclass(frozen=True)
class ControlContext:
    """The input of a control.

    Attributes:
        run: the run, whose ``survivors("distill")`` are the tasks to learn.
        config: the settings ``controls``.
        recipe: the settings of the generalist.
        recordings: the experts' recordings by task name.
        expert_env_steps: environment steps of all experts' trainings together.
        deterministic: whether networks take their most likely actions.
    """

    run: Run
    config: ControlsConfig
    recipe: NetworkRecipe
    recordings: Mapping[str, Artifact]
    expert_env_steps: int
    deterministic: bool

    @property
    def policy_settings(self) -> dict[str, Any]:
        """Settings of how networks act that differ from the defaults."""
        return {} if self.deterministic else {"deterministic": False}


class Control(ABC):
    """One control of a run."""

    def __init__(self, context: ControlContext) -> None:
        self.context = context

    def check(self) -> None:
        """Reject settings and tasks that cannot work, before any work is done.

        Raises:
            GatitoError: one line that names the remedy.
        """
        return

    def students(self) -> Sequence[Student]:
        """Networks of single tasks to distil; those of all controls are trained in parallel."""
        return ()

    def train(self) -> None:
        """Make all other parts of the control, unless they exist."""
        return

    @abstractmethod
    def agent(self) -> Agent | None:
        """The control as an agent for scoring; None if it can play no task."""


class MemoryControl(Control):
    """A control without a network: one memory per task, made from the task's recording.

    Attributes:
        name: the agent's name.
    """

    name: str

    @staticmethod
    @abstractmethod
    def make(task: Task, recording: Artifact, artifact: Artifact, runs: Path) -> None:
        """Make a task's memory from its recording, unless it exists below the folder of runs.

        Raises:
            GatitoError: if the recording is damaged.
        """

    @staticmethod
    @abstractmethod
    def load(folders: Mapping[str, Path], suite: Suite) -> Policy:
        """Load the memories of a suite's tasks, by task name, as one policy."""

    def memories(self) -> dict[str, Artifact]:
        """The memories by task name."""
        run, recordings = self.context.run, self.context.recordings
        return {task: memory_artifact(run, self.name, task, recording) for task, recording in recordings.items()}

    def train(self) -> None:
        """Make the missing memories."""
        run, memories = self.context.run, self.memories()
        for task in run.survivors():
            self.make(task, self.context.recordings[task.name], memories[task.name], run.runs_folder)

    def agent(self) -> Agent | None:
        """The memories as one agent; None without memories."""
        suite, memories = self.context.run.survivors("evaluate"), self.memories()
        if not memories:
            return None
        load = partial(self.load, {name: artifact.folder for name, artifact in memories.items()}, suite)
        return Agent(AgentId(self.name), load, memories)
