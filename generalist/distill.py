"""Distil recordings into one network: AdamW, warm-up and cosine.

A training that was killed ends with the weights of one that was not, on the same machine with the same threads (another
number of threads moves the last bits of a sum).

Run by ``gatito stages=[distill]``.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import console
from benchmarks.artifacts import CHECKPOINT, Artifact
from benchmarks.checkpoints import load_state, save_state
from benchmarks.compute import Cost, count_flops, parameter_count
from benchmarks.dashboards import log_lineage
from benchmarks.errors import GatitoError
from benchmarks.parallel import Report
from benchmarks.seeds import derive
from benchmarks.tasks import Suite, Task
from benchmarks.tracking import Log, Tracker
from benchmarks.trajectories import Trajectories
from generalist.codecs import CodecConfig
from generalist.mixture import Mixture, Source, demonstration
from generalist.network import Network, save_network
from generalist.settings import DistillConfig, ModelConfig, generalist_artifact


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
) -> Artifact:
    """Train the generalist on every task's expert recording, unless it is there.

    Raises:
        GatitoError: if a setting does not fit, a recording is damaged, the codec cannot carry a task, or the loss
            becomes NaN (the last good checkpoint is kept).
    """
    artifact = generalist_artifact(run, config, model, codec, recordings, seed)
    if artifact.is_complete() or artifact.adopt(run.parent):
        return artifact
    torch.set_num_threads(threads)
    artifact.start()
    # Opened before the log is, so that the curve has a run to go to from its first line on.
    mirror = tracker.mirror(artifact.folder, "distill", env_id=suite.name, **asdict(config), model=asdict(model))
    folders = {name: recording.folder for name, recording in recordings.items()}
    try:
        with console.progress() as bars:
            bar = bars.add_task("distill", total=config.steps, note="")

            def report(done: int) -> None:
                bars.update(bar, completed=done)
                if done % config.log_every == 0:
                    mirror.pump()

            fit(artifact, suite.tasks, folders, config, model, codec, seed, report)
    finally:
        mirror.finish(log_more=partial(log_lineage, made=[artifact], folder=run))
    return artifact


def fit(
    artifact: Artifact,
    tasks: Sequence[Task],
    recordings: Mapping[str, Path],
    config: DistillConfig,
    model: ModelConfig,
    codec: CodecConfig,
    seed: int,
    report: Report,
) -> None:
    """Train one network on the recordings of some tasks, from its checkpoint if there is one, and finish its artifact.

    Args:
        artifact: where it goes; started.
        tasks: what it learns.
        recordings: folders of the experts' recordings by task name.
        config: how it is trained.
        model: its size.
        codec: its inputs and outputs.
        seed: the training seed.
        report: told the optimiser steps so far.
    """
    torch.manual_seed(derive(artifact.kind, *(task.name for task in tasks), seed))
    network = Network(model, codec, [task.name for task in tasks])
    sources = [Source(task, Trajectories(recordings[task.name]), config.weights.get(task.name, 1.0)) for task in tasks]
    shown = codec.conditioning == "prompt"
    mixture = Mixture(
        sources,
        network.codec,
        windows=config.windows,
        length=config.length,
        seed=seed,
        soft=config.loss == "kl",
        temperature=config.temperature,
        prompts=config.prompts if shown else 0.0,
    )
    # The operations of one step stand for all: they differ by padding alone.
    flops = config.steps * count_flops(lambda: network.loss(mixture.batch(0))["loss"].backward())
    seconds = _train(network, mixture, config, artifact, report)
    steps = codec.prompt_steps
    prompts = {source.task.name: demonstration(source.task, source.trajectories, steps) for source in sources if shown}
    save_network(artifact.folder, network, prompts)
    steps = sum(source.trajectories.steps for source in sources)
    cost = Cost(parameter_count(network), flops, steps, seconds)
    longest = [network.codec.steps(source.task, config.length) for source in sources]
    each = np.average(longest, weights=[source.weight for source in sources])
    seen = round(config.steps * config.windows * float(each))
    artifact.finish(seconds, time_steps=seen, steps=config.steps, **cost.facts())


def learning_rate(step: int, config: DistillConfig) -> float:
    """Linear warm-up, then half a cosine from the peak down to a tenth of it."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _train(network: Network, mixture: Mixture, config: DistillConfig, artifact: Artifact, report: Report) -> float:
    """Take the optimiser steps that are left; the seconds of work in all."""
    optimizer = _make_optimizer(network, config)
    checkpoint = artifact.folder / CHECKPOINT
    first, earlier = 0, 0.0
    if checkpoint.exists():
        saved = load_state(checkpoint)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        first, earlier = int(saved["step"]), float(saved["seconds"])
    log = Log(artifact.folder, keep_until=first if checkpoint.exists() else -1)
    start = time.monotonic()
    network.train()
    for step in range(first, config.steps):
        rate = learning_rate(step, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        values = network.loss(mixture.batch(step))
        optimizer.zero_grad(set_to_none=True)
        values["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        # Looked at before the weights are touched, so that no checkpoint can hold a NaN.
        if not (torch.isfinite(values["loss"]) and torch.isfinite(norm)):
            raise GatitoError(
                f"the distillation loss became NaN at step {step}; the last good checkpoint "
                f"(step {step // config.checkpoint_every * config.checkpoint_every}) is kept in {artifact.folder}. "
                "Lower distill.learning_rate and run again."
            )
        optimizer.step()
        done = step + 1
        report(done)
        if done % config.log_every == 0 or done == config.steps:
            metrics = {f"distill/{name}": value.item() for name, value in values.items()}
            log.write(
                done,
                metrics | {"distill/gradient_norm": norm.item(), "distill/learning_rate": rate},
            )
        if done % config.checkpoint_every == 0:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
            save_state(checkpoint, state | {"seconds": earlier + time.monotonic() - start})
    return earlier + time.monotonic() - start


def _make_optimizer(network: Network, config: DistillConfig) -> torch.optim.AdamW:
    matrices = [parameter for parameter in network.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in network.parameters() if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))
