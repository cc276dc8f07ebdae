"""``specialist`` and ``clone``: one network per task, distilled from the recordings that the generalist learns from.

A specialist has the generalist's architecture and its share of the training: what sharing one network costs is the gap
between the two. A clone is an MLP with the same training: what memory is worth is the gap between it and a specialist.

Run by ``gatito stages=[controls]``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import gymnasium as gym

from benchmarks.base.artifacts import Artifact
from benchmarks.play.policy import PolicyPerTask
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.tracking import Tracker, pump
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Suite, Task, spaces
from generalist.config.codec import CodecConfig
from generalist.config.settings import ControlsConfig, DistillConfig, ModelConfig, for_one_task, single_task_artifact
from generalist.network.modalities import kind_of, part_spaces, vector_size


@dataclass(frozen=True)
class Student:
    """One network of a control.

    Attributes:
        agent: ``specialist`` or ``clone``.
        task: what it learns.
        recording: whose recording it learns from.
        config: its share of the generalist's training.
        model: its architecture.
        codec: its inputs and outputs.
        seed: its training seed.
        artifact: where it lives.
    """

    agent: str
    task: Task
    recording: Artifact
    config: DistillConfig
    model: ModelConfig
    codec: CodecConfig
    seed: int
    artifact: Artifact


def students(
    agent: str,
    suite: Suite,
    recordings: Mapping[str, Artifact],
    controls: ControlsConfig,
    config: DistillConfig,
    model: ModelConfig,
    codec: CodecConfig,
    *,
    run: Path,
    seed: int,
) -> list[Student]:
    """The networks of ``specialist`` or ``clone``, one a task, given what the generalist is trained with."""
    made = []
    for task in suite:
        own = for_one_task(config, task.name, [each.name for each in suite])
        shape, inputs = (controls.clone, _fitted(codec, task)) if agent == "clone" else (model, codec)
        recording = recordings[task.name]
        artifact = single_task_artifact(run, agent, task.name, own, shape, inputs, recording, seed)
        made.append(Student(agent, task, recording, own, shape, inputs, seed, artifact))
    return made


def train_students(made: Sequence[Student], *, run: Path, workers: int, tracker: Tracker, failures: Failures) -> None:
    """Train every network that is not there yet, one process and one thread each; tasks that fail are left out.

    Raises:
        GatitoError: if a finished network's files are damaged.
    """
    missing = [each for each in made if not each.artifact.is_complete() and not each.artifact.adopt(run.parent)]
    jobs, mirrors = [], []
    for student in missing:
        student.artifact.start()
        label = f"{student.agent} {student.task.name}"
        jobs.append(Job(label, student.config.updates, {"student": student}, student.task.name))
        config = asdict(student.config) | {"model": asdict(student.model)}
        mirrors.append(tracker.mirror(student.artifact.folder, "controls", env_id=student.task.env_id, **config))

    try:
        run_jobs(_train, jobs, workers=workers, failures=failures, on_poll=partial(pump, mirrors))
    finally:
        for student, mirror in zip(missing, mirrors, strict=True):
            mirror.finish(log_more=partial(log_lineage, made=[student.artifact], folder=run))


def load_students(
    agent: str, folders: Mapping[str, Path], tasks: Sequence[Task], *, draws: bool = False
) -> PolicyPerTask:
    """The networks of several tasks, played as one agent."""
    from generalist.network.policy import NetworkPolicy

    return PolicyPerTask(
        agent,
        {
            task.name: NetworkPolicy.load(folders[task.name], [task], agent, draws=draws)
            for task in tasks
            if task.name in folders
        },
    )


def _train(*, student: Student, report: Report) -> None:
    from generalist.distill.train import Learner, fit

    recordings = {student.task.name: student.recording.folder}
    settings = (student.config, student.model, student.codec, student.seed)
    fit(Learner(student.artifact, [student.task], recordings, *settings), report)


def _fitted(codec: CodecConfig, task: Task) -> CodecConfig:
    """The ``step`` codec cut to one task's sizes, so that the clone's parameters are those that it uses.

    Whatever the generalist is told besides observations, an MLP of one step is not.
    """
    observation, action = spaces(task)
    kinds = {kind_of(part) for part in part_spaces(observation).values()}
    sizes = {"vector_width": vector_size(observation)}
    for kind, setting in (("image", "image_frames"), ("grid", "grid_size"), ("text", "text_length")):
        if kind not in kinds:
            sizes[setting] = 0
    if isinstance(action, gym.spaces.Discrete):
        sizes |= {"discrete_actions": int(action.n), "action_dimensions": 1, "bins": 1}
    else:
        sizes |= {"discrete_actions": 1, "action_dimensions": math.prod(action.shape or ())}
    return replace(codec, name="step", conditioning="none", previous_actions=False, observation_loss=0.0, **sizes)
