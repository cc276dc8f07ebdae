"""SAC, TD3 and DDPG."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

from experts.sb3.manual_gradients.networks import HALF_LOG_TWO_PI, Adam, Network, is_chain, sees_numbers

_LOG_STD = (-20.0, 2.0)  # stable-baselines3's limits
_TINY = 1e-6  # keeps the logarithm of 1 - a^2 finite, as there


def is_known(model: Any) -> bool:  # noqa: ANN401
    """Whether actor and critics are chains of layers, for observations of numbers."""
    policy = model.policy
    if type(policy) not in (SACPolicy, TD3Policy) or not sees_numbers(policy) or not policy.squash_output:
        return False
    if type(model.replay_buffer) is not ReplayBuffer:
        return False
    if isinstance(policy, SACPolicy):
        actor = [*policy.actor.latent_pi, policy.actor.mu]
        if policy.actor.use_sde or type(policy.actor.log_std) is not nn.Linear:
            return False
    else:
        *actor, last = policy.actor.mu
        if type(last) is not nn.Tanh:
            return False
    critics: list[Any] = policy.critic.q_networks
    chains = [actor, *(list(critic) for critic in critics)]
    return all(len(chain) > 1 and is_chain(chain) for chain in chains)


def _critics(critic: Any) -> list[Network]:  # noqa: ANN401
    return [Network(list(net)[:-1], [net[-1]]) for net in critic.q_networks]


class _Learner:
    """What both algorithms share: batches, critics and their targets, and logs."""

    def __init__(self, model: Any, count_flops: Callable[[float], None]) -> None:  # noqa: ANN401
        self._model, self._count_flops = model, count_flops
        self._critics = _critics(model.critic)
        self._target_critics = _critics(model.critic_target)
        self._critic_optimizer = Adam(
            model.critic.optimizer, [weight for critic in self._critics for weight in critic.weights]
        )

    def _sample(self, size: int) -> ReplayBufferSamples:
        """A batch of the buffer, in single precision."""
        data = self._model.replay_buffer.sample(size, env=self._model._vec_normalize_env)
        return data._replace(observations=data.observations.float(), next_observations=data.next_observations.float())

    def _discounted(self, data: ReplayBufferSamples, values: torch.Tensor) -> torch.Tensor:
        discounts = self._model.gamma if data.discounts is None else data.discounts
        return data.rewards + (1 - data.dones) * discounts * values

    def _least(self, critics: Sequence[Network], pairs: torch.Tensor) -> torch.Tensor:
        """The least of the critics' values, ``(n, 1)``."""
        values = [critic.forward(pairs)[1][0] for critic in critics]
        return functools.reduce(torch.minimum, values)

    def _update_critics(self, data: ReplayBufferSamples, targets: torch.Tensor, factor: float) -> torch.Tensor:
        """One step down ``factor`` times the sum of squared errors; returns the loss."""
        pairs = torch.cat([data.observations, data.actions], dim=1)
        loss, grads = torch.zeros(()), []
        for critic in self._critics:
            inputs, [values] = critic.forward(pairs)
            error = values - targets
            loss = loss + factor * error.square().mean()
            grads += critic.backward(inputs, [error * (2 * factor / len(error))])
        self._critic_optimizer.step(grads)
        return loss

    def _record(self, lines: Mapping[str, Sequence[torch.Tensor]]) -> None:
        self._model.logger.record("train/n_updates", self._model._n_updates, exclude="tensorboard")
        for name, values in lines.items():
            if values:
                self._model.logger.record(f"train/{name}", torch.stack(list(values)).mean().item())


def _follow(targets: nn.Module, sources: nn.Module, tau: float) -> None:
    """Polyak's average: the targets' weights move the share ``tau`` of the way."""
    torch._foreach_lerp_(list(targets.parameters()), list(sources.parameters()), tau)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Proposed:
    """Sampled actions of a squashed normal distribution, with what their gradient needs."""

    inputs: list[torch.Tensor]
    actions: torch.Tensor
    log_prob: torch.Tensor
    raw_log_std: torch.Tensor
    spread: torch.Tensor
    slack: torch.Tensor


class Sac(_Learner):
    """Haarnoja et al. 2018 (arXiv:1812.05905)."""

    def __init__(self, model: Any, count_flops: Callable[[float], None]) -> None:  # noqa: ANN401
        super().__init__(model, count_flops)
        actor = model.actor
        self._actor = Network(list(actor.latent_pi), [actor.mu, actor.log_std])
        self._actor_optimizer = Adam(actor.optimizer, self._actor.weights)

    @torch.no_grad()
    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """``SAC.train``: so many updates, each with a batch of the replay buffer."""
        model = self._model
        model.policy.set_training_mode(True)
        optimizers = [model.actor.optimizer, model.critic.optimizer]
        if model.ent_coef_optimizer is not None:
            optimizers.append(model.ent_coef_optimizer)
        model._update_learning_rate(optimizers)
        names = ("ent_coef", "actor_loss", "critic_loss", "ent_coef_loss")
        lines: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for number in range(gradient_steps):
            self._update(self._sample(batch_size), lines)
            if number % model.target_update_interval == 0:
                _follow(model.critic_target, model.critic, model.tau)
        model._n_updates += gradient_steps
        self._record(lines)

    def _propose(self, observations: torch.Tensor) -> _Proposed:
        inputs, [mean, raw] = self._actor.forward(observations)
        log_std = raw.clamp(*_LOG_STD)
        noise = torch.empty_like(mean).normal_()
        spread = log_std.exp().mul_(noise)
        actions = (mean + spread).tanh_()
        slack = 1 - actions.square() + _TINY
        log_prob = -(noise.square_().mul_(0.5) + log_std + slack.log() + HALF_LOG_TWO_PI).sum(dim=1, keepdim=True)
        return _Proposed(inputs, actions, log_prob, raw, spread, slack)

    def _entropy_weight(self, log_prob: torch.Tensor, lines: dict[str, list[torch.Tensor]]) -> torch.Tensor:
        """The entropy's weight before its own update (equation 18)."""
        model = self._model
        if model.ent_coef_optimizer is None:
            return model.ent_coef_tensor
        logarithm = model.log_ent_coef.detach()
        weight, error = logarithm.exp(), log_prob.mean() + model.target_entropy
        lines["ent_coef_loss"].append(-(logarithm * error).mean())
        model.log_ent_coef.grad = -error.expand_as(logarithm).clone()
        model.ent_coef_optimizer.step()
        return weight

    def _update(self, data: ReplayBufferSamples, lines: dict[str, list[torch.Tensor]]) -> None:
        count = len(data.rewards)
        products = 4 * self._actor.products + 6 * sum(critic.products for critic in self._critics)
        self._count_flops(2 * count * products)
        found = self._propose(data.observations)
        weight = self._entropy_weight(found.log_prob, lines)
        lines["ent_coef"].append(weight.mean())
        then = self._propose(data.next_observations)
        least = self._least(self._target_critics, torch.cat([data.next_observations, then.actions], dim=1))
        targets = self._discounted(data, least - weight * then.log_prob)
        lines["critic_loss"].append(self._update_critics(data, targets, 0.5))

        pairs = torch.cat([data.observations, found.actions], dim=1)
        passes = [critic.forward(pairs) for critic in self._critics]
        values, least_of = torch.cat([outputs[0] for _, outputs in passes], dim=1).min(dim=1, keepdim=True)
        lines["actor_loss"].append((weight * found.log_prob - values).mean())
        # d log_prob / da = 2a / slack; a = tanh(mean + std * noise), and d log_prob / d log_std = -1 beside that.
        grad = found.actions * (2 / count * weight) / found.slack
        for number, (critic, (inputs, _)) in enumerate(zip(self._critics, passes, strict=True)):
            chosen = (least_of == number).to(values.dtype) * (-1 / count)
            grad = grad + critic.to_input(inputs, [chosen])[:, -grad.shape[1] :]
        of_mean = torch.ops.aten.tanh_backward(grad, found.actions)
        within = (found.raw_log_std >= _LOG_STD[0]) & (found.raw_log_std <= _LOG_STD[1])
        of_log_std = (of_mean * found.spread - weight / count) * within
        self._actor_optimizer.step(self._actor.backward(found.inputs, [of_mean, of_log_std]))


class Td3(_Learner):
    """Fujimoto et al. 2018 (arXiv:1802.09477), and with one critic and no delay DDPG (Lillicrap et al. 2016)."""

    def __init__(self, model: Any, count_flops: Callable[[float], None]) -> None:  # noqa: ANN401
        super().__init__(model, count_flops)
        self._actor, self._target_actor = (
            Network(list(actor.mu)[:-2], [actor.mu[-2]]) for actor in (model.actor, model.actor_target)
        )
        self._actor_optimizer = Adam(model.actor.optimizer, self._actor.weights)

    @torch.no_grad()
    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """``TD3.train``: so many updates, each with a batch of the replay buffer."""
        model = self._model
        model.policy.set_training_mode(True)
        model._update_learning_rate([model.actor.optimizer, model.critic.optimizer])
        lines: dict[str, list[torch.Tensor]] = {"actor_loss": [], "critic_loss": []}
        for _ in range(gradient_steps):
            model._n_updates += 1
            data = self._sample(batch_size)
            lines["critic_loss"].append(self._update_critics(data, self._targets(data), 1.0))
            if model._n_updates % model.policy_delay == 0:
                lines["actor_loss"].append(self._update_actor(data))
                _follow(model.critic_target, model.critic, model.tau)
                _follow(model.actor_target, model.actor, model.tau)
        self._record(lines)

    def _targets(self, data: ReplayBufferSamples) -> torch.Tensor:
        model = self._model
        noise = torch.empty_like(data.actions).normal_(0, model.target_policy_noise)
        _, [raw] = self._target_actor.forward(data.next_observations)
        limit = model.target_noise_clip
        actions = raw.tanh_().add_(noise.clamp_(-limit, limit)).clamp_(-1, 1)
        pairs = torch.cat([data.next_observations, actions], dim=1)
        count = sum(critic.products for critic in self._critics)
        self._count_flops(2 * len(actions) * (self._actor.products + 4 * count))
        return self._discounted(data, self._least(self._target_critics, pairs))

    def _update_actor(self, data: ReplayBufferSamples) -> torch.Tensor:
        inputs, [raw] = self._actor.forward(data.observations)
        actions, critic = raw.tanh_(), self._critics[0]
        critic_inputs, [values] = critic.forward(torch.cat([data.observations, actions], dim=1))
        grad = critic.to_input(critic_inputs, [torch.full_like(values, -1 / len(values))])[:, -actions.shape[1] :]
        self._actor_optimizer.step(self._actor.backward(inputs, [torch.ops.aten.tanh_backward(grad, actions)]))
        self._count_flops(2 * len(actions) * (3 * self._actor.products + 2 * critic.products))
        return -values.mean()
