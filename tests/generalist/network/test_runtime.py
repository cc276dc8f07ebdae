"""Acting through ONNX Runtime against PyTorch's own layers."""

import copy

import numpy as np
import pytest
import torch

from generalist.config.settings import ModelConfig
from generalist.network.encoders import BoardEncoder
from generalist.network.heads import ActionHeads
from generalist.network.network import save_network
from generalist.network.policy import NetworkPolicy
from generalist.network.transformer import Transformer
from tests.codecs import plain_codec
from tests.conftest import small_network

CLOSE = {"atol": 1e-5, "rtol": 0}


def transformer(kv_heads=None):
    torch.manual_seed(0)
    model = Transformer(ModelConfig(layers=3, heads=4, width=64, feedforward=96, context_length=4, kv_heads=kv_heads))
    with torch.no_grad():  # larger weights than at first, so that every part matters
        for name, weight in model.named_parameters():
            weight.add_(0.1) if "norm" in name else weight.mul_(5.0)
    return model.eval()


@pytest.mark.parametrize("kv_heads", [None, 2])
@torch.inference_mode()
def test_layers_give_the_numbers_of_pytorch(kv_heads):
    slow, fast = transformer(kv_heads), transformer(kv_heads)
    fast.accelerate()
    assert fast.runtime is not None and slow.runtime is None
    tokens = torch.randn(5, 64)
    torch.testing.assert_close(fast.alone(tokens), slow.alone(tokens), **CLOSE)
    torch.testing.assert_close(fast.alone(tokens[:, None]), slow.alone(tokens[:, None]), **CLOSE)
    caches = slow.new_cache(5), fast.new_cache(5)
    start = torch.ones(5, dtype=torch.bool)
    for _ in range(6):  # longer than the context
        tokens = torch.randn(5, 64)
        wanted, found = (
            model.step(tokens, cache, torch.arange(5), start) for model, cache in zip((slow, fast), caches, strict=True)
        )
        torch.testing.assert_close(found, wanted, **CLOSE)
        start = torch.zeros(5, dtype=torch.bool)
    tokens = torch.randn(2, 3, 64)
    wanted, found = (
        model.extend(tokens, cache, torch.tensor([3, 1]), start[:2])
        for model, cache in zip((slow, fast), caches, strict=True)
    )
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(caches[1].keys, caches[0].keys, **CLOSE)


@pytest.mark.parametrize("continuous", ["bins", "normal", "regression"])
@torch.inference_mode()
def test_the_head_of_continuous_actions_gives_the_numbers_of_pytorch(continuous):
    heads = ActionHeads(plain_codec(continuous=continuous), 32).eval()
    hidden = torch.randn(7, 32)
    for dimensions in (1, 3):
        wanted = heads.numbers(hidden, dimensions)
        heads.accelerate()
        torch.testing.assert_close(heads.numbers(hidden, dimensions), wanted, **CLOSE)
        assert heads.runtime is not None
        heads.eval()


def test_changed_weights_are_used_after_training():
    model, tokens = transformer(), torch.randn(3, 64)
    model.accelerate()
    with torch.inference_mode():
        before = model.alone(tokens)
    model.train()
    model.alone(tokens).sum().backward()  # gradients flow
    with torch.no_grad():
        model.blocks[0].feedforward[0].weight.mul_(2)
    model.eval().accelerate()
    with torch.inference_mode():
        after = model.alone(tokens)
        model.eval()
        torch.testing.assert_close(after, model.alone(tokens), **CLOSE)
    assert (after - before).abs().max() > 0.01


def test_gradients_are_never_taken_through_it():
    model = transformer()
    model.accelerate()
    model.alone(torch.randn(3, 64)).sum().backward()
    assert model.blocks[0].feedforward[0].weight.grad.abs().sum() > 0


def test_a_loaded_policy_acts_through_it_and_its_copy_does_not(tmp_path):
    network = small_network(plain_codec(), 32)
    save_network(tmp_path, network, {})
    trunk = NetworkPolicy.load(tmp_path, []).network.trunk
    copied = copy.deepcopy(trunk)
    with torch.inference_mode():
        assert trunk.runtime is not None and copied.runtime is None
        tokens = torch.from_numpy(np.ones((2, 32), np.float32))
        torch.testing.assert_close(copied.alone(tokens), trunk.alone(tokens), **CLOSE)


@torch.inference_mode()
def test_the_encoder_of_boards_gives_the_numbers_of_pytorch():
    torch.manual_seed(0)
    encoder = BoardEncoder((3, 6, 7), 32, 8).eval()
    for weight in encoder.parameters():
        weight.uniform_(-0.3, 0.3)  # the blocks begin as zero
    boards = torch.randint(0, 2, (5, 3, 6, 7), dtype=torch.int8)
    wanted = encoder(boards)
    encoder.accelerate()
    torch.testing.assert_close(encoder(boards), wanted, **CLOSE)
    assert encoder.runtime is not None and wanted.std() > 0.1
