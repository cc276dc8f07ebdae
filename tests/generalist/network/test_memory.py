"""``codec.memory=partial``: which steps attend to earlier steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import PolicyInput
from generalist.config.networks import NETWORKS, network_class
from generalist.config.settings import ModelConfig
from generalist.network.batches import Window
from generalist.network.network import Network, make_network
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import make_task
from tests.generalist.network.test_step_codec import RICH, play

SEEN = make_task("CartPole-v1")
VIEWED = RICH[0]  # a grid around the player
LENGTH = 8


def made(memory: str, conditioning: str = "none") -> Network:
    torch.manual_seed(0)
    codec = plain_codec(memory=memory, conditioning=conditioning, prompt_steps=3)
    network = make_network(ModelConfig(layers=2, heads=2, width=32, feedforward=64, context_length=4), codec)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def windows() -> list[Window]:
    rows = [play(task, LENGTH)[:LENGTH] for task in (SEEN, VIEWED, SEEN)]
    nothing = np.zeros(LENGTH, dtype=np.int64)
    tasks = (SEEN, VIEWED, SEEN)
    return [Window(task, own, nothing, None, nothing, nothing * 1.0) for task, own in zip(tasks, rows, strict=True)]


def parts_of(window: Window, steps: slice) -> Window:
    """Some of a window's steps."""
    columns = (window.observations, window.labels, window.actions, window.rewards)
    observations, labels, actions, rewards = (column[steps] for column in columns)
    return Window(window.task, observations, labels, None, actions, rewards)


def hidden(network: Network, chosen: list[Window], length: int = LENGTH) -> torch.Tensor:
    rngs = [np.random.default_rng(0) for _ in chosen]
    return network.hidden(network.collate(chosen, length, rngs))


@torch.no_grad()
def test_fully_observed_steps_attend_to_themselves_and_partial_views_to_the_past():
    network, every = made("partial"), windows()
    together = hidden(network, every)
    all_see = hidden(made("all"), every)
    torch.testing.assert_close(together[1], all_see[1])
    assert (together[0, 1:] - all_see[0, 1:]).abs().max() > 0.01
    for step in range(LENGTH):
        own = [parts_of(every[row], slice(step, step + 1)) for row in (0, 2)]
        torch.testing.assert_close(together[[0, 2], step], hidden(network, own, 1)[:, 0])


@torch.no_grad()
@pytest.mark.parametrize("conditioning", ["none", "prompt"])
@pytest.mark.parametrize("memory", ["all", "partial"])
def test_acting_attends_to_the_same_steps_as_training(memory, conditioning):
    network, every, prompts = made(memory, conditioning), windows(), {}
    if conditioning == "prompt":
        prompts = {each.task.name: parts_of(each, slice(0, 3)) for each in every}
        every = [replace(each, prompt=prompts[each.task.name]) for each in every]
    learned = hidden(network, every)
    policy = NetworkPolicy(network, "it", prompts)
    state = policy.initial_state(3)
    for step in range(LENGTH):
        episode_start = np.full(1, step == 0)
        rows = [
            PolicyInput(each.task, each.observations[[step]], np.array([env_id]), episode_start, np.zeros(1), [], [])
            for env_id, each in enumerate(every)
        ]
        decisions, state = policy.act(rows, state)
        for env_id, decision in enumerate(decisions):
            logits = network.heads.decide(every[env_id].task, learned[[env_id], step]).distributions
            np.testing.assert_allclose(decision.distributions, logits, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"step"}))
def test_memory_all_attends_to_every_earlier_step(name):
    with pytest.raises(GatitoError, match="codec.memory=partial: .* set codec.memory=all"):
        network_class(name).check_task(plain_codec(name, memory="partial"), SEEN, 64)


@torch.no_grad()
def test_steps_without_memory_attend_to_the_prompt():
    network, (plain, _, other) = made("partial", "prompt"), windows()
    shown = replace(plain, prompt=parts_of(other, slice(0, 3)))
    together = hidden(network, [plain, shown])
    for step in range(LENGTH):
        one = parts_of(plain, slice(step, step + 1))
        alone = hidden(network, [one, replace(one, prompt=shown.prompt)], 1)[:, 0]
        torch.testing.assert_close(together[:, step], alone)
    assert (together[0] - together[1]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("task", [SEEN, VIEWED], ids=lambda task: task.name)
def test_an_environment_continues_from_anothers_state(task):
    network, [window] = made("partial"), [each for each in windows() if each.task == task][:1]
    policy = NetworkPolicy(network)
    state = policy.initial_state(2)

    def decided(step, env_id):
        rows = PolicyInput(
            task, window.observations[[step]], np.array([env_id]), np.full(1, step == 0), np.zeros(1), [], []
        )
        return policy.act([rows], state)[0][0].distributions

    for step in range(4):
        decided(step, 0)
    policy.fork(state, np.array([0]), np.array([1]))
    np.testing.assert_allclose(decided(4, 1), decided(4, 0), atol=1e-6)
