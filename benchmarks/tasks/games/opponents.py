"""Opponents of known strength. An opponent is a function of the position and a random stream.

- ``random``: a uniformly sampled legal move.
- ``mcts-N``: OpenSpiel's C++ Monte Carlo tree search with N simulations per move: UCT with c = 2, one random playout
  per new leaf, and backup of proven wins and losses.
- ``perfect``: a uniformly sampled move with the best exact value, which is the fastest win or the slowest loss.
- ``self``: no opponent; the agent makes both sides' moves.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.base.errors import FatalError, unknown
from benchmarks.tasks.games.boards import Board
from benchmarks.tasks.games.solvers import make_solver

SELF = "self"

Opponent = Callable[[Any, np.random.Generator], int]
"""A position with the opponent to move, and a random stream → OpenSpiel's action."""

_UCT_C = 2.0
_MEMORY_MB = 1_000  # an upper bound that searches here do not reach


def make_opponent(board: Board, name: str) -> Opponent | None:
    """An opponent by its name; None for ``self``.

    Raises:
        FatalError: if there is no such opponent, or the game has no perfect one.
        GatitoError: if its package is missing.
    """
    if name == SELF:
        return None
    if name == "random":
        return _random
    if name == "perfect":
        return functools.partial(_perfect, make_solver(board))
    simulations = re.fullmatch(r"mcts-(\d+)", str(name))
    if simulations is None:
        raise unknown("opponent", name, ("random", "mcts-10", "mcts-100", "mcts-1000", "perfect", SELF))
    if int(simulations[1]) < 2:
        raise FatalError(f"opponent {name} must have at least 2 simulations, such as mcts-10.")
    return functools.partial(_mcts, board, int(simulations[1]))


def search(board: Board, state: Any, simulations: int, rng: np.random.Generator) -> Any:  # noqa: ANN401
    """The root of a Monte Carlo search tree; ``root.best_child().action`` is the move.

    A new bot is made for every move (5 microseconds), because a bot's random state cannot be saved.
    """
    import pyspiel

    playouts, choices = (int(seed) for seed in rng.integers(2**31, size=2))
    evaluator = pyspiel.RandomRolloutEvaluator(1, playouts)
    bot = pyspiel.MCTSBot(board.game, evaluator, _UCT_C, simulations, _MEMORY_MB, True, choices, False)
    return bot.mcts_search(state)


def best_actions(values: dict[int, int]) -> list[int]:
    """The actions with the largest value."""
    best = max(values.values())
    return [action for action, value in values.items() if value == best]


def _random(state: Any, rng: np.random.Generator) -> int:  # noqa: ANN401
    actions = state.legal_actions()
    return actions[int(rng.integers(len(actions)))]


def _perfect(solver: Callable[[Any], dict[int, int]], state: Any, rng: np.random.Generator) -> int:  # noqa: ANN401
    actions = sorted(best_actions(solver(state)))
    return actions[int(rng.integers(len(actions)))]


def _mcts(board: Board, simulations: int, state: Any, rng: np.random.Generator) -> int:  # noqa: ANN401
    return search(board, state, simulations, rng).best_child().action
