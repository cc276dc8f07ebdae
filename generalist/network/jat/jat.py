"""The ``jat`` network: alternating observation and action tokens, two for each time step.

After "Jack of All Trades, Master of Some, a Multi-Purpose Transformer Agent" (Gallouédec et al. 2024,
arXiv:2402.09844). In the sequence o0 a0 o1 a1 …, the hidden state of an observation token predicts the action, and that
of an action token predicts the next observation. κ = ``observation_loss`` weights the two: loss = κ L(observation) +
(1 - κ) L(action), with κ = 0.005. An observation includes the previous reward. Past actions in the input are those that
were taken, not the expert's labels.

Differences from JAT's published code:

- The reward is an input, and predicted, in every task; in JAT's code, image observations have no reward, and only
  vectors predict it.
- Numbers are squashed, and padded with a presence flag, instead of raw and repeated until the vector is full. They are
  predicted on the symlog scale, so that positions of hundreds do not outweigh the actions.
- Discrete observations and cells are predicted by cross-entropy, which JAT's code documents but omits. A mission is not
  predicted, since it does not change; it is read as bytes, not as GPT-2's tokens.
- Continuous actions are mapped to [-1, 1]; all inputs use the ``step`` network's encoders; actions and observations
  share no weights.
- Discrete actions are greedy, not sampled.
- The transformer is gatito's: rotary positions and a sliding window, instead of GPT-Neo's learned positions.

JAT has neither prompts nor task identities; here both are settings, as for the ``step`` network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.play.policy import PolicyInput
from benchmarks.tasks import Task, spaces
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.batches import Window, moved
from generalist.network.distributions import NetworkOutput, Selector, greedy
from generalist.network.heads import Targets, check_actions, check_limits
from generalist.network.inputs import Inputs, collate
from generalist.network.modalities import Modalities, choices
from generalist.network.observations import check_observations
from generalist.network.prediction import NextObservation
from generalist.network.stepwise import Demonstrations, Memory, StepwiseNetwork

_TOKENS = 2  # per time step


@dataclass(frozen=True)
class JatBatch:
    """B windows of L steps, see :class:`generalist.network.batches.Batch`.

    Attributes:
        weight: real steps.
        inputs: the observations; the last entry of each vector is the previous reward.
        actions: ``(B, L, size)``, the actions that were taken, see :meth:`ActionEncoder.numbers`.
        targets: the training targets.
        choices: ``(B, longest vector)``, see :meth:`NextObservation.losses`.
        tasks: ``(B,)``, task indices; None if the task identity is not an input.
        demonstrations: the demonstrations of the windows that have one; None if no window has one.
    """

    weight: int
    inputs: Inputs
    actions: torch.Tensor
    targets: Targets
    choices: torch.Tensor
    tasks: torch.Tensor | None
    demonstrations: Demonstrations | None


class JatNetwork(StepwiseNetwork):
    """Interleaves observation and action tokens; each hidden state predicts the next token.

    Attributes:
        next_observation: predicts observations; None if ``codec.observation_loss`` is 0.
    """

    def __init__(self, model: ModelConfig, codec: CodecConfig, tasks: Sequence[str] = ()) -> None:
        """Args: the sizes, the settings of inputs and outputs, and the tasks' names for ``task_id``."""
        super().__init__(model, codec, tasks, actions=True)
        self.next_observation = NextObservation(codec, model.width) if codec.observation_loss else None

    @staticmethod
    def check_task(codec: CodecConfig, task: Task, context_length: int) -> None:
        """Reject a task that does not fit the network, before any training.

        Raises:
            GatitoError: names the task, the part that does not fit, and the setting to raise.
            FatalError: for a setting that fits no task.
        """
        if codec.previous_actions:
            raise FatalError("codec jat reads past actions as tokens of their own: set codec.previous_actions=false.")
        if codec.board_features:
            raise FatalError("codec jat reads a board as a vector: set codec.board_features=0, or codec=step.")
        if codec.memory != "all":
            raise FatalError("codec.memory=partial: in codec jat, every step sees the past; set codec.memory=all.")
        if context_length < _TOKENS:
            raise GatitoError(
                f"task {task.name}: a time step of codec jat takes {_TOKENS} tokens, model.context_length holds "
                f"{context_length}: set model.context_length={_TOKENS} or more, with model.kind=transformer."
            )
        [(numbers, setting, unit), *others] = check_observations(codec, task)
        vector = (numbers + 1, setting, f"{unit}, the reward included")
        check_limits(codec, task, [vector, *others, *check_actions(codec, task)])

    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> JatBatch:
        """Make a batch of windows of at most ``length`` tokens; the random streams are not used."""
        steps = length // _TOKENS
        inputs = collate([self.modalities(window) for window in windows], steps)
        return JatBatch(
            weight=sum(map(len, windows)),
            inputs=inputs,
            actions=self.actions.collate([(window.task, window.actions) for window in windows], steps),
            targets=self.heads.collate(windows, steps),
            choices=_choices(windows, inputs.values["vector"].shape[1]),
            tasks=self.task_numbers([window.task for window in windows]),
            # Saved demonstrations lack the step before them, so training omits it too.
            demonstrations=self.demonstrations(
                [window.prompt and replace(window.prompt, before=None) for window in windows]
            ),
        )

    def modalities(self, window: Window) -> Modalities:
        """A window's observations with the previous rewards, each modality of shape ``(1, steps, …)``."""
        modalities = with_rewards(self.shown(window.task, window.observations), window.previous_rewards)
        return {name: values[None] for name, values in modalities.items()}

    def demonstration_tokens(self, demonstrations: Demonstrations) -> tuple[torch.Tensor, torch.Tensor]:
        """Two tokens for each step of a demonstration."""
        observations = self.observation_encoder(demonstrations.inputs)
        tokens = _interleave(observations, self.actions(demonstrations.actions))
        return tokens, demonstrations.valid.repeat_interleave(_TOKENS, dim=1)

    def loss(self, batch: JatBatch) -> dict[str, torch.Tensor]:
        """See :meth:`ActionHeads.losses`; with ``observation_loss`` above 0, both parts of ``loss`` are returned too.

        Both are averages over all real steps, so that parts of a batch can be averaged. The last step of a window has
        no next observation and adds 0.
        """
        hidden = self.hidden(batch)
        values = self.heads.losses(hidden[:, 0::_TOKENS], batch.targets)
        if self.next_observation is None:
            return values
        weight = self.codec.observation_loss
        total = self.next_observation.losses(hidden[:, 1::_TOKENS], batch.inputs, batch.choices)
        observation_loss = total / batch.targets.valid.sum()
        loss = weight * observation_loss + (1 - weight) * values["loss"]
        return values | {"loss": loss, "action_loss": values["loss"], "observation_loss": observation_loss}

    def hidden(self, batch: JatBatch) -> torch.Tensor:
        """The trunk's hidden states of alternating observation and action tokens, ``(B, 2 L, width)``."""
        tokens = _interleave(self.observation_encoder(batch.inputs), self.actions(batch.actions))
        return self.run(tokens, batch.tasks, batch.demonstrations)

    def act(self, inputs: Sequence[PolicyInput], memory: Memory, select: Selector = greedy) -> list[NetworkOutput]:
        """Two tokens per row for all tasks at once: the previous action, if there is one, and the new observation."""
        items = [with_rewards(self.shown(rows.task, rows.observations), rows.rewards) for rows in inputs]
        collated = collate([{name: values[:, None] for name, values in item.items()} for item in items], 1)
        env_ids = np.concatenate([rows.env_ids for rows in inputs])
        episode_start = np.concatenate([rows.episode_start for rows in inputs])
        embeddings, prefix = self.conditioning(inputs, memory)
        last_actions = self.actions(self.tensor(memory.actions[env_ids])) + embeddings
        observations = self.observation_encoder(moved(collated, self.device))[:, 0] + embeddings
        if len(ongoing := np.flatnonzero(~episode_start)):
            rows, starts = self.tensor(ongoing), episode_start[ongoing]
            self.step(last_actions[rows], memory, env_ids[ongoing], starts, prefix and prefix.rows(rows))
        hidden = self.step(observations, memory, env_ids, episode_start, prefix)
        return self.decide(inputs, hidden, memory, select)


def with_rewards(modalities: Modalities, rewards: np.ndarray) -> Modalities:
    """Append the previous rewards, ``(n,)``, to the vectors of observations, ``(n, …)``."""
    numbers = rewards.astype(np.float32)[:, None]
    return modalities | {"vector": np.concatenate([modalities.get("vector", numbers[:, :0]), numbers], axis=1)}


def _choices(windows: Sequence[Window], longest: int) -> torch.Tensor:
    """The ``modalities.choices`` of each window's vectors, ``(B, longest)``; -1 for padding."""
    rows = np.full((len(windows), longest), -1)
    for row, window in zip(rows, windows, strict=True):
        entries = choices(spaces(window.task)[0])
        row[: len(entries)] = entries
        row[len(entries)] = 0  # the reward
    return torch.from_numpy(rows)


def _interleave(observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """``(B, L, width)`` each → ``(B, 2 L, width)``, alternating."""
    return torch.stack([observations, actions], dim=2).flatten(1, 2)
