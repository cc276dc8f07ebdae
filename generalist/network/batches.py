"""Training data of networks: windows of consecutive steps of recorded episodes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch

from benchmarks.tasks import Task, spaces
from benchmarks.tasks.actions import options_of


@dataclass(frozen=True)
class Window:
    """n consecutive steps of one episode, or n independent steps of a recording.

    Attributes:
        task: the task.
        observations: ``(n, *observation shape)``, packed (see ``tasks.observations``).
        labels: ``(n, *action shape)``, the expert's actions without exploration noise: the targets.
        distributions: ``(n, …)``, the expert's distributions: logits of discrete actions, ``(n, options)`` of all
            choices in order, means and standard deviations ``(n, 2, dimensions)`` of continuous ones; None to learn the
            labels only.
        actions: ``(n, *action shape)``, the actions that were taken.
        rewards: ``(n,)``, the rewards of these actions.
        before: the action and the reward of the step before the first; None at the start of an episode.
        prompt: a demonstration from another episode of the same task; None without a prompt.
        returns: ``(n,)``, the discounted return from each step on, NaN where unknown; None without a critic.
        masks: ``(n, options)`` bool, which options of discrete actions were legal; None if all were.
        independent: whether the steps do not follow one another, so that none attends to another.
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
    masks: np.ndarray | None = None
    independent: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def previous_actions(self) -> np.ndarray:
        """``(n, *action shape)``, the action before each step; arbitrary where ``has_previous`` is false."""
        first = self.actions[:1] if self.before is None else self.before[0][None]
        return np.concatenate([first, self.actions[:-1]])

    @property
    def previous_rewards(self) -> np.ndarray:
        """``(n,)``, the reward before each step; 0 where there is none."""
        return np.concatenate([[0.0 if self.before is None else self.before[1]], self.rewards[:-1]])

    @property
    def has_previous(self) -> np.ndarray:
        """``(n,)``, whether each step has a previous step."""
        has_previous = np.ones(len(self), dtype=bool)
        has_previous[0] = self.before is not None
        return has_previous


class Batch(Protocol):
    """A collated batch of windows, with everything that the network's ``loss`` needs.

    Attributes:
        weight: its number of real steps, by which the losses of parts of a batch are averaged.
    """

    weight: int


def is_discrete(task: Task) -> bool:
    """Whether a task's actions are discrete."""
    return isinstance(spaces(task)[1], gym.spaces.Discrete)


def options(task: Task) -> tuple[int, ...]:
    """How many options each choice of a task's action has: one choice of a discrete one, none of a continuous one."""
    return options_of(spaces(task)[1])


def valid_steps(windows: Sequence[Window], length: int) -> np.ndarray:
    """``(B, L)``, false where a window is padding."""
    return np.arange(length) < np.array([len(window) for window in windows])[:, None]


def moved(value: Any, device: torch.device) -> Any:  # noqa: ANN401
    """Move the tensors of a batch to a device."""
    if device.type == "cpu":
        return value
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: moved(item, device) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: moved(getattr(value, field.name), device) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value
