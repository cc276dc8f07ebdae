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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.errors import FatalError, GatitoError
from benchmarks.policy import Decision, Observed
from benchmarks.tasks import Task, spaces
from generalist.codecs.config import CodecConfig
from generalist.codecs.heads import ActionHeads, Targets, check_actions, check_limits
from generalist.codecs.inputs import Inputs, collate
from generalist.codecs.observations import ActionEncoder, ObservationEncoder, check_observations
from generalist.codecs.parts import Parts, choices, take_apart
from generalist.codecs.prediction import NextObservation
from generalist.codecs.prompts import Shown, run_after, show
from generalist.codecs.windows import Window, moved
from generalist.model import Prefix, Transformer

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


@dataclass
class JatMemory:
    """What is remembered while acting.

    Attributes:
        cache: the model's.
        actions: ``(lanes, size)``, each lane's last action, whose token is not read yet.
        prompts: the row of each task's demonstration in ``prefix``.
        prefix: what the model sees of the demonstrations; None: there are none.
    """

    cache: Any
    actions: np.ndarray
    prompts: Mapping[str, int]
    prefix: Prefix | None


class JatCodec(nn.Module):
    """Interleaves observations and actions, and reads the hidden states of each as what comes next."""

    def __init__(self, config: CodecConfig, width: int, tasks: Sequence[str] = ()) -> None:
        """Args: the settings, the model's width, and the tasks' names, which ``task_id`` tells apart."""
        super().__init__()
        self.config = config
        self.tasks = list(tasks)
        self.observations = ObservationEncoder(config, width)
        self.acts = ActionEncoder(config, width)
        self.heads = ActionHeads(config, width)
        self.next = NextObservation(config, width) if config.observation_loss else None
        self.identity = nn.Embedding(len(tasks), width) if config.conditioning == "task_id" else None
        if self.identity is not None:
            nn.init.normal_(self.identity.weight, std=0.3)
        self.demonstrated = nn.Parameter(0.3 * torch.randn(width)) if config.conditioning == "prompt" else None

    @staticmethod
    def check_task(config: CodecConfig, task: Task, window: int) -> None:
        """Refuse a task that the codec cannot carry, before anything trains on it.

        Raises:
            GatitoError: naming the task, what does not fit and the setting to raise.
            FatalError: for a setting that fits no task.
        """
        if config.previous_actions:
            raise FatalError("codec jat reads past actions as tokens of their own: set codec.previous_actions=false.")
        if window < _TOKENS:
            raise GatitoError(
                f"task {task.name}: a time step of codec jat takes {_TOKENS} tokens, model.window holds {window}: "
                f"set model.window={_TOKENS} or more, with model.kind=transformer."
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
        inputs = collate([_seen(window) for window in windows], steps)
        tasks = None
        if self.identity is not None:
            tasks = torch.tensor([self.tasks.index(window.task.name) for window in windows])
        return JatBatch(
            weight=sum(map(len, windows)),
            inputs=inputs,
            actions=self.acts.collate([(window.task, window.actions) for window in windows], steps),
            targets=self.heads.collate(windows, steps),
            choices=_choices(windows, inputs.values["vector"].shape[1]),
            tasks=tasks,
            shown=self._show({index: prompt for index, window in enumerate(windows) if (prompt := window.prompt)}),
        )

    def _show(self, prompts: Mapping[int, Window]) -> Shown | None:
        """Demonstrations by the window that each belongs to."""
        if not prompts:
            return None
        # Demonstrations are kept without the step before them, so they are learnt from without it.
        return show(prompts, self.acts, lambda window: _seen(replace(window, before=None)))

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
        if batch.tasks is not None:
            assert self.identity is not None
            tokens = tokens + self.identity(batch.tasks)[:, None]
        if batch.shown is None:
            return model(tokens)
        return run_after(model, tokens, batch.shown.windows, self._read(model, batch.shown))

    def _read(self, model: Transformer, shown: Shown) -> Prefix:
        assert self.demonstrated is not None
        tokens = _interleave(self.observations(shown.inputs), self.acts(shown.actions)) + self.demonstrated
        return model.read(tokens, shown.there.repeat_interleave(_TOKENS, dim=1))

    def new_memory(self, model: Transformer, lanes: int, prompts: Mapping[str, Window]) -> JatMemory:
        """Memory for so many environments; ``prompts`` are demonstrations by task name."""
        numbers = {name: row for row, name in enumerate(prompts)}
        shown = self._show(dict(enumerate(prompts.values())))
        prefix = None if shown is None else self._read(model, moved(shown, self.device))
        actions = np.zeros((lanes, self.acts.project.in_features), np.float32)
        return JatMemory(model.new_cache(lanes), actions, numbers, prefix)

    def act(self, model: Transformer, observed: Sequence[Observed], memory: JatMemory) -> list[Decision]:
        """Two tokens per row, of all tasks at once: what was done last, unless nothing was, and what is seen now."""
        counts = [len(rows.lanes) for rows in observed]
        items = [with_rewards(take_apart(rows.task, rows.observations), rows.rewards) for rows in observed]
        inputs = collate([{kind: part[:, None] for kind, part in item.items()} for item in items], 1)
        lanes = np.concatenate([rows.lanes for rows in observed])
        places = self._tensor(lanes)
        fresh = self._tensor(np.concatenate([rows.fresh for rows in observed]))
        done = self.acts(self._tensor(memory.actions[lanes]))
        seen = self.observations(moved(inputs, self.device))[:, 0]
        if self.identity is not None:
            names = [self.tasks.index(rows.task.name) for rows in observed]
            who = self.identity(self._tensor(np.repeat(names, counts)))
            done, seen = done + who, seen + who
        prefix = None
        if memory.prefix is not None:
            shown = [memory.prompts[rows.task.name] for rows in observed]
            prefix = memory.prefix.rows(self._tensor(np.repeat(shown, counts)))
        old = (~fresh).nonzero()[:, 0]
        if len(old):
            model.step(done[old], memory.cache, places[old], fresh[old], prefix and prefix.rows(old))
        hidden = model.step(seen, memory.cache, places, fresh, prefix)
        decisions = []
        for rows, part in zip(observed, hidden.split(counts), strict=True):
            actions = self.heads.decide(rows.task, part)
            memory.actions[rows.lanes] = self.acts.numbers(rows.task, actions)
            decisions.append(Decision(actions, actions))
        return decisions

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.observations.bias.device

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device)


def with_rewards(parts: Parts, rewards: np.ndarray) -> Parts:
    """Observations, ``(n, …)``, with the ``(n,)`` rewards before them as one more number of their vectors."""
    numbers = rewards.astype(np.float32)[:, None]
    return parts | {"vector": np.concatenate([parts.get("vector", numbers[:, :0]), numbers], axis=1)}


def _seen(window: Window) -> Parts:
    parts = with_rewards(take_apart(window.task, window.observations), window.previous_rewards)
    return {kind: part[None] for kind, part in parts.items()}


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
