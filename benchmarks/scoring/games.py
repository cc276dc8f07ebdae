"""Scores of games in addition to f: outcomes, Elo, move quality by exact values, exploitability in tic-tac-toe.

Pure functions of arrays. An outcome is +1, 0 or -1 from the view of the scored agent.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.scoring.statistics import Bootstrap, Estimate, Sample, combine, interval
from benchmarks.tasks.games.positions import has_line, tic_tac_toe_positions

ELO = 400 / np.log(10)
"""Elo points per unit of the logistic function: 400 points are odds of 10 to 1."""

_VIRTUAL_DRAWS = 1.0


@dataclass(frozen=True)
class Outcomes:
    """How often an agent won, drew and lost.

    Attributes:
        wins: number of games won.
        draws: number of games drawn.
        losses: number of games lost.
        mean: the mean outcome with its interval.
    """

    wins: int
    draws: int
    losses: int
    mean: Estimate


def outcomes(sample: Sample, bootstrap: Bootstrap) -> Outcomes:
    """The outcomes against one opponent.

    Args:
        sample: training seed → ``(games,)`` outcomes.
        bootstrap: resamples training seeds, then games.
    """
    values = np.concatenate(list(sample.values()))
    replicates = bootstrap.means([sample])
    low, high = interval(replicates, (-1.0, 1.0))
    wins, draws, losses = (int((values == outcome).sum()) for outcome in (1, 0, -1))
    return Outcomes(wins, draws, losses, Estimate(float(replicates.estimate[0]), float(low[0]), float(high[0])))


def elo(results: Mapping[tuple[str, str], Sample], anchor: str, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """Elo ratings of all players on one scale, with 95 % intervals; the anchor's rating is 0.

    If a player won (or lost) all its games, only the prior of :func:`bradley_terry` determines its rating, and its
    interval is too narrow, since resampled wins are wins. Such a player needs opponents closer to its strength.

    Args:
        results: pair of players → outcomes from the view of the first, by training seed.
        anchor: the player whose rating is fixed.
        bootstrap: resamples training seeds, then games; a thousand resamples take seconds.

    Raises:
        GatitoError: if games do not connect every player with the anchor.
    """
    names = list(dict.fromkeys((anchor, *(name for pair in results for name in pair))))
    pairs = np.array([[names.index(name) for name in pair] for pair in results])
    games = np.array([sum(map(len, sample.values())) for sample in results.values()], dtype=np.float64)
    _check_connected(names, pairs)
    fit = functools.partial(bradley_terry, pairs, games)
    replicates = combine(fit, bootstrap.means(list(results.values())))
    low, high = interval(replicates)
    return {
        name: Estimate(*map(float, numbers))
        for name, *numbers in zip(names, replicates.estimate, low, high, strict=True)
    }


def bradley_terry(pairs: np.ndarray, games: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Maximum-likelihood ratings (Bradley and Terry 1952) in Elo points; player 0 is fixed at 0.

    A draw counts as half a win. One virtual draw per pair keeps ratings of players that never lost finite (a weak form
    of the prior of BayesElo, Coulom 2008).

    Args:
        pairs: ``(pairs, 2)``, indices of the players.
        games: ``(pairs,)``, number of games between them.
        means: ``(…, pairs)``, mean outcomes from the view of the first player of each pair. Those of a bootstrap over
            few seeds may lie beyond -1 and 1, since its spread is unbiased; they count as all lost or all won.

    Returns:
        ``(…, players)``.
    """
    from scipy import optimize, special  # slow to import, and most commands do not need it

    players = int(pairs.max()) + 1
    weights = games + _VIRTUAL_DRAWS
    design = np.zeros((len(pairs), players))
    design[np.arange(len(pairs)), pairs[:, 0]] += 1
    design[np.arange(len(pairs)), pairs[:, 1]] -= 1
    design = design[:, 1:]

    def loss(strengths: np.ndarray, points: np.ndarray) -> tuple[float, np.ndarray]:
        ahead = design @ strengths
        likelihood = points * special.log_expit(ahead) + (1 - points) * special.log_expit(-ahead)
        return -float(weights @ likelihood), design.T @ (weights * (special.expit(ahead) - points))

    def curvature(strengths: np.ndarray, points: np.ndarray) -> np.ndarray:
        probability = special.expit(design @ strengths)
        return design.T @ (design * (weights * probability * (1 - probability))[:, None])

    def fit(mean: np.ndarray) -> np.ndarray:
        points = ((1 + mean.clip(-1, 1)) / 2 * games + _VIRTUAL_DRAWS / 2) / weights
        solution = optimize.minimize(
            loss, np.zeros(players - 1), (points,), method="trust-exact", jac=True, hess=curvature
        )
        return np.concatenate([[0.0], solution.x * ELO])

    return np.apply_along_axis(fit, -1, means)


def _check_connected(names: list[str], pairs: np.ndarray) -> None:
    reached = {0}
    for _ in names:
        reached |= {int(name) for pair in pairs if reached & set(pair.tolist()) for name in pair}
    missing = [name for number, name in enumerate(names) if number not in reached]
    if missing:
        raise GatitoError(
            f"no games connect {', '.join(missing)} with {names[0]}: let them play each other or a common opponent."
        )


@dataclass(frozen=True)
class MoveQuality:
    """The expected quality of an agent's moves in n positions, given its move probabilities.

    Attributes:
        optimal: ``(n,)``, probability of a move that keeps the outcome of perfect play.
        fastest: ``(n,)``, probability of a move that also wins as fast as possible, or loses as slowly.
        lost: ``(n,)``, expected loss of outcome: 1 if a move turns a win into a draw, 2 if into a loss.
    """

    optimal: np.ndarray
    fastest: np.ndarray
    lost: np.ndarray


def judge_moves(values: np.ndarray, probabilities: np.ndarray) -> MoveQuality:
    """Judge moves by exact values.

    Args:
        values: ``(n, actions)``, the value of each move for the player who makes it, NaN where it is illegal; the sign
            is the outcome (``benchmarks.tasks.games.positions``).
        probabilities: ``(n, actions)``, the agent's move probabilities.

    Raises:
        GatitoError: if a row is not a distribution over legal moves.
    """
    legal = ~np.isnan(values)
    wrong = np.abs(np.where(legal, probabilities, 0).sum(axis=1) - 1) > 1e-4
    if wrong.any() or (probabilities < 0).any():
        row = int(np.argmax(wrong | (probabilities < 0).any(axis=1)))
        raise GatitoError(f"row {row} of the move probabilities is not a distribution over legal moves: mask them.")
    known = np.where(legal, values, -np.inf)
    outcome = np.where(legal, np.sign(values), -np.inf)
    best = outcome.max(axis=1, keepdims=True)
    lost = np.where(legal, best - np.sign(np.where(legal, values, 0)), 0)
    return MoveQuality(
        (probabilities * (outcome == best)).sum(axis=1),
        (probabilities * (known == known.max(axis=1, keepdims=True))).sum(axis=1),
        (probabilities * lost).sum(axis=1),
    )


def one_hot(actions: np.ndarray, count: int) -> np.ndarray:
    """``(n,)`` actions as probabilities ``(n, count)``."""
    return np.eye(count)[actions]


def exploitability(probabilities: np.ndarray) -> float:
    """Exploitability of a tic-tac-toe policy in [0, 1]: the best response's score, averaged over both colours.

    Exact by minimax (NashConv / 2: Lanctot et al. 2017, arXiv:1711.00832); 0 is perfect play.

    Args:
        probabilities: ``(4520, 9)``, the policy's moves in :func:`~benchmarks.tasks.games.positions
            .tic_tac_toe_positions`; a row of zeros where they are not known and its own moves do not lead.

    Raises:
        GatitoError: if its moves lead to a row of zeros.
    """
    positions = tic_tac_toe_positions()
    rows = dict(zip(positions.squares, probabilities.tolist(), strict=True))

    @functools.cache
    def value(mine: int, theirs: int, policy_moves: bool) -> float:
        """The value for the player to move."""
        if has_line(theirs):
            return -1.0
        free = [square for square in range(9) if not (mine | theirs) >> square & 1]
        if not free:
            return 0.0
        if not policy_moves:
            return max(-value(theirs, mine | 1 << square, True) for square in free)
        row = rows[mine, theirs]
        if not any(row):
            raise GatitoError(f"the policy's move in a position that its moves lead to is not known: {mine}, {theirs}.")
        return sum(-row[square] * value(theirs, mine | 1 << square, False) for square in free if row[square])

    return (value(0, 0, False) - value(0, 0, True)) / 2
