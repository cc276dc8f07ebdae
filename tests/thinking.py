"""Policies for tests of planners: a policy defined by a test, and a random network.

Both offer what amplifiers ask of a ``NetworkPolicy``.
"""

from types import SimpleNamespace

import numpy as np
import torch

from benchmarks.play.policy import PolicyOutput
from benchmarks.play.rollout import rollout
from generalist.config.settings import ModelConfig
from generalist.network.distributions import Categorical, NetworkOutput, greedy
from generalist.network.network import make_network, save_network
from generalist.network.policy import NetworkPolicy
from generalist.network.stepwise import StepwiseNetwork
from tests.codecs import plain_codec

MODEL = ModelConfig(layers=2, heads=2, width=16, feedforward=32, context_length=4)


class Written:
    """Logits and values as functions of the observation; the state is an environment's history."""

    name = "written"
    distribution_kind = {}

    def __init__(self, logits, values=lambda observation: 0.0, discount=0.9):
        self._logits, self._values = logits, values
        self.network = SimpleNamespace(codec=plain_codec(critic=1.0, discount=discount))
        self.asked = []

    def initial_state(self, num_envs):
        return [()] * num_envs

    def act(self, inputs, state, select=None):
        decisions = []
        for rows in inputs:
            assert len(set(rows.env_ids.tolist())) == len(rows.env_ids)
            logits = np.array([self._logits(observation) for observation in rows.observations], np.float32)
            distribution = Categorical(torch.from_numpy(logits))
            chosen = (select or greedy)(distribution, rows.rngs)
            actions = chosen.numpy()
            for env_id, episode_start, seen, action in zip(
                rows.env_ids, rows.episode_start, rows.observations, actions, strict=True
            ):
                state[env_id] = (*(() if episode_start else state[env_id]), (*seen.tolist(), int(action)))
            values = np.array([self._values(observation) for observation in rows.observations])
            decisions.append(
                NetworkOutput(actions, actions, logits, values=values, distribution=distribution, chosen=chosen)
            )
            self.asked.append(rows)
        return decisions, state

    def fork(self, state, sources, targets):
        assert len(set(targets.tolist())) == len(targets) and not set(targets.tolist()) & set(sources.tolist())
        for source, target in zip(sources, targets, strict=True):
            state[target] = state[source]

    def replace_actions(self, state, task, env_ids, actions):
        for env_id, action in zip(env_ids, actions, strict=True):
            state[env_id] = (*state[env_id][:-1], (*state[env_id][-1][:-1], int(action)))


def made_up(**codec):
    """A small network of random weights as a policy, with logits far from uniform."""
    torch.manual_seed(0)
    network = make_network(MODEL, plain_codec(**codec)).eval()
    if isinstance(network, StepwiseNetwork):
        torch.nn.init.normal_(network.heads.discrete.weight, std=1.0)
        if network.codec.critic:
            torch.nn.init.normal_(network.critic.output.weight, std=0.3)
    return NetworkPolicy(network)


def saved(folder):
    """The folder of a small network of random weights."""
    torch.manual_seed(0)
    save_network(folder, make_network(MODEL, plain_codec(critic=1.0)), {})
    return folder


def play(policy, task, seeds, **settings):
    """Episodes by seed, with their steps."""
    episodes = rollout(policy, {task: list(seeds)}, keep_steps=True, **settings)
    return {episode.seed: episode for episode in episodes}


def same(first, second):
    """Whether two sets of episodes are exactly equal."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[seed].steps[name], second[seed].steps[name])
        for seed in first
        for name in ("observations", "actions", "rewards")
    )


class Follows:
    """Steps a policy along recorded actions; ``memory`` is its final state."""

    distribution_kind = {}

    def __init__(self, policy, actions):
        self.name, self._policy, self._actions = policy.name, policy, actions

    def initial_state(self, num_envs):
        self.memory, self._step = self._policy.initial_state(num_envs), 0
        return self.memory

    def act(self, inputs, state):
        [rows], step = inputs, self._step
        self._step += 1
        [decision], _ = self._policy.act(inputs, state)
        actions = self._actions[step][None]
        self._policy.replace_actions(state, rows.task, rows.env_ids, actions)
        return [PolicyOutput(actions, actions, values=decision.values)], state


class Watched:
    """A policy of one task, with its state and its decisions so far."""

    def __init__(self, policy):
        self.name, self.distribution_kind, self._policy = policy.name, policy.distribution_kind, policy

    def initial_state(self, num_envs):
        self.memory, self.decisions = self._policy.initial_state(num_envs), []
        return self.memory

    def act(self, inputs, state):
        decided, state = self._policy.act(inputs, state)
        self.decisions += decided
        return decided, state


def memory_of_env(memory, env_id=0):
    """A codec's state of an environment as arrays: the model's cache, and the last action if it is an input."""
    cache = memory.cache
    arrays = [cache.keys[:, env_id], cache.values[:, env_id], cache.positions[env_id]]
    return [part.numpy() for part in arrays] + ([memory.actions[env_id]] if hasattr(memory, "actions") else [])
