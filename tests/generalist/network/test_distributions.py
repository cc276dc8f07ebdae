"""Action distributions, compared with closed forms and each other."""

import math

import numpy as np
import pytest
import torch

from benchmarks.tasks import spaces
from generalist.network.distributions import (
    Binned,
    Categorical,
    Deterministic,
    Normal,
    environment_actions,
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
    told = normal([[0.0, 0.5]], [[0.5, 0.1]]).parameters(TARGET)
    np.testing.assert_allclose(told, [[[0.0, 7.5], [0.5, 0.5]]])
    assert Deterministic(torch.zeros(1, 2)).parameters(TARGET) is None


def test_decoded_actions_are_within_their_bounds():
    space = spaces(make_task("Pendulum-v1"))[1]
    chosen = torch.tensor([[-1.0], [1.0], [0.3]])
    actions = environment_actions(make_task("Pendulum-v1"), chosen)
    assert all(space.contains(action) for action in actions) and actions[:2, 0].tolist() == [-2, 2]
    np.testing.assert_allclose(to_unit(space, actions), chosen, atol=1e-6)
