"""Confirmation: which rollouts are run, and what they decide."""

import numpy as np
import pytest

from generalist.amplifiers.rollouts import confirm


class Outcomes:
    """Candidate i wins its n-th rollout if ``wins[i][n]``; returns differ from rollout to rollout if ``noisy``."""

    def __init__(self, wins, *, noisy=True):
        self.wins, self.noisy = wins, noisy
        self.done = [0] * len(wins)

    def __call__(self, which):
        returns = []
        for candidate in which:
            won = self.wins[candidate][self.done[candidate]]
            self.done[candidate] += 1
            returns.append([1.0 + self.noisy * self.done[candidate], 0.0 if won else 9.0])
        return np.array(returns)


@pytest.mark.parametrize("confirmations", [1, 2, 3, 4, 7])
def test_a_candidate_must_win_every_rollout(confirmations):
    """Candidate n loses its rollout n, and wins all others; the last one wins all."""
    wins = [[number != lost for number in range(confirmations)] for lost in range(confirmations + 1)]
    outcomes = Outcomes(wins)
    won, last = confirm(len(wins), confirmations, outcomes)
    assert won.tolist() == [False] * confirmations + [True]
    assert outcomes.done[-1] == confirmations and outcomes.done[0] == 1
    assert last[-1].tolist() == [1.0 + confirmations, 0.0]


def test_equal_returns_in_two_rollouts_spare_the_others():
    outcomes = Outcomes([[True] * 9, [False] * 9], noisy=False)
    won, last = confirm(2, 9, outcomes)
    assert won.tolist() == [True, False] and outcomes.done == [2, 1]
    assert last.tolist() == [[1, 0], [1, 9]]


def test_without_confirmations_every_candidate_wins():
    won, last = confirm(3, 0, Outcomes([[]] * 3))
    assert won.all() and np.isnan(last).all()
