"""The schemas of ``conf/model/*.yaml`` and ``conf/distill/*.yaml``; importing them costs no torch."""

from dataclasses import dataclass, field

from benchmarks.errors import GatitoError

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
        for name in ("layers", "heads", "width", "feedforward", "window"):
            if getattr(self, name) < 1:
                raise GatitoError(f"model.{name} must be at least 1.")
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
