"""The ``jat`` network: an observation token and an action token for each time step, by turns.

After "Jack of All Trades, Master of Some, a Multi-Purpose Transformer Agent" (Gallouédec et al. 2024,
arXiv:2402.09844): in o0 a0 o1 a1 …, the hidden state of an observation token answers with the action, that of an action
token predicts the next observation, and κ = ``observation_loss`` weighs the two: loss = κ L(observation) + (1 - κ)
L(action), with κ = 0.005. An observation comes with the reward before it; past actions are those that were done,
whatever should have been done.

Where it departs from JAT's published code:

- The reward is an input, and predicted, in every task; there, pixels come without it, and only vectors predict it.
- Numbers are squashed, and padded with a mark of what is there, instead of raw and repeated until the vector is full;
  they are predicted on the symlog scale, or positions of hundreds would outweigh every action.
- Discrete observations and cells are predicted by cross-entropy, which that code documents and leaves out; a mission,
  which does not change, is not. Missions are read byte by byte, not by GPT-2's tokens.
- Continuous actions are mapped to [-1, 1]; every kind of input has the ``step`` network's encoder; actions share
  nothing with observations.
- The most likely discrete action is played, not one drawn.
- The model is this project's: rotary positions and a sliding window, instead of GPT-Neo's learnt positions.

There are neither prompts nor task identities in JAT; here both are settings, as with the ``step`` network.
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
from generalist.network.modalities import Modalities, choices, split_modalities
from generalist.network.observations import check_observations
from generalist.network.prediction import NextObservation
from generalist.network.stepwise import Demonstrations, Memory, StepwiseNetwork

_TOKENS = 2  # per time step


@dataclass(frozen=True)
class JatBatch:
    """B windows of L steps, see :class:`generalist.network.batches.Batch`.

    Attributes:
        weight: real steps.
        inputs: the observations, the reward before each at the end of its vector.
        actions: ``(B, L, size)``, what was done, see :meth:`ActionEncoder.numbers`.
        targets: what to answer.
        choices: ``(B, longest vector)``, see :meth:`NextObservation.losses`.
        tasks: ``(B,)``, which task each is; None: that is no input.
        shown: the demonstrations of those windows that have one; None: none has.
    """

    weight: int
    inputs: Inputs
    actions: torch.Tensor
    targets: Targets
    choices: torch.Tensor
    tasks: torch.Tensor | None
    shown: Demonstrations | None


class JatNetwork(StepwiseNetwork):
    """Interleaves observations and actions, and reads the hidden states of each as what comes next.

    Attributes:
        next_observation: predicts observations; None: ``codec.observation_loss`` is 0.
    """

    def __init__(self, model: ModelConfig, codec: CodecConfig, tasks: Sequence[str] = ()) -> None:
        """Args: the sizes, the inputs and outputs, and the tasks' names, which ``task_id`` tells apart."""
        super().__init__(model, codec, tasks, actions=True)
        self.next_observation = NextObservation(codec, model.width) if codec.observation_loss else None

    @staticmethod
    def check_task(codec: CodecConfig, task: Task, context_length: int) -> None:
        """Refuse a task that the network cannot carry, before anything trains on it.

        Raises:
            GatitoError: naming the task, what does not fit and the setting to raise.
            FatalError: for a setting that fits no task.
        """
        if codec.previous_actions:
            raise FatalError("codec jat reads past actions as tokens of their own: set codec.previous_actions=false.")
        if codec.memory != "all":
            raise FatalError("codec.memory=partial: in codec jat, every step sees the past; set codec.memory=all.")
        if context_length < _TOKENS:
            raise GatitoError(
                f"task {task.name}: a time step of codec jat takes {_TOKENS} tokens, model.context_length holds "
                f"{context_length}: set model.context_length={_TOKENS} or more, with model.kind=transformer."
            )
        [(numbers, setting, what), *others] = check_observations(codec, task)
        vector = (numbers + 1, setting, f"{what}, the reward included")
        check_limits(codec, task, [vector, *others, *check_actions(codec, task)])

    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> JatBatch:
        """A batch of windows of at most ``length`` tokens; it draws nothing from their random streams."""
        steps = length // _TOKENS
        inputs = collate([self.modalities(window) for window in windows], steps)
        return JatBatch(
            weight=sum(map(len, windows)),
            inputs=inputs,
            actions=self.actions.collate([(window.task, window.actions) for window in windows], steps),
            targets=self.heads.collate(windows, steps),
            choices=_choices(windows, inputs.values["vector"].shape[1]),
            tasks=self.task_numbers([window.task for window in windows]),
            # Demonstrations are kept without the step before them, so they are learnt from without it.
            shown=self.demonstrations([window.prompt and replace(window.prompt, before=None) for window in windows]),
        )

    @staticmethod
    def modalities(window: Window) -> Modalities:
        """What is inputs in a window, and the rewards before it, each modality of shape ``(1, steps, …)``."""
        modalities = with_rewards(split_modalities(window.task, window.observations), window.previous_rewards)
        return {name: values[None] for name, values in modalities.items()}

    def demonstration_tokens(self, shown: Demonstrations) -> tuple[torch.Tensor, torch.Tensor]:
        """Two tokens for each step of a demonstration."""
        tokens = _interleave(self.observation_encoder(shown.inputs), self.actions(shown.actions))
        return tokens, shown.valid.repeat_interleave(_TOKENS, dim=1)

    def loss(self, batch: JatBatch) -> dict[str, torch.Tensor]:
        """See :meth:`ActionHeads.losses`; with a weight on observations, each part of ``loss`` by itself too.

        Both are averages over all real steps, so that parts of a batch add up; a window's last step counts 0 for
        the observation that it does not predict.
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
        """The trunk's hidden states, ``(B, 2 L, width)``, of observation and action tokens by turns."""
        tokens = _interleave(self.observation_encoder(batch.inputs), self.actions(batch.actions))
        return self.run(tokens, batch.tasks, batch.shown)

    def act(self, inputs: Sequence[PolicyInput], memory: Memory, select: Selector = greedy) -> list[NetworkOutput]:
        """Two tokens per row, of all tasks at once: the last action, where there is one, and the new observation."""
        items = [with_rewards(split_modalities(rows.task, rows.observations), rows.rewards) for rows in inputs]
        shown = collate([{name: values[:, None] for name, values in item.items()} for item in items], 1)
        env_ids = np.concatenate([rows.env_ids for rows in inputs])
        episode_start = np.concatenate([rows.episode_start for rows in inputs])
        embeddings, prefix = self.conditioning(inputs, memory)
        last_actions = self.actions(self.tensor(memory.actions[env_ids])) + embeddings
        observations = self.observation_encoder(moved(shown, self.device))[:, 0] + embeddings
        if len(going := np.flatnonzero(~episode_start)):
            rows = self.tensor(going)
            self.step(last_actions[rows], memory, env_ids[going], episode_start[going], prefix and prefix.rows(rows))
        hidden = self.step(observations, memory, env_ids, episode_start, prefix)
        return self.decide(inputs, hidden, memory, select)


def with_rewards(modalities: Modalities, rewards: np.ndarray) -> Modalities:
    """Observations, ``(n, …)``, with the ``(n,)`` rewards before them as one more number of their vectors."""
    numbers = rewards.astype(np.float32)[:, None]
    return modalities | {"vector": np.concatenate([modalities.get("vector", numbers[:, :0]), numbers], axis=1)}


def _choices(windows: Sequence[Window], longest: int) -> torch.Tensor:
    """Of each window, what the numbers of its vectors are, ``(B, longest)``; -1 beyond their ends."""
    rows = np.full((len(windows), longest), -1)
    for row, window in zip(rows, windows, strict=True):
        own = choices(spaces(window.task)[0])
        row[: len(own)] = own
        row[len(own)] = 0  # the reward
    return torch.from_numpy(rows)


def _interleave(observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """``(B, L, width)`` each → ``(B, 2 L, width)``, by turns."""
    return torch.stack([observations, actions], dim=2).flatten(1, 2)
