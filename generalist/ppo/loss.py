"""PPO for one network on several tasks at once (Schulman et al. 2017, arXiv:1707.06347).

Training uses sequences, as distillation does, so the network also learns what to remember. Differences from standard
implementations:

- The critic predicts returns in units of each task's spread. In raw units, mistaking a state of a task with returns
  around 1 for one of a task with returns in the hundreds would be an error of hundreds of spreads, and such errors
  would dominate the policy gradient.
- A pretrained network has a penalty KL(network || start), computed exactly from both distributions.
- Sequences are divided into minibatches once per update; each epoch visits them in a new order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from generalist.config.ppo import PPOConfig
from generalist.network.batches import moved
from generalist.network.distributions import Distribution
from generalist.network.stepwise import StepwiseNetwork
from generalist.ppo.advantages import Segment, Spread
from generalist.ppo.choices import Choices, by_task, distributions_of, divergences, entropies, log_probs

_WARMUP_EPOCHS = 40  # of the critic only: its inputs are computed once, so epochs are cheap


@dataclass(frozen=True)
class Minibatch:
    """A batch of sequences, of which N steps are trained on.

    Attributes:
        batch: the network's batch.
        trained: ``(B, L)``, true for the N steps.
        choices: the chosen actions, grouped by task.
        log_probs: ``(N,)``, their log-probabilities at the time.
        advantages: ``(N,)``.
        returns: ``(N,)``, the critic's targets.
        start: the action distributions of the starting network; None without a KL penalty.
    """

    batch: Any
    trained: torch.Tensor
    choices: list[Choices]
    log_probs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    start: list[Distribution] | None = None

    def __len__(self) -> int:
        return len(self.returns)

    @property
    def positions(self) -> int:
        """The number of steps that a forward pass computes, padding included."""
        return self.trained.numel()

    def hidden(self, network: StepwiseNetwork) -> torch.Tensor:
        """The hidden states from which actions are read, ``(N, width)``."""
        return network.action_states(self.batch)[self.trained]

    @torch.no_grad()
    def with_start(self, start: StepwiseNetwork) -> "Minibatch":
        """A copy with the action distributions of the starting network."""
        return replace(self, start=distributions_of(start.heads, self.hidden(start), self.choices))


def make_minibatches(
    network: StepwiseNetwork,
    segments: Sequence[Segment],
    spreads: Mapping[str, Spread],
    config: PPOConfig,
    rng: np.random.Generator,
) -> list[Minibatch]:
    """Divide sequences at random into ``config.minibatches`` minibatches of about equally many steps.

    Advantages, in units of their task's spread, are normalised to mean 0 within each task and variance 1 over all
    tasks.
    """
    names = [segment.window.task.name for segment in segments]
    raw = [
        segment.advantages(network.codec.discount, config.gae_lambda, spreads[name])
        for segment, name in zip(segments, names, strict=True)
    ]
    means = {
        name: np.concatenate([advantages for advantages, other in zip(raw, names, strict=True) if other == name]).mean()
        for name in set(names)
    }
    centred = [advantages - means[name] for advantages, name in zip(raw, names, strict=True)]
    deviation = np.concatenate(centred).std() + 1e-8
    order = rng.permutation(len(segments))
    before = np.cumsum([0, *(len(raw[index]) for index in order)])
    groups = before[:-1] * config.minibatches // before[-1]
    return [
        _minibatch(
            network, [(segments[index], raw[index], centred[index] / deviation) for index in order[groups == group]]
        )
        for group in np.unique(groups)
    ]


def losses(network: StepwiseNetwork, minibatch: Minibatch, config: PPOConfig) -> dict[str, torch.Tensor]:
    """Averages over the trained steps: ``loss``, to be minimised, its parts, and diagnostics.

    ``policy_loss`` is the clipped surrogate (equation 7), ``value_loss`` the critic's cross-entropy; ``kl_to_start``
    and ``entropy`` are in nats per step; ``kl`` is an unbiased estimate of KL(before the update || now)
    (http://joschu.net/blog/kl-approx.html); ``clip_fraction`` is the share of clipped ratios.
    """
    hidden = minibatch.hidden(network)
    distributions = distributions_of(network.heads, hidden, minibatch.choices)
    log_ratios = log_probs(distributions, minibatch.choices) - minibatch.log_probs
    ratios = log_ratios.exp()
    clipped = ratios.clamp(1 - config.clip_range, 1 + config.clip_range)
    values = {
        "policy_loss": -torch.minimum(ratios * minibatch.advantages, clipped * minibatch.advantages).mean(),
        "value_loss": network.critic.losses(hidden, minibatch.returns).mean(),
        "entropy": entropies(distributions, minibatch.choices).mean(),
        "kl": (ratios - 1 - log_ratios).detach().mean(),
        "clip_fraction": (ratios != clipped).float().mean(),
    }
    loss = (
        values["policy_loss"] + config.value_weight * values["value_loss"] - config.entropy_weight * values["entropy"]
    )
    if minibatch.start is not None:
        values["kl_to_start"] = divergences(distributions, minibatch.start, minibatch.choices).mean()
        loss = loss + config.kl_weight * values["kl_to_start"]
    return values | {"loss": loss}


class Updates:
    """The optimisation of a network.

    Attributes:
        optimizer: Adam, with a separate group for the critic's weights.
        forwards: the number of steps that the network has computed; a backward pass counts as two.
    """

    def __init__(self, network: StepwiseNetwork, config: PPOConfig) -> None:
        self._network, self._config = network, config
        self._critic = list(network.critic.parameters())
        critic = set(self._critic)
        self._others = [parameter for parameter in network.parameters() if parameter not in critic]
        groups = [
            {"params": self._others, "lr": config.learning_rate},
            {"params": self._critic, "lr": config.critic_learning_rate},
        ]
        self.optimizer = torch.optim.Adam(groups, eps=1e-5)
        self.forwards = 0

    def slow_down(self, progress: float) -> None:
        """Reduce the learning rates linearly to a tenth; ``progress`` is from 0 to 1."""
        for group, rate in zip(
            self.optimizer.param_groups, (self._config.learning_rate, self._config.critic_learning_rate), strict=True
        ):
            group["lr"] = rate * (1 - 0.9 * progress)

    def learn(self, minibatches: Sequence[Minibatch], rng: np.random.Generator) -> dict[str, float]:
        """Train for several epochs, or until ``target_kl`` is exceeded, and return averages.

        Raises:
            FloatingPointError: if the loss or its gradient is not finite; the weights are unchanged by that update.
        """
        logged: list[dict[str, float]] = []
        for minibatch in _epochs(minibatches, self._config.epochs, rng):
            values = losses(self._network, minibatch, self._config)
            self.forwards += 3 * minibatch.positions
            logged.append({name: value.item() for name, value in values.items()})
            if logged[-1]["kl"] > 1.5 * self._config.target_kl > 0:
                break
            self._step(values["loss"])
        return {name: float(np.mean([line[name] for line in logged])) for name in logged[0]} | {"updates": len(logged)}

    def warm_up(self, minibatches: Sequence[Minibatch], rng: np.random.Generator) -> dict[str, float]:
        """Train the critic only, so that the policy does not change.

        Raises:
            FloatingPointError: as :meth:`learn`.
        """
        critic = self._network.critic
        with torch.no_grad():
            hidden = {id(minibatch): minibatch.hidden(self._network) for minibatch in minibatches}
        self.forwards += sum(minibatch.positions for minibatch in minibatches)
        logged = []
        for minibatch in _epochs(minibatches, _WARMUP_EPOCHS, rng):
            loss = critic.losses(hidden[id(minibatch)], minibatch.returns).mean()
            logged.append(loss.item())
            self._step(loss)
        return {"value_loss": float(np.mean(logged[-len(minibatches) :])), "updates": len(logged)}

    def _step(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([*self._others, *self._critic], self._config.max_grad_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise FloatingPointError("the loss became NaN")
        self.optimizer.step()


def explained_variance(
    segments: Sequence[Segment], spreads: Mapping[str, Spread], config: PPOConfig, discount: float
) -> float:
    """1 - Var(returns - values) / Var(returns) over all tasks, in units of each task's spread.

    If the returns hardly vary, their variance is replaced by that of a tenth of the spread.
    """
    errors, totals = [], []
    for name in {segment.window.task.name for segment in segments}:
        of_task = [segment for segment in segments if segment.window.task.name == name]
        error = np.concatenate([segment.advantages(discount, config.gae_lambda, spreads[name]) for segment in of_task])
        values = np.concatenate([segment.values for segment in of_task])
        errors.append(error.var())
        totals.append((error + values).var())
    return float(1 - np.sum(errors) / max(np.sum(totals), 0.01 * len(totals)))


def _epochs(minibatches: Sequence[Minibatch], epochs: int, rng: np.random.Generator) -> Iterator[Minibatch]:
    for _ in range(epochs):
        for index in rng.permutation(len(minibatches)):
            yield minibatches[index]


def _minibatch(network: StepwiseNetwork, items: Sequence[tuple[Segment, np.ndarray, np.ndarray]]) -> Minibatch:
    """Collate segments with their ``(n,)`` raw and normalised advantages, on the network's device."""
    segments, raw, scaled = zip(*items, strict=True)
    length = max(len(segment.window) for segment in segments)
    trained = np.zeros((len(segments), length), dtype=bool)
    for row, segment in zip(trained, segments, strict=True):
        row[segment.context : len(segment.window)] = True
    windows = [segment.window for segment in segments]
    returns = [segment.values + advantages for segment, advantages in zip(segments, raw, strict=True)]
    batch = network.collate(windows, length * network.tokens_per_step, [np.random.default_rng(0)] * len(segments))
    choices = by_task([(segment.window.task, segment.chosen, segment.legal) for segment in segments])
    return Minibatch(
        batch=moved(batch, network.device),
        trained=network.tensor(trained),
        choices=[chosen.on(network.device) for chosen in choices],
        log_probs=network.tensor(np.concatenate([segment.log_probs for segment in segments])),
        advantages=network.tensor(np.concatenate(scaled)).float(),
        returns=network.tensor(np.concatenate(returns)).float(),
    )
