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
from generalist.config.recipe import NetworkRecipe, generalist_artifact
from generalist.distill.distributed import Ranks
from generalist.distill.train import Learner, Practice, fit, within_budget


def distill(
    run: Run,
    recordings: Mapping[str, Artifact],
    recipe: NetworkRecipe,
    *,
    ranks: Ranks | None = None,
    practice: Practice | None = None,
) -> Artifact:
    """Train the generalist on every task's expert recording, unless it is there.

    Args:
        run: the run, whose suite is the tasks to learn; its workers are threads of this process.
        recordings: of the experts, by task name.
        recipe: how the network is made.
        ranks: this process among those that train together; None: it is alone.
        practice: plays a round of ``config.rounds``.

    Raises:
        GatitoError: if a setting does not fit, a recording is damaged, the codec cannot carry a task, or the loss
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
    artifact = generalist_artifact(run, recipe, recordings)
    if ranks.agree(ranks.leads and (artifact.is_complete() or artifact.adopt(run.runs_folder))):
        return artifact
    torch.set_num_threads(run.workers)
    if ranks.leads:
        artifact.start()
    ranks.agree()  # before anybody looks for a checkpoint, what is not to be resumed from is gone
    folders = {name: recording.folder for name, recording in recordings.items()}
    learner = Learner(artifact, run.suite.tasks, folders, config, recipe.model, recipe.codec, run.seed)
    if not ranks.leads:
        fit(learner, lambda done: None, ranks=ranks)
        return artifact
    train(learner, run, job_type="distill", label="distill", ranks=ranks, practice=practice)
    return artifact


def train(
    learner: Learner,
    run: Run,
    *,
    job_type: str,
    label: str,
    ranks: Ranks | None = None,
    practice: Practice | None = None,
) -> None:
    """Fit a network whose artifact is started, with a progress bar and its learning curve told.

    Args:
        learner: the network.
        run: the run.
        job_type: of its W&B run.
        label: of its progress bar.
        ranks: this process among those that train together; None: it is alone.
        practice: plays a round of the learner's config.
    """
    if learner.config.flops:
        learner, _ = within_budget(learner)
    config, artifact = learner.config, learner.artifact
    # Opened before the log is, so that the curve has a run to go to from its first line on.
    settings = asdict(config) | {"model": asdict(learner.model)}
    mirror = run.tracker.mirror(artifact.folder, job_type, env_id=run.suite.name, **settings)
    try:
        with console.progress() as bars:
            bar = bars.add_task(label, total=config.updates, note="")

            def report(done: int) -> None:
                bars.update(bar, completed=done)
                if done % config.log_every == 0:
                    mirror.pump()

            fit(learner, report, ranks=ranks, practice=practice)
    finally:
        mirror.finish(log_more=partial(log_lineage, made=[artifact], folder=run.folder))
