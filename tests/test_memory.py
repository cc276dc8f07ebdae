"""``codec.memory=partial``: which steps see the ones before them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.errors import GatitoError
from benchmarks.policy import Observed
from generalist.codecs import CODECS, CodecConfig, Window, codec_class, make_codec
from generalist.network import Network
from generalist.policy import NetworkPolicy
from generalist.settings import ModelConfig
from tests.conftest import make_task
from tests.test_step_codec import RICH, play

SEEN = make_task("CartPole-v1")
VIEWED = RICH[0]  # a grid around the player
LENGTH = 8


def made(memory: str) -> Network:
    torch.manual_seed(0)
    network = Network(ModelConfig(layers=2, heads=2, width=32, feedforward=64, window=4), CodecConfig(memory=memory))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def windows() -> list[Window]:
    rows = [play(task, LENGTH)[:LENGTH] for task in (SEEN, VIEWED, SEEN)]
    nothing = np.zeros(LENGTH, dtype=np.int64)
    tasks = (SEEN, VIEWED, SEEN)
    return [Window(task, own, nothing, None, nothing, nothing * 1.0) for task, own in zip(tasks, rows, strict=True)]


def hidden(network: Network, chosen: list[Window], length: int = LENGTH) -> torch.Tensor:
    rngs = [np.random.default_rng(0) for _ in chosen]
    return network.codec.hidden(network.model, network.codec.collate(chosen, length, rngs))


@torch.no_grad()
def test_steps_that_show_all_see_themselves_alone_and_views_see_the_past():
    network, every = made("partial"), windows()
    together = hidden(network, every)
    all_see = hidden(made("all"), every)
    torch.testing.assert_close(together[1], all_see[1])
    assert (together[0, 1:] - all_see[0, 1:]).abs().max() > 0.01
    for step in range(LENGTH):
        own = [
            Window(SEEN, each.observations[[step]], each.labels[:1], None, each.actions[:1], each.rewards[:1])
            for each in (every[0], every[2])
        ]
        torch.testing.assert_close(together[[0, 2], step], hidden(network, own, 1)[:, 0])


@torch.no_grad()
@pytest.mark.parametrize("memory", ["all", "partial"])
def test_acting_sees_what_learning_saw(memory):
    network, every = made(memory), windows()
    learnt = hidden(network, every)
    policy = NetworkPolicy(network)
    state = policy.initial_state(3)
    for step in range(LENGTH):
        fresh = np.full(1, step == 0)
        rows = [
            Observed(each.task, each.observations[[step]], np.array([lane]), fresh, np.zeros(1), [], [])
            for lane, each in enumerate(every)
        ]
        decisions, state = policy.act(rows, state)
        for lane, decision in enumerate(decisions):
            logits = network.codec.heads.decide(every[lane].task, learnt[[lane], step]).distributions
            np.testing.assert_allclose(decision.distributions, logits, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(CODECS) - {"step"}))
def test_other_codecs_see_everything(name):
    with pytest.raises(GatitoError, match="codec.memory=partial: .* set codec.memory=all"):
        codec_class(name).check_task(CodecConfig(name, memory="partial"), SEEN, 64)


def test_a_prompt_is_seen_by_steps_that_remember_nothing():
    torch.manual_seed(0)
    config = CodecConfig(memory="partial", conditioning="prompt", prompt_steps=2)
    codec = make_codec(config, 32)
    network = made("partial")
    plain = windows()[0]
    shown = replace(plain, prompt=windows()[2])
    rngs = [np.random.default_rng(0)] * 2
    with torch.no_grad():
        told = codec.hidden(network.model, codec.collate([plain, shown], LENGTH, rngs))
        for step in range(LENGTH):
            one = Window(SEEN, plain.observations[[step]], plain.labels[:1], None, plain.actions[:1], plain.rewards[:1])
            alone = codec.hidden(network.model, codec.collate([one, replace(one, prompt=shown.prompt)], 1, rngs))
            torch.testing.assert_close(told[:, step], alone[:, 0])
    assert (told[0] - told[1]).abs().max() > 1e-3
