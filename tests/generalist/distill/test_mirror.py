"""Windows of board games and their mirror images."""

import numpy as np
import pytest

pytest.importorskip("pyspiel")

from benchmarks.tasks import Task, TaskConfig
from benchmarks.tasks.games.boards import after, make_board
from generalist.distill.mirror import mirrored
from generalist.network.batches import Window
from tests.conftest import make_task


def window(moves):
    """The position of Connect Four after these moves, in which the last column was played, beside four others."""
    board = make_board("connect_four")
    task = Task.resolve(
        "games/connect-four", TaskConfig(family="games", env_id="connect_four", kwargs={"opponent": "self"})
    )
    state = after(board, moves)
    legal = board.mask(state)[None].astype(bool)
    logits = np.arange(7.0)[None]
    seen = board.observe(state, state.current_player())[None]
    return Window(task, seen, np.array([6]), logits, np.array([5]), np.zeros(1), masks=legal)


def test_a_mirrored_window_is_the_mirrored_game():
    result, expected = mirrored(window("0000001")), window("6666665")
    assert (result.observations == expected.observations).all()
    assert (result.masks == expected.masks).all() and not result.masks[0, 6]
    assert result.labels.tolist() == [0] and result.actions.tolist() == [1]
    assert result.distributions.tolist() == [[6, 5, 4, 3, 2, 1, 0]]


def test_twice_mirrored_is_as_recorded():
    once = window("33345")
    twice = mirrored(mirrored(once))
    for name in ("observations", "labels", "actions", "distributions", "masks"):
        assert (getattr(twice, name) == getattr(once, name)).all()


def test_other_tasks_stay_as_they_are():
    other = Window(make_task(), np.zeros((1, 4)), np.zeros(1, int), None, np.zeros(1, int), np.zeros(1))
    assert mirrored(other) is other
