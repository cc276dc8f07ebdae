import numpy as np
import pytest

pytest.importorskip("pyspiel")

from benchmarks.base.seeds import stream
from benchmarks.tasks.games.boards import GAMES, make_board


@pytest.mark.parametrize("name", GAMES)
def test_the_mirrored_game_follows_the_rules(name):
    board = make_board(name)
    assert (board.mirrored_actions[board.mirrored_actions] == np.arange(board.actions)).all()
    state, mirrored = board.game.new_initial_state(), board.game.new_initial_state()
    rng = stream("test", name)
    while not state.is_terminal():
        action = int(rng.choice(sorted(board.legal(state))))
        assert set(board.legal(mirrored)) == {int(board.mirrored_actions[legal]) for legal in board.legal(state)}
        for position, choice in ((state, action), (mirrored, int(board.mirrored_actions[action]))):
            position.apply_action(board.spiel_action(position, choice))
        for player in (0, 1):
            seen = board.observe(state, player)
            assert (board.mirrored(seen[None])[0] == board.observe(mirrored, player)).all()
    assert mirrored.is_terminal() and mirrored.returns() == state.returns()
