"""Tokens and patches of the ``gato`` codec, by hand from the paper's definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tasks import spaces
from generalist.config.codec import CodecConfig
from generalist.network.gato.patches import patch_positions
from generalist.network.gato.tokens import (
    action_tokens,
    actions_of,
    read_text,
    to_bins,
    tokenise,
    valid_tokens,
    write_text,
)
from generalist.network.observations import mu_law
from tests.environments import MISSIONS
from tests.generalist.network.gato.test_gato_codec import COUNTER, INSTRUCTED, TARGET, TASKS, WORDS, collate, make, play
from tests.properties import few


def test_mu_law_and_bins_match_a_hand_computation():
    """log(101) / log(25601) = 0.45468: (1 + 0.45468) / 2 * 1024 = 744.8."""
    values = np.array([-1e9, -256.0, -1.0, 0.0, 1.0, 256.0, np.inf])
    squashed = mu_law(torch.from_numpy(values)).numpy()
    assert squashed[4] == pytest.approx(math.log(101) / math.log(25601)) == pytest.approx(0.45468, abs=1e-5)
    assert squashed[5] == pytest.approx(1)
    assert to_bins(squashed, 1024).tolist() == [0, 0, 279, 512, 744, 1023, 1023]
    assert to_bins(np.array([-1.0, -0.999, -0.998, 0.9981, 1.0]), 1024).tolist() == [0, 0, 1, 1023, 1023]


def test_texts_are_tokenised_by_words_and_decoded_exactly():
    assert len(read_text(b"go to the red ball")) == 5
    assert read_text(b"thereby") == (*read_text(b"the"), *b"reby")
    assert read_text(b"") == ()
    for text in (MISSIONS[1].encode(), bytes(range(1, 256)), "zwölf Käfer, then".encode()):
        assert write_text(read_text(text)) == text
        assert max(read_text(text)) < WORDS.discrete


def test_each_kind_of_token_has_its_own_ids():
    assert WORDS.continuous - WORDS.discrete == 1024
    assert (WORDS.separator, WORDS.patch, WORDS.size) == tuple(WORDS.continuous + 1024 + each for each in range(3))


def test_the_order_of_a_time_step():
    """Text, then tensors by their keys (direction before image), row-major; separator; action."""
    window = play(INSTRUCTED, 4)
    window.observations["direction"][0] = 3
    window.observations["image"][0] = np.arange(147).reshape(7, 7, 3)
    missions = [bytes(row).rstrip(b"\0") for row in window.observations["mission"]]
    steps = tokenise(INSTRUCTED, window.observations, window.actions, WORDS, CodecConfig())
    for mission, row, action in zip(missions, steps.ids, window.actions, strict=True):
        text = read_text(mission)
        assert row[: len(text)].tolist() == list(text) and (row[len(text) : steps.texts] == -1).all()
        assert row[-1] == WORDS.discrete + action and row[-2] == WORDS.separator
    tensors = steps.ids[0, steps.texts : -2] - WORDS.discrete
    assert tensors.tolist() == [3, *range(147)]
    assert steps.lengths.tolist() == [len(read_text(mission)) + 150 for mission in missions]


def test_positions_count_an_observations_tokens_and_are_constant_for_others():
    network = make()
    batch = collate(network, [play(TARGET, 2), play(COUNTER, 1)], 14)
    last = network.places.num_embeddings - 1
    step = [0, 1, 2, last, last, last]
    assert batch.sequences.places.tolist() == [step + step + [0, 0], [0, 1, last, last] + 10 * [0]]
    assert batch.weight == 3


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_decoded_actions_are_exact_and_valid(task):
    space = spaces(task)[1]
    space.seed(0)
    actions = np.stack([np.asarray(space.sample()) for _ in range(50)])
    tokens = action_tokens(task, actions, WORDS)
    low, high = np.array(valid_tokens(task, WORDS)).T
    assert (tokens >= low).all() and (tokens < high).all()
    back = actions_of(task, tokens, WORDS)
    if task is TARGET:
        assert (np.abs(back - actions) <= (space.high - space.low) / 1024 / 2 * 1.001).all()
        # Its bounds are -1 to 1 and 0 to 10; no mu-law.
        by_hand = action_tokens(task, np.array([[0.5, 5.0]]), WORDS) - WORDS.continuous
        assert by_hand.tolist() == [[768, 512]]
    else:
        np.testing.assert_array_equal(back, actions)


def test_patches_are_in_raster_order_with_frames_as_channels():
    network = make()
    images = torch.zeros(1, 4, 84, 84, dtype=torch.uint8)
    images[0, 2, 16 + 5, 32 + 7] = 255  # second row, third column of six
    images[0, 0, 83, 83] = 51
    patches = network.image.cut(images)
    assert patches.shape == (36, 4, 16, 16)
    assert patches[8, 2, 5, 7] == 0.25 and patches[35, 0, 3, 3] == pytest.approx((0.4 - 1) / 4)
    patches[8, 2, 5, 7] = patches[35, 0, 3, 3] = -0.25
    assert (patches == -0.25).all()


def test_positions_of_patches_are_their_intervals_or_middles():
    """Four rows: 32 of 128 positions each; one column: all."""
    assert patch_positions(2, 4, 1, None).tolist() == 2 * [[[16, 64], [48, 64], [80, 64], [112, 64]]]
    drawn = patch_positions(2000, 4, 1, np.random.default_rng(0))
    assert drawn[..., 0].min(axis=0).tolist() == [0, 32, 64, 96]
    assert drawn[..., 0].max(axis=0).tolist() == [31, 63, 95, 127]
    assert (drawn[:, 0, 1].min(), drawn[:, 0, 1].max()) == (0, 127)
    assert drawn[:, 1, 0].mean() == pytest.approx(47.5, abs=0.8)


@few
@given(text=st.binary(max_size=40) | st.lists(st.sampled_from([b"go", b" the", b"red", b" b", b"\xff"])).map(b"".join))
def test_any_bytes_are_read_and_written_again(text):
    ids = read_text(text)
    assert write_text(ids) == text and len(ids) <= len(text) and all(0 <= each < WORDS.discrete for each in ids)


@few
@given(values=st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=10), bins=st.integers(2, 1024))
def test_bins_follow_the_order_of_what_is_in_them(values, bins):
    found = to_bins(mu_law(torch.tensor(sorted(values), dtype=torch.float64)).numpy(), bins)
    assert (np.diff(found) >= 0).all() and found.min() >= 0 and found.max() < bins
