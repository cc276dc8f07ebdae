"""Exact values of positions: minimax for tic-tac-toe, the solver BitBully for Connect Four.

A value is an integer from the view of the player to move. Its sign is the outcome of perfect play, and its magnitude
decreases with the winner's stones on the final board: 22 minus their number in Connect Four (Pons 2015,
http://blog.gamesolver.org), 6 minus their number in tic-tac-toe. So the best move wins fastest or loses slowest.
"""

import functools
from collections.abc import Callable
from typing import Any

from benchmarks.base.errors import GatitoError, unknown
from benchmarks.tasks.games.boards import MISSING, Board

Values = dict[int, int]
"""OpenSpiel's legal action → the position's value for the player to move if it takes that action."""

Solver = Callable[[Any], Values]


def make_solver(board: Board) -> Solver:
    """The solver of a game.

    Raises:
        FatalError: if the game has no solver.
        GatitoError: if the solver's package is missing.
    """
    if board.name == "tic_tac_toe":
        return solve_tic_tac_toe
    if board.name != "connect_four":
        raise unknown("game with a solver", board.name, SOLVED)
    try:
        _bitbully()
    except ImportError as error:
        raise GatitoError(f"perfect play of {board.name} needs a solver ({error}): {MISSING}.") from None
    return solve_connect_four


SOLVED = ("tic_tac_toe", "connect_four")
"""The games with a solver."""


def solve_connect_four(state: Any) -> Values:  # noqa: ANN401
    """BitBully's scores of the legal columns; takes 1 to 100 ms."""
    solver, board = _bitbully()
    return solver.score_all_moves(board(state.history()))


def solve_tic_tac_toe(state: Any) -> Values:  # noqa: ANN401
    """Minimax values; every position is computed once per process."""
    return {action: -_value((*state.history(), action)) for action in state.legal_actions()}


@functools.cache
def _bitbully() -> tuple[Any, Any]:
    import bitbully

    return bitbully.BitBully(), bitbully.Board


_LINES = [sum(1 << square for square in line) for line in ((0, 1, 2), (3, 4, 5), (6, 7, 8))]
_LINES += [sum(1 << square for square in line) for line in ((0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))]


def has_line(squares: int) -> bool:
    """Whether a set of tic-tac-toe's squares contains three in a row."""
    return any(squares & line == line for line in _LINES)


def _value(history: tuple[int, ...]) -> int:
    """The value for the player to move after these moves."""
    mine, theirs = (sum(1 << square for square in history[first::2]) for first in (0, 1))
    return _minimax(*((mine, theirs) if len(history) % 2 == 0 else (theirs, mine)))


@functools.cache
def _minimax(mine: int, theirs: int) -> int:
    """The value for the player to move, given both players' squares as bit sets."""
    if has_line(theirs):
        return theirs.bit_count() - 6
    free = [1 << square for square in range(9) if not (mine | theirs) >> square & 1]
    return max((-_minimax(theirs, mine | square) for square in free), default=0)
