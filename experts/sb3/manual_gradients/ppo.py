"""PPO: acting and updating."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.utils import explained_variance
from torch import nn

from experts.sb3.manual_gradients.networks import HALF_LOG_TWO_PI, Adam, Gradients, Network, is_chain, sees_numbers

_LOGGED = ("policy_gradient_loss", "value_loss", "entropy_loss", "clip_fraction")

Saved: TypeAlias = Sequence[torch.Tensor]


def is_known(model: PPO) -> bool:
    """Whether its policy is two separate chains of layers, for observations of numbers."""
    policy: Any = model.policy
    distribution = policy.action_dist
    if isinstance(distribution, StateDependentNoiseDistribution):
        special = distribution.use_expln or distribution.learn_features or distribution.bijector is not None
        known = distribution.full_std and not special
    else:
        known = type(distribution) in (CategoricalDistribution, DiagGaussianDistribution)
    if not known or model.clip_range_vf is not None or type(policy) is not ActorCriticPolicy:
        return False
    if not sees_numbers(policy):
        return False
    chains = policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net
    return all(is_chain(list(chain)) for chain in chains)


@dataclass(frozen=True)
class _Actions:
    """The log-probabilities of n actions and the entropies of their distributions, ``(n,)`` each."""

    log_prob: torch.Tensor
    entropy: torch.Tensor
    saved: Saved


class _Categorical:
    """Discrete actions, given their logits."""

    weights: Sequence[nn.Parameter] = ()

    def sample(self, logits: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """Actions, ``(n,)``."""
        return torch.multinomial(logits.softmax(dim=-1), 1, replacement=True)[:, 0]

    def evaluate(self, logits: torch.Tensor, latent: torch.Tensor, actions: torch.Tensor) -> _Actions:
        """See :class:`_Actions`."""
        actions, logs = actions.long().view(-1, 1), logits.log_softmax(dim=-1)
        probabilities = logs.exp()
        entropy = -(probabilities * logs).sum(dim=-1)
        return _Actions(logs.gather(1, actions)[:, 0], entropy, (logs, probabilities, entropy, actions))

    def backward(self, saved: Saved, log_prob: torch.Tensor, entropy: float) -> tuple[torch.Tensor, Gradients]:
        """The logits' gradient, from d log p_a / dz = 1_a - p and dH / dz = -p (log p + H); and those of weights."""
        logs, probabilities, entropies, actions = saved
        slope = log_prob[:, None].expand_as(logs)
        if entropy:
            slope = slope + entropy * (logs + entropies[:, None])
        return (-probabilities * slope).scatter_add_(1, actions, log_prob[:, None]), []


class _Normal:
    """Continuous actions, given their means; deviations are weights, or follow from the latent state (gSDE).

    gSDE: Raffin et al. 2021, arXiv:2005.05719; the gradient does not reach the latent state through the deviation.
    """

    def __init__(self, policy: Any) -> None:  # noqa: ANN401
        self.weights = [policy.log_std]
        self._log_std = policy.log_std.detach()
        self._gsde = policy.action_dist if isinstance(policy.action_dist, StateDependentNoiseDistribution) else None

    def sample(self, mean: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """Actions, ``(n, dimensions)``."""
        if self._gsde is not None:
            return mean + self._gsde.get_noise(latent)
        return torch.normal(mean, self._log_std.exp().expand_as(mean))

    def evaluate(self, mean: torch.Tensor, latent: torch.Tensor, actions: torch.Tensor) -> _Actions:
        """See :class:`_Actions`."""
        squares = (2 * self._log_std).exp()
        if self._gsde is None:
            variance = squares.expand_as(mean)
        else:
            latent = latent.square()
            variance = latent @ squares + self._gsde.epsilon
        error, half_log = actions - mean, 0.5 * variance.log()
        log_prob = -(error.square() / (2 * variance) + half_log + HALF_LOG_TWO_PI).sum(dim=-1)
        entropy = (half_log + (0.5 + HALF_LOG_TWO_PI)).sum(dim=-1)
        return _Actions(log_prob, entropy, (squares, variance, error, latent))

    def backward(self, saved: Saved, log_prob: torch.Tensor, entropy: float) -> tuple[torch.Tensor, Gradients]:
        """The means' gradient, and that of the logarithms of the deviations."""
        squares, variance, error, latent = saved
        pull = error / variance
        of_variance = (log_prob[:, None] * (error * pull - 1) + entropy) / (2 * variance)
        of_squares = of_variance.sum(dim=0) if self._gsde is None else latent.t() @ of_variance
        return log_prob[:, None] * pull, [2 * squares * of_squares]


def _batches(buffer: RolloutBuffer, size: int) -> Iterator[RolloutBufferSamples]:
    """Those of ``buffer.get(size)`` in the same order, without a copy of each column for each batch."""
    [whole] = buffer.get(None)  # draws a permutation, and flattens the columns
    for start in range(0, len(whole.advantages), size):
        yield RolloutBufferSamples(*(column[start : start + size] for column in whole))


class Ppo:
    """One model's way to act and to update."""

    def __init__(self, model: PPO, count_flops: Callable[[float], None]) -> None:
        policy: Any = model.policy
        layers = policy.mlp_extractor
        self._model, self._policy, self._count_flops = model, policy, count_flops
        self._actor = Network(list(layers.policy_net), [policy.action_net])
        self._critic = Network(list(layers.value_net), [policy.value_net])
        discrete = isinstance(policy.action_dist, CategoricalDistribution)
        self._head = _Categorical() if discrete else _Normal(policy)
        weights = [*self._actor.weights, *self._critic.weights, *self._head.weights]
        self._optimizer = Adam(policy.optimizer, weights)
        self._products = self._actor.products + self._critic.products

    @torch.no_grad()
    def act(
        self, observations: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sampled actions, values and log-probabilities: ``ActorCriticPolicy.forward``."""
        assert not deterministic, "rollouts sample"
        self._count_flops(2 * len(observations) * self._products)
        inputs, [output] = self._actor.forward(observations.float())
        actions = self._head.sample(output, inputs[-1])
        _, [values] = self._critic.forward(inputs[0])
        log_prob = self._head.evaluate(output, inputs[-1], actions).log_prob
        return actions.reshape(-1, *self._policy.action_space.shape), values, log_prob

    @torch.no_grad()
    def train(self) -> None:
        """``PPO.train``: Schulman et al. 2017 (arXiv:1707.06347), equations 7 and 9."""
        model = self._model
        self._policy.set_training_mode(True)
        model._update_learning_rate(self._policy.optimizer)
        clip = model.clip_range(model._current_progress_remaining)  # type: ignore[operator]
        lines: list[torch.Tensor] = []
        before = 0  # the last epoch
        for _ in range(model.n_epochs):
            before = len(lines)
            go_on = all(self._update(data, clip, lines) for data in _batches(model.rollout_buffer, model.batch_size))
            model._n_updates += 1
            if not go_on:
                break
        means = torch.stack(lines).mean(dim=0).tolist()
        buffer, record = model.rollout_buffer, model.logger.record
        for name, value in zip(_LOGGED, means[:-1], strict=True):
            record(f"train/{name}", value)
        record("train/approx_kl", torch.stack(lines[before:])[:, -1].mean().item())  # of the last epoch
        record("train/explained_variance", explained_variance(buffer.values.flatten(), buffer.returns.flatten()))
        record("train/loss", means[0] + model.ent_coef * means[2] + model.vf_coef * means[1])
        if hasattr(self._policy, "log_std"):
            record("train/std", self._policy.log_std.exp().mean().item())
        record("train/n_updates", model._n_updates, exclude="tensorboard")
        record("train/clip_range", clip)

    def _update(self, data: Any, clip: float, lines: list[torch.Tensor]) -> bool:  # noqa: ANN401
        """One update with a batch, whose losses are appended; false if the policy has moved too far."""
        model, count = self._model, len(data.advantages)
        self._count_flops(3 * 2 * count * self._products)
        inputs, [output] = self._actor.forward(data.observations.float())
        critic_inputs, [values] = self._critic.forward(inputs[0])
        found = self._head.evaluate(output, inputs[-1], data.actions)
        advantages = data.advantages
        if model.normalize_advantage and count > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_ratio = found.log_prob - data.old_log_prob
        ratio = log_ratio.exp()
        free, clipped = advantages * ratio, advantages * ratio.clamp(1 - clip, 1 + clip)
        outside = (ratio - 1).abs() > clip
        error = values[:, 0] - data.returns
        losses = -torch.min(free, clipped), error.square(), -found.entropy, outside.float(), ratio - 1 - log_ratio
        lines.append(torch.stack(losses).mean(dim=1))
        if model.target_kl is not None and lines[-1][-1] > 1.5 * model.target_kl:
            return False
        # Clipped ratios have no gradient, unless the objective is the smaller one without the clip.
        of_log_prob = torch.where(outside & (free >= clipped), 0.0, free) / -count
        of_output, of_head = self._head.backward(found.saved, of_log_prob, -model.ent_coef / count)
        of_values = error[:, None] * (2 * model.vf_coef / count)
        of_actor = self._actor.backward(inputs, [of_output])
        of_critic = self._critic.backward(critic_inputs, [of_values])
        self._optimizer.step([*of_actor, *of_critic, *of_head], model.max_grad_norm)
        return True
