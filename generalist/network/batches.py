"""What codecs are given to learn from: consecutive steps of recorded episodes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch

from benchmarks.tasks import Task, spaces


@dataclass(frozen=True)
class Window:
    """Consecutive steps of one episode, n of them.

    Attributes:
        task: what is played.
        observations: ``(n, *observation shape)``, packed (see ``tasks.observations``).
        labels: ``(n, *action shape)``, the expert's clean actions: what is to be learnt.
        distributions: ``(n, …)``, the expert's distributions: logits of discrete actions, means and standard
            deviations ``(n, 2, dimensions)`` of continuous ones; None: the labels alone are learnt.
        actions: ``(n, *action shape)``, what was done.
        rewards: ``(n,)``, what followed from it.
        before: the action and the reward of the step before the first; None where an episode begins.
        prompt: steps of another episode of the same task that are shown first; None: nothing is.
        returns: ``(n,)``, the discounted returns from each step on, NaN where they are not known; None: not asked for.
    """

    task: Task
    observations: np.ndarray
    labels: np.ndarray
    distributions: np.ndarray | None
    actions: np.ndarray
    rewards: np.ndarray
    before: tuple[np.ndarray, float] | None = None
    prompt: "Window | None" = None
    returns: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def previous_actions(self) -> np.ndarray:
        """``(n, *action shape)``, the action before each step; where there is none, whatever is first."""
        first = self.actions[:1] if self.before is None else self.before[0][None]
        return np.concatenate([first, self.actions[:-1]])

    @property
    def previous_rewards(self) -> np.ndarray:
        """``(n,)``, the reward before each step; 0 where there is none."""
        return np.concatenate([[0.0 if self.before is None else self.before[1]], self.rewards[:-1]])

    @property
    def has_previous(self) -> np.ndarray:
        """``(n,)``, whether there is a step before."""
        there = np.ones(len(self), dtype=bool)
        there[0] = self.before is not None
        return there


class Batch(Protocol):
    """What a codec makes of windows, with whatever else its own ``loss`` needs.

    Attributes:
        weight: real steps in it; losses of parts of a batch are averaged by it.
    """

    weight: int


def is_discrete(task: Task) -> bool:
    """Whether a task's actions are one of several."""
    return isinstance(spaces(task)[1], gym.spaces.Discrete)


def valid_steps(windows: Sequence[Window], length: int) -> np.ndarray:
    """``(B, L)``, false where a window is padding."""
    return np.arange(length) < np.array([len(window) for window in windows])[:, None]


def moved(value: Any, device: torch.device) -> Any:  # noqa: ANN401
    """The same batch with its tensors on a device."""
    if device.type == "cpu":
        return value
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: moved(each, device) for name, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: moved(getattr(value, field.name), device) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value
