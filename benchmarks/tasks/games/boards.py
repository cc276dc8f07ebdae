"""The games with canonical observations and actions: the player to move sees the board as the first player would.

An observation has the shape ``(3, 6, 7)`` for every game, int8 zeros and ones: the mover's pieces, the other player's
pieces, and the board's squares (small boards use the upper left corner). If the game is not symmetric between the
players, the board is transformed for the second player:

| game | the second player's view | actions |
|---|---|---|
| tic-tac-toe | the same squares | 9: row x 3 + column |
| Connect Four | the same squares | 7: the column |
| Breakthrough | rows in reverse order: its pieces move down, too | 108: (row x 6 + column) x 3 + direction |
| Hex | rows as columns: it connects the top with the bottom, too | 25: row x 5 + column |

Row 0 is the top row. Breakthrough's directions are down left, down, down right; the board determines whether a piece is
captured. So a network needs neither the colour nor the name of the game.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.base.errors import FatalError, GatitoError, unknown

SHAPE = (3, 6, 7)
"""The mover's pieces, the other player's pieces, the squares of the board."""

MISSING = "pip install 'gatito[games]'"


@dataclass(frozen=True)
class _Rules:
    """The properties in which games differ.

    Attributes:
        spiel: OpenSpiel's name of the game, with its parameters.
        players: OpenSpiel's observation planes of the first and the second player's pieces.
        actions: the number of canonical actions.
        canonical: OpenSpiel's action and the player that takes it → the canonical action.
        turn: the second player's view of an array ``(rows, columns)``.
        row_order: -1 if OpenSpiel numbers rows from the bottom.
        mirrored: an array ``(…, rows, columns)`` as the rules treat it alike: left and right exchanged.
        mirrored_action: the canonical action for one in the mirrored position.
    """

    spiel: str
    players: tuple[int, int]
    actions: int
    canonical: Callable[[int, int], int] = lambda action, player: action
    turn: Callable[[np.ndarray], np.ndarray] = lambda squares: squares
    row_order: int = 1
    mirrored: Callable[[np.ndarray], np.ndarray] = lambda squares: squares[..., ::-1]
    mirrored_action: Callable[[int], int] = lambda column: 6 - column


def _breakthrough_action(action: int, player: int) -> int:
    """OpenSpiel's index is over (row, column, six directions, two captures); the first three directions go down."""
    square, direction = action // 12, action // 2 % 6
    row, column = divmod(square, 6)
    return ((5 - row if player else row) * 6 + column) * 3 + direction % 3


def _hex_action(action: int, player: int) -> int:
    row, column = divmod(action, 5)
    return column * 5 + row if player else action


_RULES = {
    "tic_tac_toe": _Rules("tic_tac_toe", (2, 1), 9, mirrored_action=lambda action: action // 3 * 3 + 2 - action % 3),
    "connect_four": _Rules("connect_four", (0, 1), 7, row_order=-1),
    "breakthrough_6x6": _Rules(
        "breakthrough(rows=6,columns=6)",
        (0, 1),
        108,
        _breakthrough_action,
        lambda squares: squares[::-1],
        mirrored_action=lambda action: action // 18 * 18 + 17 - action % 18,
    ),
    "hex_5x5": _Rules(
        "hex(board_size=5,plain_obs_tensor=true)",
        (0, 1),
        25,
        _hex_action,
        lambda squares: squares.T,
        mirrored=lambda squares: squares[..., ::-1, ::-1],  # half a turn: edges belong to the players
        mirrored_action=lambda action: 24 - action,
    ),
}
GAMES = tuple(_RULES)
"""The games, by a task's ``env_id``."""


class Board:
    """One game: its rules, and its positions from each player's view.

    Attributes:
        name: one of :data:`GAMES`.
        game: OpenSpiel's game.
        actions: the number of canonical actions.
        mirrored_actions: ``(actions,)``, each action's counterpart in the mirrored position.
    """

    def __init__(self, name: str, pyspiel: Any) -> None:  # noqa: ANN401
        """Args: one of :data:`GAMES`, and OpenSpiel's module."""
        self.name = name
        self._rules = _RULES[name]
        self.game = pyspiel.load_game(self._rules.spiel)
        self.actions = self._rules.actions
        self.mirrored_actions = np.array([self._rules.mirrored_action(action) for action in range(self.actions)])
        known = range(self.game.num_distinct_actions())
        self._canonical = [[self._rules.canonical(action, player) for action in known] for player in (0, 1)]
        tensor = np.arange(self.game.observation_tensor_size()).reshape(self.game.observation_tensor_shape())
        self._pieces = tensor[list(self._rules.players)][:, :: self._rules.row_order]
        self._views = [self._view(player, tensor.size) for player in (0, 1)]

    def _view(self, player: int, zero: int) -> np.ndarray:
        """For each number of a player's observation, its index in OpenSpiel's tensor with a 0 and a 1 appended."""
        rows, columns = self._pieces.shape[1:]
        places = np.full(SHAPE, zero)
        places[2, :rows, :columns] = zero + 1
        for plane, squares in zip(places, self._pieces[:: -1 if player else 1], strict=False):
            plane[:rows, :columns] = self._rules.turn(squares) if player else squares
        return places

    def pieces(self, state: Any) -> np.ndarray:  # noqa: ANN401
        """``(2, rows, columns)`` int8: the first and the second player's pieces, row 0 on top."""
        return np.array(state.observation_tensor(0), np.int8)[self._pieces]

    def observe(self, state: Any, player: int) -> np.ndarray:  # noqa: ANN401
        """The position from this player's view, :data:`SHAPE` int8."""
        return np.array([*state.observation_tensor(0), 0, 1], np.int8)[self._views[player]]

    def mirrored(self, observations: np.ndarray) -> np.ndarray:
        """Observations ``(n, 3, 6, 7)`` of the mirrored positions, which have the same values by the rules."""
        rows, columns = self._pieces.shape[1:]
        mirrored = observations.copy()
        mirrored[..., :rows, :columns] = self._rules.mirrored(observations[..., :rows, :columns])
        return mirrored

    def legal(self, state: Any) -> dict[int, int]:  # noqa: ANN401
        """The canonical actions of the player to move → OpenSpiel's; empty when the game is over."""
        if state.is_terminal():
            return {}
        canonical = self._canonical[state.current_player()]
        return {canonical[action]: action for action in state.legal_actions()}

    def canonical(self, state: Any, action: int) -> int:  # noqa: ANN401
        """The canonical action for OpenSpiel's action of the player to move."""
        return self._canonical[state.current_player()][action]

    def mask(self, state: Any) -> np.ndarray:  # noqa: ANN401
        """``(actions,)`` int8: 1 for each legal action of the player to move; all zeros when the game is over."""
        mask = np.zeros(self.actions, np.int8)
        mask[list(self.legal(state))] = 1
        return mask

    def spiel_action(self, state: Any, action: int) -> int:  # noqa: ANN401
        """OpenSpiel's action for a canonical one of the player to move.

        Raises:
            GatitoError: if the move is illegal; the message contains the position.
        """
        legal = self.legal(state)
        if action not in legal:
            mover = "none, the game is over" if state.is_terminal() else "xo"[state.current_player()]
            raise GatitoError(
                f"illegal move: {self.name} has no action {action} in position {self.text(state)} (to move: {mover}; "
                f"legal actions: {', '.join(map(str, sorted(legal))) or 'none'}). Choose among info['action_mask']."
            )
        return legal[action]

    def text(self, state: Any) -> str:  # noqa: ANN401
        """The position in one line: rows from the top, x for the first player's pieces, o for the second player's."""
        first, second = self.pieces(state)
        return "/".join(
            "".join("x" if x else "o" if o else "." for x, o in zip(*rows, strict=True))
            for rows in zip(first, second, strict=True)
        )


def make_board(name: str, task: str = "") -> Board:
    """A game by its name; ``task`` names the task in errors.

    Raises:
        FatalError: if there is no such game.
        GatitoError: if OpenSpiel is missing.
    """
    if name not in _RULES:
        raise unknown(f"game of task {task}" if task else "game", name, GAMES)
    try:
        return _board(name)
    except ImportError as error:
        raise GatitoError(f"{task or name} needs a package that is not installed ({error}): {MISSING}.") from None


@functools.cache
def _board(name: str) -> Board:
    import pyspiel

    return Board(name, pyspiel)


def after(board: Board, moves: str) -> Any:  # noqa: ANN401
    """The position after OpenSpiel's actions, each a digit, such as Connect Four's columns.

    Raises:
        FatalError: if a move is illegal.
    """
    state = board.game.new_initial_state()
    for number, move in enumerate(moves):
        if state.is_terminal() or int(move) not in state.legal_actions():
            raise FatalError(f"{board.name}: move {number + 1} of '{moves}' is illegal; correct the list of moves.")
        state.apply_action(int(move))
    return state
