"""Positions on which agents are evaluated: 2000 of Connect Four with exact values, and all of tic-tac-toe.

``python -m benchmarks.tasks.games.positions`` reproduces the file of Connect Four's positions exactly (some minutes on
one core). They come from games between players from random to ``mcts-100`` in which a fifth of the moves are uniformly
random: one position per game, at a ply sampled uniformly below 36. Only critical positions are kept: some legal moves
preserve the outcome of perfect play and others do not. No two positions are equal or mirror images.
"""

import csv
import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base.files import write_text
from benchmarks.base.seeds import stream
from benchmarks.tasks.games.boards import SHAPE, Board, after, make_board
from benchmarks.tasks.games.opponents import Opponent, make_opponent
from benchmarks.tasks.games.solvers import Values, has_line, make_solver

FILE = Path(__file__).with_name("connect_four_positions.csv")
COUNT = 2_000
_PLAYERS = ("random", "mcts-10", "mcts-100")
_RANDOM_MOVES = 0.2
_PLIES = 36
_FULL = 2**9 - 1


@dataclass(frozen=True)
class Positions:
    """Critical positions of Connect Four.

    Attributes:
        moves: the columns that lead to each position, as digits.
        values: ``(positions, 7)`` float64, the value of each move for the player who makes it (see
            :mod:`benchmarks.tasks.games.solvers`; its sign is the outcome); NaN for full columns.
        observations: ``(positions, 3, 6, 7)`` int8, from the view of the player to move.
    """

    moves: tuple[str, ...]
    values: np.ndarray
    observations: np.ndarray

    @property
    def action_masks(self) -> np.ndarray:
        """``(positions, 7)`` bool, the legal moves."""
        return ~np.isnan(self.values)


@dataclass(frozen=True)
class TicTacToe:
    """All nonterminal positions of tic-tac-toe, in a fixed order.

    Attributes:
        squares: the mover's and the other player's squares in each position, as bit sets, row by row.
        moves: the squares whose moves lead to each position, as digits (the first such game that was found).
        observations: ``(4520, 3, 6, 7)`` int8, from the view of the player to move.
        action_masks: ``(4520, 9)`` bool, the legal moves.
    """

    squares: tuple[tuple[int, int], ...]
    moves: tuple[str, ...]
    observations: np.ndarray
    action_masks: np.ndarray


@functools.cache
def tic_tac_toe_positions() -> TicTacToe:
    """All positions, found by breadth-first search from the empty board."""
    squares, moves = [(0, 0)], [""]
    known = set(squares)
    for (mine, theirs), history in zip(squares, moves, strict=True):  # both grow during the loop
        for square in range(9):
            following = (theirs, mine | 1 << square)
            if (mine | theirs) >> square & 1 or has_line(following[1]) or sum(following) == _FULL:
                continue
            if following not in known:
                known.add(following)
                squares.append(following)
                moves.append(f"{history}{square}")
    bits = (np.array(squares)[:, :, None] >> np.arange(9) & 1).astype(np.int8)
    observations = np.zeros((len(squares), *SHAPE), np.int8)
    observations[:, :2, :3, :3] = bits.reshape(-1, 2, 3, 3)
    observations[:, 2, :3, :3] = 1
    return TicTacToe(tuple(squares), tuple(moves), observations, np.equal(bits.sum(axis=1), 0))


@functools.cache
def moves_and_values() -> tuple[tuple[str, ...], np.ndarray]:
    """The moves and the values of :class:`Positions`, which need no package of games."""
    with FILE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values = [[float(row[f"column{column}"] or "nan") for column in range(7)] for row in rows]
    return tuple(row["moves"] for row in rows), np.array(values)


@functools.cache
def load() -> Positions:
    """The positions in the project's file."""
    board = make_board("connect_four")
    moves, values = moves_and_values()
    states = [after(board, text) for text in moves]
    return Positions(moves, values, np.stack([board.observe(state, state.current_player()) for state in states]))


def make(count: int = COUNT) -> str:
    """Sample and solve the positions; returns the text of their file."""
    board = make_board("connect_four")
    solve = make_solver(board)
    players = [player for player in (make_opponent(board, name) for name in _PLAYERS) if player]
    known: set[bytes] = set()
    rows: list[tuple[str, Values]] = []
    game = 0
    while len(rows) < count:
        moves = _sample(board, players, stream("connect four positions", game))
        game += 1
        if moves is None:
            continue
        state = after(board, moves)
        seen = board.observe(state, state.current_player())
        key = min(seen.tobytes(), seen[:, :, ::-1].tobytes())
        if key in known:
            continue
        known.add(key)
        values = solve(state)
        if len(set(np.sign(list(values.values())))) > 1:
            rows.append((moves, values))
    return _to_csv(rows)


def _sample(board: Board, players: list[Opponent], rng: np.random.Generator) -> str | None:
    """The moves up to a uniformly sampled ply of one game; None if the game ends earlier."""
    sides = [players[int(index)] for index in rng.integers(len(players), size=2)]
    state: Any = board.game.new_initial_state()
    for _ in range(int(rng.integers(_PLIES))):
        player = players[0] if rng.random() < _RANDOM_MOVES else sides[state.current_player()]
        state.apply_action(player(state, rng))
        if state.is_terminal():
            return None
    return "".join(map(str, state.history()))


def _to_csv(rows: list[tuple[str, Values]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["moves", *(f"column{column}" for column in range(7))])
    for moves, values in sorted(rows, key=lambda row: (len(row[0]), row[0])):
        writer.writerow([moves, *(values.get(column, "") for column in range(7))])
    return file.getvalue()


if __name__ == "__main__":
    write_text(FILE, make())
