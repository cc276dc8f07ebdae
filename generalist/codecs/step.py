"""The ``step`` codec: one token per time step, no task identity, nothing to learn that belongs to one task.

Two settings add to the token: the previous action, and (an upper bound) which task it is. A third, a prompt, is
a demonstration that every step attends to; its tokens are observations with what the expert would do there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.errors import FatalError
from benchmarks.policy import Decision, Observed
from benchmarks.tasks import Task
from generalist.codecs.config import CodecConfig
from generalist.codecs.heads import ActionHeads, Targets, check_actions, check_limits
from generalist.codecs.inputs import Inputs, collate
from generalist.codecs.observations import ActionEncoder, ObservationEncoder, check_observations
from generalist.codecs.parts import Parts, take_apart
from generalist.codecs.prompts import Shown, run_after, show
from generalist.codecs.windows import Window, moved
from generalist.model import Prefix, Transformer
from generalist.perceptron import Perceptron


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
    """

    weight: int
    inputs: Inputs
    targets: Targets
    previous: torch.Tensor | None
    tasks: torch.Tensor | None
    shown: Shown | None


@dataclass
class StepMemory:
    """What is remembered while acting.

    Attributes:
        cache: the model's.
        previous: ``(lanes, size)``, each lane's last action.
        prompts: the row of each task's demonstration in ``prefix``.
        prefix: what the model sees of the demonstrations; None: there are none.
    """

    cache: Any
    previous: np.ndarray
    prompts: Mapping[str, int]
    prefix: Prefix | None


class StepCodec(nn.Module):
    """Embeds observations, and turns hidden states into actions."""

    def __init__(self, config: CodecConfig, width: int, tasks: Sequence[str] = ()) -> None:
        """Args: the settings, the model's width, and the tasks' names, which ``task_id`` tells apart."""
        super().__init__()
        self.config = config
        self.tasks = list(tasks)
        self.observations = ObservationEncoder(config, width)
        self.heads = ActionHeads(config, width)
        acts = config.previous_actions or config.conditioning == "prompt"
        self.acts = ActionEncoder(config, width) if acts else None
        self.identity = nn.Embedding(len(tasks), width) if config.conditioning == "task_id" else None
        if self.identity is not None:
            nn.init.normal_(self.identity.weight, std=0.3)
        self.demonstrated = nn.Parameter(0.3 * torch.randn(width)) if config.conditioning == "prompt" else None

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
        tasks = None
        if self.identity is not None:
            tasks = torch.tensor([self.tasks.index(window.task.name) for window in windows])
        return StepBatch(
            weight=sum(map(len, windows)),
            inputs=collate([_seen(window) for window in windows], length),
            targets=self.heads.collate(windows, length),
            previous=None if previous is None else torch.from_numpy(previous),
            tasks=tasks,
            shown=self._show({index: prompt for index, window in enumerate(windows) if (prompt := window.prompt)}),
        )

    def _show(self, prompts: Mapping[int, Window]) -> Shown | None:
        """Demonstrations by the window that each belongs to."""
        if not prompts:
            return None
        assert self.acts is not None
        return show(prompts, self.acts, _seen)

    def loss(self, model: Transformer | Perceptron, batch: StepBatch) -> dict[str, torch.Tensor]:
        """See :meth:`ActionHeads.losses`."""
        return self.heads.losses(self.hidden(model, batch), batch.targets)

    def hidden(self, model: Transformer | Perceptron, batch: StepBatch) -> torch.Tensor:
        """The model's hidden states, ``(B, L, width)``."""
        tokens = self.observations(batch.inputs)
        if batch.previous is not None:
            assert self.acts is not None
            tokens = tokens + self.acts(batch.previous)
        if batch.tasks is not None:
            assert self.identity is not None
            tokens = tokens + self.identity(batch.tasks)[:, None]
        if batch.shown is None:
            return model(tokens)
        return run_after(model, tokens, batch.shown.windows, self._read(model, batch.shown))

    def _read(self, model: Transformer | Perceptron, shown: Shown) -> Any:  # noqa: ANN401
        assert self.acts is not None and self.demonstrated is not None and isinstance(model, Transformer)
        tokens = self.observations(shown.inputs) + self.acts(shown.actions) + self.demonstrated
        return model.read(tokens, shown.there)

    def new_memory(self, model: Transformer | Perceptron, lanes: int, prompts: Mapping[str, Window]) -> StepMemory:
        """Memory for so many environments; ``prompts`` are demonstrations by task name."""
        size = self.acts.project.in_features if self.acts else 0
        numbers = {name: row for row, name in enumerate(prompts)}
        shown = self._show(dict(enumerate(prompts.values())))
        prefix = None if shown is None else self._read(model, moved(shown, self.device))
        return StepMemory(model.new_cache(lanes), np.zeros((lanes, size), np.float32), numbers, prefix)

    def act(self, model: Transformer | Perceptron, observed: Sequence[Observed], memory: StepMemory) -> list[Decision]:
        """One token per row, of all tasks at once; then each task's own head."""
        counts = [len(rows.lanes) for rows in observed]
        items = [take_apart(rows.task, rows.observations) for rows in observed]
        inputs = collate([{kind: part[:, None] for kind, part in item.items()} for item in items], 1)
        lanes = np.concatenate([rows.lanes for rows in observed])
        fresh = np.concatenate([rows.fresh for rows in observed])
        tokens = self.observations(moved(inputs, self.device))[:, 0]
        if self.config.previous_actions:
            assert self.acts is not None
            memory.previous[lanes[fresh]] = 0.0
            tokens = tokens + self.acts(self._tensor(memory.previous[lanes]))
        if self.identity is not None:
            numbers = [self.tasks.index(rows.task.name) for rows in observed]
            tokens = tokens + self.identity(self._tensor(np.repeat(numbers, counts)))
        prefix = None
        if memory.prefix is not None:
            shown = [memory.prompts[rows.task.name] for rows in observed]
            prefix = memory.prefix.rows(self._tensor(np.repeat(shown, counts)))
        places = self._tensor(lanes), self._tensor(fresh)
        hidden = model.step(tokens, memory.cache, *places, prefix)  # type: ignore[arg-type]
        decisions = []
        for rows, part in zip(observed, hidden.split(counts), strict=True):
            actions = self.heads.decide(rows.task, part)
            if self.config.previous_actions:
                assert self.acts is not None
                memory.previous[rows.lanes] = self.acts.numbers(rows.task, actions)
            decisions.append(Decision(actions, actions))
        return decisions

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.observations.bias.device

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device)


def _seen(window: Window) -> Parts:
    return {kind: part[None] for kind, part in take_apart(window.task, window.observations).items()}
