"""PPO of one network on several tasks at once (Schulman et al. 2017, arXiv:1707.06347).

It learns from sequences, as distillation does, so what to remember is learnt too. Where it departs from the usual:

- The critic predicts returns in units of the spread that its task's have. In those of the rewards themselves, a state
  of a task whose returns are around 1 that it takes for one of a task with hundreds makes an error of hundreds of
  spreads, and such errors were all that a policy learnt from.
- A network that has learnt before is held to what it was by KL(network || start), exact from both distributions.
- Sequences are divided into minibatches once per update, which come in another order in each epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from generalist.config.ppo import PPOConfig
from generalist.network.distributions import Distribution
from generalist.network.stepwise import StepwiseNetwork
from generalist.ppo.advantages import Segment, Spread
from generalist.ppo.choices import Choices, by_task, distributions_of, divergences, entropies, log_probs

_WARMUP_EPOCHS = 40  # of the critic alone: its inputs are computed once, so they cost next to nothing


@dataclass(frozen=True)
class Minibatch:
    """Sequences side by side, N steps of which are learnt from.

    Attributes:
        batch: the network's.
        learnt: ``(B, L)``, true where a step is learnt from.
        choices: what was chosen, task by task.
        log_probs: ``(N,)``, of that, when it was.
        advantages: ``(N,)``.
        returns: ``(N,)``, the critic's targets.
        start: the distributions of the network that this one started as; None: it is held to nothing.
    """

    batch: Any
    learnt: torch.Tensor
    choices: list[Choices]
    log_probs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    start: list[Distribution] | None = None

    def __len__(self) -> int:
        return len(self.returns)

    @property
    def positions(self) -> int:
        """Steps that a network computes, padding included."""
        return self.learnt.numel()

    def hidden(self, network: StepwiseNetwork) -> torch.Tensor:
        """The hidden states that answer with an action, ``(N, width)``."""
        return network.action_states(self.batch)[self.learnt]

    @torch.no_grad()
    def held_to(self, start: StepwiseNetwork) -> "Minibatch":
        """The same with what ``start`` would have done."""
        return replace(self, start=distributions_of(start.heads, self.hidden(start), self.choices))


def make_minibatches(
    network: StepwiseNetwork,
    segments: Sequence[Segment],
    spreads: Mapping[str, Spread],
    config: PPOConfig,
    rng: np.random.Generator,
) -> list[Minibatch]:
    """Divide sequences at random, about as many steps into each of ``config.minibatches``.

    Advantages, in units of their task's spread, have mean 0 within each task, and variance 1 over all.
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
    hands = before[:-1] * config.minibatches // before[-1]
    return [
        _put_together(
            network, [(segments[index], raw[index], centred[index] / deviation) for index in order[hands == hand]]
        )
        for hand in np.unique(hands)
    ]


def losses(network: StepwiseNetwork, minibatch: Minibatch, config: PPOConfig) -> dict[str, torch.Tensor]:
    """Averages over what is learnt from: ``loss``, to be lowered, its parts, and what else there is to know.

    ``policy_loss`` is the clipped surrogate (equation 7), ``value_loss`` the critic's cross-entropy; ``kl_to_start``
    and ``entropy`` are in nats per step, ``kl`` estimates KL(before the update || now) without bias
    (http://joschu.net/blog/kl-approx.html), ``clip_fraction`` is the share of ratios that are cut.
    """
    hidden = minibatch.hidden(network)
    distributions = distributions_of(network.heads, hidden, minibatch.choices)
    log_ratios = log_probs(distributions, minibatch.choices) - minibatch.log_probs
    ratios = log_ratios.exp()
    cut = ratios.clamp(1 - config.clip_range, 1 + config.clip_range)
    values = {
        "policy_loss": -torch.minimum(ratios * minibatch.advantages, cut * minibatch.advantages).mean(),
        "value_loss": network.critic.losses(hidden, minibatch.returns).mean(),
        "entropy": entropies(distributions, minibatch.choices).mean(),
        "kl": (ratios - 1 - log_ratios).detach().mean(),
        "clip_fraction": (ratios != cut).float().mean(),
    }
    loss = (
        values["policy_loss"] + config.value_weight * values["value_loss"] - config.entropy_weight * values["entropy"]
    )
    if minibatch.start is not None:
        values["kl_to_start"] = divergences(distributions, minibatch.start, minibatch.choices).mean()
        loss = loss + config.kl_weight * values["kl_to_start"]
    return values | {"loss": loss}


class Updates:
    """The optimiser's side.

    Attributes:
        optimizer: Adam, with the critic's weights in a group of their own.
        forwards: steps that the network has computed; a backward pass counts as two.
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
        """The rates fall linearly to a tenth; ``progress`` is from 0 to 1."""
        for group, rate in zip(
            self.optimizer.param_groups, (self._config.learning_rate, self._config.critic_learning_rate), strict=True
        ):
            group["lr"] = rate * (1 - 0.9 * progress)

    def learn(self, minibatches: Sequence[Minibatch], rng: np.random.Generator) -> dict[str, float]:
        """Several epochs, fewer where the policy has moved enough; averages over them.

        Raises:
            FloatingPointError: if the loss or its gradient is not finite; the weights are still those of before.
        """
        logged: list[dict[str, float]] = []
        for minibatch in _epochs(minibatches, self._config.epochs, rng):
            values = losses(self._network, minibatch, self._config)
            self.forwards += 3 * minibatch.positions
            logged.append({name: value.item() for name, value in values.items()})
            if logged[-1]["kl"] > 1.5 * self._config.target_kl > 0:
                break
            self._step(values["loss"])
        return {name: float(np.mean([each[name] for each in logged])) for name in logged[0]} | {"updates": len(logged)}

    def warm_up(self, minibatches: Sequence[Minibatch], rng: np.random.Generator) -> dict[str, float]:
        """Teach the critic alone: nothing else changes, so what the network does stays what it is.

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

    Returns that are all alike explain nothing; errors are then held against a tenth of the spread.
    """
    errors, wholes = [], []
    for name in {segment.window.task.name for segment in segments}:
        of_task = [segment for segment in segments if segment.window.task.name == name]
        missed = np.concatenate([segment.advantages(discount, config.gae_lambda, spreads[name]) for segment in of_task])
        values = np.concatenate([segment.values for segment in of_task])
        errors.append(missed.var())
        wholes.append((missed + values).var())
    return float(1 - np.sum(errors) / max(np.sum(wholes), 0.01 * len(wholes)))


def _epochs(minibatches: Sequence[Minibatch], epochs: int, rng: np.random.Generator) -> Iterator[Minibatch]:
    for _ in range(epochs):
        for index in rng.permutation(len(minibatches)):
            yield minibatches[index]


def _put_together(network: StepwiseNetwork, dealt: Sequence[tuple[Segment, np.ndarray, np.ndarray]]) -> Minibatch:
    """Sequences with their ``(n,)`` advantages, as they are and as the policy learns them."""
    segments, raw, scaled = zip(*dealt, strict=True)
    length = max(len(segment.window) for segment in segments)
    learnt = np.zeros((len(segments), length), dtype=bool)
    for row, segment in zip(learnt, segments, strict=True):
        row[segment.context : len(segment.window)] = True
    windows = [segment.window for segment in segments]
    returns = [segment.values + advantages for segment, advantages in zip(segments, raw, strict=True)]
    return Minibatch(
        batch=network.collate(windows, length * network.tokens_per_step, [np.random.default_rng(0)] * len(segments)),
        learnt=torch.from_numpy(learnt),
        choices=by_task([(segment.window.task, segment.chosen) for segment in segments]),
        log_probs=torch.from_numpy(np.concatenate([segment.log_probs for segment in segments])),
        advantages=torch.from_numpy(np.concatenate(scaled)).float(),
        returns=torch.from_numpy(np.concatenate(returns)).float(),
    )
