"""``specialist`` and ``clone``: one network per task, distilled from the recordings that the generalist learns from.

A specialist has the generalist's architecture and its share of the training: the gap between the two is the cost of
sharing one network. A clone is an MLP with the same training: its gap to the specialist is the value of memory.

Run by ``gatito stages=[controls]``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.play.policy import PolicyPerTask
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.runs.tracking import pump
from benchmarks.runs.wandb import log_lineage
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.actions import options_of
from generalist.config.codec import CodecConfig
from generalist.config.recipe import NetworkRecipe, single_task_artifact
from generalist.config.settings import ModelConfig, for_one_task
from generalist.controls.control import Control, Student
from generalist.network.modalities import modality_of, part_spaces, vector_size


class _SingleTask(Control):
    """One network per task."""

    name: str

    def students(self) -> list[Student]:
        """One network per task of the run that has reached distillation."""
        context = self.context
        return students(self.name, context.run, context.recordings, context.config.clone, context.recipe)

    def agent(self) -> Agent | None:
        """The networks of the tasks that have not failed, as one agent."""
        tasks = self.context.run.survivors("evaluate").tasks
        networks = {student.task.name: student.artifact for student in self.students() if student.task in tasks}
        load = partial(
            load_students,
            self.name,
            {name: artifact.folder for name, artifact in networks.items()},
            [task for task in tasks if task.name in networks],
            deterministic=self.context.deterministic,
        )
        return Agent(AgentId(self.name), load, networks, how=self.context.policy_settings)


class Clone(_SingleTask):
    """One MLP per task."""

    name = "clone"


class Specialist(_SingleTask):
    """One network with the generalist's architecture per task."""

    name = "specialist"


def students(
    agent: str, run: Run, recordings: Mapping[str, Artifact], clone: ModelConfig, recipe: NetworkRecipe
) -> list[Student]:
    """The networks of a control, one per task of the run that has reached distillation.

    Args:
        agent: ``specialist`` or ``clone``.
        run: the run.
        recordings: the experts' recordings by task name.
        clone: the architecture of ``clone``; a ``specialist`` has the generalist's.
        recipe: the settings of the generalist.
    """
    suite = run.survivors("distill")
    names = [task.name for task in suite]
    networks = []
    for task in suite:
        share = replace(recipe, distill=for_one_task(recipe.distill, task.name, names))
        if agent == "clone":
            # As many steps per window as the others have: its own context, a single step, would be a window of one.
            distill = replace(share.distill, sequence_length=recipe.distill.length(recipe.model))
            share = replace(share, model=clone, codec=_fitted(recipe.codec, task), distill=distill)
        recording = recordings[task.name]
        artifact = single_task_artifact(run, agent, task.name, share, recording)
        networks.append(Student(agent, task, recording, share, run.seed, artifact))
    return networks


def train_students(run: Run, networks: Sequence[Student]) -> None:
    """Train the missing networks, each in a process with one thread; tasks that fail are left out.

    Raises:
        GatitoError: if a finished network's files are damaged.
    """
    missing = [
        student
        for student in networks
        if not student.artifact.is_complete() and not student.artifact.adopt(run.runs_folder)
    ]
    jobs, mirrors = [], []
    for student in missing:
        student.artifact.start()
        label = f"{student.agent} {student.task.name}"
        jobs.append(Job(label, student.recipe.distill.updates, {"student": student}, student.task.name))
        config = asdict(student.recipe.distill) | {"model": asdict(student.recipe.model)}
        mirrors.append(run.tracker.mirror(student.artifact.folder, "controls", env_id=student.task.env_id, **config))

    try:
        run_jobs(_train, jobs, workers=run.workers, failures=run.failures, on_poll=partial(pump, mirrors))
    finally:
        for student, mirror in zip(missing, mirrors, strict=True):
            mirror.finish(log_more=partial(log_lineage, made=[student.artifact], folder=run.folder))


def load_students(
    agent: str, folders: Mapping[str, Path], tasks: Sequence[Task], *, deterministic: bool = True
) -> PolicyPerTask:
    """Load the networks of several tasks as one agent."""
    from generalist.network.policy import NetworkPolicy

    return PolicyPerTask(
        agent,
        {
            task.name: NetworkPolicy.load(folders[task.name], [task], agent, deterministic=deterministic)
            for task in tasks
            if task.name in folders
        },
    )


def _train(*, student: Student, report: Report) -> None:
    from generalist.distill.learner import Learner
    from generalist.distill.train import fit

    recordings = {student.task.name: student.recording.folder}
    recipe = student.recipe
    learner = Learner(
        student.artifact, [student.task], recordings, recipe.distill, recipe.model, recipe.codec, student.seed
    )
    fit(learner, report)


def _fitted(codec: CodecConfig, task: Task) -> CodecConfig:
    """The ``step`` codec reduced to one task's sizes, so that the clone has no unused parameters.

    The observation of the current step is its only input, whatever the generalist's inputs are.
    """
    observation, action = spaces(task)
    kinds = {modality_of(part) for part in part_spaces(observation).values()}
    choices = options_of(action)
    return replace(
        codec,
        name="step",
        conditioning="none",
        previous_actions=False,
        observation_loss=0.0,
        vector_width=vector_size(observation),
        image_frames=codec.image_frames if "image" in kinds else 0,
        grid_size=codec.grid_size if "grid" in kinds else 0,
        text_length=codec.text_length if "text" in kinds else 0,
        discrete_actions=sum(choices) or 1,
        action_dimensions=1 if choices else math.prod(action.shape or ()),
        bins=1 if choices else codec.bins,
    )
