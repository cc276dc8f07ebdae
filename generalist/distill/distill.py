"""Distil recordings into one network for all tasks: the generalist.

Run by ``gatito stages=[distill]``.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import torch

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.runs.run import Run
from benchmarks.runs.wandb import log_lineage
from generalist.config.recipe import NetworkRecipe, generalist_artifact, start_folder
from generalist.distill.distributed import Ranks
from generalist.distill.learner import Learner
from generalist.distill.start import check_start
from generalist.distill.train import PlayRound, fit, within_budget


def distill(
    run: Run,
    recordings: Mapping[str, Artifact],
    recipe: NetworkRecipe,
    *,
    shown: Mapping[str, Artifact] = {},
    ranks: Ranks | None = None,
    play_round: PlayRound | None = None,
) -> Artifact:
    """Train the generalist on every task's expert recording, unless it exists.

    Args:
        run: the run, whose suite is the tasks to learn and to show; its workers are threads of this process.
        recordings: the experts' recordings of the tasks to learn, by task name.
        recipe: the settings of the network.
        shown: the experts' recordings of tasks that are not learned, which demonstrations are taken from.
        ranks: this process in a group that trains together; None for a single process.
        play_round: plays a DAgger round; needed if ``distill.dagger.rounds`` is above 0.

    Raises:
        GatitoError: if a setting does not fit, a recording is damaged, a task does not fit the codec, or the loss
            becomes NaN (the last good checkpoint is kept).
    """
    config = recipe.distill
    ranks = ranks or Ranks.alone(config.device)
    least = config.gradient_accumulation * ranks.size
    if config.batch_size < least:
        raise GatitoError(
            f"distill.batch_size={config.batch_size} is too small for {ranks.size} processes of "
            f"{config.gradient_accumulation} parts each: set distill.batch_size={least}, or start fewer processes."
        )
    if config.sharded and (recipe.codec.conditioning == "prompt" or recipe.model.kind != "transformer"):
        raise GatitoError(
            "distill.sharded=true cuts transformers whose processes all use the same blocks: set distill.sharded=false "
            "with codec.conditioning=prompt or model.kind=perceptron."
        )
    artifact = generalist_artifact(run, recipe, recordings, shown)
    if ranks.agree(ranks.leads and (artifact.is_complete() or artifact.adopt(run.runs_folder))):
        return artifact
    torch.set_num_threads(run.workers)
    if ranks.leads:
        artifact.start()
    ranks.agree()  # wait until outdated checkpoints are removed, before any rank looks for one
    folders = {name: recording.folder for name, recording in {**recordings, **shown}.items()}
    tasks, others = run.suite.part(recordings), run.suite.part(shown)
    start = start_folder(run, config)
    if start is not None:
        check_start(start, recipe, tasks.tasks)
    learner = Learner(
        artifact, tasks.tasks, folders, config, recipe.model, recipe.codec, run.seed, start, shown=others.tasks
    )
    if not ranks.leads:
        fit(learner, lambda done: None, ranks=ranks)
        return artifact
    train(learner, run, job_type="distill", label="distill", ranks=ranks, play_round=play_round)
    return artifact


def train(
    learner: Learner,
    run: Run,
    *,
    job_type: str,
    label: str,
    ranks: Ranks | None = None,
    play_round: PlayRound | None = None,
) -> None:
    """Fit a network whose artifact is started, with a progress bar and a tracked learning curve.

    Args:
        learner: the network to train.
        run: the run.
        job_type: the job type of its W&B run.
        label: the label of its progress bar.
        ranks: this process in a group that trains together; None for a single process.
        play_round: plays a DAgger round of the learner's config.
    """
    if learner.config.flops:
        learner, _ = within_budget(learner)
    config, artifact = learner.config, learner.artifact
    # Opened before the log, so that the W&B run receives the curve from its first line on.
    settings = asdict(config) | {"model": asdict(learner.model)}
    mirror = run.tracker.mirror(artifact.folder, job_type, env_id=run.suite.name, **settings)
    try:
        with console.progress() as bars:
            bar = bars.add_task(label, total=config.updates, note="")

            def report(done: int) -> None:
                bars.update(bar, completed=done)
                if done % config.log_every == 0:
                    mirror.pump()

            fit(learner, report, ranks=ranks, play_round=play_round)
    finally:
        mirror.finish(log_more=partial(log_lineage, made=[artifact], folder=run.folder))
