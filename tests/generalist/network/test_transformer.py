import numpy as np
import pytest
import torch

from benchmarks.base.errors import GatitoError
from generalist.config.settings import ModelConfig
from generalist.network.attention import rotate
from generalist.network.transformer import Transformer


@pytest.fixture(params=[None, 2, 1])
def model(request):
    torch.manual_seed(0)
    sizes = {"layers": 3, "heads": 4, "kv_heads": request.param, "width": 64, "feedforward": 128}
    transformer = Transformer(ModelConfig(context_length=8, **sizes))
    for parameter in transformer.parameters():  # far from the near-identity of a new network
        torch.nn.init.normal_(parameter, std=0.2)
    return transformer.eval()


@torch.no_grad()
def test_cached_decoding_equals_uncached_decoding_beyond_the_context(model):
    tokens = torch.randn(5, 50, 64)
    whole = model(tokens)
    cache = model.new_cache(5)
    env_ids = torch.arange(5)
    for step in range(50):
        hidden = model.step(tokens[:, step], cache, env_ids, torch.full((5,), step == 0))
        torch.testing.assert_close(hidden, whole[:, step], atol=1e-5, rtol=0)


@torch.no_grad()
def test_environments_can_join_and_leave_a_batch_independently(model):
    """Three environments: one continues, one starts a second episode at step 11, one is absent at times."""
    tokens = torch.randn(3, 30, 64)
    cache = model.new_cache(3)
    seen = {0: [], 1: [], 2: []}
    for step in range(30):
        env_ids = [0, 1] if step % 3 == 1 else [2, 1, 0]
        episode_start = [step == 0 or (env_id == 1 and step == 11) for env_id in env_ids]
        rows = torch.stack([tokens[env_id, step] for env_id in env_ids])
        hidden = model.step(rows, cache, torch.tensor(env_ids), torch.tensor(episode_start))
        for env_id, row in zip(env_ids, hidden, strict=True):
            seen[env_id].append((step, row))
    expected = {
        0: model(tokens[:1])[0],
        1: torch.cat([model(tokens[1:2, :11])[0], model(tokens[1:2, 11:])[0]]),
        2: model(tokens[2:, [step for step in range(30) if step % 3 != 1]])[0],
    }
    for env_id, rows in seen.items():
        torch.testing.assert_close(torch.stack([row for _, row in rows]), expected[env_id], atol=1e-5, rtol=0)


@torch.no_grad()
def test_chunks_of_any_length_equal_whole_sequences_as_environments_join_and_leave(model):
    """Chunks of 1 to 20 tokens with a context of 8, padded, and single tokens; environment 1 restarts."""
    rng = np.random.default_rng(0)
    tokens = torch.randn(3, 300, 64)
    cache = model.new_cache(3)
    episodes = {env_id: [([], [])] for env_id in range(3)}  # each episode's tokens and hidden states
    used = [0, 0, 0]
    for turn in range(24):
        env_ids = rng.permutation(3)[: rng.integers(1, 4)]
        counts = np.ones(len(env_ids), int) if turn % 5 == 4 else rng.integers(1, 21, len(env_ids))
        counts = np.minimum(counts, 300 - np.array(used)[env_ids])
        episode_start = np.array([used[env_id] == 0 or (env_id == 1 and turn in (9, 16)) for env_id in env_ids])
        rows = torch.full((len(env_ids), counts.max(), 64), 1e3)
        for row, env_id, count, new in zip(rows, env_ids, counts, episode_start, strict=True):
            row[:count] = tokens[env_id, used[env_id] : used[env_id] + count]
            if new:
                episodes[env_id].append(([], []))
            episodes[env_id][-1][0].append(row[:count].clone())
            used[env_id] += count
        places = torch.from_numpy(env_ids), torch.from_numpy(episode_start)
        if turn % 5 == 4:
            hidden = model.step(rows[:, 0], cache, *places)[:, None]
        else:
            hidden = model.extend(rows, cache, *places, torch.from_numpy(counts))
        for env_id, count, row in zip(env_ids, counts, hidden, strict=True):
            episodes[env_id][-1][1].append(row[:count])
    assert [len(each) for each in episodes.values()] == [2, 4, 2] and min(used) > 50
    for seen, hidden in (episode for each in episodes.values() for episode in each if episode[0]):
        torch.testing.assert_close(torch.cat(hidden), model(torch.cat(seen)[None])[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_attention_covers_the_past_within_the_context_only(model):
    tokens = torch.randn(1, 40, 64)
    base = model(tokens)
    changed = tokens.clone()
    changed[0, 10] += 1
    difference = (model(changed) - base).abs().amax(dim=-1)[0]
    reach = 3 * (8 - 1)  # every layer attends to context_length - 1 earlier steps
    assert (difference[:10] == 0).all()
    assert (difference[10 : 10 + reach + 1] > 0).all()
    assert (difference[10 + reach + 1 :] == 0).all()


@torch.no_grad()
def test_positions_are_relative_late_in_an_episode(model):
    tokens = torch.randn(1, 8, 64)
    cache = model.new_cache(1)
    env_id = torch.tensor([0])
    for step in range(8):
        model.step(tokens[:, step], cache, env_id, torch.tensor([step == 0]))
    early = cache.positions.item()
    late = model.new_cache(1)
    late.positions[:] = 20_000
    for step in range(8):
        hidden = model.step(tokens[:, step], late, env_id, torch.tensor([False]))
    # The cache is full after 8 tokens, so the first layer attends to the same tokens in both.
    assert early == 8
    again = model.new_cache(1)
    again.positions[:] = 800
    for step in range(8):
        other = model.step(tokens[:, step], again, env_id, torch.tensor([False]))
    torch.testing.assert_close(hidden, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "sizes, words",
    [
        ({"heads": 5}, "multiple of 2"),
        ({"heads": 4, "kv_heads": 3}, "model.heads=4 must be a multiple of model.kv_heads=3"),
        ({"layers": 0}, "at least 1"),
    ],
)
def test_invalid_sizes_are_rejected(sizes, words):
    with pytest.raises(GatitoError, match=words):
        Transformer(ModelConfig(**sizes))


def test_a_network_that_has_acted_can_be_trained(model):
    with torch.inference_mode():
        model.step(torch.randn(1, 64), model.new_cache(1), torch.tensor([0]), torch.tensor([True]))
    model(torch.randn(1, 4, 64, requires_grad=True)).sum().backward()


@torch.no_grad()
def test_a_token_that_attends_to_itself_only_is_a_sequence_of_one(model):
    tokens = torch.randn(5, 7, 64)
    torch.testing.assert_close(model.alone(tokens), model(tokens.view(35, 1, 64)).view(5, 7, 64))
    torch.testing.assert_close(model.alone(tokens), model(tokens, None, torch.ones(5, dtype=torch.long)))


@torch.no_grad()
def test_each_sequence_attends_to_its_own_context_length():
    torch.manual_seed(0)
    sizes = {"layers": 2, "heads": 4, "width": 64, "feedforward": 128}
    model, short = (Transformer(ModelConfig(**sizes, context_length=window)) for window in (8, 3))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    short.load_state_dict(model.state_dict())
    tokens = torch.randn(2, 12, 64)
    hidden = model(tokens, None, torch.tensor([3, 8]))
    torch.testing.assert_close(hidden[0], short(tokens)[0])
    torch.testing.assert_close(hidden[1], model(tokens)[1])


@torch.no_grad()
def test_query_heads_that_share_a_key_head_equal_heads_with_copies_of_it():
    torch.manual_seed(0)
    sizes = {"layers": 1, "heads": 4, "width": 64, "feedforward": 128, "context_length": 8}
    shared, copied = Transformer(ModelConfig(kv_heads=2, **sizes)), Transformer(ModelConfig(**sizes))
    query, key, value = shared.blocks[0].attention.qkv.weight.split([64, 32, 32])
    copies = [each.view(2, 1, 16, 64).expand(2, 2, 16, 64).reshape(64, 64) for each in (key, value)]
    weights = shared.state_dict() | {"blocks.0.attention.qkv.weight": torch.cat([query, *copies])}
    copied.load_state_dict(weights)
    tokens = torch.randn(2, 12, 64)
    torch.testing.assert_close(shared(tokens), copied(tokens))
    torch.testing.assert_close(shared.alone(tokens), copied.alone(tokens))


@torch.no_grad()
def test_a_forked_memory_goes_on_like_its_source_and_independently_of_it(model):
    tokens, start = torch.randn(12, 3, 64), torch.zeros(3, dtype=torch.bool)
    cache = model.new_cache(3)
    assert cache.keys.shape == cache.values.shape == (3, 3, model.config.num_kv_heads, 8, 16)
    assert cache.positions.tolist() == [0, 0, 0]
    for step in range(10):
        model.step(tokens[step], cache, torch.arange(3), start)
    model.fork(cache, torch.tensor([0, 0]), torch.tensor([2, 1]))
    both = model.step(tokens[10][[0, 0, 0]], cache, torch.arange(3), start)
    torch.testing.assert_close(both, both[[0]].expand(3, -1))
    torch.testing.assert_close(both[0], model(tokens[:11, 0][None])[0, -1], atol=1e-5, rtol=0)
    apart = model.step(tokens[11], cache, torch.arange(3), start)
    assert (apart[1] - apart[0]).abs().max() > 0.01


@torch.no_grad()
def test_every_token_attends_to_the_prompt_in_whole_sequences_and_step_by_step(model):
    tokens, prompts, start = torch.randn(2, 30, 64), torch.randn(2, 4, 64), torch.zeros(2, dtype=torch.bool)
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    prefix = model.read(prompts, valid)
    hidden = model(tokens, prefix)
    assert ((hidden - model(tokens)).abs().amax(dim=-1) > 1e-3).all()  # far beyond the context too
    padded = torch.where(valid[..., None], prompts, 9.0)
    torch.testing.assert_close(hidden, model(tokens, model.read(padded, valid)))
    cache = model.new_cache(2)
    for step in range(30):
        seen = model.step(tokens[:, step], cache, torch.arange(2), start, prefix)
        torch.testing.assert_close(seen, hidden[:, step], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_chunk_without_counts_has_no_padding(model):
    tokens, cache = torch.randn(2, 5, 64), model.new_cache(2)
    hidden = model.extend(tokens, cache, torch.arange(2), torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(hidden, model(tokens), atol=1e-5, rtol=0)
    assert cache.positions.tolist() == [5, 5]


def test_layers_that_add_to_the_residual_stream_start_smaller_in_deeper_stacks():
    torch.manual_seed(0)
    model = Transformer(ModelConfig(layers=8, heads=4, width=128, feedforward=256, context_length=8))
    for block in model.blocks:
        for weight in (block.attention.out.weight, block.feedforward[2].weight):
            assert weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        assert block.feedforward[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert all(parameter.dim() > 1 or (parameter == 1).all() for parameter in model.parameters())  # norms; no biases


def test_rotary_angles_are_those_of_the_paper_also_late_in_an_episode(model):
    """Su et al. 2021, arXiv:2104.09864, section 3.2.2; float32 angles would be wrong in the third digit."""
    for length in (3, 20_001):
        position = np.arange(length, dtype=np.float64)[:, None]
        angle = position / 10_000 ** (np.arange(8) / 8)
        found = model.angles(length).numpy()
        assert found.shape == (length, 16, 2) and found.dtype == np.float32
        np.testing.assert_allclose(found[..., 0], np.cos(np.tile(angle, 2)), atol=1e-6)
        np.testing.assert_allclose(found[..., 1], np.concatenate([-np.sin(angle), np.sin(angle)], axis=1), atol=1e-6)


def test_pairs_of_channels_are_rotated_by_their_angles(model):
    channels = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    angle = np.arange(5)[:, None] / 10_000 ** (np.arange(8) / 8)
    turned = (channels[:, :8] + 1j * channels[:, 8:]) * np.exp(1j * angle)
    found = rotate(torch.from_numpy(channels), model.angles(5)).numpy()
    np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], axis=1), atol=1e-6)


@torch.no_grad()
def test_norms_scale_small_states_up_to_their_epsilon(model):
    tokens = torch.randn(1, 3, 64)
    torch.testing.assert_close(
        model.blocks[0].attention_norm(1e-2 * tokens), model.blocks[0].attention_norm(tokens), rtol=0.02, atol=0
    )
    norms = [module for module in model.modules() if isinstance(module, torch.nn.RMSNorm)]
    assert len(norms) == 7 and {norm.eps for norm in norms} == {1e-6}
