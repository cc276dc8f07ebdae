"""A trained stable-baselines3 policy behind the project's protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.policy import Decision, Observed
from benchmarks.tasks import Task, spaces
from experts.algorithms import build, make_vec_env
from experts.normalizer import normalize
from experts.recipe import ExpertRecipe


class ExpertPolicy:
    """A trained stable-baselines3 policy behind the project's protocol, playing its most likely action.

    Attributes:
        network: the network that it asks.
    """

    name = "expert"

    def __init__(self, task: Task, recipe: ExpertRecipe, state: Mapping[str, Any]) -> None:
        """Build the policy from the recipe and put the weights of ``state`` (see :func:`policy_state`) in."""
        env = make_vec_env(task, recipe, seed=0)
        self._model: Any = build(task, recipe, env, seed=0)
        self._is_dqn = recipe.algorithm == "dqn"
        env.close()
        self._model.policy.load_state_dict(state["policy"])
        self._model.policy.set_training_mode(False)
        self.network: torch.nn.Module = self._model.policy
        normalizer = state.get("normalizer")
        self._normalizer = {name: np.asarray(value) for name, value in normalizer.items()} if normalizer else None
        self._space = spaces(task)[1]
        kind = "q" if self._is_dqn else "logits"
        self.distribution_kind: Mapping[str, str] = {
            task.name: "gaussian" if isinstance(self._space, gym.spaces.Box) else kind
        }

    def initial_state(self, lanes: int) -> None:
        """It remembers nothing."""

    @torch.no_grad()
    def act(self, observed: Sequence[Observed], state: Any) -> tuple[list[Decision], Any]:  # noqa: ANN401
        """The greedy action and the distribution behind it."""
        return [self._decide(rows.observations) for rows in observed], state

    def _decide(self, observations: np.ndarray) -> Decision:
        policy: Any = self._model.policy
        tensor, _ = policy.obs_to_tensor(
            observations if self._normalizer is None else normalize(observations, self._normalizer)
        )
        if self._is_dqn:
            values = self._model.q_net(tensor).numpy()
            actions = values.argmax(axis=1)
            return Decision(actions, actions, values)
        distribution = policy.get_distribution(tensor).distribution
        if isinstance(self._space, gym.spaces.Box):
            space = self._space
            mean = distribution.mean.numpy().reshape(len(observations), -1)
            deviation = distribution.stddev.numpy().reshape(len(observations), -1)
            actions = mean.reshape(-1, *space.shape).clip(space.low, space.high).astype(space.dtype)
            return Decision(actions, actions, np.stack([mean, deviation], axis=1))
        logits = distribution.logits.numpy()
        actions = logits.argmax(axis=1)
        return Decision(actions, actions, logits)


def policy_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a training state that acts: policy weights and the observation normaliser."""
    normalizer = state.get("normalizer")
    return {"policy": state["parameters"]["policy"], "normalizer": normalizer and normalizer["observations"]}
