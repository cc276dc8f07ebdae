"""The ``step`` network: one token per time step, without a task identity, and no weights that belong to one task.

Settings can add the previous action to the token, or a task embedding (an upper bound). With a prompt, every step
attends to a demonstration, whose tokens are observations together with the expert's actions.
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
from generalist.network.modalities import Modalities
from generalist.network.observations import check_observations
from generalist.network.stepwise import Demonstrations, Memory, StepwiseNetwork


@dataclass(frozen=True)
class StepBatch:
    """B windows of L steps, see :class:`generalist.network.batches.Batch`.

    Attributes:
        weight: real steps.
        inputs: the observations.
        targets: the training targets.
        previous: ``(B, L, size)`` previous actions, see :meth:`ActionEncoder.numbers`; None if they are not an input.
        tasks: ``(B,)``, task indices; None if the task identity is not an input.
        demonstrations: the demonstrations of the windows that have one; None if no window has one.
        remembers: ``(B,)``, whether a window's steps attend to earlier ones.
    """

    weight: int
    inputs: Inputs
    targets: Targets
    previous: torch.Tensor | None
    tasks: torch.Tensor | None
    demonstrations: Demonstrations | None
    remembers: torch.Tensor


class StepNetwork(StepwiseNetwork):
    """Embeds each observation as one token, and maps hidden states to actions."""

    def __init__(self, model: ModelConfig, codec: CodecConfig, tasks: Sequence[str] = ()) -> None:
        """Args: the sizes, the settings of inputs and outputs, and the tasks' names for ``task_id``."""
        super().__init__(model, codec, tasks, actions=codec.previous_actions or codec.conditioning == "prompt")

    @staticmethod
    def check_task(codec: CodecConfig, task: Task, context_length: int) -> None:
        """Reject a task that does not fit the network, before any training.

        Raises:
            GatitoError: names the task, the part that does not fit, and the setting to raise.
        """
        if codec.observation_loss:
            raise FatalError("codec step predicts no observations: set codec.observation_loss=0, or set codec=jat.")
        check_limits(codec, task, [*check_observations(codec, task), *check_actions(codec, task)])

    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> StepBatch:
        """Make a batch of windows of at most ``length`` steps, with one random stream per window."""
        previous = None
        if self.codec.previous_actions:
            previous = np.zeros((len(windows), length, self.actions.project.in_features), np.float32)
            for row, window, rng in zip(previous, windows, rngs, strict=True):
                # Dropout applies in training only; the stream advances in any case.
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
            demonstrations=self.demonstrations([window.prompt for window in windows]),
            remembers=torch.tensor([self.remembers(each.task) and not each.independent for each in windows]),
        )

    def modalities(self, window: Window) -> Modalities:
        """The network's inputs in a window, each modality of shape ``(1, steps, …)``."""
        return {name: values[None] for name, values in self.shown(window.task, window.observations).items()}

    def demonstration_tokens(self, demonstrations: Demonstrations) -> tuple[torch.Tensor, torch.Tensor]:
        """One token for each step of a demonstration."""
        tokens = self.observation_encoder(demonstrations.inputs) + self.actions(demonstrations.actions)
        return tokens, demonstrations.valid

    def loss(self, batch: StepBatch) -> dict[str, torch.Tensor]:
        """See :meth:`ActionHeads.losses`."""
        return self.heads.losses(self.hidden(batch), batch.targets)

    def hidden(self, batch: StepBatch) -> torch.Tensor:
        """The trunk's hidden states, ``(B, L, width)``."""
        tokens = self.observation_encoder(batch.inputs)
        if batch.previous is not None:
            tokens = tokens + self.actions(batch.previous)
        return self.run(tokens, batch.tasks, batch.demonstrations, batch.remembers)

    def act(self, inputs: Sequence[PolicyInput], memory: Memory, select: Selector = greedy) -> list[NetworkOutput]:
        """One token per row for all tasks at once, then the action heads task by task."""
        items = [self.shown(rows.task, rows.observations) for rows in inputs]
        observations = collate([{name: values[:, None] for name, values in item.items()} for item in items], 1)
        env_ids = np.concatenate([rows.env_ids for rows in inputs])
        episode_start = np.concatenate([rows.episode_start for rows in inputs])
        embeddings, prefix = self.conditioning(inputs, memory)
        tokens = self.observation_encoder(moved(observations, self.device))[:, 0] + embeddings
        if self.codec.previous_actions:
            memory.actions[env_ids[episode_start]] = 0.0
            tokens = tokens + self.actions(self.tensor(memory.actions[env_ids]))
        remembers = np.concatenate([np.full(len(rows.env_ids), self.remembers(rows.task)) for rows in inputs])
        hidden = self.step(tokens, memory, env_ids, episode_start, prefix, remembers)
        return self.decide(inputs, hidden, memory, select)
