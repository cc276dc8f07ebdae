"""Boards are read by convolutions where the codec says so, and as vectors elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("pyspiel")

from benchmarks.base.errors import FatalError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.batches import Window
from generalist.network.network import load_network, make_network, network_class, save_network
from tests.benchmarks.tasks.games.test_games import game
from tests.conftest import make_task

MODEL = ModelConfig(layers=1, heads=2, width=16, feedforward=32, context_length=4)
CODEC = CodecConfig(board_features=8)
TASK = game("connect_four")


def window(task=TASK):
    [episode] = rollout(RandomPolicy(), {task: [0]}, keep_steps=True)
    steps = {name: values[:4] for name, values in episode.steps.items() if name != "masks"}
    return Window(task, steps["observations"], steps["labels"], None, steps["actions"], steps["rewards"])


def test_a_board_goes_through_convolutions_and_other_numbers_do_not():
    network = make_network(MODEL, CODEC).eval()
    shown = network.shown(TASK, np.ones((2, 3, 6, 7), np.int8))
    assert list(shown) == ["board"] and shown["board"].shape == (2, 3, 6, 7)
    assert list(network.shown(make_task("CartPole-v1"), np.ones((2, 4), np.float32))) == ["vector"]
    assert list(make_network(MODEL, CodecConfig()).shown(TASK, np.ones((2, 3, 6, 7), np.int8))) == ["vector"]


def test_every_square_reaches_the_token():
    torch.manual_seed(0)
    network = make_network(MODEL, CODEC).eval()
    boards = torch.zeros(1, 3, 6, 7, requires_grad=True)
    network.observation_encoder.board(boards).square().sum().backward()
    assert (boards.grad[0, :2].abs().sum(dim=0) > 0).all()


def test_a_batch_of_boards_and_vectors_is_learned_and_saved(tmp_path):
    network = make_network(MODEL, CODEC)
    batch = network.collate([window(), window(make_task("CartPole-v1"))], 4, [np.random.default_rng(0)] * 2)
    network.loss(batch)["loss"].backward()
    assert network.observation_encoder.board.first.weight.grad.abs().sum() > 0
    save_network(tmp_path, network, {})
    boards = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (5, 3, 6, 7)))
    saved = load_network(tmp_path).observation_encoder.board(boards)
    assert torch.equal(saved, network.observation_encoder.board(boards))


@pytest.mark.parametrize("name", ["gato", "jat"])
def test_codecs_that_read_boards_as_numbers_refuse_the_setting(name):
    codec = replace(CodecConfig(), name=name, memory="all", board_features=8)
    codec = replace(codec, continuous="bins") if name == "gato" else codec
    with pytest.raises(FatalError, match=f"codec {name} reads a board as .*: set codec.board_features=0"):
        network_class(name).check_task(codec, TASK, 512)
