"""The stages of a run that concern its generalist: distill, controls, ida, and its release.

The generalist learns from recordings of any origin; it accesses the experts only through :class:`Teachers`. torch is
imported where something is computed: importing it takes longer than showing a finished run again.
"""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.base.project import find
from benchmarks.play.policy import Policy
from benchmarks.runs.run import Run
from benchmarks.runs.stage import STAGES, require
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Suite, Task
from generalist.amplifiers import AMPLIFIERS
from generalist.checks import Settings
from generalist.config.networks import network_class
from generalist.config.recipe import NetworkRecipe, generalist_artifact
from generalist.config.settings import CONTROLS
from generalist.controls.control import Control, ControlContext
from generalist.controls.single_task import train_students
from generalist.distill.dagger import run_dagger_round
from generalist.ida.rounds import AMPLIFIED, Ida
from generalist.released import adopt_released_generalist, release_generalist, released_artifact

if TYPE_CHECKING:
    from generalist.distill.distributed import Ranks


class Teachers(Protocol):
    """The experts, as seen by the generalist."""

    def train(self) -> None:
        """Make the experts that do not exist yet."""
        ...

    def recordings(self) -> dict[str, Artifact]:
        """Their recordings by task name."""
        ...

    def teacher(self, task: Task) -> Callable[[], Policy]:
        """A loader of a task's expert, called in the process that uses it; picklable."""
        ...

    def labelling_obstacle(self, task: Task) -> str | None:
        """The reason why a task's expert cannot label a learner's states; None if it can."""
        ...

    def training_steps(self, suite: Suite) -> int:
        """Environment steps of the trainings in the suite's recipes."""
        ...


@dataclass(frozen=True)
class Generalist:
    """The generalist of a run, its controls and its rounds of amplification.

    Methods cover the tasks that have not failed when they are called.

    Attributes:
        run: the run.
        config: the run's settings.
        experts: the experts that it learns from.
    """

    run: Run
    config: Settings
    experts: Teachers

    @property
    def is_released(self) -> bool:
        """Whether the generalist is the one that comes with the project."""
        return self.config.generalist.source == "released"

    @property
    def exists(self) -> bool:
        """Whether the run has a generalist."""
        return self.config.generalist.source != "none"

    @property
    def recipe(self) -> NetworkRecipe:
        """The settings of networks."""
        return NetworkRecipe(self.config.distill, self.config.model, self.config.codec)

    @property
    def first_recipe(self) -> NetworkRecipe:
        """The settings of the generalist before the first round of amplification."""
        return NetworkRecipe(self.config.ida.first(self.config.distill), self.config.model, self.config.codec)

    @property
    def rounds_learn_from_experts(self) -> bool:
        """Whether rounds of amplification use the experts' recordings."""
        return bool(
            self.config.ida.rounds and (self.config.ida.experts_share or self.config.amplifier["name"] == "scale")
        )

    def skipped_stages(self) -> set[str]:
        """Stages that are skipped because a released generalist is used."""
        if self.exists and not self.is_released:
            return set()
        skipped = {"distill", "controls"} if self.exists else {"distill", "controls", "ida"}
        return skipped if self.rounds_learn_from_experts else skipped | {"record"}

    def recordings(self) -> dict[str, Artifact]:
        """The recordings that networks learn from, by task name."""
        recordings = self.experts.recordings()
        return {task.name: recordings[task.name] for task in self.run.survivors("distill")}

    def training_recordings(self) -> dict[str, Artifact]:
        """The recordings that the generalist learns from; controls learn the held-out tasks too."""
        held_out = self.config.distill.held_out
        return {name: recording for name, recording in self.recordings().items() if name not in held_out}

    def _shown_recordings(self) -> dict[str, Artifact]:
        """The recordings of tasks that the generalist does not learn, but plays from demonstrations."""
        if self.config.codec.conditioning != "prompt":
            return {}
        learned = self.training_recordings()
        return {name: recording for name, recording in self.recordings().items() if name not in learned}

    def artifact(self) -> Artifact:
        """The generalist.

        Raises:
            FatalError: if it is a released one that does not exist or does not fit the settings.
        """
        if self.is_released:
            released = self._released_folder()
            tasks = self.run.survivors("distill").tasks
            return released_artifact(self.run.folder, released, tasks, self.config.model, self.config.codec)
        return generalist_artifact(self.run, self.first_recipe, self.training_recordings(), self._shown_recordings())

    def ida(self) -> Ida:
        """The rounds of amplification."""
        return Ida(
            run=replace(self.run, suite=self.run.survivors("distill")),
            config=self.config.ida,
            options=self.config.amplifier,
            start=self.artifact(),
            recordings=self.training_recordings(),
            recipe=self.recipe,
            deterministic=self.config.generalist.deterministic,
        )

    def newest(self) -> tuple[int | None, Artifact]:
        """The generalist after the last finished round, with the round's number; None: the one before any round."""
        students = {round_.number: round_.student for round_ in self.ida().rounds if round_.side == AMPLIFIED}
        finished = (number for number in sorted(students, reverse=True) if students[number].is_complete())
        newest = next(finished, None)  # earlier ones may have been removed since
        return newest, self.artifact() if newest is None else students[newest]

    def amplified_tasks(self) -> set[str] | None:
        """The names of the amplified tasks; None without rounds."""
        return {task.name for task in self.ida().amplified} if self.config.ida.rounds else None

    def controls(self) -> list[Control]:
        """The configured controls."""
        suite = self.run.survivors("distill")
        context = ControlContext(
            run=self.run,
            config=self.config.controls,
            recipe=self.recipe,
            recordings=self.recordings(),
            expert_env_steps=self.experts.training_steps(suite),
            deterministic=self.config.generalist.deterministic,
        )
        return [CONTROLS.load(name)(context) for name in self.config.controls.agents]

    def check(self) -> None:
        """Mark tasks as failed that do not fit the network or whose expert cannot label, before any work is done.

        Raises:
            GatitoError: if rounds of amplification or a control cannot work.
        """
        self.run.failures.stage = "distill"
        learned = self.training_recordings() if self.artifact().is_complete() and not self.is_released else {}
        if tasks := [task for task in self.run.survivors() if task.name not in learned]:
            self._check_tasks(tasks)
        self.ida().check()
        if self.config.generalist.amplified:
            self.ida().check_planner()
        for control in self.controls():
            control.check()

    def _check_tasks(self, tasks: Sequence[Task]) -> None:
        check_task = network_class(self.config.codec.name).check_task
        for task in tasks:
            try:
                check_task(self.config.codec, task, self.config.model.context_length)
            except FatalError:
                raise  # a setting of the codec that is wrong for every task
            except GatitoError as error:
                self.run.failures.add(task.name, str(error))
            reason = self.experts.labelling_obstacle(task)
            if self.config.distill.dagger.rounds and reason:
                self.run.failures.add(
                    task.name,
                    f"the expert of task {task.name} {reason}, so it cannot label a learner's states: set "
                    "distill.dagger.rounds=0, or leave the task out with tasks=[…].",
                )

    def distill(self) -> None:
        """Distil the experts' recordings, together with the other processes that ``torchrun`` started.

        Raises:
            GatitoError: if a recording is not finished.
        """
        require(self.experts.recordings(), *STAGES["distill"].needs)
        if self.artifact().is_complete() and "WORLD_SIZE" not in os.environ:  # other processes would wait for this one
            return
        from generalist.distill.distributed import Ranks

        ranks = Ranks.join(self.config.distill.device)
        ranks.agree([task.name for task in self.run.survivors("distill")])
        self.distill_with(ranks)

    def distill_with(self, ranks: "Ranks") -> None:
        """Distil as one process of a group that trains together."""
        from generalist.distill.distill import distill

        recordings, recipe = self.training_recordings(), self.first_recipe
        shown = self._shown_recordings()
        suite = self.run.survivors("distill").part(recordings)
        run = replace(self.run, suite=suite)
        play_round = functools.partial(
            run_dagger_round,
            run=run,
            teachers={task.name: self.experts.teacher(task) for task in suite},
            learner=self.artifact(),
            config=recipe.distill,
        )
        threads = max(1, run.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        with_shown = replace(run, suite=self.run.survivors("distill").part(recordings | shown), workers=threads)
        distill(with_shown, recordings, recipe, shown=shown, ranks=ranks, play_round=play_round)

    def train_controls(self) -> None:
        """Train the configured controls.

        Raises:
            GatitoError: if an expert's recording is not finished.
        """
        require(self.experts.recordings(), *STAGES["controls"].needs)
        train_students(self.run, [student for control in self.controls() for student in control.students()])
        for control in self.controls():
            control.train()

    def amplify(self) -> None:
        """Make the rounds of amplification, if there are any.

        Raises:
            GatitoError: if the generalist or a needed recording of an expert is not finished.
        """
        if not self.config.ida.rounds:
            return
        self.adopt_released()
        require({"": self.artifact()}, *STAGES["ida"].needs)
        if self.rounds_learn_from_experts:
            require(self.experts.recordings(), "record")
        from generalist.ida.run import make_rounds

        make_rounds(self.ida())

    def adopt_released(self) -> None:
        """Copy the released generalist and experts into the run, unless they are there."""
        if not self.is_released:
            return
        stage, self.run.failures.stage = self.run.failures.stage, "experts"
        self.experts.train()  # released experts are copied, programs play for their gates
        self.run.failures.stage = stage
        adopt_released_generalist(self._released_folder(), self.artifact())

    def _released_folder(self) -> Path:
        """Where the released generalist is read from."""
        return find(self.config.generalist.released_folder(self.run.suite.name))

    def release(self) -> None:
        """Copy the newest finished generalist to the folder of the released one, unless the run began with that one."""
        if not self.exists:
            return
        round_, artifact = self.newest()
        folder = self.config.generalist.released_folder(self.run.suite.name)
        if self.is_released:
            if round_:
                console.note(
                    f"{folder}: this run began with it, so it stays; name the one after round {round_} with "
                    f"generalist=released generalist.released={artifact.folder}"
                )
        elif artifact.is_complete():
            release_generalist(artifact, folder)
            after = f" after round {round_}" if round_ else ""
            console.note(f"{folder}: the generalist of {self.run.folder}{after}")

    def agents(self) -> list[Agent]:
        """The generalist, its controls, and the players and students of every round, as agents for scoring."""
        if not self.exists:
            return []
        agents = [self._network_agent(AgentId("generalist"), self.artifact()), *self._round_agents()]
        if self.config.generalist.amplified:
            agents.append(self._player(AgentId(AMPLIFIED), self.ida(), self.artifact()))
        return agents + [agent for agent in (control.agent() for control in self.controls()) if agent is not None]

    def _round_agents(self) -> list[Agent]:
        ida, agents, is_scored = self.ida(), [], self.config.ida.is_scored
        for round_ in ida.rounds:
            earlier, plays = ida.earlier(round_), list(round_.plays.values())
            if round_.side == AMPLIFIED and ida.scores_players and is_scored(round_.number):
                agents.append(self._player(AgentId(AMPLIFIED, round_.number), ida, round_.player, earlier))
            student = AgentId("generalist" if round_.side == AMPLIFIED else round_.side, round_.number)
            if is_scored(round_.number) or is_scored(round_.number + 1):  # a gain is over the round before
                agents.append(replace(self._network_agent(student, round_.student), earlier=[*earlier, *plays]))
        return agents

    def _player(self, agent: AgentId, ida: Ida, network: Artifact, earlier: Sequence[Artifact] = ()) -> Agent:
        """An amplified policy; ``earlier``: all artifacts that it depends on, except the network."""
        return Agent(
            agent,
            ida.player(network, ida.scored_options).load,
            {"": network},
            earlier=earlier,
            episodes=self.config.ida.episodes,
            num_envs=self.config.ida.num_envs,
            how=ida.scored_options | AMPLIFIERS.code(str(ida.options.get("name"))) | self._how(),
        )

    def _network_agent(self, agent: AgentId, network: Artifact) -> Agent:
        tasks = self.run.survivors("evaluate").tasks
        load = functools.partial(
            _load_policy, network.folder, tasks, deterministic=self.config.generalist.deterministic
        )
        return Agent(agent, load, {"": network}, how=self._how())

    def _how(self) -> dict[str, bool]:
        """Settings of how networks act that differ from the defaults."""
        return {} if self.config.generalist.deterministic else {"deterministic": False}


def _load_policy(folder: Path, tasks: Sequence[Task], *, deterministic: bool) -> Policy:
    """The policy of a network, loaded in the process that plays."""
    from generalist.network.policy import NetworkPolicy

    return NetworkPolicy.load(folder, tasks, deterministic=deterministic)
