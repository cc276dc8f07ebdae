"""DAgger rounds (Ross et al. 2011): the network plays every task, and the task's expert labels its steps.

Part of ``gatito stages=[distill]`` if ``distill.dagger.rounds`` is above zero.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.base.seeds import Purpose
from benchmarks.play.policy import Policy, TeacherLabelled
from benchmarks.play.recording import RecordingJob, record
from benchmarks.runs.run import Run
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Task
from generalist.config.settings import DistillConfig

_NUM_ENVS = 4  # few, since running episodes are finished even after enough steps are recorded
_SEEDS_PER_ROUND = 10_000

Teacher = Callable[[], Policy]
"""Loads the expert of a task, in the process that runs the episodes; picklable."""


def dagger_artifact(run: Run, task: Task, number: int, learner: Artifact, config: DistillConfig) -> Artifact:
    """The recording of the network's episodes on a task in one round."""
    settings = {"task": task.digest, "agent": f"student-{number}", "steps": config.dagger.env_steps}
    folder = run.folder / "trajectories" / task.name / f"student-{number}"
    return Artifact(folder, "trajectories", settings, {"learner": learner.fingerprint})


def run_dagger_round(
    number: int,
    student: Path,
    *,
    run: Run,
    teachers: Mapping[str, Teacher],
    learner: Artifact,
    config: DistillConfig,
) -> dict[str, Path]:
    """Record the missing episodes of a round. A task that fails is left out of the round, with a warning.

    Args:
        number: number of the round, from 1.
        student: folder of the network's current weights.
        run: the run, whose suite is played.
        teachers: experts by task name.
        learner: artifact of the network, whose fingerprint is an input of the recordings.
        config: the number of steps.

    Returns:
        Folders of the recordings by task name.

    Raises:
        GatitoError: if every task fails.
    """
    # Failures stay within the round: the network's fingerprint does not depend on which tasks could be played.
    suite, failures = run.suite, run.isolated(run.suite, "distill").failures
    artifacts = {task.name: dagger_artifact(run, task, number, learner, config) for task in suite}
    jobs = []
    for task in suite:
        if not artifacts[task.name].is_complete():
            artifacts[task.name].start()
            steps = config.dagger.env_steps
            job = RecordingJob(
                task=task,
                load=functools.partial(_load, student, task, teachers[task.name], steps),
                artifact=artifacts[task.name],
                steps=steps,
                purpose=Purpose.DAGGER,
                seed=run.seed,
                first_seed=number * _SEEDS_PER_ROUND,
                num_envs=_NUM_ENVS,
                keep_abandoned=True,
            )
            jobs.append(job)
    lines = record(jobs, workers=run.workers, failures=failures, suite=suite)
    finished = {name: artifact for name, artifact in artifacts.items() if artifact.is_complete()}
    if not finished:
        failures.stop_if_any()
    if lines:
        played = [job.artifact for job in jobs if job.task.name in finished]
        lineage = functools.partial(log_lineage, made=played, folder=run.folder)
        folder = run.folder / "dagger" / f"round-{number}"
        run.tracker.write(folder, "dagger", lines, log_more=lineage, round=number)
    return {name: artifact.folder for name, artifact in finished.items()}


def _load(student: Path, task: Task, teacher: Teacher, longest: int) -> Policy:
    from generalist.network.policy import NetworkPolicy

    return TeacherLabelled(NetworkPolicy.load(student, [task], "student"), teacher(), longest)
