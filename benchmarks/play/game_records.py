"""One game of each task move by move, with the values that the policy saw, for the report's page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.base.errors import damage_as
from benchmarks.base.files import read_json, write_json
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.play.rollout import Episode
from benchmarks.tasks.games.boards import Board
from benchmarks.tasks.games.environment import BoardGame
from benchmarks.tasks.games.notation import move_name
from benchmarks.tasks.guard import Guarded

SAMPLE_GAMES = "sample_games.json"
"""The file of recorded games, in an agent's scores and in a results folder."""


@dataclass(frozen=True)
class Ply:
    """One move.

    Attributes:
        by_agent: whether the agent made it, not the opponent.
        move: its name (``benchmarks.tasks.games.notation``).
        board: the position after it, as ``Board.text`` writes it.
        value: the agent's value estimate before its move; None without one.
    """

    by_agent: bool
    move: str
    board: str
    value: float | None


@dataclass(frozen=True)
class GameRecord:
    """One game.

    Attributes:
        task: the task's name.
        seed: the episode's seed.
        colour: the agent's, ``x`` (moves first) or ``o``.
        opponent: the opponent's name.
        outcome: the agent's return: 1, 0 or -1.
        plies: all moves, in their order.
        agent: the agent's name; with ``round`` and ``label`` its identity.
        round: the agent's round.
        label: the agent's configuration in a comparison.
    """

    task: str
    seed: int
    colour: str
    opponent: str
    outcome: float
    plies: tuple[Ply, ...]
    agent: str = ""
    round: int | None = None
    label: str = ""


def write_games(folder: Path, games: Sequence[GameRecord]) -> None:
    """Write recorded games into a folder; without any, there is no file."""
    if games:
        write_json(folder / SAMPLE_GAMES, {"games": [asdict(game) for game in games]})
    else:
        (folder / SAMPLE_GAMES).unlink(missing_ok=True)


def read_games(folder: Path) -> list[GameRecord]:
    """The recorded games in a folder; none if it has no such file.

    Raises:
        GatitoError: if the file is damaged.
    """
    path = folder / SAMPLE_GAMES
    if not path.exists():
        return []
    listed = read_json(path, {"games": list})["games"]
    with damage_as(lambda reason: f"{path} is damaged ({reason}). Remove it and run the same command again."):
        return [GameRecord(**game | {"plies": tuple(Ply(**ply) for ply in game["plies"])}) for game in listed]


class GameWatch:
    """Records the game with one seed in each task of family ``games``.

    Call :meth:`record` when an episode ends, before its environment begins another one.
    """

    def __init__(self, seed: int) -> None:
        """Args: the seed of the episodes to record."""
        self._seed = seed
        self._games: dict[str, BoardGame] = {}
        self._values: dict[str, list[float | None]] = {}

    def see(self, rows: PolicyInput, output: PolicyOutput) -> None:
        """See :class:`~benchmarks.play.watching.Watch`."""
        if rows.task.family != "games":
            return
        for row, env in enumerate(rows.envs):
            if cast(Guarded, env).position[0] == self._seed:
                self._games[rows.task.name] = cast(BoardGame, env.unwrapped)
                value = None if output.values is None else float(output.values[row])
                known = value is not None and np.isfinite(value)
                self._values.setdefault(rows.task.name, []).append(value if known else None)

    def record(self, episode: Episode) -> GameRecord | None:
        """The game of an episode that has just ended; None if it is no board game, or has another seed."""
        if episode.seed != self._seed or episode.task not in self._games:
            return None
        game = self._games[episode.task]
        plies = _plies(game.board, game.state.history(), game.learner, self._values[episode.task])
        return GameRecord(episode.task, self._seed, "xo"[game.learner], game.opponent, episode.total_return, plies)


def _plies(board: Board, history: Sequence[int], learner: int, values: Sequence[float | None]) -> tuple[Ply, ...]:
    """The moves of a game, given the agent's colour and its value before each of its moves."""
    state, left, plies = board.game.new_initial_state(), iter(values), []
    for action in history:
        by_agent = state.current_player() == learner
        name = move_name(board, state, action)
        state.apply_action(action)
        plies.append(Ply(by_agent, name, board.text(state), next(left, None) if by_agent else None))
    return tuple(plies)
