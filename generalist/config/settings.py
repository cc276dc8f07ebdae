"""The settings of ``model``, ``distill`` and ``controls``, and the artifacts that they decide."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.base.errors import GatitoError
from benchmarks.base.registry import Registry
from benchmarks.base.settings import check_settings, setting
from benchmarks.scoring.agents import AGENTS
from benchmarks.tasks import full_names
from generalist.config.ppo import MultitaskConfig

LOSSES = ("kl", "nll")
PRECISIONS = ("bf16", "bf16_everywhere", "fp32")
DEVICES = ("auto", "cpu", "cuda")
KINDS = ("transformer", "perceptron")
CONTROLS: Registry[Any] = Registry(
    "control",
    {
        "clone": "generalist.controls.single_task:Clone",
        "retrieval": "generalist.controls.retrieval:Retrieval",
        "specialist": "generalist.controls.single_task:Specialist",
        "trigram": "generalist.controls.trigram:Trigram",
        "multitask-rl": "generalist.controls.multitask_rl:MultitaskRl",
    },
    attributes=("check", "students", "train", "agent"),
    reserved=AGENTS,
)
"""Controls: classes that follow :class:`generalist.controls.control.Control`."""
_SMALLEST_BATCH = 8
_MOST_ROUNDS = 99  # of DAgger: each round has episodes of its own


@dataclass
class ModelConfig:
    """Size of the network; the defaults are those of ``nano``, about 0.8 M parameters."""

    name: str = setting("nano", "Name of the preset; it appears in the run's name.", decides=False)
    kind: str = setting("transformer", "transformer, or perceptron, which sees the current token only.", choices=KINDS)
    layers: int = setting(4, "Transformer blocks, or hidden layers.", at_least=1)
    heads: int = setting(4, "Attention heads.", at_least=1)
    kv_heads: int | None = setting(
        None,
        "Heads of keys and values, each shared by a group of attention heads, which shortens decoding with a long "
        "context; a divisor of heads; null: as many as heads.",
        at_least=1,
    )
    width: int = setting(128, "Size of a token's vector; a multiple of 2 * heads.", at_least=1)
    feedforward: int = setting(384, "Hidden size of each block's feed-forward layer.", at_least=1)
    context_length: int = setting(
        32,
        "Tokens that each layer attends to, the current one included; with codec=step, time steps. 1 for a perceptron.",
        at_least=1,
    )

    @property
    def num_kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    def check(self, group: str = "model") -> None:
        """Reject sizes that contradict each other; ``group`` is their config group.

        Raises:
            GatitoError: names the setting.
        """
        check_settings(group, self)
        if self.kind == "perceptron" and self.context_length != 1:
            raise GatitoError(
                f"{group}.context_length={self.context_length}: a perceptron sees the current step only, set "
                f"{group}.context_length=1."
            )
        if self.heads % self.num_kv_heads:
            raise GatitoError(f"{group}.heads={self.heads} must be a multiple of {group}.kv_heads={self.kv_heads}.")
        if self.width % (2 * self.heads):
            raise GatitoError(f"{group}.width={self.width} must be a multiple of 2 * {group}.heads={2 * self.heads}.")


def mlp() -> ModelConfig:
    """The network of the control ``clone``."""
    return ModelConfig("mlp", "perceptron", layers=2, heads=1, width=256, feedforward=256, context_length=1)


@dataclass
class DaggerConfig:
    """DAgger (Ross et al. 2011): the network plays, the experts label its states, and it learns from both."""

    rounds: int = setting(0, "Rounds of DAgger; 0: none.", at_least=0, at_most=_MOST_ROUNDS)
    start: float = setting(
        0.5, "Share of the updates before the first round; the others follow evenly.", at_least=0, below=1
    )
    env_steps: int = setting(4_000, "Environment steps per task and round.", at_least=1)
    share: float = setting(
        0.5, "Share of each task's windows from the network's own play, once there is some.", at_least=0, at_most=1
    )


@dataclass
class DistillConfig:
    """How one network is trained on all recordings."""

    updates: int = setting(
        1_500, "Optimiser updates; 0 only shows demonstrations to the network in distill.start.", at_least=0
    )
    flops: float | None = setting(
        None,
        "Budget of floating-point operations that decides the number of updates instead, to compare networks at equal "
        "compute; null: updates does.",
        above=0,
    )
    batch_size: int = setting(64, "Windows per update, in all processes together.", at_least=1)
    gradient_accumulation: int = setting(
        1, "Parts of a batch that are processed one after another, to save memory.", at_least=1, decides=False
    )
    sequence_length: int = setting(
        0,
        "Tokens per window (with codec=step, time steps); 0: model.context_length. Not shorter than that, or the far "
        "end of the context is never trained.",
        at_least=0,
    )
    learning_rate: float = setting(2e-3, "Peak learning rate of AdamW.", above=0)
    warmup: int = setting(100, "Updates of linear warm-up; the rate then falls to a tenth along a cosine.", at_least=0)
    weight_decay: float = setting(0.01, "Weight decay of AdamW, on matrices only.", at_least=0)
    max_grad_norm: float = setting(1.0, "Largest norm of the gradient.", above=0)
    ema: float = setting(
        0.0, "Decay of the moving average of the weights that becomes the network; 0: no average.", at_least=0, below=1
    )
    precision: str = setting(
        "bf16",
        "Precision of matrix products. bf16: bfloat16 on GPUs, fp32 on CPUs; bf16_everywhere: bfloat16 on CPUs that "
        "have it, too, which is faster, the more so the larger the network is.",
        choices=PRECISIONS,
    )
    device: str = setting(
        "auto",
        "Where networks are trained, by distillation, as controls and from rewards; auto: on a GPU if there is one.",
        choices=DEVICES,
        decides=False,
    )
    sharded: bool = setting(
        False,
        "With several processes (torchrun): whether each keeps a part of every block only (FSDP2), for networks that "
        "are too large for one GPU's memory.",
        decides=False,
    )
    loss: str = setting("kl", "kl to the recorded action distribution, or nll of the expert's action.", choices=LOSSES)
    temperature: float = setting(0.01, "Temperature of the softmax of recorded Q-values (Rusu et al. 2015).", above=0)
    prompts: float = setting(
        0.25,
        "Share of windows that follow a demonstration, with codec.conditioning=prompt (as Gato's).",
        at_least=0,
        at_most=1,
    )
    demonstrations: int | None = setting(
        None,
        "Demonstrations that a task is shown when it is played, with codec.conditioning=prompt: the ends of as many "
        "episodes; null: one.",
        at_least=1,
    )
    search_values: float = setting(
        0.0,
        "Share of the search's values in what the critic learns from self-play; the rest is the outcome of the game.",
        at_least=0,
        at_most=1,
    )
    mirror: bool = setting(
        False, "Whether half of the windows of board games are mirrored: the rules treat both alike."
    )
    data: float = setting(
        1.0, "Share of each recording's episodes that is used, from the first on.", above=0, at_most=1
    )
    validation: float = setting(
        0.0,
        "Share of each recording's episodes, the last ones, that is not learned: after training, the loss on them is "
        "validation/loss in the log and in curves.csv.",
        at_least=0,
        below=1,
    )
    episodes: int | None = setting(
        None,
        "Most episodes of each recording that are used, from the first on, such as 10 demonstrations; null: all.",
        at_least=1,
    )
    start: str | None = setting(
        None,
        "Network whose training is continued: a run's newest generalist by its name, RUN/generalist for the one before "
        "any rounds of amplification, or a folder; null: random weights.",
        decides=False,  # the artifact's inputs are its weights
    )
    new_tasks: bool = setting(
        False, "Whether a task that the network in distill.start has learned is refused.", decides=False
    )
    weights: dict[str, float] = setting(
        {}, "Relative share of windows by task, by default 1: +distill.weights={cartpole: 2} adds one."
    )
    held_out: list[str] = setting(
        [],
        "Tasks whose recordings the generalist does not learn from, such as [cartpole]; it plays them zero-shot, "
        "or with codec.conditioning=prompt from demonstrations alone.",
        decides=False,  # the artifact's inputs are the recordings
    )
    dagger: DaggerConfig = setting(DaggerConfig, "Rounds in which the network plays and its experts label.")
    checkpoint_every: int = setting(250, "Updates between checkpoints.", at_least=1, decides=False)
    log_every: int = setting(25, "Updates between log lines.", at_least=1, decides=False)

    def used(self, episodes: int) -> int:
        """How many of a recording's episodes are used, from the first on."""
        learnable = episodes - self.validated(episodes)
        return min(math.ceil(self.data * learnable), self.episodes or episodes)

    def validated(self, episodes: int) -> int:
        """How many of a recording's episodes, the last ones, are not learned but validated."""
        return max(1, math.floor(self.validation * episodes)) if self.validation else 0

    def length(self, model: ModelConfig) -> int:
        """Tokens per window."""
        return self.sequence_length or model.context_length

    @property
    def milestones(self) -> list[int]:
        """The updates after which each DAgger round is played, and the last update."""
        start, rounds = self.dagger.start, self.dagger.rounds
        shares = [start + (1 - start) * number / rounds for number in range(rounds)]
        return [max(1, round(self.updates * share)) for share in shares] + [self.updates]

    def check(self, tasks: Sequence[str], model: ModelConfig) -> None:
        """Reject settings that cannot work, for tasks of these names and a model.

        Raises:
            GatitoError: names the setting.
        """
        check_settings("distill", self)
        if not self.updates and self.start is None:
            raise GatitoError("distill.updates=0 learns nothing: raise it, or start from a network, distill.start=RUN.")
        if self.batch_size < self.gradient_accumulation:
            raise GatitoError(
                f"distill.gradient_accumulation={self.gradient_accumulation} is more than "
                f"distill.batch_size={self.batch_size}."
            )
        if self.length(model) < model.context_length:
            raise GatitoError(
                f"distill.sequence_length={self.sequence_length} is shorter than "
                f"model.context_length={model.context_length}, whose far end would never be trained: set "
                f"distill.sequence_length={model.context_length}, or model.context_length={self.sequence_length}."
            )
        full_names(list(self.weights), tasks, "task in distill.weights")
        for name, weight in self.weights.items():
            if not weight > 0:
                raise GatitoError(
                    f"distill.weights: {name} must be above 0; leave a task out with distill.held_out=[…]."
                )
        if set(full_names(self.held_out, tasks, "task in distill.held_out")) >= set(tasks):
            raise GatitoError("distill.held_out leaves no task to learn: take one out of it.")

    def name_tasks_in_full(self, tasks: Sequence[str], suite: Sequence[str]) -> None:
        """Replace short names of tasks by full names.

        Args:
            tasks: the names of the selected tasks.
            suite: those of all tasks of the suite; weights of tasks that are not selected are left out.

        Raises:
            FatalError: if a name is not among the tasks.
        """
        names = full_names(list(self.weights), suite, "task in distill.weights")
        weights = zip(names, self.weights.values(), strict=True)
        self.weights = {name: weight for name, weight in weights if name in tasks}
        self.held_out = full_names(self.held_out, tasks, "task in distill.held_out")


def for_one_task(config: DistillConfig, task: str, tasks: Sequence[str]) -> DistillConfig:
    """One task's share of a training on several tasks, as a separate training with as many windows of the task.

    It uses recordings only, without DAgger. The batch size shrinks with the share and the number of updates stays the
    same. A batch too small for the learning rate would make a weak control, so below ``_SMALLEST_BATCH`` the number of
    updates shrinks instead.
    """
    weights = {name: config.weights.get(name, 1.0) for name in tasks}
    share = weights[task] / sum(weights.values())
    windows = config.updates * config.batch_size * share
    batch_size = min(config.batch_size, max(_SMALLEST_BATCH, round(windows / config.updates)))
    updates = max(1, round(windows / batch_size))
    budget = replace(config, updates=updates, flops=config.flops and config.flops * share, batch_size=batch_size)
    return replace(budget, gradient_accumulation=1, start=None, weights={}, dagger=DaggerConfig())


@dataclass
class ControlsConfig:
    """Baselines that learn from the same recordings as the generalist."""

    agents: list[str] = setting(["clone", "retrieval", "specialist"], "The controls; [] for none.", choices=CONTROLS)
    clone: ModelConfig = setting(mlp, "The clone's network, one per task; a specialist's is the generalist's.")
    multitask: MultitaskConfig = setting(MultitaskConfig, "How multitask-rl is trained.")

    def check(self) -> None:
        """Reject settings that cannot work.

        Raises:
            GatitoError: names the setting.
        """
        check_settings("controls", self)
        self.clone.check("controls.clone")
