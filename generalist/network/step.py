"""The ``step`` codec: one token per time step, no task identity, nothing to learn that belongs to one task.

Two settings add to the token: the previous action, and (an upper bound) which task it is. A third, a prompt, is
a demonstration that every step attends to; its tokens are observations with what the expert would do there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.base.errors import FatalError
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.network.batches import Window, moved
from generalist.network.choice import Chooser, most_likely
from generalist.network.heads import Targets, check_actions, check_limits
from generalist.network.inputs import Inputs, collate
from generalist.network.modalities import Parts, split_modalities
from generalist.network.observations import check_observations
from generalist.network.perceptron import Perceptron
from generalist.network.stepwise import Memory, Shown, StepwiseCodec
from generalist.network.transformer import Transformer


@dataclass(frozen=True)
class StepBatch:
    """B windows of L steps, see ``windows.Batch``.

    Attributes:
        weight: real steps.
        inputs: the observations.
        targets: what to answer.
        previous: ``(B, L, size)`` previous actions, see :meth:`ActionEncoder.numbers`; None: they are no input.
        tasks: ``(B,)``, which task each is; None: that is no input.
        shown: the demonstrations of those windows that have one; None: none has.
        remembers: ``(B,)``, whether a window's steps see the ones before them.
    """

    weight: int
    inputs: Inputs
    targets: Targets
    previous: torch.Tensor | None
    tasks: torch.Tensor | None
    shown: Shown | None
    remembers: torch.Tensor


class StepCodec(StepwiseCodec):
    """Embeds observations, and turns hidden states into actions."""

    def __init__(self, config: CodecConfig, width: int, tasks: Sequence[str] = ()) -> None:
        """Args: the settings, the model's width, and the tasks' names, which ``task_id`` tells apart."""
        acts = config.previous_actions or config.conditioning == "prompt"
        super().__init__(config, width, tasks, acts=acts)

    @staticmethod
    def check_task(config: CodecConfig, task: Task, window: int) -> None:
        """Refuse a task that the codec cannot carry, before anything trains on it.

        Raises:
            GatitoError: naming the task, what does not fit and the setting to raise.
        """
        if config.observation_loss:
            raise FatalError("codec step predicts no observations: set codec.observation_loss=0, or take codec=jat.")
        check_limits(config, task, [*check_observations(config, task), *check_actions(config, task)])

    @staticmethod
    def steps(task: Task, tokens: int) -> int:
        """Time steps that so many tokens hold, at most."""
        return tokens

    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> StepBatch:
        """A batch of windows of at most ``length`` steps, each with a random stream of its own."""
        previous = None
        if self.config.previous_actions:
            assert self.acts is not None
            previous = np.zeros((len(windows), length, self.acts.project.in_features), np.float32)
            for row, window, rng in zip(previous, windows, rngs, strict=True):
                if rng.random() >= self.config.previous_action_dropout:
                    numbers = self.acts.numbers(window.task, window.previous_actions)
                    row[: len(window)] = numbers * window.has_previous[:, None]
        return StepBatch(
            weight=sum(map(len, windows)),
            inputs=collate([self.seen(window) for window in windows], length),
            targets=self.heads.collate(windows, length),
            previous=None if previous is None else torch.from_numpy(previous),
            tasks=self.numbers_of([window.task for window in windows]),
            shown=self.show([window.prompt for window in windows]),
            remembers=torch.tensor([self.remembers(window.task) for window in windows]),
        )

    @staticmethod
    def seen(window: Window) -> Parts:
        """What is seen in a window, each part of shape ``(1, steps, …)``."""
        return {kind: part[None] for kind, part in split_modalities(window.task, window.observations).items()}

    def demonstration_tokens(self, shown: Shown) -> tuple[torch.Tensor, torch.Tensor]:
        """One token for each step of a demonstration."""
        assert self.acts is not None
        return self.observations(shown.inputs) + self.acts(shown.actions), shown.there

    def loss(self, model: Transformer | Perceptron, batch: StepBatch) -> dict[str, torch.Tensor]:
        """See :meth:`ActionHeads.losses`."""
        return self.heads.losses(self.hidden(model, batch), batch.targets)

    def hidden(self, model: Transformer | Perceptron, batch: StepBatch) -> torch.Tensor:
        """The model's hidden states, ``(B, L, width)``."""
        tokens = self.observations(batch.inputs)
        if batch.previous is not None:
            assert self.acts is not None
            tokens = tokens + self.acts(batch.previous)
        return self.run(model, tokens, batch.tasks, batch.shown, batch.remembers)

    def act(
        self,
        model: Transformer | Perceptron,
        inputs: Sequence[PolicyInput],
        memory: Memory,
        choose: Chooser = most_likely,
    ) -> list[PolicyOutput]:
        """One token per row, of all tasks at once; then each task's own head."""
        items = [split_modalities(rows.task, rows.observations) for rows in inputs]
        collated = collate([{kind: part[:, None] for kind, part in item.items()} for item in items], 1)
        env_ids = np.concatenate([rows.env_ids for rows in inputs])
        episode_start = np.concatenate([rows.episode_start for rows in inputs])
        who, prefix = self.told(inputs, memory)
        tokens = self.observations(moved(collated, self.device))[:, 0] + who
        if self.config.previous_actions:
            assert self.acts is not None
            memory.actions[env_ids[episode_start]] = 0.0
            tokens = tokens + self.acts(self.tensor(memory.actions[env_ids]))
        remembers = np.concatenate([np.full(len(rows.env_ids), self.remembers(rows.task)) for rows in inputs])
        hidden = self.step(model, tokens, memory, env_ids, episode_start, prefix, remembers)
        return self.decide(inputs, hidden, memory, choose)
