import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.scoring.games import bradley_terry, elo, exploitability, judge_moves, one_hot, outcomes
from benchmarks.scoring.statistics import Bootstrap
from benchmarks.tasks.games.positions import tic_tac_toe_positions
from benchmarks.tasks.games.solvers import _minimax


def bootstrap(resamples=200):
    return Bootstrap(np.random.default_rng(0), resamples)


def sample(wins, draws, losses):
    return {0: np.repeat([1.0, 0.0, -1.0], [wins, draws, losses])}


def test_outcomes_are_counted_over_training_seeds():
    counted = outcomes({0: np.array([1.0, 1.0, 0.0, -1.0]), 1: np.array([1.0, 1.0, 1.0, 0.0])}, bootstrap())
    assert (counted.wins, counted.draws, counted.losses) == (5, 2, 1)
    assert counted.mean.value == 0.5 and -1 <= counted.mean.low < 0.5 < counted.mean.high <= 1


def test_ten_to_one_is_four_hundred_points():
    # 10 wins and 1 loss, with half a virtual win on each side: odds of 10.5 to 1.5.
    [_, rating] = bradley_terry(np.array([[1, 0]]), np.array([11.0]), np.array([9 / 11]))
    assert rating == pytest.approx(400 * np.log10(10.5 / 1.5), abs=1e-3)
    [_, rating] = bradley_terry(np.array([[1, 0]]), np.array([11e6]), np.array([9 / 11]))
    assert rating == pytest.approx(400, abs=0.01)


def test_drawn_games_are_half_wins():
    pair, games = np.array([[1, 0]]), np.array([100.0])
    assert bradley_terry(pair, games, np.array([0.0]))[1] == pytest.approx(0, abs=1e-6)
    drawn = elo({("a", "b"): sample(50, 20, 30)}, "b", bootstrap(50))
    decided = elo({("a", "b"): sample(60, 0, 40)}, "b", bootstrap(50))
    assert drawn["a"].value == pytest.approx(decided["a"].value)


def test_a_ladder_adds_up_and_the_order_of_a_pair_does_not_matter():
    win_400 = sample(10_000, 0, 1_000)
    rated = elo({("mid", "low"): win_400, ("high", "mid"): win_400}, "low", bootstrap(50))
    assert rated["low"].value == rated["low"].low == rated["low"].high == 0
    assert rated["mid"].value == pytest.approx(400, abs=1) and rated["high"].value == pytest.approx(800, abs=2)
    assert rated["mid"].low < 400 < rated["mid"].high
    turned = elo({("low", "mid"): sample(1_000, 0, 10_000), ("high", "mid"): win_400}, "low", bootstrap(50))
    assert turned["high"].value == pytest.approx(rated["high"].value, abs=1e-3)
    assert elo({("mid", "low"): win_400}, "mid", bootstrap(50))["low"].value == pytest.approx(-400, abs=1)


def test_an_undefeated_player_has_a_finite_rating():
    rated = elo({("a", "b"): sample(50, 0, 0)}, "b", bootstrap(50))
    assert 700 < rated["a"].value < 900


def test_means_beyond_the_outcomes_count_as_all_won_or_all_lost():
    pairs, games = np.array([[1, 0], [2, 0], [2, 1]]), np.full(3, 100.0)
    beyond, within = (bradley_terry(pairs, games, np.array(means)) for means in ([1.4, -1.2, -3], [1, -1, -1]))
    assert np.isfinite(beyond).all() and beyond == pytest.approx(within)


def test_ratings_need_games_that_connect_all():
    with pytest.raises(GatitoError, match="no games connect c, d with b"):
        elo({("a", "b"): sample(1, 1, 1), ("c", "d"): sample(1, 1, 1)}, "b", bootstrap(10))


def test_moves_are_scored_by_outcome_and_speed():
    nan = np.nan
    values = np.array([[5, 1, 0, -3], [nan, -2, -7, nan], [0, 0, -1, nan]], dtype=float)
    quality = judge_moves(values, one_hot(np.array([1, 2, 2]), 4))
    np.testing.assert_allclose(quality.optimal, [1, 1, 0])
    np.testing.assert_allclose(quality.fastest, [0, 0, 0])
    np.testing.assert_allclose(quality.lost, [0, 0, 1])
    uniform = judge_moves(values, np.array([[0.25] * 4, [0, 0.5, 0.5, 0], [1 / 3] * 3 + [0]]))
    np.testing.assert_allclose(uniform.optimal, [0.5, 1, 2 / 3])
    np.testing.assert_allclose(uniform.fastest, [0.25, 0.5, 2 / 3])
    np.testing.assert_allclose(uniform.lost, [0.25 * 1 + 0.25 * 2, 0, 1 / 3])


@pytest.mark.parametrize("row", [[1, 0, 0], [0, 0.5, 0.4], [0, 1.5, -0.5]])
def test_probabilities_of_illegal_moves_are_rejected(row):
    with pytest.raises(GatitoError, match="row 1"):
        judge_moves(np.array([[0.0, 1, 2], [np.nan, 0, 1]]), np.array([[1, 0, 0], row]))


def test_exploitability_of_tic_tac_toe():
    positions = tic_tac_toe_positions()
    masks = positions.action_masks
    assert len(masks) == 4520
    # OpenSpiel's own, pyspiel.exploitability(game, pyspiel.UniformRandomPolicy(game)), which takes 25 s.
    assert exploitability(masks / masks.sum(axis=1, keepdims=True)) == pytest.approx(0.9598296957671957, abs=1e-12)
    assert exploitability(one_hot(masks.argmax(axis=1), 9)) == 1.0, "a fixed order of squares loses as either colour"
    perfect = np.zeros_like(masks, dtype=float)
    for row, (mine, theirs) in enumerate(positions.squares):
        values = {square: -_minimax(theirs, mine | 1 << square) for square in masks[row].nonzero()[0]}
        perfect[row, max(values, key=lambda square: values[square])] = 1
    assert exploitability(perfect) == 0.0
    mistaken = perfect.copy()
    mistaken[0] = 0
    mistaken[0, [1, 0]] = 0.5, 0.5
    assert exploitability(mistaken) == 0.0, "every first move draws"
    # Replying to the centre on an edge loses half of the games as second player.
    row = positions.squares.index((0, 1 << 4))
    mistaken[row] = np.array([0.5, 0.5, 0, 0, 0, 0, 0, 0, 0])
    assert exploitability(mistaken) == pytest.approx(0.25)
