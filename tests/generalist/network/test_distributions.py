"""Action distributions, compared with closed forms and each other."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from benchmarks.tasks import spaces
from generalist.network.distributions import (
    Binned,
    Categorical,
    Deterministic,
    Normal,
    bounds,
    environment_actions,
    from_unit,
    greedy,
    sample,
    to_unit,
)
from tests.conftest import make_task

TARGET = make_task("tests.environments:Target-v0")  # bounds -1 to 1 and 0 to 10


def rngs(count):
    return [np.random.default_rng([7, number]) for number in range(count)]


def logits(*shape):
    return torch.randn(*shape, generator=torch.manual_seed(0))


def normal(mean, std):
    return Normal(torch.tensor(mean), torch.tensor(std))


def test_a_categorical_distribution_matches_a_hand_computation():
    one = Categorical(torch.tensor([[0.25, 0.75, 0.0]]).log() + 3)  # the third action is excluded
    other = Categorical(torch.tensor([[0.5, 0.5, 0.0]]).log())
    assert one.mode().tolist() == [1]
    assert one.log_prob(torch.tensor([0])).item() == pytest.approx(math.log(0.25))
    assert one.entropy().item() == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert one.kl(other).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    np.testing.assert_allclose(Categorical.mixture([one, other]).logits.exp(), [[0.375, 0.625, 0.0]])


def test_log_probabilities_of_bins_sum_over_dimensions():
    one, other = Binned(logits(2, 3, 8)), Binned(logits(2, 3, 8) ** 2)
    parts = [(Categorical(one.logits[:, each]), Categorical(other.logits[:, each])) for each in range(3)]
    torch.testing.assert_close(one.entropy(), sum(part.entropy() for part, _ in parts))
    torch.testing.assert_close(one.kl(other), sum(part.kl(against) for part, against in parts))
    expected = sum(part.log_prob(part.mode()) for part, _ in parts)
    torch.testing.assert_close(one.log_prob(one.mode()), expected)
    torch.testing.assert_close(Binned(logits(1, 1, 4)).mode() % 0.5, torch.tensor([[0.25]]).double())


def test_a_normal_distribution_matches_closed_forms():
    one, other = normal([[0.25, -3.0]], [[0.5, 0.01]]), normal([[0.0, -3.0]], [[1.0, 0.02]])
    chosen = torch.tensor([[0.5, -3.0]])
    first, second = -0.125 - math.log(0.5 * math.sqrt(2 * math.pi)), -math.log(0.01 * math.sqrt(2 * math.pi))
    assert one.log_prob(chosen).item() == pytest.approx(first + second)
    assert one.entropy().item() == pytest.approx(math.log(2 * math.pi * math.e) + math.log(0.5) + math.log(0.01))
    expected = math.log(2) + (0.25 + 0.0625) / 2 - 0.5 + math.log(2) + 0.25 / 2 - 0.5
    assert one.kl(other).item() == pytest.approx(expected)
    mixed = Normal.mixture([normal([[-1.0]], [[0.6]]), normal([[1.0]], [[0.8]])])
    assert mixed.mean.item() == 0 and mixed.std.item() == pytest.approx(math.sqrt(0.5 * (0.36 + 0.64) + 1))


def test_greedy_continuous_actions_are_the_mean_and_samples_are_normal():
    """Not the middle of a bin of 1/128: for a confident network, means and samples are as fine as the grid."""
    fine = normal([[0.1234567, 2.0]], [[1e-6, 1e-6]])
    for actions in (fine.mode(), fine.sample(rngs(1)).clamp(-1, 1)):
        np.testing.assert_allclose(actions, [[0.1234567, 1.0]], atol=0.5 / 1024)
    np.testing.assert_allclose(environment_actions(TARGET, fine.mode()), [[0.1234567, 10.0]], atol=0.5 / 1024)
    wide = Normal(torch.full((5000, 2), 0.5), torch.full((5000, 2), 0.25))
    drawn = wide.sample(rngs(5000))
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01) and drawn.std().item() == pytest.approx(0.25, abs=0.01)
    assert drawn.max() > 1  # beyond the bounds; clipped for the environment
    assert spaces(TARGET)[1].contains(environment_actions(TARGET, drawn[drawn[:, 1].argmax()][None])[0])


@pytest.mark.parametrize("kind", ["normal", "deterministic"])
def test_floating_point_noise_does_not_change_an_action(kind):
    mean = logits(1000, 2).clamp(-1, 1) / 2
    mean = (mean * 1024).floor() / 1024 + 1e-4  # not on the edge between two bins
    jitter = mean * (1 + 1e-6)
    pairs = [
        Deterministic(each) if kind == "deterministic" else Normal(each, torch.full_like(each, 0.004))
        for each in (mean, jitter)
    ]
    assert torch.equal(pairs[0].mode(), pairs[1].mode())
    moved = (pairs[0].sample(rngs(1000)) != pairs[1].sample(rngs(1000))).float().mean()
    assert moved < 0.005  # a sample may lie on an edge


@pytest.mark.parametrize(
    "distribution",
    [
        Categorical(logits(6, 4)),
        Binned(logits(6, 2, 8)),
        Normal(logits(6, 2), logits(6, 2).exp()),
        Deterministic(logits(6, 2)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_each_row_samples_from_its_own_random_stream(distribution):
    together = sample(distribution, rngs(6))
    values = vars(distribution)
    for row in range(6):
        alone = type(distribution)(**{name: value[[row]] for name, value in values.items()})
        torch.testing.assert_close(sample(alone, rngs(6)[row : row + 1])[0], together[row])
        torch.testing.assert_close(greedy(alone)[0], greedy(distribution)[row])


def test_samples_have_the_frequencies_of_the_distribution():
    shares = torch.tensor([0.1, 0.6, 0.3])
    drawn = Categorical(shares.log().expand(4000, 3)).sample(rngs(4000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, shares, atol=0.03)
    drawn = Binned(shares.log().expand(4000, 2, 3)).sample(rngs(4000))
    np.testing.assert_allclose([(drawn == middle).double().mean() for middle in drawn.unique()], shares, atol=0.03)


def test_recorded_normal_distributions_are_in_the_environments_units():
    parameters = normal([[0.0, 0.5]], [[0.5, 0.1]]).parameters(TARGET)
    np.testing.assert_allclose(parameters, [[[0.0, 7.5], [0.5, 0.5]]])
    assert Deterministic(torch.zeros(1, 2)).parameters(TARGET) is None


def test_decoded_actions_are_within_their_bounds():
    space = spaces(make_task("Pendulum-v1"))[1]
    chosen = torch.tensor([[-1.0], [1.0], [0.3]])
    actions = environment_actions(make_task("Pendulum-v1"), chosen)
    assert all(space.contains(action) for action in actions) and actions[:2, 0].tolist() == [-2, 2]
    np.testing.assert_allclose(to_unit(space, actions), chosen, atol=1e-6)


def test_distributions_of_several_rows_and_dimensions_add_up_row_by_row():
    one = Normal(torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([[0.5, 1.0], [2.0, 3.0]]))
    other = Normal(torch.zeros(2, 2), torch.ones(2, 2))
    chosen = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=torch.float64)
    for row in range(2):
        parts = [
            (
                Normal(one.mean[row : row + 1, [place]], one.std[row : row + 1, [place]]),
                Normal(*torch.tensor([[[0.0]], [[1.0]]])),
            )
            for place in range(2)
        ]
        values = chosen[row : row + 1]
        found = one.log_prob(chosen)[row], one.entropy()[row], one.kl(other)[row]
        expected = (
            sum(part.log_prob(values[:, [place]]) for place, (part, _) in enumerate(parts)),
            sum(part.entropy() for part, _ in parts),
            sum(part.kl(against) for part, against in parts),
        )
        for number, wanted in zip(found, expected, strict=True):
            assert number.shape == () and number.item() == pytest.approx(wanted.item(), rel=1e-5)
    logs = Categorical(logits(3, 4))
    assert logs.entropy().shape == logs.kl(logs).shape == (3,) and logs.mode().shape == (3,)
    assert logs.mode().tolist() == logs.logits.argmax(dim=1).tolist()
    assert logs.log_prob(torch.tensor([0, 1, 2])).shape == (3,)
    bins = Binned(logits(3, 2, 4))
    assert bins.entropy().shape == bins.kl(bins).shape == bins.log_prob(bins.mode()).shape == (3,)
    torch.testing.assert_close(bins.kl(bins), torch.zeros(3))


def test_means_of_distributions_are_taken_member_by_member():
    members = [
        normal([[0.0, 1.0], [2.0, 3.0]], [[0.5, 1.0], [1.5, 2.0]]),
        normal([[1.0, 1.0], [0.0, 1.0]], [[0.5, 2.0], [0.5, 4.0]]),
    ]
    mixed = Normal.mixture(members)
    np.testing.assert_allclose(mixed.mean, [[0.5, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(mixed.std**2, [[0.25 + 0.25, 2.5], [(2.25 + 0.25) / 2 + 1.0, 10.0 + 1.0]], rtol=1e-6)
    sure = normal([[0.5]], [[1e-4]])
    assert Normal.mixture([sure, sure]).std.item() < 1e-3
    values = [torch.tensor([[0.0, 1.0], [0.5, 0.5]]), torch.tensor([[1.0, 0.0], [0.5, -0.5]])]
    assert Deterministic.mixture([Deterministic(value) for value in values]).value.tolist() == [[0.5, 0.5], [0.5, 0.0]]
    shares = torch.tensor([[[0.2, 0.8]], [[0.6, 0.4]]])
    np.testing.assert_allclose(
        Binned.mixture([Binned(shares.log()[:1]), Binned(shares.log()[1:])]).logits.exp(), [[[0.4, 0.6]]], rtol=1e-6
    )


@pytest.mark.parametrize(
    "make", [lambda value: Deterministic(value), lambda value: Normal(value, value.abs() * 0 + 1e-9)]
)
def test_modes_lie_within_the_bounds(make):
    assert make(torch.tensor([[-9.0, 9.0], [-0.5, 0.5]])).mode().tolist() == [[-1.0, 1.0], [-0.5, 0.5]]


def test_actions_beyond_the_bounds_are_clipped_on_both_sides():
    chosen = torch.tensor([[-3.0, -3.0], [3.0, 3.0], [0.0, 0.0]])
    assert environment_actions(TARGET, chosen).tolist() == [[-1, 0], [1, 10], [0, 5]]
    assert to_unit(spaces(TARGET)[1], np.array([[-5.0, -90.0], [5.0, 90.0]])).tolist() == [[-1, -1], [1, 1]]


def test_bins_beyond_the_bounds_are_the_outermost_ones():
    bins = Binned(logits(1, 1, 4))
    found = [bins.log_prob(torch.tensor([[value]])).item() for value in (-9.0, -1.0, 1.0, 9.0)]
    expected = bins.logits.log_softmax(dim=-1)[0, 0]
    assert found == pytest.approx([expected[0].item()] * 2 + [expected[3].item()] * 2)


def test_a_deterministic_action_has_no_density():
    only = Deterministic(torch.zeros(1, 2))
    for ask, words in ((lambda: only.log_prob(torch.zeros(1, 2)), "no probability"), (only.entropy, "no entropy")):
        with pytest.raises(TypeError, match=f"^a deterministic action has {words}.$"):
            ask()
    with pytest.raises(TypeError, match="^a deterministic action has no divergence from another.$"):
        only.kl(only)


def test_discrete_actions_are_counted_from_their_start():
    task = make_task("tests.odd_environments:FromOne-v0")
    assert environment_actions(task, torch.tensor([0, 1])).tolist() == [1, 2]


def test_bounds_of_integers_and_of_single_values():
    low, high = bounds(gym.spaces.Box(-128, 127, (2, 2), np.int8))
    assert (low.tolist(), high.tolist()) == ([-128.0] * 4, [127.0] * 4) and low.dtype == high.dtype == np.float64
    low, high = bounds(gym.spaces.Box(np.float32(3), np.float32(3), (1,), np.float32))
    assert (low[0], high[0]) == (3, 4) and high.dtype == np.float32
    whole = gym.spaces.Box(-128, 127, (2, 2), np.int8)
    actions = np.array([[[-128, 127], [3, -4]]], np.int8)
    assert to_unit(whole, actions).shape == (1, 4)
    np.testing.assert_array_equal(from_unit(whole, to_unit(whole, actions)), actions)
    assert from_unit(gym.spaces.Box(0, 10, (1,), np.int64), np.array([[0.09], [0.11]])).tolist() == [[5], [6]]
    assert from_unit(gym.spaces.Box(0, 10, (1,), np.int64), np.array([[-9.0], [9.0]])).tolist() == [[0], [10]]


def test_what_is_ruled_out_adds_nothing():
    sure = Categorical(torch.tensor([[0.0, -torch.inf]]))
    assert sure.entropy().item() == 0 and sure.kl(Categorical(torch.tensor([[0.0, 0.0]]))).item() == pytest.approx(
        math.log(2)
    )
    assert Categorical(torch.tensor([[0.0, 0.0]])).kl(sure).isfinite()


def test_samples_lie_on_the_side_of_their_noise():
    drawn = normal([[0.0, 0.0]], [[1.0, 1.0]]).sample(rngs(1))
    noise = np.random.default_rng([7, 0]).standard_normal(2, np.float32)
    np.testing.assert_allclose(drawn[0], noise, atol=1 / 2048)


def test_masked_actions_have_no_chance_and_the_others_share_it():
    legal = torch.tensor([[True, False, True], [True, True, True]])
    masked = Categorical(torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]])).masked(legal)
    np.testing.assert_allclose(masked.logits.softmax(dim=-1), [[0.5, 0.0, 0.5], [1 / 3] * 3], rtol=1e-6)
    assert masked.entropy().tolist() == pytest.approx([math.log(2), math.log(3)])
