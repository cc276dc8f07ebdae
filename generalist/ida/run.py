"""Iterated distillation and amplification: execution of the rounds that :mod:`generalist.ida.rounds` plans.

Run by ``gatito stages=[ida]``. Scoring is a separate stage: the policies of every round are scored with all other
agents.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch

from benchmarks.base import console
from benchmarks.base.compute import Cost
from benchmarks.base.seeds import Purpose, derive
from benchmarks.play.recording import SEEDS_PER_SHARD, RecordingJob, record
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Task
from generalist.distill.distill import train
from generalist.distill.learner import Learner
from generalist.ida.rounds import AMPLIFIED, Ida, Round


def make_rounds(ida: Ida) -> None:
    """Make the missing parts of every round.

    Raises:
        GatitoError: if a round fails; earlier rounds are kept, and the same command resumes.
    """
    for round_ in ida.rounds:
        if round_.side == AMPLIFIED:
            ida.amplifier.make(round_.before, ida.context(round_.number))
        played = record_plays(ida, round_)
        _distil(ida, round_)
        # In self-play, where every game is won by one side, the mean return says nothing.
        measure, unit = (
            ("episodes_per_second", "games per second") if ida.amplifier.self_play else ("mean_return", "mean returns")
        )
        if measured := _by_task(played, measure):
            numbers = ", ".join(f"{task} {value:.4g}" for task, value in measured.items())
            console.note(f"ida: round {round_.number}, {round_.side}, {unit}: {numbers}")


def record_plays(ida: Ida, round_: Round) -> dict[str, float]:
    """Record the missing episodes of a round's player on every amplified task.

    Returns:
        Steps, mean returns and episodes per second of the new recordings by name, see :func:`record`.

    Raises:
        GatitoError: if a task fails.
    """
    run = ida.run.isolated(ida.amplified, "ida")
    player = ida.player(round_.player, ida.options if round_.side == AMPLIFIED else None)
    if ida.amplifier.self_play:
        player = replace(player, deterministic=False)  # the most likely moves would repeat one game
    jobs = []
    for task in run.suite:
        artifact = round_.plays[task.name]
        if artifact.is_complete() or artifact.adopt(run.runs_folder):
            continue
        artifact.start()
        job = RecordingJob(
            task=ida.played(task),
            load=player.on(task, ida.config.noise).load,
            artifact=artifact,
            steps=_steps(ida, round_, task),
            purpose=Purpose.AMPLIFIED,
            seed=run.seed,
            first_seed=(round_.number - 1) * ida.config.shards * SEEDS_PER_SHARD,
            shards=ida.config.shards,
            num_envs=ida.config.num_envs,
            parameters=Cost.read(round_.player.folder).parameters,
            tries=ida.amplifier.plays_per_start if round_.side == AMPLIFIED else 1,
            cost_weight=float(ida.options.get("cost_weight", 0.0)),
            keep_values=ida.keeps_values and round_.side == AMPLIFIED,
        )
        jobs.append(job)
    lines = record(jobs, workers=run.workers, failures=run.failures, suite=run.suite)
    run.failures.stop_if_any()
    if lines:
        lineage = partial(log_lineage, made=[job.artifact for job in jobs], folder=run.folder)
        folder = ida.folder(round_.number) / f"{round_.side}-play"
        run.tracker.write(folder, "ida", lines, log_more=lineage, round=round_.number, side=round_.side)
    return lines


def _by_task(lines: Mapping[str, float], measure: str) -> dict[str, float]:
    """One measure of recordings, by task name."""
    start = f"record/{measure}/"
    return {
        name.removeprefix(start).rpartition("/")[0]: value for name, value in lines.items() if name.startswith(start)
    }


def _steps(ida: Ida, round_: Round, task: Task) -> int:
    """The number of environment steps that a round's player plays of a task."""
    if round_.side == AMPLIFIED:
        return ida.config.env_steps
    matched = ida.matched(round_)
    steps = Cost.read(matched.plays[task.name].folder).env_steps
    if matched.player is not matched.before:  # the amplifier was trained, on all tasks together
        steps += Cost.read(matched.player.folder).env_steps // len(ida.amplified.tasks)
    return min(ida.config.control_env_steps, steps)


def _distil(ida: Ida, round_: Round) -> None:
    """Train the generalist on the kept recordings, and on the experts' if they have a share."""
    if round_.student.is_complete() or round_.student.adopt(ida.run.runs_folder):
        return
    round_.student.start()
    torch.set_num_threads(ida.run.threads)
    # A task that is not amplified is learned from its expert only.
    recordings = {name: recording.folder for name, recording in ida.recordings.items()}
    learner = Learner(
        artifact=round_.student,
        tasks=ida.run.suite.tasks,
        recordings=recordings if ida.config.experts_share else {},
        config=ida.distill,
        model=ida.model,
        codec=ida.recipe.codec,
        seed=derive("ida", ida.run.seed, round_.number),
        start=round_.before.folder,
        fresh=ida.config.fresh,
        student_recordings=[
            {task: play.folder for task, play in plays.items()} for plays in round_.training_plays.values()
        ],
        solved=ida.solved,
    )
    train(learner, ida.run, job_type="ida", label=f"ida {round_.number} {round_.student.kind}")
