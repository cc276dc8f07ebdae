"""Board games with OpenSpiel's rules: tic-tac-toe, Connect Four, Breakthrough on 6 x 6, Hex on 5 x 5.

Lanctot et al. 2019 (arXiv:1908.09453). An episode is one game: the learner's colour depends on the seed, and the
opponent moves inside ``step``. The reward is 0 until the game ends, then +1, 0 or -1 for the player who moved last in
self-play, and otherwise for the learner. See
:mod:`~benchmarks.tasks.games.boards` for observations and actions, :mod:`~benchmarks.tasks.games.opponents` for the
opponents, and :mod:`~benchmarks.tasks.games.environment` for the loop.

OpenSpiel supports Othello on 8 x 8 only, which two cores cannot learn; Hex takes its place.

Games per second of random play on one of two busy cores:

| opponent | tic-tac-toe | Connect Four | Breakthrough | Hex |
|---|--:|--:|--:|--:|
| random | 3600 | 1400 | 1500 | 2000 |
| mcts-10 | 2200 | 480 | 350 | 580 |
| mcts-100 | 1100 | 130 | 67 | 200 |

A step against the random opponent takes 50 to 75 microseconds, a clone 6 to save and 11 to restore.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from benchmarks.base.errors import FatalError, unknown

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task, TaskConfig

_ARGUMENTS = {"opponent": "random"}


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """The list of opponents, and the maximum number of the learner's moves in one game.

    Raises:
        FatalError: if there is no such game, argument or opponent.
        GatitoError: if OpenSpiel or a solver is missing.
    """
    from benchmarks.tasks.games.boards import make_board
    from benchmarks.tasks.games.opponents import SELF, make_opponent

    for argument in config.kwargs:
        if argument not in _ARGUMENTS:
            raise unknown(f"argument of task {name}", argument, _ARGUMENTS)
    board = make_board(config.env_id, name)
    opponent = config.kwargs.get("opponent", _ARGUMENTS["opponent"])
    opponents = list(opponent) if isinstance(opponent, list | tuple) else [opponent]
    if not opponents:
        raise FatalError(f"task {name} has no opponent: name at least one, such as opponent: [random, mcts-100].")
    for opponent in opponents:
        make_opponent(board, opponent)
    longest = board.game.max_game_length()
    return {"opponent": opponents}, config.horizon or (longest if SELF in opponents else (longest + 1) // 2)


def is_self_play(task: "Task") -> bool:
    """Whether the agent makes the moves of both sides in all games of a task."""
    return task.family == "games" and list(task.kwargs["opponent"]) == ["self"]


def as_self_play(task: "Task", random_opening: int = 0) -> "Task":
    """The same game without an opponent: the agent makes the moves of both sides.

    Each game begins after up to ``random_opening`` uniform moves; their number follows from the seed.
    """
    from benchmarks.tasks.games.boards import make_board

    longest = make_board(task.env_id, task.name).game.max_game_length()
    opening = {"random_opening": random_opening} if random_opening else {}
    return replace(task, kwargs={"opponent": ["self"], **opening}, horizon=longest)


def make(task: "Task", render_mode: str | None = None) -> gym.Env:
    """The game with its opponents.

    Raises:
        GatitoError: if OpenSpiel or a solver is missing.
    """
    from benchmarks.tasks.games.boards import make_board
    from benchmarks.tasks.games.environment import BoardGame

    board, opening = make_board(task.env_id, task.name), task.kwargs.get("random_opening", 0)
    return BoardGame(board, task.kwargs["opponent"], task.horizon, render_mode, random_opening=opening)
