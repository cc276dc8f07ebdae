"""Iterated distillation and amplification: make the generalist stronger by spending compute, distil that, repeat.

:mod:`generalist.ida.rounds` plans the rounds; here they are made.

Run by ``gatito stages=[ida]``. Nothing is scored here: the policies of every round are scored with all other agents.
"""

from functools import partial

import torch

from benchmarks.base import console
from benchmarks.base.compute import Cost
from benchmarks.base.seeds import Purpose, derive
from benchmarks.play.recording import SEEDS_PER_SHARD, RecordingJob, record
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Task
from generalist.distill.distill import train
from generalist.distill.train import Learner
from generalist.ida.rounds import AMPLIFIED, Ida, Round

NUM_ENVS = 16
"""Environments of a task that a player plays side by side: planners think for all of them at once."""


def make_rounds(ida: Ida) -> None:
    """Make every round, what is not there yet.

    Raises:
        GatitoError: if a round cannot be made; the rounds before it are kept, and the same command goes on.
    """
    for one in ida.rounds:
        if one.side == AMPLIFIED:
            ida.amplifier.make(one.before, ida.context(one.number))
        means = record_plays(ida, one)
        _distil(ida, one)
        if means:
            returns = ", ".join(f"{task} {mean:.4g}" for task, mean in means.items())
            console.note(f"ida: round {one.number}, {one.side}, mean returns: {returns}")


def record_plays(ida: Ida, one: Round) -> dict[str, float]:
    """Record the player of a round on every amplified task, what is not there yet.

    Returns:
        Mean returns by task name, of what was recorded now.

    Raises:
        GatitoError: if a task fails.
    """
    run = ida.run.isolated(ida.amplified, "ida")
    player = ida.player(one, ida.options)
    jobs = []
    for task in run.suite:
        artifact = one.plays[task.name]
        if artifact.is_complete() or artifact.adopt(run.runs_folder):
            continue
        artifact.start()
        job = RecordingJob(
            task=task,
            load=player.on(task, ida.config.noise).load,
            artifact=artifact,
            steps=_steps(ida, one, task),
            purpose=Purpose.AMPLIFIED,
            seed=run.seed,
            first_seed=(one.number - 1) * ida.config.shards * SEEDS_PER_SHARD,
            shards=ida.config.shards,
            num_envs=NUM_ENVS,
            parameters=Cost.read(one.player.folder).parameters,
            tries=ida.amplifier.plays_per_start if one.side == AMPLIFIED else 1,
        )
        jobs.append(job)
    lines = record(jobs, workers=run.workers, failures=run.failures, suite=run.suite)
    run.failures.stop_if_any()
    if lines:
        lineage = partial(log_lineage, made=[job.artifact for job in jobs], folder=run.folder)
        folder = ida.folder(one.number) / f"{one.side}-play"
        run.tracker.write(folder, "ida", lines, log_more=lineage, round=one.number, side=one.side)
    return {name.split("/", 2)[2].rpartition("/")[0]: value for name, value in lines.items() if "mean_return" in name}


def _steps(ida: Ida, one: Round, task: Task) -> int:
    """How many environment steps of a task the player of a round plays."""
    if one.side == AMPLIFIED:
        return ida.config.env_steps
    matched = ida.matched(one)
    steps = Cost.read(matched.plays[task.name].folder).env_steps
    if matched.player is not matched.before:  # the amplifier was trained, on all tasks together
        steps += Cost.read(matched.player.folder).env_steps // len(ida.amplified.tasks)
    return min(ida.config.control_env_steps, steps)


def _distil(ida: Ida, one: Round) -> None:
    """Let the generalist learn from the plays that are kept, and from the experts if they have a share."""
    if one.student.is_complete() or one.student.adopt(ida.run.runs_folder):
        return
    one.student.start()
    torch.set_num_threads(ida.run.workers)
    # A task that is not amplified is learnt from its expert alone.
    recordings = {name: recording.folder for name, recording in ida.recordings.items()}
    learner = Learner(
        artifact=one.student,
        tasks=ida.run.suite.tasks,
        recordings=recordings if ida.config.experts_share else {},
        config=ida.distill,
        model=ida.model,
        codec=ida.recipe.codec,
        seed=derive("ida", ida.run.seed, one.number),
        start=one.before.folder,
        student_recordings=[{task: play.folder for task, play in plays.items()} for plays in one.learnt.values()],
        solved=ida.solved,
    )
    train(learner, ida.run, job_type="ida", label=f"ida {one.number} {one.student.kind}")
