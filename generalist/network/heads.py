"""Action heads: masked logits for discrete actions, one of several outputs for continuous ones.

No weight belongs to one task: a task uses as many logits, or as many action dimensions, as it has.
"""

import math
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.actions import first_options, split_options
from generalist.config.codec import CodecConfig
from generalist.network.batches import Window, options, valid_steps
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
from generalist.network.multi_categorical import MultiCategorical
from generalist.network.runtime import Accelerated, HeadsRuntime
from generalist.network.targets import ChoiceTargets, ContinuousTargets, Targets, legal_options, pad, returns_of


class ActionHeads(Accelerated):
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
        targets = [self.targets(window.task, window.labels, window.distributions, window.masks) for window in windows]
        kinds = [options(window.task) for window in windows]
        discrete = [index for index, kind in enumerate(kinds) if len(kind) == 1]
        counts = [action_count(windows[index].task) for index in discrete]
        dimensions = [0 if kind else values.shape[1] for kind, values in zip(kinds, targets, strict=True)]
        return Targets(
            valid=torch.from_numpy(valid_steps(windows, length)),
            discrete=torch.tensor(discrete, dtype=torch.long),
            counts=torch.tensor(counts, dtype=torch.long),
            probabilities=torch.from_numpy(pad([targets[index] for index in discrete], length)),
            returns=torch.from_numpy(returns_of(windows, length)) if self.critic is not None else None,
            legal=legal_options([windows[index] for index in discrete], length, self.config.discrete_actions),
            choices={
                kind: self._choice_targets(kind, windows, targets, length)
                for kind in dict.fromkeys(kinds)
                if len(kind) > 1
            },
            continuous={
                count: _continuous_targets([at for at, own in enumerate(dimensions) if own == count], targets, length)
                for count in dict.fromkeys(dimensions)
                if count
            },
        )

    @staticmethod
    def _choice_targets(
        kind: tuple[int, ...], windows: Sequence[Window], targets: Sequence[np.ndarray], length: int
    ) -> ChoiceTargets:
        """Of those of the windows whose actions make choices of so many options."""
        own = [index for index, window in enumerate(windows) if options(window.task) == kind]
        probabilities = pad([targets[index] for index in own], length)[..., : sum(kind)]
        legal = legal_options([windows[index] for index in own], length, sum(kind))
        return ChoiceTargets(torch.tensor(own), torch.from_numpy(probabilities), legal)

    def losses(self, hidden: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        """Averages over real steps of ``(B, L, width)`` hidden states.

        ``loss`` of discrete actions is the cross-entropy in nats per action, which is KL(expert || network) up to the
        targets' entropy; several choices add up, and actions known to be illegal have probability 0. For continuous
        actions it is the output's loss (see ``continuous``), averaged over dimensions. ``accuracy`` is the share of
        steps with the expert's most likely action (continuous: in every dimension the same bin, or less than one bin
        away). With a critic, ``loss`` includes its weighted loss, and ``action_loss`` and ``critic_loss`` are the two
        parts.
        """
        losses, hits = [hidden.sum() * 0], []
        if len(targets.discrete):
            valid = targets.valid[targets.discrete]
            logits = self.discrete_logits(hidden[targets.discrete], targets.counts).float()
            if targets.legal is not None:
                logits = logits.masked_fill(~targets.legal, -torch.inf)
            # An action that the task lacks has log-probability -inf and target 0: it must count as 0, not as NaN.
            log_probabilities = logits.log_softmax(dim=-1).masked_fill(logits.isneginf(), 0.0)
            losses.append(-(targets.probabilities * log_probabilities).sum(dim=-1)[valid].sum())
            hits.append((logits.argmax(dim=-1) == targets.probabilities.argmax(dim=-1))[valid].sum())
        for kind, choices in targets.choices.items():
            loss, hit = self._choice_losses(hidden[choices.windows], kind, choices, targets.valid[choices.windows])
            losses.append(loss)
            hits.append(hit)
        for dimensions, own in targets.continuous.items():
            valid = targets.valid[own.windows]
            costs, missed = self.output.losses(self.numbers(hidden[own.windows], dimensions).float(), own.normals)
            losses.append(costs.mean(dim=-1)[valid].sum())
            hits.append((~missed.any(dim=-1))[valid].sum())
        steps = targets.valid.sum()
        values = {"loss": torch.stack(losses).sum() / steps, "accuracy": torch.stack(hits).sum() / steps}
        if self.critic is None:
            return values
        assert targets.returns is not None
        known = targets.returns.isfinite()
        critic_loss = self.critic.losses(hidden[known], targets.returns[known]).sum() / steps
        loss = values["loss"] + self.config.critic * critic_loss
        return values | {"loss": loss, "action_loss": values["loss"], "critic_loss": critic_loss}

    def _choice_losses(
        self, hidden: torch.Tensor, kind: tuple[int, ...], targets: ChoiceTargets, valid: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum of the cross-entropies of ``(M, L, width)`` hidden states, and the number of right actions."""
        logits = self.discrete(hidden)[..., : sum(kind)].float()
        if targets.legal is not None:
            logits = logits.masked_fill(~targets.legal, -torch.inf)
        loss, right = hidden.sum() * 0, valid
        for choice, wanted in zip(split_options(logits, kind), split_options(targets.probabilities, kind), strict=True):
            log_probabilities = choice.log_softmax(dim=-1).masked_fill(choice.isneginf(), 0.0)
            loss = loss - (wanted * log_probabilities).sum(dim=-1)[valid].sum()
            right = right & (choice.argmax(dim=-1) == wanted.argmax(dim=-1))
        return loss, right.sum()

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
        if self.runtime is not None:
            return self.runtime.numbers(hidden, dimensions)
        first, activation, last = self.continuous
        # It is linear in the sum, so the hidden state is multiplied once, not once for each dimension.
        return last(activation(first(hidden)[..., None, :] + self.offsets(dimensions)))

    def offsets(self, dimensions: int) -> torch.Tensor:
        """What the first ``dimensions`` action dimensions add after the first layer, ``(dimensions, width)``."""
        return nn.functional.linear(self.dimension[:dimensions], self.continuous[0].weight)  # type: ignore[arg-type]

    def make_runtime(self) -> HeadsRuntime:
        """See :class:`.Accelerated`."""
        return HeadsRuntime(self)

    def distribution(self, task: Task, hidden: torch.Tensor, legal: torch.Tensor | None = None) -> Distribution:
        """The action distribution of a task, given ``(n, width)`` hidden states.

        ``legal``, ``(n, options)`` bool: illegal actions have probability 0; None: all are legal.
        """
        count, choices = action_count(task), options(task)
        if choices:
            logits = self.discrete(hidden)[:, :count]
            found = Categorical(logits) if len(choices) == 1 else MultiCategorical(logits, choices)
            return found if legal is None else found.masked(legal)
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
        legal = None if action_masks is None else torch.from_numpy(action_masks).to(hidden.device)
        distribution = self.distribution(task, hidden, legal)
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

    def targets(
        self, task: Task, labels: np.ndarray, distributions: np.ndarray | None, masks: np.ndarray | None = None
    ) -> np.ndarray:
        """The training targets of a window's actions.

        Args:
            task: the task.
            labels: shape ``(n, *action shape)``, the expert's actions without exploration noise.
            distributions: as in :class:`Window`; None to learn the labels only.
            masks: as in :class:`Window`: illegal actions have probability 0.

        Returns:
            Discrete: probabilities, ``(n, discrete_actions)``, of all choices in order. Continuous: mean and standard
            deviation in bins, ``(n, dimensions, 2)``; without distributions, the latter is ``codec.min_std``.
        """
        space = spaces(task)[1]
        if choices := options(task):
            probabilities = np.zeros((len(labels), self.config.discrete_actions), dtype=np.float32)
            indices = labels if isinstance(space, gym.spaces.MultiDiscrete) else labels - int(space.start)  # type: ignore[attr-defined]
            if distributions is None:
                indices = first_options(choices) + indices.reshape(len(labels), -1)
                probabilities[np.arange(len(labels))[:, None], indices] = 1.0
                return probabilities
            logits = distributions if masks is None else np.where(masks, distributions, -np.inf)
            every = [softmax(choice, axis=-1) for choice in split_options(logits, choices)]
            probabilities[:, : sum(choices)] = np.concatenate(every, axis=-1)
            return probabilities
        assert isinstance(space, gym.spaces.Box)
        return normals(space, labels, distributions, self.config.bins, self.config.min_std)


def _continuous_targets(own: list[int], targets: Sequence[np.ndarray], length: int) -> ContinuousTargets:
    """Of those windows, whose actions have the same number of dimensions."""
    normals = pad([targets[index] for index in own], length)
    normals[..., 1] = np.maximum(normals[..., 1], 1e-3)  # padding must not divide by zero
    return ContinuousTargets(torch.tensor(own), torch.from_numpy(normals))


def check_actions(config: CodecConfig, task: Task) -> list[tuple[int, str, str]]:
    """The size that a task's actions need: the size, the setting that limits it, and its unit.

    Raises:
        GatitoError: if they are neither discrete nor a bounded box.
    """
    action = spaces(task)[1]
    if isinstance(action, gym.spaces.Discrete):
        return [(int(action.n), "discrete_actions", "discrete actions")]
    if isinstance(action, gym.spaces.MultiDiscrete):
        return [(int(action.nvec.sum()), "discrete_actions", "options of discrete actions")]
    if isinstance(action, gym.spaces.Box) and action.is_bounded():
        return [(math.prod(action.shape), "action_dimensions", "action dimensions")]
    raise GatitoError(
        f"task {task.name}: codec {config.name} cannot carry actions {action}; it carries Discrete, MultiDiscrete and "
        "bounded Box."
    )


def check_samples(config: CodecConfig, task: Task) -> None:
    """Reject a codec that has no action distribution to sample other actions from.

    Raises:
        GatitoError: names the task and the setting to change.
    """
    if config.continuous == "regression" and not options(task):
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
    """How many actions a task has to choose from, of all choices together, or how many numbers its action has."""
    return sum(options(task)) or math.prod(spaces(task)[1].shape or ())
