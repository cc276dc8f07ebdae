"""Violations of the policy protocol get one line."""

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.outside.conformity import check_policy
from benchmarks.play.policy import Policy, PolicyOutput, RandomPolicy
from tests.conftest import make_task

COUNTER = make_task(kwargs={"length": 7})


class Brought(Policy):
    distribution_kind = {}

    def initial_state(self, num_envs):
        return np.zeros(num_envs, int)

    def act(self, inputs, state):
        [rows] = inputs
        chosen = self.choose(rows, state)
        return [PolicyOutput(chosen, chosen)], state

    def choose(self, rows, state):
        return np.zeros(len(rows.observations), int)


class Counts(Brought):
    """Alternates within an episode."""

    def choose(self, rows, state):
        state[rows.env_ids] = np.where(rows.episode_start, 0, state[rows.env_ids] + 1)
        return state[rows.env_ids] % 2


class Remembers(Brought):
    """Does not reset its state."""

    def choose(self, rows, state):
        state[rows.env_ids] += 1
        return state[rows.env_ids] % 3


class Mixes(Brought):
    """Acts on other rows' observations."""

    def choose(self, rows, state):
        return np.full(len(rows.observations), len(rows.observations) % 3)


class Writes(Brought):
    def choose(self, rows, state):
        rows.observations[:] = 0
        return super().choose(rows, state)


class Steps(Brought):
    def choose(self, rows, state):
        rows.envs[0].step(0)
        return super().choose(rows, state)


class Private(Brought):
    """Samples from its own stream."""

    rng = np.random.default_rng(0)

    def choose(self, rows, state):
        return self.rng.integers(3, size=len(rows.observations))


@pytest.mark.parametrize("policy", [Brought(), Counts(), RandomPolicy(), lambda observation: 1])
def test_good_policies_pass(policy):
    check_policy(policy, COUNTER)


@pytest.mark.parametrize(
    "policy, words",
    [
        (Remembers(), "clear it at episode_start"),
        (Mixes(), "acts differently in an episode"),
        (Private(), "sample from rngs only"),
        (Writes(), "changes its input observations: copy it"),
        (Steps(), "steps or resets the environment that it plays"),
        (lambda observation: 9, "is 9, where its space has 0 to 2"),
        (Policy, "is not an agent|raised"),
    ],
)
def test_each_violation_is_named(policy, words):
    with pytest.raises(GatitoError, match=words):
        check_policy(policy, COUNTER)
