"""Moves and positions as people write them, for play in the terminal and for games on the report's page.

| game | a move | as in |
|---|---|---|
| tic-tac-toe | the number of the square, 0 to 8, row by row | `4` |
| Connect Four | the column, 0 to 6 from the left | `3` |
| Breakthrough | from and to, columns a to f, rows 1 to 6 from the bottom | `a5b4` |
| Hex | columns a to e, rows 1 to 5 from the top | `c3` |
"""

from typing import Any

from benchmarks.tasks.games.boards import Board

_NUMBERED = ("tic_tac_toe", "connect_four")


def move_name(board: Board, state: Any, action: int) -> str:  # noqa: ANN401
    """The name of OpenSpiel's action of the player to move."""
    if board.name in _NUMBERED:
        return str(action)
    return str(state.action_to_string(state.current_player(), action)).rstrip("*")  # a star marks a capture


def legal_moves(board: Board, state: Any) -> dict[str, int]:  # noqa: ANN401
    """The names of the legal moves → canonical actions."""
    return {move_name(board, state, action): canonical for canonical, action in board.legal(state).items()}


def diagram(board: Board, state: Any) -> str:  # noqa: ANN401
    """The position in several lines, with the labels of :func:`move_name`; x is the first player."""
    rows = board.text(state).split("/")
    letters = " ".join("abcdefgh"[: len(rows[0])])
    if board.name == "tic_tac_toe":
        squares = [mark if mark != "." else str(number) for number, mark in enumerate("".join(rows))]
        return "\n".join(" ".join(squares[first : first + 3]) for first in (0, 3, 6))
    if board.name == "connect_four":
        return "\n".join([*map(" ".join, rows), " ".join(map(str, range(len(rows[0]))))])
    if board.name == "hex_5x5":  # each row is shifted by half a square, since squares have six neighbours
        lines = [f"{' ' * number}{number + 1} {' '.join(row)}" for number, row in enumerate(rows)]
        return "\n".join([f"  {letters}", *lines])
    lines = [f"{len(rows) - number} {' '.join(row)}" for number, row in enumerate(rows)]
    return "\n".join([*lines, f"  {letters}"])
