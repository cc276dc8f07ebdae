"""The schemas of ``conf/model/*.yaml`` and ``conf/distill/*.yaml``; importing them costs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.artifacts import Artifact
from benchmarks.errors import GatitoError, check_at_least, unknown
from generalist.codecs.config import CodecConfig

LOSSES = ("kl", "nll")


@dataclass
class ModelConfig:
    """``conf/model/*.yaml``.

    Attributes:
        name: the preset's name.
        layers: transformer blocks.
        heads: attention heads; they divide ``width`` into even parts.
        width: size of a token's vector.
        feedforward: hidden size of each block's feed-forward layer.
        window: tokens that one layer's attention sees, the current one included.
    """

    name: str = "nano"
    layers: int = 4
    heads: int = 4
    width: int = 128
    feedforward: int = 384
    window: int = 32

    def check(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            GatitoError: saying which.
        """
        check_at_least("model", self, layers=1, heads=1, width=1, feedforward=1, window=1)
        if self.width % (2 * self.heads):
            raise GatitoError(f"model.width={self.width} must be a multiple of 2 * model.heads={2 * self.heads}.")


@dataclass
class DistillConfig:
    """``conf/distill/*.yaml``.

    Attributes:
        steps: optimiser steps.
        windows: windows per step.
        length: time steps per window; at least the model's window, or its far end is never trained.
        learning_rate: peak of AdamW's rate.
        warmup: steps of linear warm-up; then a cosine down to a tenth.
        weight_decay: AdamW's, on matrices alone.
        clip: largest norm of the gradient.
        loss: ``kl`` to the recorded distribution, or ``nll`` of the clean action.
        temperature: of Q-values before their softmax.
        weights: share of windows by task name; 1 where none is given.
        checkpoint_every: steps between checkpoints.
        log_every: steps between log lines.
    """

    steps: int = 3_000
    windows: int = 64
    length: int = 32
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    loss: str = "kl"
    temperature: float = 0.01
    weights: dict[str, float] = field(default_factory=dict)
    checkpoint_every: int = 250
    log_every: int = 25

    def check(self, tasks: Sequence[str], window: int) -> None:
        """Refuse settings that cannot work, for tasks of these names and a model of this window.

        Raises:
            GatitoError: naming the setting.
        """
        if self.loss not in LOSSES:
            raise unknown("distill.loss", self.loss, LOSSES)
        check_at_least("distill", self, steps=1, windows=1, checkpoint_every=1, log_every=1, warmup=0)
        if self.length < window:
            raise GatitoError(
                f"distill.length={self.length} is shorter than model.window={window}, whose far end would never be "
                f"trained: set distill.length={window}, or model.window={self.length}."
            )
        for name in self.weights:
            if name not in tasks:
                raise unknown("task in distill.weights", name, tasks)


def generalist_artifact(
    run: Path,
    config: DistillConfig,
    model: ModelConfig,
    codec: CodecConfig,
    recordings: Mapping[str, Artifact],
    seed: int,
) -> Artifact:
    """Where a run's generalist lives, and what decides it."""
    training = {name: value for name, value in asdict(config).items() if name not in ("checkpoint_every", "log_every")}
    settings = {
        "tasks": list(recordings),
        "distill": training,
        "model": asdict(model),
        "codec": asdict(codec),
        "seed": seed,
    }
    inputs = {task: artifact.fingerprint for task, artifact in recordings.items()}
    return Artifact(run / "generalist", "generalist", settings, inputs)
