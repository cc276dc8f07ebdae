"""Action heads: masked logits for discrete actions, one of several outputs for continuous ones.

No weight belongs to one task: a task uses as many logits, or as many action dimensions, as it has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task, spaces
from generalist.config.codec import CodecConfig
from generalist.network.batches import Window, is_discrete, valid_steps
from generalist.network.continuous import OUTPUTS, normals
from generalist.network.critic import Critic
from generalist.network.distributions import (
    Categorical,
    Distribution,
    NetworkOutput,
    Selector,
    environment_actions,
    greedy,
)


@dataclass(frozen=True)
class Targets:
    """Training targets of B windows of L steps.

    Attributes:
        valid: ``(B, L)``, false where a window is padding.
        discrete: the windows with discrete actions, ``(D,)`` indices.
        counts: ``(D,)`` their numbers of actions.
        probabilities: ``(D, L, actions)``.
        continuous: the windows with continuous actions, ``(C,)`` indices.
        dimensions: ``(C,)`` their numbers of action dimensions.
        normals: ``(C, L, most dimensions, 2)``, means and standard deviations in bins.
        returns: ``(B, L)``, discounted returns, NaN where unknown; None without a critic.
    """

    valid: torch.Tensor
    discrete: torch.Tensor
    counts: torch.Tensor
    probabilities: torch.Tensor
    continuous: torch.Tensor
    dimensions: torch.Tensor
    normals: torch.Tensor
    returns: torch.Tensor | None = None


class ActionHeads(nn.Module):
    """Maps hidden states to action distributions and expected returns.

    Attributes:
        discrete: maps hidden states to logits of discrete actions.
        dimension: one vector per dimension of a continuous action, added to the hidden state.
        continuous: maps that sum to the numbers of :class:`~generalist.network.continuous.Output`.
        critic: maps hidden states to expected returns; None if ``codec.critic`` is 0.
    """

    def __init__(self, config: CodecConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.discrete = nn.Linear(width, config.discrete_actions)
        self.dimension = nn.Parameter(torch.empty(config.action_dimensions, width))
        self.output = OUTPUTS[config.continuous](config.bins, config.min_std)
        self.continuous = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, self.output.numbers))
        self.critic = Critic(width) if config.critic else None
        nn.init.normal_(self.dimension, std=0.3)
        nn.init.normal_(self.discrete.weight, std=0.02)

    def collate(self, windows: Sequence[Window], length: int) -> Targets:
        """The targets of a batch of windows, padded to ``length`` steps."""
        targets = [self.targets(window.task, window.labels, window.distributions) for window in windows]
        discrete = [index for index, window in enumerate(windows) if is_discrete(window.task)]
        continuous = [index for index, window in enumerate(windows) if not is_discrete(window.task)]
        counts = [action_count(windows[index].task) for index in discrete]
        normals = _pad([targets[index] for index in continuous], length, (1, 2))
        normals[..., 1] = np.maximum(normals[..., 1], 1e-3)  # padding must not divide by zero
        return Targets(
            valid=torch.from_numpy(valid_steps(windows, length)),
            discrete=torch.tensor(discrete, dtype=torch.long),
            counts=torch.tensor(counts, dtype=torch.long),
            probabilities=torch.from_numpy(_pad([targets[index] for index in discrete], length, (1,))),
            continuous=torch.tensor(continuous, dtype=torch.long),
            dimensions=torch.tensor([targets[index].shape[1] for index in continuous], dtype=torch.long),
            normals=torch.from_numpy(normals),
            returns=torch.from_numpy(_returns(windows, length)) if self.critic is not None else None,
        )

    def losses(self, hidden: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        """Averages over real steps of ``(B, L, width)`` hidden states.

        ``loss`` of discrete actions is the cross-entropy in nats per action, which is KL(expert || network) up to the
        targets' entropy; of continuous actions it is the output's loss (see ``continuous``), averaged over dimensions.
        ``accuracy`` is the share of steps with the expert's most likely action (continuous: in every dimension the same
        bin, or less than one bin away). With a critic, ``loss`` includes its weighted loss, and ``action_loss`` and
        ``critic_loss`` are the two parts.
        """
        losses, hits = [hidden.sum() * 0], []
        if len(targets.discrete):
            valid = targets.valid[targets.discrete]
            logits = self.discrete_logits(hidden[targets.discrete], targets.counts).float()
            # An action that the task lacks has log-probability -inf and target 0: it must count as 0, not as NaN.
            log_probabilities = logits.log_softmax(dim=-1).masked_fill(logits.isneginf(), 0.0)
            losses.append(-(targets.probabilities * log_probabilities).sum(dim=-1)[valid].sum())
            hits.append((logits.argmax(dim=-1) == targets.probabilities.argmax(dim=-1))[valid].sum())
        if len(targets.continuous):
            valid = targets.valid[targets.continuous]
            # Only the dimensions that each task has: a task with 17 must not make tasks with one or two as expensive.
            most = targets.normals.shape[2]
            window, dimension = (torch.arange(most, device=hidden.device) < targets.dimensions[:, None]).nonzero().T
            states = hidden[targets.continuous][window] + self.dimension[dimension][:, None]
            costs, missed = self.output.losses(self.continuous(states).float(), targets.normals[window, :, dimension])
            zeros = torch.zeros(valid.shape, device=hidden.device)
            nats = zeros.index_add(0, window, costs) / targets.dimensions[:, None]
            losses.append(nats[valid].sum())
            hits.append((zeros.index_add(0, window, missed.float()) == 0)[valid].sum())
        steps = targets.valid.sum()
        values = {"loss": torch.stack(losses).sum() / steps, "accuracy": torch.stack(hits).sum() / steps}
        if self.critic is None:
            return values
        assert targets.returns is not None
        known = targets.returns.isfinite()
        critic_loss = self.critic.losses(hidden[known], targets.returns[known]).sum() / steps
        loss = values["loss"] + self.config.critic * critic_loss
        return values | {"loss": loss, "action_loss": values["loss"], "critic_loss": critic_loss}

    def discrete_logits(self, hidden: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Logits of discrete actions; minus infinity for actions that a task does not have.

        Args:
            hidden: shape ``(rows, …, width)``.
            counts: shape ``(rows,)``, each row's number of actions.

        Returns:
            Shape ``(rows, …, discrete_actions)``.
        """
        logits = self.discrete(hidden)
        legal = torch.arange(logits.shape[-1], device=hidden.device) < counts[:, None]
        return logits.masked_fill(~legal.view(len(hidden), *[1] * (hidden.dim() - 2), -1), -torch.inf)

    @torch.no_grad()
    def sharpen(self, temperature: float) -> None:
        """Divide logits by a temperature, and multiply the standard deviations of normal distributions by it.

        A temperature below 1 makes the most likely action more likely and does not change which action that is.
        """
        last = self.continuous[-1]
        assert isinstance(last, nn.Linear)
        self.discrete.weight.div_(temperature)
        self.discrete.bias.div_(temperature)
        self.output.sharpen(last, temperature)

    def numbers(self, hidden: torch.Tensor, dimensions: int) -> torch.Tensor:
        """The numbers of the first ``dimensions`` action dimensions, ``(…, dimensions, numbers)``."""
        return self.continuous(hidden[..., None, :] + self.dimension[:dimensions])

    def distribution(self, task: Task, hidden: torch.Tensor) -> Distribution:
        """The action distribution of a task, given ``(n, width)`` hidden states."""
        count = action_count(task)
        if is_discrete(task):
            return Categorical(self.discrete(hidden)[:, :count])
        return self.output.distribution(self.numbers(hidden, count))

    def decide(
        self,
        task: Task,
        hidden: torch.Tensor,
        select: Selector = greedy,
        rngs: Sequence[np.random.Generator] = (),
        action_masks: np.ndarray | None = None,
    ) -> NetworkOutput:
        """Actions, their distributions and predicted returns, given ``(rows, width)`` hidden states.

        ``action_masks`` as in :class:`~benchmarks.play.policy.PolicyInput`: illegal actions have probability 0.
        """
        distribution = self.distribution(task, hidden)
        if action_masks is not None and isinstance(distribution, Categorical):
            illegal = torch.from_numpy(~action_masks).to(hidden.device)
            distribution = Categorical(distribution.logits.masked_fill(illegal, -torch.inf))
        chosen = select(distribution, rngs)
        actions = environment_actions(task, chosen)
        values = None if self.critic is None else self.critic(hidden).cpu().numpy()
        return NetworkOutput(
            actions,
            actions,
            distribution.parameters(task),
            values=values,
            distribution=distribution,
            chosen=chosen,
        )

    def targets(self, task: Task, labels: np.ndarray, distributions: np.ndarray | None) -> np.ndarray:
        """The training targets of a window's actions.

        Args:
            task: the task.
            labels: shape ``(n, *action shape)``, the expert's actions without exploration noise.
            distributions: as in :class:`Window`; None to learn the labels only.

        Returns:
            Discrete: probabilities, ``(n, discrete_actions)``. Continuous: mean and standard deviation in bins,
            ``(n, dimensions, 2)``; without distributions, the standard deviation is ``codec.min_std``.
        """
        space = spaces(task)[1]
        if isinstance(space, gym.spaces.Discrete):
            probabilities = np.zeros((len(labels), self.config.discrete_actions), dtype=np.float32)
            if distributions is None:
                probabilities[np.arange(len(labels)), labels - int(space.start)] = 1.0
            else:
                probabilities[:, : int(space.n)] = softmax(distributions, axis=-1)
            return probabilities
        assert isinstance(space, gym.spaces.Box)
        return normals(space, labels, distributions, self.config.bins, self.config.min_std)


def check_actions(config: CodecConfig, task: Task) -> list[tuple[int, str, str]]:
    """The size that a task's actions need: the size, the setting that limits it, and its unit.

    Raises:
        GatitoError: if they are neither discrete nor a bounded box.
    """
    action = spaces(task)[1]
    if isinstance(action, gym.spaces.Discrete):
        return [(int(action.n), "discrete_actions", "discrete actions")]
    if isinstance(action, gym.spaces.Box) and action.is_bounded():
        return [(math.prod(action.shape), "action_dimensions", "action dimensions")]
    raise GatitoError(
        f"task {task.name}: codec {config.name} cannot carry actions {action}; it carries Discrete and bounded Box."
    )


def check_samples(config: CodecConfig, task: Task) -> None:
    """Reject a codec that has no action distribution to sample other actions from.

    Raises:
        GatitoError: names the task and the setting to change.
    """
    if config.continuous == "regression" and not is_discrete(task):
        raise GatitoError(
            f"task {task.name}: codec.continuous=regression has no distribution to sample other actions from: set "
            "codec.continuous=normal (or bins), and distil with it.",
            task.name,
        )


def check_limits(config: CodecConfig, task: Task, limits: Sequence[tuple[int, str, str]]) -> None:
    """Reject a task that exceeds a limit of the codec.

    Raises:
        GatitoError: names the task and the setting to raise.
    """
    for needed, setting, unit in limits:
        limit = getattr(config, setting)
        if needed > limit:
            raise GatitoError(
                f"task {task.name} has {needed} {unit}, codec {config.name} carries {limit}: "
                f"set codec.{setting}={needed}."
            )


def action_count(task: Task) -> int:
    """The number of discrete actions of a task, or of its action dimensions."""
    space = spaces(task)[1]
    return int(space.n) if isinstance(space, gym.spaces.Discrete) else math.prod(space.shape or ())


def _returns(windows: Sequence[Window], length: int) -> np.ndarray:
    """``(B, L)`` discounted returns, NaN for padding and unknown returns."""
    returns = np.full((len(windows), length), np.nan, dtype=np.float32)
    for row, window in zip(returns, windows, strict=True):
        if window.returns is not None:
            row[: len(window)] = window.returns
    return returns


def _pad(arrays: list[np.ndarray], length: int, empty: tuple[int, ...]) -> np.ndarray:
    """Stack ``(n, a, …)`` arrays into ``(arrays, length, most a, …)``, padded with zeros."""
    if not arrays:
        return np.zeros((0, length, *empty), dtype=np.float32)
    width = max(array.shape[1] for array in arrays)
    padded = np.zeros((len(arrays), length, width, *arrays[0].shape[2:]), dtype=np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: array.shape[0], : array.shape[1]] = array
    return padded
