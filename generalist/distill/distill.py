"""Distil recordings into one network for all tasks: the generalist.

Run by ``gatito stages=[distill]``.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.runs.tracking import Tracker
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Suite
from generalist.config.settings import DistillConfig, ModelConfig, generalist_artifact
from generalist.distill.distributed import Ranks
from generalist.distill.train import Learner, Practice, fit, within_budget
from generalist.network.codec import CodecConfig


def distill(
    suite: Suite,
    recordings: Mapping[str, Artifact],
    config: DistillConfig,
    model: ModelConfig,
    codec: CodecConfig,
    *,
    run: Path,
    seed: int,
    threads: int,
    tracker: Tracker,
    ranks: Ranks | None = None,
    practice: Practice | None = None,
) -> Artifact:
    """Train the generalist on every task's expert recording, unless it is there.

    Args:
        suite: what it learns.
        recordings: of the experts, by task name.
        config: how it is trained.
        model: its size.
        codec: its inputs and outputs.
        run: the run's folder.
        seed: the training seed.
        threads: of this process.
        tracker: told the learning curve.
        ranks: this process among those that train together; None: it is alone.
        practice: plays a round of ``config.rounds``.

    Raises:
        GatitoError: if a setting does not fit, a recording is damaged, the codec cannot carry a task, or the loss
            becomes NaN (the last good checkpoint is kept).
    """
    ranks = ranks or Ranks.alone(config.device)
    if config.batch_size < config.gradient_accumulation * ranks.size:
        least = config.gradient_accumulation * ranks.size
        raise GatitoError(
            f"distill.batch_size={config.batch_size} are too few for {ranks.size} processes of "
            f"{config.gradient_accumulation} parts each: set distill.batch_size={least}, or "
            "start fewer processes."
        )
    artifact = generalist_artifact(run, config, model, codec, recordings, seed)
    if ranks.agree(ranks.leads and (artifact.is_complete() or artifact.adopt(run.parent))):
        return artifact
    torch.set_num_threads(threads)
    if ranks.leads:
        artifact.start()
    ranks.agree()  # before anybody looks for a checkpoint, what is not to be resumed from is gone
    folders = {name: recording.folder for name, recording in recordings.items()}
    learner = Learner(artifact, suite.tasks, folders, config, model, codec, seed)
    if not ranks.leads:
        fit(learner, lambda done: None, ranks=ranks)
        return artifact
    train(learner, "distill", suite=suite, run=run, tracker=tracker, ranks=ranks, practice=practice)
    return artifact


def train(
    learner: Learner,
    name: str,
    *,
    suite: Suite,
    run: Path,
    tracker: Tracker,
    ranks: Ranks | None = None,
    practice: Practice | None = None,
) -> None:
    """Fit a network whose artifact is started, with a progress bar and its learning curve told.

    Args:
        learner: what to make.
        name: what it is called there.
        suite: what it learns.
        run: the run's folder.
        tracker: told the learning curve.
        ranks: this process among those that train together; None: it is alone.
        practice: plays a round of the learner's config.
    """
    if learner.config.flops:
        learner, _ = within_budget(learner)
    config, artifact = learner.config, learner.artifact
    # Opened before the log is, so that the curve has a run to go to from its first line on.
    mirror = tracker.mirror(artifact.folder, name, env_id=suite.name, **asdict(config), model=asdict(learner.model))
    try:
        with console.progress() as bars:
            bar = bars.add_task(name, total=config.updates, note="")

            def report(done: int) -> None:
                bars.update(bar, completed=done)
                if done % config.log_every == 0:
                    mirror.pump()

            fit(learner, report, ranks=ranks, practice=practice)
    finally:
        mirror.finish(log_more=partial(log_lineage, made=[artifact], folder=run))
