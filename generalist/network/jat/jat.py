"""The ``jat`` codec: an observation token and an action token for each time step, by turns.

After "Jack of All Trades, Master of Some, a Multi-Purpose Transformer Agent" (Gallouédec et al. 2024,
arXiv:2402.09844): in o0 a0 o1 a1 …, the hidden state of an observation token answers with the action, that of an action
token foresees the next observation, and κ = ``observation_loss`` weighs the two: loss = κ L(observation) + (1 - κ)
L(action), with κ = 0.005. An observation comes with the reward before it; past actions are those that were done,
whatever should have been done.

Where it departs from JAT's published code:

- The reward is an input, and foreseen, in every task; there, pixels come without it, and only vectors foresee it.
- Numbers are squashed, and padded with a mark of what is there, instead of raw and repeated until the vector is full;
  they are foreseen on the symlog scale, or positions of hundreds would outweigh every action.
- Discrete observations and cells are foreseen by cross-entropy, which that code documents and leaves out; a mission,
  which does not change, is not. Missions are read byte by byte, not by GPT-2's tokens.
- Continuous actions are mapped to [-1, 1]; every kind of input has the ``step`` codec's encoder; actions share nothing
  with observations.
- The most likely discrete action is played, not one drawn.
- The model is this project's: rotary positions and a sliding window, instead of GPT-Neo's learnt positions.

There are neither prompts nor task identities in JAT; here both are settings, as with the ``step`` codec.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.tasks import Task, spaces
from generalist.config.codec import CodecConfig
from generalist.network.batches import Window, moved
from generalist.network.choice import Chooser, most_likely
from generalist.network.heads import Targets, check_actions, check_limits
from generalist.network.inputs import Inputs, collate
from generalist.network.modalities import Parts, choices, split_modalities
from generalist.network.observations import ActionEncoder, check_observations
from generalist.network.prediction import NextObservation
from generalist.network.stepwise import Memory, Shown, StepwiseCodec
from generalist.network.transformer import Transformer

_TOKENS = 2  # per time step


@dataclass(frozen=True)
class JatBatch:
    """B windows of L steps, see ``windows.Batch``.

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
    shown: Shown | None


class JatCodec(StepwiseCodec):
    """Interleaves observations and actions, and reads the hidden states of each as what comes next."""

    acts: ActionEncoder

    def __init__(self, config: CodecConfig, width: int, tasks: Sequence[str] = ()) -> None:
        """Args: the settings, the model's width, and the tasks' names, which ``task_id`` tells apart."""
        super().__init__(config, width, tasks, acts=True)
        self.next = NextObservation(config, width) if config.observation_loss else None

    @staticmethod
    def check_task(config: CodecConfig, task: Task, window: int) -> None:
        """Refuse a task that the codec cannot carry, before anything trains on it.

        Raises:
            GatitoError: naming the task, what does not fit and the setting to raise.
            FatalError: for a setting that fits no task.
        """
        if config.previous_actions:
            raise FatalError("codec jat reads past actions as tokens of their own: set codec.previous_actions=false.")
        if config.memory != "all":
            raise FatalError("codec.memory=partial: in codec jat, every step sees the past; set codec.memory=all.")
        if window < _TOKENS:
            raise GatitoError(
                f"task {task.name}: a time step of codec jat takes {_TOKENS} tokens, model.context_length holds "
                f"{window}: set model.context_length={_TOKENS} or more, with model.kind=transformer."
            )
        [(numbers, setting, what), *others] = check_observations(config, task)
        vector = (numbers + 1, setting, f"{what}, the reward included")
        check_limits(config, task, [vector, *others, *check_actions(config, task)])

    @staticmethod
    def steps(task: Task, tokens: int) -> int:
        """Time steps that so many tokens hold, at most."""
        return tokens // _TOKENS

    def collate(self, windows: Sequence[Window], length: int, rngs: Sequence[np.random.Generator]) -> JatBatch:
        """A batch of windows of at most ``length`` tokens; it draws nothing from their random streams."""
        steps = length // _TOKENS
        inputs = collate([self.seen(window) for window in windows], steps)
        return JatBatch(
            weight=sum(map(len, windows)),
            inputs=inputs,
            actions=self.acts.collate([(window.task, window.actions) for window in windows], steps),
            targets=self.heads.collate(windows, steps),
            choices=_choices(windows, inputs.values["vector"].shape[1]),
            tasks=self.numbers_of([window.task for window in windows]),
            # Demonstrations are kept without the step before them, so they are learnt from without it.
            shown=self.show([window.prompt and replace(window.prompt, before=None) for window in windows]),
        )

    @staticmethod
    def seen(window: Window) -> Parts:
        """What is seen in a window, and the rewards before it, each part of shape ``(1, steps, …)``."""
        parts = with_rewards(split_modalities(window.task, window.observations), window.previous_rewards)
        return {kind: part[None] for kind, part in parts.items()}

    def demonstration_tokens(self, shown: Shown) -> tuple[torch.Tensor, torch.Tensor]:
        """Two tokens for each step of a demonstration."""
        tokens = _interleave(self.observations(shown.inputs), self.acts(shown.actions))
        return tokens, shown.there.repeat_interleave(_TOKENS, dim=1)

    def loss(self, model: Transformer, batch: JatBatch) -> dict[str, torch.Tensor]:
        """See :meth:`ActionHeads.losses`; with a weight on observations, each part of ``loss`` by itself too.

        Both are averages over all real steps, so that parts of a batch add up; a window's last step counts 0 for
        the observation that it does not foresee.
        """
        hidden = self.hidden(model, batch)
        values = self.heads.losses(hidden[:, 0::_TOKENS], batch.targets)
        if self.next is None:
            return values
        weight = self.config.observation_loss
        foreseen = self.next.losses(hidden[:, 1::_TOKENS], batch.inputs, batch.choices) / batch.targets.valid.sum()
        loss = weight * foreseen + (1 - weight) * values["loss"]
        return values | {"loss": loss, "action_loss": values["loss"], "observation_loss": foreseen}

    def hidden(self, model: Transformer, batch: JatBatch) -> torch.Tensor:
        """The model's hidden states, ``(B, 2 L, width)``, of observation and action tokens by turns."""
        tokens = _interleave(self.observations(batch.inputs), self.acts(batch.actions))
        return self.run(model, tokens, batch.tasks, batch.shown)

    def act(
        self,
        model: Transformer,
        inputs: Sequence[PolicyInput],
        memory: Memory,
        choose: Chooser = most_likely,
    ) -> list[PolicyOutput]:
        """Two tokens per row, of all tasks at once: what was done last, unless nothing was, and what is seen now."""
        items = [with_rewards(split_modalities(rows.task, rows.observations), rows.rewards) for rows in inputs]
        collated = collate([{kind: part[:, None] for kind, part in item.items()} for item in items], 1)
        env_ids = np.concatenate([rows.env_ids for rows in inputs])
        episode_start = np.concatenate([rows.episode_start for rows in inputs])
        who, prefix = self.told(inputs, memory)
        done = self.acts(self.tensor(memory.actions[env_ids])) + who
        seen = self.observations(moved(collated, self.device))[:, 0] + who
        if len(old := np.flatnonzero(~episode_start)):
            rows = self.tensor(old)
            self.step(model, done[rows], memory, env_ids[old], episode_start[old], prefix and prefix.rows(rows))
        return self.decide(inputs, self.step(model, seen, memory, env_ids, episode_start, prefix), memory, choose)


def with_rewards(parts: Parts, rewards: np.ndarray) -> Parts:
    """Observations, ``(n, …)``, with the ``(n,)`` rewards before them as one more number of their vectors."""
    numbers = rewards.astype(np.float32)[:, None]
    return parts | {"vector": np.concatenate([parts.get("vector", numbers[:, :0]), numbers], axis=1)}


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
