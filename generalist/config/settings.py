"""The schemas of ``conf/model``, ``conf/distill`` and ``conf/controls``; importing them costs no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.base.errors import GatitoError, check_at_least, unknown
from benchmarks.tasks import full_names

LOSSES = ("kl", "nll")
PRECISIONS = ("bf16", "fp32")
DEVICES = ("auto", "cpu", "cuda")
KINDS = ("transformer", "perceptron")
CONTROLS = ("clone", "retrieval", "specialist", "multitask-rl")
_LEAST_WINDOWS = 8
_MOST_ROUNDS = 99
# To what is learnt: or it is among the recordings, as which tasks are held out.
_NO_MATTER = ("checkpoint_every", "log_every", "gradient_accumulation", "device", "held_out")


@dataclass
class ModelConfig:
    """``conf/model/*.yaml``.

    Attributes:
        name: the preset's name.
        kind: ``transformer``, or ``perceptron``, which sees the current token alone.
        layers: transformer blocks, or hidden layers.
        heads: attention heads; they divide ``width`` into even parts.
        width: size of a token's vector.
        feedforward: hidden size of each transformer block's feed-forward layer.
        context_length: tokens that one layer's attention sees, the current one included; 1 for a perceptron.
    """

    name: str = "nano"
    kind: str = "transformer"
    layers: int = 4
    heads: int = 4
    width: int = 128
    feedforward: int = 384
    context_length: int = 32

    def check(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            GatitoError: saying which.
        """
        if self.kind not in KINDS:
            raise unknown("model.kind", self.kind, KINDS)
        check_at_least("model", self, layers=1, heads=1, width=1, feedforward=1, context_length=1)
        if self.kind == "perceptron" and self.context_length != 1:
            raise GatitoError(
                f"model.context_length={self.context_length}: a perceptron sees the current step alone, set "
                "model.context_length=1."
            )
        if self.width % (2 * self.heads):
            raise GatitoError(f"model.width={self.width} must be a multiple of 2 * model.heads={2 * self.heads}.")


@dataclass
class DaggerConfig:
    """DAgger (Ross et al. 2011): the network plays, its experts label what it sees, and it learns from both.

    Attributes:
        rounds: rounds of play; 0: none.
        start: share of the updates before the first round; the others follow evenly.
        env_steps: environment steps per task and round, at least.
        share: share of each task's windows that come from the network's own play, once there is some.
    """

    rounds: int = 0
    start: float = 0.5
    env_steps: int = 4_000
    share: float = 0.5


@dataclass
class DistillConfig:
    """``conf/distill/*.yaml``.

    Attributes:
        updates: optimiser steps.
        flops: a budget of floating-point operations that decides the updates instead; None: ``updates`` does.
        batch_size: windows per update, in all processes together.
        gradient_accumulation: parts that a process makes its windows of an update into, one after another, where
            memory is short.
        sequence_length: tokens per window (with the ``step`` codec, time steps); at least the model's context length,
            or the context's far end is never trained.
        learning_rate: peak of AdamW's rate.
        warmup: steps of linear warm-up; then a cosine down to a tenth.
        weight_decay: AdamW's, on matrices alone.
        max_grad_norm: largest norm of the gradient.
        ema: decay per step of the averaged weights, which are the network in the end; 0: they are not averaged.
        precision: of products on a GPU, ``bf16`` or ``fp32``; processors compute in ``fp32``.
        device: ``cpu``, ``cuda``, or ``auto``: a GPU where there is one.
        loss: ``kl`` to the recorded distribution, or ``nll`` of the clean action.
        temperature: of Q-values before their softmax.
        prompts: share of windows that follow a demonstration, where ``codec.conditioning`` is ``prompt``.
        data: share of each recording's episodes that is learnt from, the first ones.
        weights: share of windows by task name in full; 1 where none is given.
        held_out: tasks of whose recordings the generalist learns nothing: what it does there, it does zero-shot.
        dagger: rounds of DAgger.
        checkpoint_every: steps between checkpoints.
        log_every: steps between log lines.
    """

    updates: int = 3_000
    flops: float | None = None
    batch_size: int = 64
    gradient_accumulation: int = 1
    sequence_length: int = 32
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema: float = 0.0
    precision: str = "bf16"
    device: str = "auto"
    loss: str = "kl"
    temperature: float = 0.01
    prompts: float = 0.25
    data: float = 1.0
    weights: dict[str, float] = field(default_factory=dict)
    held_out: list[str] = field(default_factory=list)
    dagger: DaggerConfig = field(default_factory=DaggerConfig)
    checkpoint_every: int = 250
    log_every: int = 25

    @property
    def milestones(self) -> list[int]:
        """The steps at which each round of practice is played, and the last step."""
        start, rounds = self.dagger.start, self.dagger.rounds
        shares = [start + (1 - start) * number / rounds for number in range(rounds)]
        return [max(1, round(self.updates * share)) for share in shares] + [self.updates]

    def check(self, tasks: Sequence[str], window: int) -> None:
        """Refuse settings that cannot work, for tasks of these names and a model of this window.

        Raises:
            GatitoError: naming the setting.
        """
        if self.loss not in LOSSES:
            raise unknown("distill.loss", self.loss, LOSSES)
        for name, valid in (("precision", PRECISIONS), ("device", DEVICES)):
            if getattr(self, name) not in valid:
                raise unknown(f"distill.{name}", getattr(self, name), valid)
        least = {
            "updates": 1,
            "batch_size": 1,
            "gradient_accumulation": 1,
            "checkpoint_every": 1,
            "log_every": 1,
            "warmup": 0,
        }
        check_at_least("distill", self, **least)
        check_at_least("distill.dagger", self.dagger, rounds=0, env_steps=1)
        shares = {name: getattr(self, name) for name in ("prompts", "ema", "data")}
        shares |= {"dagger.start": self.dagger.start, "dagger.share": self.dagger.share}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise GatitoError(f"distill.{name}={share} is a share: from 0 to 1.")
        if self.flops is not None and self.flops <= 0:
            raise GatitoError(f"distill.flops={self.flops:g} must be above 0, or null.")
        if self.dagger.rounds and self.dagger.start == 1:
            raise GatitoError("distill.dagger.start=1 leaves no steps to learn from practice: set it below 1.")
        if self.dagger.rounds > _MOST_ROUNDS:
            raise GatitoError(
                f"distill.dagger.rounds={self.dagger.rounds}: at most {_MOST_ROUNDS} have episodes of their own."
            )
        if not self.data:
            raise GatitoError("distill.data=0 leaves nothing to learn from: set it above 0.")
        if self.ema == 1:
            raise GatitoError("distill.ema=1 would keep the untrained weights: set it below 1.")
        if self.batch_size < self.gradient_accumulation:
            raise GatitoError(
                f"distill.gradient_accumulation={self.gradient_accumulation} is more than "
                f"distill.batch_size={self.batch_size}."
            )
        if self.sequence_length < window:
            raise GatitoError(
                f"distill.sequence_length={self.sequence_length} is shorter than model.context_length={window}, whose "
                f"far end would never be trained: set distill.sequence_length={window}, or "
                f"model.context_length={self.sequence_length}."
            )
        full_names(list(self.weights), tasks, "task in distill.weights")
        for name, weight in self.weights.items():
            if not weight > 0:
                raise GatitoError(
                    f"distill.weights: {name} must be above 0; leave a task out with distill.held_out=[…]."
                )
        if set(full_names(self.held_out, tasks, "task in distill.held_out")) >= set(tasks):
            raise GatitoError("distill.held_out leaves no task to learn: take one out of it.")


def for_one_task(config: DistillConfig, task: str, tasks: Sequence[str]) -> DistillConfig:
    """The share of a training that one of several tasks has, as a training of its own: as many windows of its task.

    It learns from recordings alone, without practice. Windows per step shrink with the share, optimiser steps stay; a
    batch too small for the learning rate would make the control a weak one, so below ``_LEAST_WINDOWS`` steps shrink
    instead.
    """
    weights = {name: config.weights.get(name, 1.0) for name in tasks}
    windows = config.updates * config.batch_size * weights[task] / sum(weights.values())
    per_step = min(config.batch_size, max(_LEAST_WINDOWS, round(windows / config.updates)))
    steps = max(1, round(windows / per_step))
    flops = config.flops and config.flops * weights[task] / sum(weights.values())
    budget = replace(config, updates=steps, flops=flops, batch_size=per_step)
    return replace(budget, gradient_accumulation=1, weights={}, dagger=DaggerConfig(), device="cpu")


@dataclass
class ControlsConfig:
    """``conf/controls/*.yaml``: agents that learn from the same recordings, to compare the generalist with.

    Attributes:
        agents: which; see ``CONTROLS``.
        clone: the network of ``clone``; that of the others is the generalist's own.
        multitask: how ``multitask-rl`` is trained, see :class:`generalist.config.ppo.PPOConfig`; for as
            many environment steps as all experts' recipes have together.
    """

    agents: list[str] = field(default_factory=list)
    clone: ModelConfig = field(default_factory=ModelConfig)
    multitask: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        for name in self.agents:
            if name not in CONTROLS:
                raise unknown("agent in controls.agents", name, CONTROLS)
        self.clone.check()


def what_decides(config: DistillConfig) -> dict[str, Any]:
    """The settings of a training that decide what is learnt."""
    return {name: value for name, value in asdict(config).items() if name not in _NO_MATTER}
