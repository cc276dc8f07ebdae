"""Programs that play board games: Monte Carlo tree search, and perfect play by every position's exact value.

Both read the game's state (``BoardGame.state``), which learners cannot.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np

from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from benchmarks.tasks.games.boards import make_board
from benchmarks.tasks.games.environment import BoardGame
from benchmarks.tasks.games.opponents import best_actions, search
from benchmarks.tasks.games.solvers import make_solver

ILLEGAL_LOGIT = -1e9
ILLEGAL_Q = -2.0  # returns are in [-1, 1]
_LARGEST_VALUE = 22  # above every value of a solver


class _GameExpert(Policy):
    """A policy without state that moves in each game separately."""

    name = "expert"

    def __init__(self, task: Task, kind: str) -> None:
        self.distribution_kind: Mapping[str, str] = {task.name: kind}

    def initial_state(self, num_envs: int) -> None:
        """None: the policy has no state."""

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """The move in every game, and a distribution over its actions."""
        outputs = []
        for rows in inputs:
            moves = [self._move(_game(env), rng) for env, rng in zip(rows.envs, rows.rngs, strict=True)]
            actions = np.array([action for action, _ in moves], dtype=np.int64)
            outputs.append(PolicyOutput(actions, actions, np.stack([distribution for _, distribution in moves])))
        return outputs, state

    def _move(self, game: BoardGame, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        """The canonical action, and the distribution ``(actions,)`` float32."""
        raise NotImplementedError


class MctsPolicy(_GameExpert):
    """OpenSpiel's search, as strong as the opponent ``mcts-N``; its distribution is the root's visit counts."""

    def __init__(self, task: Task, simulations: int) -> None:
        """Args: a task of family ``games``, and the simulations per move."""
        super().__init__(task, "logits")
        self._simulations = simulations

    def _move(self, game: BoardGame, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        board, state = game.board, game.state
        root = search(board, state, self._simulations, rng)
        best = root.best_child()
        logits = np.full(board.actions, ILLEGAL_LOGIT, np.float32)
        # A move with a proven outcome may be the best after few visits: visit counts would mislead.
        for child in [best] if best.outcome else root.children:
            if child.explore_count:
                logits[board.canonical(state, child.action)] = np.log(child.explore_count)
        return board.canonical(state, best.action), logits


class PerfectPolicy(_GameExpert):
    """Plays a move with the best exact value, sampled uniformly; its distribution is the value of every action.

    Values are scaled to (-1, 1): the sign is the outcome, and a larger magnitude is an earlier end.
    """

    def __init__(self, task: Task) -> None:
        """Args: a task of family ``games``.

        Raises:
            GatitoError: if the game has no solver, or its package is missing.
        """
        super().__init__(task, "q")
        self._solve = make_solver(make_board(task.env_id, task.name))

    def _move(self, game: BoardGame, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        board, state = game.board, game.state
        values = {board.canonical(state, action): value for action, value in self._solve(state).items()}
        best = sorted(best_actions(values))
        q = np.full(board.actions, ILLEGAL_Q, np.float32)
        q[list(values)] = np.array(list(values.values())) / _LARGEST_VALUE
        return best[int(rng.integers(len(best)))], q


def _game(env: gym.Env) -> BoardGame:
    return cast(BoardGame, env.unwrapped)
