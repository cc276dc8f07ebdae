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
from experts.sb3.algorithms import build, make_vec_env
from experts.sb3.normalizer import normalize
from experts.sb3.spaces import Translator

_TRAINING_ONLY = ("critic.", "critic_target.", "actor_target.", "q_net_target.")  # of TD3, SAC and DQN


class ExpertPolicy(Policy):
    """A trained stable-baselines3 policy behind the project's protocol, playing its most likely action.

    Attributes:
        network: the network that it asks.
    """

    name = "expert"

    def __init__(self, task: Task, recipe: ExpertRecipe, state: Mapping[str, Any]) -> None:
        """Build the policy from the recipe and put the weights of ``state`` (see :func:`policy_state`) in."""
        recipe = _for_play(recipe)
        env = make_vec_env(task, recipe, seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one environment does not fill the recipe's batches, nor must it
            self._model: Any = build(task, recipe, env, seed=0)
        env.close()
        _load_weights(self._model.policy, state["policy"])
        self._model.policy.set_training_mode(False)
        self.network: torch.nn.Module = self._model.policy
        normalizer = state.get("normalizer")
        self._normalizer = {name: np.asarray(value) for name, value in normalizer.items()} if normalizer else None
        self._translator = Translator(task)
        self._space = self._translator.action_space
        self._algorithm = recipe.algorithm
        kinds = {"dqn": "q", "td3": None, "sac": "gaussian"}  # TD3's actions are certain
        kind = kinds.get(recipe.algorithm, "gaussian" if isinstance(self._space, gym.spaces.Box) else "logits")
        self.distribution_kind: Mapping[str, str] = {task.name: kind} if kind else {}

    def initial_state(self, num_envs: int) -> None:
        """It remembers nothing."""

    @torch.no_grad()
    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The greedy action and the distribution behind it."""
        return [self._decide(rows.observations, rows.action_masks) for rows in inputs], state

    def _decide(self, observations: np.ndarray, masks: np.ndarray | None) -> PolicyOutput:
        policy: Any = self._model.policy
        observations = self._translator.observe(observations)
        tensor, _ = policy.obs_to_tensor(
            observations if self._normalizer is None else normalize(observations, self._normalizer)
        )
        if self._algorithm == "dqn":
            values = self._model.q_net(tensor).numpy()
            actions = self._translator.act(values.argmax(axis=1))
            return PolicyOutput(actions, actions, values)
        if self._algorithm == "td3":
            return self._continuous(policy.unscale_action(policy.actor(tensor).numpy()), None)
        if self._algorithm == "sac":
            # Actions are tanh(u), u normal. Their spread is u's times the slope of tanh, times half the action's range.
            mean, log_deviation, _ = policy.actor.get_action_dist_params(tensor)
            unit = mean.tanh()
            deviation = ((1 - unit.square()) * log_deviation.exp()).numpy() * _half_range(self._space)
            return self._continuous(policy.unscale_action(unit.numpy()), deviation)
        found = policy.get_distribution(tensor)
        if isinstance(self._space, gym.spaces.Box):
            return self._continuous(found.distribution.mean.numpy(), found.distribution.stddev.numpy())
        # Several choices are a list of distributions, by sb3-contrib under a name of its own.
        every = getattr(found, "distributions", None) or found.distribution
        every = every if isinstance(every, list) else [every]
        logits = np.concatenate([each.logits.numpy() for each in every], axis=1)
        if masks is not None:
            logits = np.where(masks, logits, -np.inf).astype(np.float32)
        if isinstance(self._space, gym.spaces.Discrete):
            actions = self._translator.act(logits.argmax(axis=1))
        else:
            actions = np.stack([each.argmax(axis=1) for each in split_options(logits, options_of(self._space))], axis=1)
        return PolicyOutput(actions, actions, logits)

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
