"""Distil recordings into one network: AdamW, warm-up and cosine.

A training that was killed ends with the weights of one that was not, on the same machine with the same threads (another
number of threads moves the last bits of a sum).

Run by ``gatito stages=[distill]``.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import console
from benchmarks.artifacts import CHECKPOINT, Artifact
from benchmarks.checkpoints import load_state, save_state
from benchmarks.errors import GatitoError
from benchmarks.seeds import derive
from benchmarks.tasks import Suite
from benchmarks.tracking import Log, Tracker
from benchmarks.trajectories import Trajectories
from generalist.codecs import CodecConfig
from generalist.mixture import Mixture, Source
from generalist.network import Generalist, save_generalist
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
    torch.manual_seed(derive("generalist", seed))
    network = Generalist(model, codec)
    sources = [
        Source(
            task,
            Trajectories(recordings[task.name].folder),
            config.weights.get(task.name, 1.0),
            config.loss == "kl",
            config.temperature,
        )
        for task in suite
    ]
    mixture = Mixture(sources, network.codec, windows=config.windows, length=config.length, seed=seed)
    artifact.start()
    # Opened before the log is, so that the curve has a run to go to from its first line on.
    mirror = tracker.mirror(artifact.folder, "distill", env_id=suite.name, **asdict(config), model=asdict(model))
    try:
        seconds = _train(network, mixture, config, artifact, mirror.pump)
    finally:
        mirror.finish({"parameters": network.parameter_count()})
    save_generalist(artifact.folder, network)
    tokens = config.steps * config.windows * config.length
    artifact.finish(seconds, parameters=network.parameter_count(), time_steps=tokens, steps=config.steps)
    return artifact


def learning_rate(step: int, config: DistillConfig) -> float:
    """Linear warm-up, then half a cosine from the peak down to a tenth of it."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _train(network: Generalist, mixture: Mixture, config: DistillConfig, artifact: Artifact, pump: Any) -> float:  # noqa: ANN401
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
    with console.progress() as bars:
        bar = bars.add_task("distill", total=config.steps, completed=first, note="")
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
            if done % config.log_every == 0 or done == config.steps:
                metrics = {f"distill/{name}": value.item() for name, value in values.items()}
                log.write(
                    done,
                    metrics | {"distill/gradient_norm": norm.item(), "distill/learning_rate": rate},
                )
                pump()
                bars.update(bar, completed=done, note=f"loss {values['loss'].item():.3f}")
            if done % config.checkpoint_every == 0:
                state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
                save_state(checkpoint, state | {"seconds": earlier + time.monotonic() - start})
    return earlier + time.monotonic() - start


def _make_optimizer(network: Generalist, config: DistillConfig) -> torch.optim.AdamW:
    matrices = [parameter for parameter in network.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in network.parameters() if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))
