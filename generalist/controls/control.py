"""The protocol of a control: agents that learn from what the generalist learns from, to compare it with.

A new control is one module here, with a class that follows :class:`Control`, and one line in
``generalist.config.settings.CONTROLS``; a plugin registers its class there.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.base.artifacts import Artifact
from benchmarks.runs.run import Run
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Task
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import ControlsConfig


@dataclass(frozen=True)
class Student:
    """One network of a control, which is distilled from the recording of one task.

    Attributes:
        agent: the name of the control, such as ``specialist``.
        task: that it learns.
        recording: that it learns from.
        recipe: its share of the generalist's training, its architecture, its inputs and outputs.
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
    """What a control is made from.

    Attributes:
        run: the run, whose ``survivors("distill")`` are the tasks to learn.
        config: the settings ``controls``.
        recipe: how the generalist is made: its training, its size, its inputs and outputs.
        recordings: the experts' recordings, by task name.
        expert_env_steps: environment steps of the experts' trainings together.
        deterministic: whether networks play their most likely actions.
    """

    run: Run
    config: ControlsConfig
    recipe: NetworkRecipe
    recordings: Mapping[str, Artifact]
    expert_env_steps: int
    deterministic: bool

    @property
    def policy_settings(self) -> dict[str, Any]:
        """Settings that decide how networks act, where they are not the defaults."""
        return {} if self.deterministic else {"deterministic": False}


class Control(ABC):
    """One control of a run."""

    def __init__(self, context: ControlContext) -> None:
        self.context = context

    def check(self) -> None:
        """Refuse what cannot work, before anything is made.

        Raises:
            GatitoError: in one line, with the way out.
        """
        return

    def students(self) -> Sequence[Student]:
        """Networks of single tasks that are to be distilled; those of all controls are trained side by side."""
        return ()

    def train(self) -> None:
        """Make everything else that it consists of, unless it is there."""
        return

    @abstractmethod
    def agent(self) -> Agent | None:
        """The control as an agent to be scored; None: there is no task that it can play."""
