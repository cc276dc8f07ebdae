import pytest
import torch
from torch import nn

from benchmarks.base.compute import Cost
from benchmarks.base.flops import FlopMeter, count_flops, parameter_count
from generalist.config.settings import ModelConfig
from generalist.network.transformer import Transformer


def train(network, inputs):
    network(inputs).sum().backward()


@torch.no_grad()
def play(network, inputs):
    network(inputs)


def test_a_linear_layer_matches_a_hand_computation():
    layer, rows = nn.Linear(3, 5), torch.randn(7, 3)
    product = 2 * 7 * 3 * 5  # a multiplication and an addition each; the bias does not count
    assert count_flops(lambda: play(layer, rows)) == product
    # Backwards one product gives the weight's gradient, another the input's, where that is wanted.
    assert count_flops(lambda: train(layer, rows)) == 2 * product
    assert count_flops(lambda: train(layer, rows.clone().requires_grad_())) == 3 * product


def test_the_transformer_matches_a_hand_computation():
    batch, length, width, feedforward, layers = 3, 10, 16, 24, 2
    config = ModelConfig(layers=layers, heads=2, width=width, feedforward=feedforward, context_length=4)
    model, tokens = Transformer(config), torch.randn(batch, length, width)
    linear = 2 * batch * length * (3 * width * width + width * width + 2 * width * feedforward)
    product = 2 * batch * length * length * width  # all heads together; masked entries count too
    assert count_flops(lambda: play(model, tokens)) == layers * (linear + 2 * product)
    # Backwards: two products for each linear one (a norm before the first wants its input's gradient); attention
    # computes its scores again and takes four products for the gradients.
    assert count_flops(lambda: train(model, tokens)) == layers * (3 * linear + 7 * product)


NETWORKS = {
    "linear": (nn.Linear(6, 8), (5, 6), 2 * 5 * 6 * 8, 8),
    "convolution": (nn.Conv2d(4, 6, 3, stride=2), (5, 4, 9, 9), 2 * 5 * (4 * 4) * 6 * (4 * 3 * 3), 6 * 4 * 4),
}
"""A first layer, the shape of its input, its operations by hand and its outputs."""


@pytest.mark.parametrize("name", NETWORKS)
def test_the_meter_matches_the_counter_and_a_hand_computation(name):
    layer, shape, first, outputs = NETWORKS[name]
    network = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(outputs, 2))
    second = 2 * 5 * outputs * 2
    inputs = torch.randn(shape)
    meter = FlopMeter(network)
    assert count_flops(lambda: play(network, inputs)) == meter.flops == first + second
    # The meter takes every backward pass for twice the forward one; the first layer's input wants no gradient here,
    # so the counter has one product less. Where it wants one, both agree.
    meter.flops = 0.0
    assert count_flops(lambda: train(network, inputs)) == 2 * first + 3 * second
    assert meter.flops == 3 * (first + second)
    meter.flops = 0.0
    assert count_flops(lambda: train(network, inputs.clone().requires_grad_())) == meter.flops == 3 * (first + second)


def test_the_meter_counts_the_channels_of_a_convolutions_own_group():
    meter = FlopMeter(layer := nn.Conv2d(4, 6, 3, groups=2))
    play(layer, torch.randn(1, 4, 3, 3))
    assert meter.flops == 2 * 6 * (2 * 3 * 3)


def test_the_meter_resumes_from_an_earlier_count():
    layer = nn.Linear(3, 5)
    meter = FlopMeter(layer)
    meter.flops = 1000.0
    play(layer, torch.randn(7, 3))
    assert meter.flops == 1000 + 210


def test_target_networks_do_not_count_as_parameters():
    network = nn.ModuleDict({"critic": nn.Linear(3, 5), "critic_target": nn.Linear(3, 5), "actor": nn.Linear(3, 2)})
    assert parameter_count(network) == (3 * 5 + 5) + (3 * 2 + 2)


def test_costs_are_summed_and_read_back_from_a_manifest():
    cost = Cost(parameters=10, flops=1e12, env_steps=500, seconds=2.5)
    assert Cost.of({"facts": cost.facts() | {"episodes": 3}, "wall_seconds": 2.5}) == cost
    assert Cost.of({"facts": {}, "wall_seconds": 2.5}) == Cost(seconds=2.5)
    assert sum([cost, Cost(1, 2.0, 3, 4.0)], Cost()) == Cost(11, 1e12 + 2, 503, 6.5)
