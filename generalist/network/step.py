"""The ``step`` network: one token per time step, no task identity, nothing to learn that belongs to one task.

Two settings add to the token: the previous action, and (an upper bound) which task it is. A third, a prompt, is
a demonstration that every step attends to; its tokens are observations with what the expert would do there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.base.errors import FatalError
from benchmarks.play.policy import PolicyInput
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.batches import Window, moved
from generalist.network.distributions import NetworkOutput, Selector, greedy
from generalist.network.heads import Targets, check_actions, check_limits
from generalist.network.inputs import Inputs, collate
from generalist.network.modalities import Modalities, split_modalities
from generalist.network.observations import check_observations
from generalist.network.stepwise import Demonstrations, Memory, StepwiseNetwork


@dataclass(frozen=True)
class StepBatch:
    """B windows of L steps, see :class:`generalist.network.batches.Batch`.

    Attributes:
        weight: real steps.
        inputs: the observations.
        targets: what should be answered.
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
    shown: Demonstrations | None
    remembers: torch.Tensor


class StepNetwork(StepwiseNetwork):
    """Embeds observations, and turns hidden states into actions."""

    def __init__(self, model: ModelConfig, codec: CodecConfig, tasks: Sequence[str] = ()) -> None:
        """Args: the sizes, the inputs and outputs, and the tasks' names, which ``task_id`` tells apart."""
        super().__init__(model, codec, tasks, actions=codec.previous_actions or codec.conditioning == "prompt")

    @staticmethod
    def check_task(codec: CodecConfig, task: Task, context_length: int) -> None:
        """Refuse a task that the network cannot carry, before anything trains on it.

        Raises:
            GatitoError: naming the task, what does not fit and the setting to raise.
        """
        if codec.observation_loss:
            raise FatalError("codec step predicts no observations: set codec.observation_loss=0, or take codec=jat.")
        check_limits(codec, task, [*check_observations(codec, task), *check_actions(codec, task)])

    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> StepBatch:
        """A batch of windows of at most ``length`` steps, each with a random stream of its own."""
        previous = None
        if self.codec.previous_actions:
            previous = np.zeros((len(windows), length, self.actions.project.in_features), np.float32)
            for row, window, rng in zip(previous, windows, rngs, strict=True):
                # Left out now and then in training alone; the stream is drawn from in any case.
                dropped = rng.random() < self.codec.previous_action_dropout
                if not (dropped and self.training):
                    numbers = self.actions.numbers(window.task, window.previous_actions)
                    row[: len(window)] = numbers * window.has_previous[:, None]
        return StepBatch(
            weight=sum(map(len, windows)),
            inputs=collate([self.modalities(window) for window in windows], length),
            targets=self.heads.collate(windows, length),
            previous=None if previous is None else torch.from_numpy(previous),
            tasks=self.task_numbers([window.task for window in windows]),
            shown=self.demonstrations([window.prompt for window in windows]),
            remembers=torch.tensor([self.remembers(window.task) for window in windows]),
        )

    @staticmethod
    def modalities(window: Window) -> Modalities:
        """What is inputs in a window, each modality of shape ``(1, steps, …)``."""
        return {name: values[None] for name, values in split_modalities(window.task, window.observations).items()}

    def demonstration_tokens(self, shown: Demonstrations) -> tuple[torch.Tensor, torch.Tensor]:
        """One token for each step of a demonstration."""
        return self.observation_encoder(shown.inputs) + self.actions(shown.actions), shown.valid

    def loss(self, batch: StepBatch) -> dict[str, torch.Tensor]:
        """See :meth:`ActionHeads.losses`."""
        return self.heads.losses(self.hidden(batch), batch.targets)

    def hidden(self, batch: StepBatch) -> torch.Tensor:
        """The trunk's hidden states, ``(B, L, width)``."""
        tokens = self.observation_encoder(batch.inputs)
        if batch.previous is not None:
            tokens = tokens + self.actions(batch.previous)
        return self.run(tokens, batch.tasks, batch.shown, batch.remembers)

    def act(self, inputs: Sequence[PolicyInput], memory: Memory, select: Selector = greedy) -> list[NetworkOutput]:
        """One token per row, of all tasks at once; then each task's own head."""
        items = [split_modalities(rows.task, rows.observations) for rows in inputs]
        shown = collate([{name: values[:, None] for name, values in item.items()} for item in items], 1)
        env_ids = np.concatenate([rows.env_ids for rows in inputs])
        episode_start = np.concatenate([rows.episode_start for rows in inputs])
        embeddings, prefix = self.conditioning(inputs, memory)
        tokens = self.observation_encoder(moved(shown, self.device))[:, 0] + embeddings
        if self.codec.previous_actions:
            memory.actions[env_ids[episode_start]] = 0.0
            tokens = tokens + self.actions(self.tensor(memory.actions[env_ids]))
        remembers = np.concatenate([np.full(len(rows.env_ids), self.remembers(rows.task)) for rows in inputs])
        hidden = self.step(tokens, memory, env_ids, episode_start, prefix, remembers)
        return self.decide(inputs, hidden, memory, select)
