"""A board game as a Gymnasium environment: ``step`` plays the learner's move and the opponent's reply.

``info`` contains in every step

- ``action_mask``, ``(actions,)`` int8: 1 for each legal action, zeros when the game is over;
- ``to_play``: the player to move, 0 or 1; -1 when the game is over;
- ``learner``: the player whose rewards are returned, 0 or 1;
- ``opponent``: the name of this episode's opponent;

and in the last step ``success``, whether the learner won. With opponent ``self`` the agent makes the moves of both
sides, and each reward is for the player whose move it was. So the value of a position for the player to move is the
reward of the move, less the value of the next position for the other player (negamax).

The seed of the reset determines the colour, the opponent (:func:`draw_episode`) and its moves. A clone (see
:mod:`benchmarks.tasks.snapshots.snapshot`) keeps the colour and the opponent, and samples the opponent's moves anew.

With ``random_opening``, games begin after some uniform moves of both sides, so that self-play sees more positions than
its own moves lead to.

``reset(options={"moves": "334"})`` starts after these moves of OpenSpiel's, with the learner to move.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding

from benchmarks.tasks.games.boards import SHAPE, Board, after
from benchmarks.tasks.games.opponents import make_opponent

_SQUARE = 48  # pixels
_COLORS = ((222, 184, 135), (160, 120, 80), (20, 20, 20), (245, 245, 245))  # board, lines, first and second player

Place = tuple[Any, int, int, int]
"""OpenSpiel's state, the learner's colour, the opponent's index, and the steps so far."""


def draw_episode(rng: np.random.Generator, opponents: int) -> tuple[int, int]:
    """The learner's colour, 0 or 1, and the index of its opponent: the first numbers of a game's stream."""
    return int(rng.integers(2)), int(rng.integers(opponents))


def opponent_of(seed: int, opponents: Sequence[str]) -> str:
    """The name of the opponent in the game whose reset has this seed."""
    rng, _ = seeding.np_random(seed)
    return opponents[draw_episode(rng, len(opponents))[1]]


class BoardGame(gym.Env):
    """Games against opponents that are sampled from the seed.

    Attributes:
        board: the game.
        state: OpenSpiel's state of the current game; experts and scores may read it, learners must not.
        learner: the player whose rewards are returned, 0 or 1.
    """

    def __init__(
        self,
        board: Board,
        opponents: Sequence[str],
        horizon: int,
        render_mode: str | None = None,
        random_opening: int = 0,
    ) -> None:
        """Create the environment; it must be reset before the first step.

        Args:
            board: the game.
            opponents: the names of the opponents, one of which is sampled for each episode.
            horizon: the number of steps after which an episode is truncated.
            render_mode: ``rgb_array``, ``ansi`` or None.
            random_opening: the most uniform moves before a game; the seed determines how many are made.
        """
        self.metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 2}
        self.render_mode = render_mode
        self.observation_space: gym.Space = gym.spaces.Box(0, 1, SHAPE, np.int8)
        self.action_space: gym.Space = gym.spaces.Discrete(board.actions)
        self.board = board
        self.state: Any = board.game.new_initial_state()
        self.learner = 0
        self._names = list(opponents)
        self._opponents = [make_opponent(board, name) for name in opponents]
        self._opponent = 0
        self._horizon = horizon
        self._random_opening = random_opening
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new game; if the learner plays second, the opponent has made its move.

        With ``options["moves"]``, digits of OpenSpiel's actions, the game starts after these moves, and the learner is
        the player to move.
        """
        super().reset(seed=seed)
        self.learner, self._opponent = draw_episode(self.np_random, len(self._opponents))
        moves = (options or {}).get("moves")
        self.state = after(self.board, moves or "")
        if moves is not None:
            self.learner = self.state.current_player()
        self._steps = len(moves or "") // 2
        if self._random_opening and moves is None:
            self._open(int(self.np_random.integers(self._random_opening + 1)))
        self._answer()
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Play a move and the opponent's reply.

        Raises:
            GatitoError: if the move is illegal; the message contains the position.
        """
        mover = self.state.current_player()
        self.state.apply_action(self.board.spiel_action(self.state, int(action)))
        self._answer()
        self._steps += 1
        terminated = self.state.is_terminal()
        truncated = not terminated and self._steps >= self._horizon
        reward = float(self.state.player_return(mover)) if terminated else 0.0
        info = self._info()
        if terminated or truncated:
            info["success"] = terminated and self.state.player_return(self.learner) > 0
        return self._observe(), reward, terminated, truncated, info

    @property
    def opponent(self) -> str:
        """The name of this game's opponent."""
        return self._names[self._opponent]

    def action_masks(self) -> np.ndarray:
        """``(actions,)`` bool, the legal actions of the player to move; sb3-contrib calls this method."""
        return self.board.mask(self.state).astype(bool)

    def render(self) -> Any:  # noqa: ANN401
        """The board as an image ``(height, width, 3)`` uint8 or, with ``ansi``, as text."""
        if self.render_mode == "ansi":
            return self.board.text(self.state).replace("/", "\n")
        return self._draw() if self.render_mode == "rgb_array" else None

    def state_for_clones(self) -> Place:
        """The state that determines the rest of the game; later moves do not change it."""
        return self.state.clone(), self.learner, self._opponent, self._steps

    def become_clone(self, state: Place, rng: np.random.Generator) -> None:
        """Continue from this state, with this random stream for the opponent's moves."""
        place, self.learner, self._opponent, self._steps = state
        self.state = place.clone()
        self._np_random = rng

    def _open(self, moves: int) -> None:
        """Make uniform moves, fewer where the next one would end the game."""
        for _ in range(moves):
            following = self.state.clone()
            following.apply_action(int(self.np_random.choice(following.legal_actions())))
            if following.is_terminal():
                return
            self.state = following

    def _answer(self) -> None:
        """Play the opponent's moves until it is the learner's turn."""
        opponent = self._opponents[self._opponent]
        while opponent and not self.state.is_terminal() and self.state.current_player() != self.learner:
            self.state.apply_action(opponent(self.state, self.np_random))

    def _observe(self) -> np.ndarray:
        """The position from the view of the player to move; after the game, from the learner's view."""
        player = self.learner if self.state.is_terminal() else self.state.current_player()
        return self.board.observe(self.state, player)

    def _info(self) -> dict[str, Any]:
        return {
            "action_mask": self.board.mask(self.state),
            "to_play": -1 if self.state.is_terminal() else int(self.state.current_player()),
            "learner": self.learner,
            "opponent": self.opponent,
        }

    def _draw(self) -> np.ndarray:
        from PIL import Image, ImageDraw  # here: most commands draw nothing

        background, lines, *players = _COLORS
        pieces = self.board.pieces(self.state)
        _, rows, columns = pieces.shape
        picture = Image.new("RGB", (columns * _SQUARE, rows * _SQUARE), background)
        draw = ImageDraw.Draw(picture)
        for row, column in np.ndindex(rows, columns):
            left, top = column * _SQUARE, row * _SQUARE
            draw.rectangle((left, top, left + _SQUARE, top + _SQUARE), outline=lines)
            for color, squares in zip(players, pieces, strict=True):
                if squares[row, column]:
                    draw.ellipse((left + 5, top + 5, left + _SQUARE - 5, top + _SQUARE - 5), fill=color)
        return np.asarray(picture)
