"""Rounds of practice: the network plays every task, and each task's expert says what it would have done.

Part of ``gatito stages=[distill]`` where ``distill.dagger.rounds`` is above zero.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.base.seeds import Purpose
from benchmarks.play.policy import Policy, TeacherLabelled
from benchmarks.play.recording import RecordingJob, record
from benchmarks.runs.failures import Failures
from benchmarks.runs.tracking import Tracker
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Suite, Task
from generalist.config.settings import DistillConfig

_NUM_ENVS = 4  # few: episodes that are under way when the steps are reached are finished
_SEEDS_PER_ROUND = 10_000

Teacher = Callable[[], Policy]
"""Makes a task's expert, in the process that asks it; picklable."""


def practice_artifact(run: Path, task: Task, number: int, learner: Artifact, config: DistillConfig) -> Artifact:
    """Where what the learner does on a task in a round lives, and what decides it."""
    settings = {"task": task.digest, "agent": f"student-{number}", "steps": config.dagger.env_steps}
    folder = run / "trajectories" / task.name / f"student-{number}"
    return Artifact(folder, "trajectories", settings, {"learner": learner.fingerprint})


def run_dagger_round(
    number: int,
    student: Path,
    *,
    suite: Suite,
    teachers: Mapping[str, Teacher],
    learner: Artifact,
    config: DistillConfig,
    run: Path,
    seed: int,
    workers: int,
    tracker: Tracker,
) -> dict[str, Path]:
    """Play a round, what is not there yet. A task that fails is said, and learnt without this round.

    Args:
        number: of the round, from 1.
        student: folder of the network as it is now.
        suite: what it plays.
        teachers: by task name.
        learner: the network's artifact, which decides what it has learnt up to this round.
        config: how much is played.
        run: the run's folder.
        seed: the training seed.
        workers: processes.
        tracker: told how well it plays.

    Returns:
        Folders of the recordings by task name.

    Raises:
        GatitoError: if every task fails.
    """
    # Failures of their own: what the network is made of does not change because one of its tasks was not practised.
    failures = Failures([task.name for task in suite])
    failures.stage = "distill"
    made = {task.name: practice_artifact(run, task, number, learner, config) for task in suite}
    takes = []
    for task in suite:
        if not made[task.name].is_complete():
            made[task.name].start()
            load = functools.partial(_load, student, task, teachers[task.name], config.dagger.env_steps)
            about = {"first_seed": number * _SEEDS_PER_ROUND, "num_envs": _NUM_ENVS, "keep_given_up": True}
            take = RecordingJob(task, load, made[task.name], config.dagger.env_steps, Purpose.PRACTICE, seed, **about)
            takes.append(take)
    lines = record(takes, workers=workers, failures=failures, suite=suite)
    finished = {name: artifact for name, artifact in made.items() if artifact.is_complete()}
    if not finished:
        failures.stop_if_any()
    if lines:
        told = functools.partial(log_lineage, made=[take.artifact for take in takes if take.task.name in finished])
        folder = run / "practice" / f"round-{number}"
        tracker.write(folder, f"practice-{number}", lines, log_more=functools.partial(told, folder=run))
    return {name: artifact.folder for name, artifact in finished.items()}


def _load(student: Path, task: Task, teacher: Teacher, longest: int) -> Policy:
    from generalist.network.policy import NetworkPolicy

    return TeacherLabelled(NetworkPolicy.load(student, [task], "student"), teacher(), longest)
