"""What the ``step`` and ``jat`` codecs share: one vector for each observation and each action of a time step.

And what their network may be told of its task: which one it is, or a demonstration that every step attends to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.tasks import Task, spaces
from generalist.config.codec import CodecConfig
from generalist.network.batches import Window, moved, valid_steps
from generalist.network.choice import Chooser
from generalist.network.heads import ActionHeads
from generalist.network.inputs import Inputs, collate
from generalist.network.modalities import Parts, is_partial
from generalist.network.observations import ActionEncoder, ObservationEncoder
from generalist.network.transformer import Prefix, Transformer


@dataclass(frozen=True)
class Shown:
    """Demonstrations, P steps of each of Q windows.

    Attributes:
        windows: ``(Q,)``, which windows of the batch have one.
        inputs: their observations.
        actions: ``(Q, P, size)``, see :meth:`ActionEncoder.numbers`.
        there: ``(Q, P)``, false where a demonstration is padding.
    """

    windows: torch.Tensor
    inputs: Inputs
    actions: torch.Tensor
    there: torch.Tensor


@dataclass
class Memory:
    """What is remembered while acting.

    Attributes:
        cache: the model's.
        actions: ``(num_envs, size)``, each environment's last action, see :meth:`ActionEncoder.numbers`.
        prompts: the row of each task's demonstration in ``prefix``.
        prefix: what the model sees of the demonstrations; None: there are none.
        used: whether there is anything in the cache: steps that see themselves alone leave nothing there.
    """

    cache: Any
    actions: np.ndarray
    prompts: Mapping[str, int]
    prefix: Prefix | None
    used: bool = False


class StepwiseCodec(nn.Module):
    """Encoders, heads and conditioning; how they make a sequence of tokens is for codecs to say.

    Attributes:
        config: the settings.
        tasks: names of the tasks that ``task_id`` tells apart.
        observations: observations as vectors.
        acts: actions as vectors; None: they are no inputs.
        heads: hidden states as actions.
        identity: a vector for each task; None: which task it is, is not told.
        demonstrated: added to the tokens of demonstrations; None: none is shown.
    """

    def __init__(self, config: CodecConfig, width: int, tasks: Sequence[str], *, acts: bool) -> None:
        """Args: the settings, the model's width, the tasks' names, and whether actions are inputs."""
        super().__init__()
        self.config = config
        self.tasks = list(tasks)
        self.observations = ObservationEncoder(config, width)
        self.acts = ActionEncoder(config, width) if acts else None
        self.heads = ActionHeads(config, width)
        self.identity = nn.Embedding(len(tasks), width) if config.conditioning == "task_id" else None
        if self.identity is not None:
            nn.init.normal_(self.identity.weight, std=0.3)
        self.demonstrated = nn.Parameter(0.3 * torch.randn(width)) if config.conditioning == "prompt" else None

    def remembers(self, task: Task) -> bool:
        """Whether a task's steps see those before them."""
        return self.config.memory == "all" or is_partial(spaces(task)[0])

    @staticmethod
    def seen(window: Window) -> Parts:
        """What is seen in a window, each part of shape ``(1, steps, …)``."""
        raise NotImplementedError

    def demonstration_tokens(self, shown: Shown) -> tuple[torch.Tensor, torch.Tensor]:
        """Of demonstrations, the tokens, ``(Q, tokens, width)``, and which of them are there, ``(Q, tokens)``."""
        raise NotImplementedError

    def numbers_of(self, tasks: Sequence[Task]) -> torch.Tensor | None:
        """``(n,)``, which task each is; None where that is not told."""
        return None if self.identity is None else torch.tensor([self.tasks.index(task.name) for task in tasks])

    def show(self, prompts: Sequence[Window | None]) -> Shown | None:
        """The demonstrations of a batch's windows; None if there is none."""
        there = {index: prompt for index, prompt in enumerate(prompts) if prompt is not None}
        if not there:
            return None
        assert self.acts is not None
        windows = list(there.values())
        length = max(map(len, windows))
        return Shown(
            torch.tensor(list(there)),
            collate([self.seen(window) for window in windows], length),
            self.acts.collate([(window.task, window.labels) for window in windows], length),
            torch.from_numpy(valid_steps(windows, length)),
        )

    def run(
        self,
        model: Any,  # noqa: ANN401
        tokens: torch.Tensor,
        tasks: torch.Tensor | None,
        shown: Shown | None,
        remembers: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states of ``(B, L, width)`` tokens, given what is told of their tasks, ``(B,)``, and shown of them.

        ``remembers``, ``(B,)``: whether a window's tokens see those before them; None: all do.
        """
        if tasks is not None:
            assert self.identity is not None
            tokens = tokens + self.identity(tasks)[:, None]
        every = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        remembers = every if remembers is None else remembers
        parts, told = [], ~every
        if shown is not None:
            told[shown.windows] = True
            windows = torch.where(remembers[shown.windows], model.config.context_length, 1)
            parts.append((shown.windows, model(tokens[shown.windows], self._read(model, shown), windows)))
        if len(rows := (remembers & ~told).nonzero()[:, 0]):
            parts.append((rows, model(tokens[rows])))
        if len(rows := (~remembers & ~told).nonzero()[:, 0]):
            parts.append((rows, model.alone(tokens[rows])))
        hidden = parts[0][1].new_empty(tokens.shape)
        for rows, part in parts:
            hidden[rows] = part
        return hidden

    def new_memory(self, model: Any, num_envs: int, prompts: Mapping[str, Window]) -> Memory:  # noqa: ANN401
        """Memory for so many environments; ``prompts`` are demonstrations by task name."""
        shown = self.show(list(prompts.values()))
        prefix = None if shown is None else self._read(model, moved(shown, self.device))
        actions = np.zeros((num_envs, self.acts.project.in_features if self.acts else 0), np.float32)
        return Memory(model.new_cache(num_envs), actions, {name: row for row, name in enumerate(prompts)}, prefix)

    def told(self, inputs: Sequence[PolicyInput], memory: Memory) -> tuple[torch.Tensor | float, Prefix | None]:
        """Of each row that is played, the vector that tells its task, ``(rows, width)`` or 0, and its demonstration."""
        counts = [len(rows.env_ids) for rows in inputs]
        who: torch.Tensor | float = 0.0
        numbers = self.numbers_of([rows.task for rows in inputs])
        if numbers is not None:
            assert self.identity is not None
            who = self.identity(self.tensor(np.repeat(numbers.numpy(), counts)))
        if memory.prefix is None:
            return who, None
        rows = np.repeat([memory.prompts[each.task.name] for each in inputs], counts)
        return who, memory.prefix.rows(self.tensor(rows))

    def step(
        self,
        model: Any,  # noqa: ANN401
        tokens: torch.Tensor,
        memory: Memory,
        env_ids: np.ndarray,
        episode_start: np.ndarray,
        prefix: Prefix | None,
        remembers: np.ndarray | None = None,
    ) -> torch.Tensor:
        """Hidden states of one further token per environment: see :meth:`Transformer.step` and :meth:`run`."""
        remembers = np.ones(len(env_ids), dtype=bool) if remembers is None else remembers
        if prefix is not None or remembers.all():
            memory.used = True
            episode_start = episode_start | ~remembers  # what is forgotten at every step begins at every step
            return model.step(tokens, memory.cache, self.tensor(env_ids), self.tensor(episode_start), prefix)
        if not remembers.any():
            return model.alone(tokens)
        hidden, which = tokens.new_empty(tokens.shape), self.tensor(remembers)
        hidden[~which] = model.alone(tokens[~which])
        hidden[which] = self.step(model, tokens[which], memory, env_ids[remembers], episode_start[remembers], None)
        return hidden

    def decide(
        self, inputs: Sequence[PolicyInput], hidden: torch.Tensor, memory: Memory, choose: Chooser
    ) -> list[PolicyOutput]:
        """What ``(rows, width)`` hidden states decide; actions are remembered where they are inputs."""
        decisions = []
        for rows, part in zip(inputs, hidden.split([len(rows.env_ids) for rows in inputs]), strict=True):
            decision = self.heads.decide(rows.task, part, choose, rows.rngs)
            self.remember(memory, rows.task, rows.env_ids, decision.actions)
            decisions.append(decision)
        return decisions

    def remember(self, memory: Memory, task: Task, env_ids: np.ndarray, actions: np.ndarray) -> None:
        """What was done last in these environments, ``(rows, *action shape)``, whatever was decided."""
        if self.acts is not None:
            memory.actions[env_ids] = self.acts.numbers(task, actions)

    @staticmethod
    def fork(model: Any, memory: Memory, sources: np.ndarray, targets: np.ndarray) -> None:  # noqa: ANN401
        """Let environments continue from the memory of others; see :meth:`generalist.network.codec.Codec.fork`."""
        if memory.used:
            model.fork(memory.cache, torch.from_numpy(sources), torch.from_numpy(targets))
        memory.actions[targets] = memory.actions[sources]

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.observations.bias.device

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        """On the weights' device."""
        return torch.from_numpy(values).to(self.device)

    def _read(self, model: Transformer, shown: Shown) -> Prefix:
        assert self.demonstrated is not None
        tokens, there = self.demonstration_tokens(shown)
        return model.read(tokens + self.demonstrated, there)
