"""The common base of the ``step`` and ``jat`` networks: one vector for each observation and each action.

It also holds the conditioning on the task: a task embedding, or a demonstration that every step attends to.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.play.policy import PolicyInput
from benchmarks.tasks import Task, spaces
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.attention import Prefix
from generalist.network.batches import Window, moved, valid_steps
from generalist.network.critic import Critic
from generalist.network.distributions import NetworkOutput, Selector
from generalist.network.heads import ActionHeads
from generalist.network.inputs import Inputs, collate
from generalist.network.modalities import Modalities, is_partial
from generalist.network.network import Network, make_task_embedding
from generalist.network.observations import ActionEncoder, ObservationEncoder


@dataclass(frozen=True)
class Demonstrations:
    """Demonstrations of P steps for Q windows of a batch.

    Attributes:
        windows: ``(Q,)``, the indices of the windows that have one.
        inputs: their observations.
        actions: ``(Q, P, size)``, see :meth:`ActionEncoder.numbers`.
        valid: ``(Q, P)``, false where a demonstration is padding.
    """

    windows: torch.Tensor
    inputs: Inputs
    actions: torch.Tensor
    valid: torch.Tensor


@dataclass
class Memory:
    """The network's memory while acting.

    Attributes:
        cache: the trunk's cache.
        actions: ``(num_envs, size)``, each environment's last action, see :meth:`ActionEncoder.numbers`.
        prompts: the row of each task's demonstration in ``prefix``.
        prefix: the trunk's keys and values of the demonstrations; None without demonstrations.
        used: whether the cache holds anything: steps without memory do not write to it.
    """

    cache: Any
    actions: np.ndarray
    prompts: Mapping[str, int]
    prefix: Prefix | None
    used: bool = False


class StepwiseNetwork(Network):
    """Encoders, heads and conditioning; subclasses define the sequence of tokens.

    Attributes:
        observation_encoder: maps observations to vectors.
        action_encoder: maps actions to vectors; None if actions are not an input.
        heads: maps hidden states to actions.
        prompt_embedding: a vector added to the tokens of demonstrations; None without prompts.
    """

    action_encoder: ActionEncoder | None

    def __init__(self, model: ModelConfig, codec: CodecConfig, tasks: Sequence[str], *, actions: bool) -> None:
        """Args: the sizes, the settings of inputs and outputs, the tasks' names, and whether actions are inputs."""
        super().__init__(model, codec, tasks)
        width = model.width
        self.observation_encoder = ObservationEncoder(codec, width)
        self.action_encoder = ActionEncoder(codec, width) if actions else None
        self.heads = ActionHeads(codec, width)
        self.task_embedding = make_task_embedding(codec, width, tasks)
        prompted = codec.conditioning == "prompt"
        self.prompt_embedding = nn.Parameter(0.3 * torch.randn(width)) if prompted else None

    @abc.abstractmethod
    def modalities(self, window: Window) -> Modalities:
        """The network's inputs in a window, each modality of shape ``(1, steps, …)``."""

    @abc.abstractmethod
    def demonstration_tokens(self, demonstrations: Demonstrations) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of demonstrations, ``(Q, tokens, width)``, and their validity (false for padding), ``(Q, tokens)``."""

    @abc.abstractmethod
    def hidden(self, batch: Any) -> torch.Tensor:  # noqa: ANN401
        """The trunk's hidden states, ``(B, tokens, width)``."""

    @property
    def tokens_per_step(self) -> int:
        """The number of tokens of a time step."""
        tokens = self.kind.tokens_per_step
        assert tokens is not None
        return tokens

    @property
    def critic(self) -> Critic:
        """The critic; exists if ``codec.critic`` is above 0."""
        assert self.heads.critic is not None
        return self.heads.critic

    @property
    def actions(self) -> ActionEncoder:
        """The action encoder; exists if actions are inputs."""
        assert self.action_encoder is not None
        return self.action_encoder

    def action_states(self, batch: Any) -> torch.Tensor:  # noqa: ANN401
        """The hidden states from which actions are read, one per step, ``(B, L, width)``."""
        return self.hidden(batch)[:, :: self.tokens_per_step]

    def steps_in(self, task: Task, tokens: int) -> int:
        """See :meth:`Network.steps_in`."""
        return tokens // self.tokens_per_step

    def remembers(self, task: Task) -> bool:
        """See :meth:`Network.remembers`."""
        return self.codec.memory == "all" or is_partial(spaces(task)[0])

    def demonstrations(self, prompts: Sequence[Window | None]) -> Demonstrations | None:
        """The demonstrations of a batch's windows; None if no window has one."""
        given = {index: prompt for index, prompt in enumerate(prompts) if prompt is not None}
        if not given:
            return None
        windows = list(given.values())
        length = max(map(len, windows))
        return Demonstrations(
            torch.tensor(list(given)),
            collate([self.modalities(window) for window in windows], length),
            self.actions.collate([(window.task, window.labels) for window in windows], length),
            torch.from_numpy(valid_steps(windows, length)),
        )

    def run(
        self,
        tokens: torch.Tensor,
        tasks: torch.Tensor | None,
        demonstrations: Demonstrations | None,
        remembers: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states of ``(B, L, width)`` tokens, given the indices of their tasks, ``(B,)``, and demonstrations.

        ``remembers``, ``(B,)``: whether a window's tokens attend to earlier ones; None: all do.
        """
        if tasks is not None:
            assert self.task_embedding is not None
            tokens = tokens + self.task_embedding(tasks)[:, None]
        every = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        remembers = every if remembers is None else remembers
        if self.in_one_pass and demonstrations is None:
            return self.trunk(tokens, None, torch.where(remembers, self.model.context_length, 1))
        if demonstrations is None and remembers.all():
            return self.trunk(tokens)
        if demonstrations is None and not remembers.any():
            return self.trunk.alone(tokens)
        parts, prompted = [], ~every
        if demonstrations is not None:
            windows = demonstrations.windows
            prompted[windows] = True
            reach = torch.where(remembers[windows], self.model.context_length, 1)
            parts.append((windows, self.trunk(tokens[windows], self._prefix(demonstrations), reach)))
        if len(rows := (remembers & ~prompted).nonzero()[:, 0]):
            parts.append((rows, self.trunk(tokens[rows])))
        if len(rows := (~remembers & ~prompted).nonzero()[:, 0]):
            parts.append((rows, self.trunk.alone(tokens[rows])))
        hidden = parts[0][1].new_empty(tokens.shape)
        for rows, part in parts:
            hidden[rows] = part
        return hidden

    def initial_state(self, num_envs: int, prompts: Mapping[str, Window]) -> Memory:
        """See :meth:`Network.initial_state`."""
        demonstrations = self.demonstrations(list(prompts.values()))
        prefix = None if demonstrations is None else self._prefix(moved(demonstrations, self.device))
        size = self.action_encoder.project.in_features if self.action_encoder else 0
        actions = np.zeros((num_envs, size), np.float32)
        return Memory(self.trunk.new_cache(num_envs), actions, {name: row for row, name in enumerate(prompts)}, prefix)

    def conditioning(self, inputs: Sequence[PolicyInput], memory: Memory) -> tuple[torch.Tensor | float, Prefix | None]:
        """Each row's task embedding, ``(rows, width)`` or 0, and its demonstration or None."""
        counts = [len(rows.env_ids) for rows in inputs]
        embeddings: torch.Tensor | float = 0.0
        numbers = self.task_numbers([rows.task for rows in inputs])
        if numbers is not None:
            assert self.task_embedding is not None
            embeddings = self.task_embedding(self.tensor(np.repeat(numbers.numpy(), counts)))
        if memory.prefix is None:
            return embeddings, None
        prompts = np.repeat([memory.prompts[rows.task.name] for rows in inputs], counts)
        return embeddings, memory.prefix.rows(self.tensor(prompts))

    def step(
        self,
        tokens: torch.Tensor,
        memory: Memory,
        env_ids: np.ndarray,
        episode_start: np.ndarray,
        prefix: Prefix | None,
        remembers: np.ndarray | None = None,
    ) -> torch.Tensor:
        """Hidden states of one new token per environment, see :meth:`Transformer.step` and :meth:`run`."""
        remembers = np.ones(len(env_ids), dtype=bool) if remembers is None else remembers
        if prefix is not None or remembers.all():
            memory.used = True
            episode_start = episode_start | ~remembers  # without memory, every step is the first of its sequence
            return self.trunk.step(tokens, memory.cache, self.tensor(env_ids), self.tensor(episode_start), prefix)
        if not remembers.any():
            return self.trunk.alone(tokens)
        hidden, rows = tokens.new_empty(tokens.shape), self.tensor(remembers)
        hidden[~rows] = self.trunk.alone(tokens[~rows])
        hidden[rows] = self.step(tokens[rows], memory, env_ids[remembers], episode_start[remembers], None)
        return hidden

    def decide(
        self, inputs: Sequence[PolicyInput], hidden: torch.Tensor, memory: Memory, select: Selector
    ) -> list[NetworkOutput]:
        """Decide actions from ``(rows, width)`` hidden states, and remember them if they are inputs."""
        outputs = []
        for rows, states in zip(inputs, hidden.split([len(rows.env_ids) for rows in inputs]), strict=True):
            output = self.heads.decide(rows.task, states, select, rows.rngs, rows.action_masks)
            self.replace_actions(memory, rows.task, rows.env_ids, output.actions)
            outputs.append(output)
        return outputs

    def replace_actions(self, memory: Memory, task: Task, env_ids: np.ndarray, actions: np.ndarray) -> None:
        """See :meth:`Network.replace_actions`."""
        if self.action_encoder is not None:
            memory.actions[env_ids] = self.action_encoder.numbers(task, actions)

    def fork(self, memory: Memory, sources: np.ndarray, targets: np.ndarray) -> None:
        """See :meth:`Network.fork`."""
        if memory.used:
            self.trunk.fork(memory.cache, torch.from_numpy(sources), torch.from_numpy(targets))
        memory.actions[targets] = memory.actions[sources]

    def _prefix(self, demonstrations: Demonstrations) -> Prefix:
        assert self.prompt_embedding is not None
        tokens, valid = self.demonstration_tokens(demonstrations)
        return self.trunk.read(tokens + self.prompt_embedding, valid)
