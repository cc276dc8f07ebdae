"""A trained stable-baselines3 policy behind the project's protocol."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from benchmarks.tasks.actions import options_of, split_options
from experts.recipe import ExpertRecipe
from experts.sb3.algorithms import build
from experts.sb3.native import Between, Native
from experts.sb3.normalizer import normalize
from experts.sb3.spaces import Translator
from experts.sb3.vector_env import spaces_only

_TRAINING_ONLY = ("critic.", "critic_target.", "actor_target.", "q_net_target.", "quantile_net_target.")
_Q_NETWORKS, _CERTAIN, _SQUASHED = ("dqn", "qrdqn"), ("td3", "ddpg"), ("sac", "tqc")
"""Algorithms by their policies: the highest of several values, a deterministic network, a squashed normal."""


class ExpertPolicy(Policy):
    """A trained stable-baselines3 policy behind the project's protocol, playing its most likely action.

    Attributes:
        network: the network.
        model: the algorithm that owns the network.
        normalizer: the observations' statistics, see :func:`experts.sb3.normalizer.normalize`; None if there are none.
    """

    name = "expert"

    def __init__(self, task: Task, recipe: ExpertRecipe, state: Mapping[str, Any]) -> None:
        """Build the policy from the recipe and put the weights of ``state`` (see :func:`policy_state`) in."""
        recipe = _for_play(recipe)
        self._translator: Between = Native(task) if state.get("native") else Translator(task)
        env = spaces_only(self._translator.observation_space, self._translator.action_space)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about batches that one environment cannot fill
            self.model: Any = build(task, recipe, env, seed=0)
        env.close()
        _load_weights(self.model.policy, state["policy"])
        self.model.policy.set_training_mode(False)
        self.network: torch.nn.Module = self.model.policy
        normalizer = state.get("normalizer")
        self.normalizer = _as_arrays(normalizer) if normalizer else None
        self._space = self._translator.action_space
        self._algorithm = recipe.algorithm
        kind = _kind(recipe.algorithm, self._space)
        self.distribution_kind: Mapping[str, str] = {task.name: kind} if kind else {}

    def initial_state(self, num_envs: int) -> None:
        """There is no memory."""

    @torch.no_grad()
    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The greedy action and the distribution behind it."""
        return [self._decide(rows) for rows in inputs], state

    def _decide(self, rows: PolicyInput) -> PolicyOutput:
        policy: Any = self.model.policy
        observations = self._translator.observe(rows.observations)
        tensor, _ = policy.obs_to_tensor(
            observations if self.normalizer is None else normalize(observations, self.normalizer)
        )
        if self._algorithm in _Q_NETWORKS:
            values = policy.q_net(tensor) if self._algorithm == "dqn" else policy.quantile_net(tensor).mean(dim=1)
            return self._choices(values.numpy(), rows.action_masks)
        if self._algorithm in _CERTAIN:
            return self._continuous(policy.unscale_action(policy.actor(tensor).numpy()), None)
        if self._algorithm in _SQUASHED:
            # Actions are tanh(u), u normal. Their spread is u's times the slope of tanh, times half the action's range.
            mean, log_deviation, further = policy.actor.get_action_dist_params(tensor)
            unit, deviation = mean.tanh(), log_deviation.exp()
            if further:  # gSDE: the deviation depends on the state
                normal = policy.actor.action_dist.proba_distribution(mean, log_deviation, further["latent_sde"])
                deviation = normal.distribution.stddev
            deviation = ((1 - unit.square()) * deviation).numpy() * _half_range(self._space)
            return self._continuous(policy.unscale_action(unit.numpy()), deviation)
        found = policy.get_distribution(tensor)
        if isinstance(self._space, gym.spaces.Box):
            mean, deviation = found.distribution.mean, found.distribution.stddev.numpy()
            if policy.squash_output:
                unit = mean.tanh()
                deviation = (1 - unit.square()).numpy() * deviation * _half_range(self._space)
                return self._continuous(policy.unscale_action(unit.numpy()), deviation)
            return self._continuous(mean.numpy(), deviation)
        # Several choices are a list of distributions; sb3-contrib has another name for it.
        every = getattr(found, "distributions", None) or found.distribution
        every = every if isinstance(every, list) else [every]
        return self._choices(np.concatenate([each.logits.numpy() for each in every], axis=1), rows.action_masks)

    def _choices(self, values: np.ndarray, masks: np.ndarray | None) -> PolicyOutput:
        """The legal options with the highest values, ``(n, options)``."""
        if masks is not None:
            values = np.where(masks, values, -np.inf).astype(np.float32)
        if isinstance(self._space, gym.spaces.Discrete):
            actions = self._translator.act(values.argmax(axis=1))
        else:
            actions = np.stack([each.argmax(axis=1) for each in split_options(values, options_of(self._space))], axis=1)
        return PolicyOutput(actions, actions, values)

    def _continuous(self, means: np.ndarray, deviations: np.ndarray | None) -> PolicyOutput:
        space = self._space
        assert isinstance(space, gym.spaces.Box)
        rows = len(means)
        actions = means.reshape(rows, *space.shape).clip(space.low, space.high).astype(space.dtype)
        actions = self._translator.act(actions)
        if deviations is None:
            return PolicyOutput(actions, actions)
        normals = self._translator.normals(means.reshape(rows, -1), deviations.reshape(rows, -1))
        return PolicyOutput(actions, actions, normals)


def _kind(algorithm: str, space: gym.Space) -> str | None:
    """The kind of an algorithm's distributions; None: it has none to record."""
    if algorithm in _Q_NETWORKS:
        return "q"
    if algorithm in _CERTAIN:
        return None
    return "gaussian" if isinstance(space, gym.spaces.Box) else "logits"


def _as_arrays(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _as_arrays(value) if isinstance(value, Mapping) else np.asarray(value) for name, value in numbers.items()
    }


def _for_play(recipe: ExpertRecipe) -> ExpertRecipe:
    """A recipe that builds the same networks with one environment: PPO refuses rollouts of a single step."""
    steps = recipe.hyperparameters.get("n_steps")
    hyperparameters = dict(recipe.hyperparameters)
    if isinstance(steps, int):
        hyperparameters["n_steps"] = max(2, steps)
    return replace(recipe, num_envs=1, hyperparameters=hyperparameters)


def _half_range(space: gym.Space) -> np.ndarray:
    assert isinstance(space, gym.spaces.Box)
    return (space.high - space.low) / 2


def policy_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a training state that acts: acting weights and the observation normaliser."""
    normalizer = state.get("normalizer")
    return {
        "policy": acting_weights(state["parameters"]["policy"]),
        "normalizer": normalizer and normalizer["observations"],
    }


def acting_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that choose actions: no critics of actor-critic policies, no target networks."""
    return {name: value for name, value in weights.items() if not name.startswith(_TRAINING_ONLY)}


def _load_weights(policy: torch.nn.Module, weights: Mapping[str, Any]) -> None:
    """Load acting weights, with or without those that only training needs.

    Raises:
        RuntimeError: if the weights do not fit the policy.
    """
    missing, unexpected = policy.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.startswith(_TRAINING_ONLY)]
    if missing or unexpected:
        raise RuntimeError(f"weights do not fit the policy: missing {missing}, unexpected {unexpected}")
