"""The moves that agents choose in fixed positions of games, which are judged by exact values.

Agents are asked in the evaluation, after their test episodes, by the process that has loaded them. They see each
position as the first of an episode: a network gets no earlier observations. The choices are part of an agent's scores
and, pooled, a file of the results folder, so that :mod:`benchmarks.scoring.games_board` can judge them without the
games' packages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.base.artifacts import digest
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.play.policy import Policy
from benchmarks.play.slots import Slot, close_all, policy_input
from benchmarks.scoring.agents import AgentId, AgentRow
from benchmarks.tasks import Suite, Task, make_env
from benchmarks.tasks.games.positions import moves_and_values, tic_tac_toe_positions

BATCH = 250
"""Positions in one forward pass."""

_POSITIONS: Mapping[str, Callable[[], Sequence[str]]] = {
    "connect_four": lambda: moves_and_values()[0],
    "tic_tac_toe": lambda: tic_tac_toe_positions().moves,
}
_NOT_ASKED = "."


@dataclass(frozen=True)
class MoveRow(AgentRow):
    """One agent's moves in the fixed positions of one game: a line of ``moves.csv``.

    Attributes:
        moves: the action in each position, a digit; ``.`` where the agent was not asked.
    """

    moves: str

    def actions(self, positions: int) -> np.ndarray:
        """``(positions,)`` int64; -1 where the agent was not asked.

        Raises:
            GatitoError: if the row is not one action for each position.
        """
        if len(self.moves) != positions or set(self.moves) - {*"0123456789", _NOT_ASKED}:
            raise GatitoError(
                f"moves.csv: {self.agent_id} on {self.task} does not have a move for each of {positions} positions: "
                "run with stages=[evaluate,report] again."
            )
        return np.array([-1 if move == _NOT_ASKED else int(move) for move in self.moves])


def judged(suite: Suite) -> list[Task]:
    """The tasks that have fixed positions."""
    return [task for task in suite if task.family == "games" and task.env_id in _POSITIONS]


def positions_digests(suite: Suite) -> dict[str, str]:
    """Digests of the positions in which agents are asked, by task name."""
    return {task.name: digest(list(_POSITIONS[task.env_id]()))[:12] for task in judged(suite)}


@dataclass(frozen=True)
class Share:
    """The share of one of several jobs in the positions: every ``parts``-th from number ``part`` on."""

    part: int = 0
    parts: int = 1


def moves_in_positions(policy: Policy, task: Task, share: Share, num_envs: int | None = None) -> dict[int, int]:
    """The agent's actions in a task's positions, by the position's number.

    In tic-tac-toe, one job asks alone, since the next positions follow from the agent's moves.

    Args:
        policy: the agent's policy.
        task: a task of :func:`judged`.
        share: the share of this job.
        num_envs: the most positions in one call of the policy; None: :data:`BATCH`.

    Raises:
        GatitoError: if an action is illegal; names the position.
    """
    if task.env_id == "tic_tac_toe":
        return {} if share.part else _reached_moves(policy, task, num_envs or BATCH)
    numbers = range(len(_POSITIONS[task.env_id]()))
    return choose_moves(policy, task, numbers[share.part :: share.parts], num_envs or BATCH)


def _reached_moves(policy: Policy, task: Task, num_envs: int) -> dict[int, int]:
    """The actions in all positions of tic-tac-toe that the policy's own moves and any replies lead to, as x and as o.

    The others do not matter to exploitability. These are hundreds, not 4520, which counts for a policy that searches.
    """
    squares = tic_tac_toe_positions().squares
    numbers = {position: number for number, position in enumerate(squares)}
    chosen: dict[int, int] = {}
    waiting = {(0, 0), *((0, 1 << square) for square in range(9))}
    while waiting:
        batch = sorted(numbers[position] for position in waiting)
        chosen |= choose_moves(policy, task, batch, num_envs)
        moved = [(squares[number][0] | 1 << chosen[number], squares[number][1]) for number in batch]
        replies = {
            (mine, theirs | 1 << square)
            for mine, theirs in moved
            for square in range(9)
            if not (mine | theirs) >> square & 1
        }
        waiting = replies & numbers.keys()  # the others are the ends of games
    return chosen


def choose_moves(policy: Policy, task: Task, numbers: Sequence[int], num_envs: int = BATCH) -> dict[int, int]:
    """The action that a policy chooses in each of these positions, by the position's number.

    Args:
        policy: the policy.
        task: a task of :func:`judged`.
        numbers: the positions.
        num_envs: the most positions in one call of the policy.

    Raises:
        GatitoError: if an action is illegal; names the position.
    """
    positions = _POSITIONS[task.env_id]()
    slots = [Slot(env_id, task, make_env(task)) for env_id in range(min(num_envs, len(numbers)))]
    chosen: dict[int, int] = {}
    try:
        for first in range(0, len(numbers), max(1, len(slots))):
            batch = numbers[first : first + len(slots)]
            for slot, number in zip(slots, batch, strict=False):
                slot.rng = stream(task.name, policy.name, "position", number)
                slot.reset(number, {"moves": positions[number]})
            rows = policy_input(task, slots[: len(batch)])
            [output], _ = policy.act([rows], policy.initial_state(len(batch)))
            for row, (number, action) in enumerate(zip(batch, output.actions, strict=True)):
                mask = rows.action_mask(row)
                if mask is None or not 0 <= int(action) < len(mask) or not mask[int(action)]:
                    raise GatitoError(
                        f"task {task.name}: agent {policy.name} chose the illegal action {int(action)} in the position "
                        f"after the moves {positions[number] or 'none'}: choose among PolicyInput.action_masks.",
                        task.name,
                    )
                chosen[number] = int(action)
    finally:
        close_all(slots)
    return chosen


def move_rows(suite: Suite, agent: AgentId, seed: int, moves: Mapping[str, Mapping[int, int]]) -> list[MoveRow]:
    """Rows of the moves that an agent chose.

    Args:
        suite: the tasks.
        agent: the agent.
        seed: its training seed.
        moves: task name → position's number → action.
    """
    rows = []
    for task in judged(suite):
        if chosen := moves.get(task.name):
            count = len(_POSITIONS[task.env_id]())
            text = "".join(str(chosen.get(number, _NOT_ASKED)) for number in range(count))
            rows.append(MoveRow(suite.name, task.name, agent.name, agent.round, agent.label, seed, text))
    return rows
