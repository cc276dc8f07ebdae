import numpy as np
import pytest

pytest.importorskip("pyspiel")
pytest.importorskip("bitbully")

from benchmarks.tasks.games import positions
from benchmarks.tasks.games.boards import after, make_board
from benchmarks.tasks.games.solvers import make_solver


def test_the_files_values_equal_the_solvers():
    fixed, board = positions.load(), make_board("connect_four")
    solve = make_solver(board)
    for row in np.random.default_rng(0).choice(len(fixed.moves), 40, replace=False):
        state = after(board, fixed.moves[row])
        values = solve(state)
        assert sorted(values) == state.legal_actions() == fixed.action_masks[row].nonzero()[0].tolist()
        assert [values[column] for column in sorted(values)] == fixed.values[row][fixed.action_masks[row]].tolist()


def test_the_positions_cover_all_plies_are_distinct_and_critical():
    fixed = positions.load()
    assert len(fixed.moves) == positions.COUNT and positions.FILE.stat().st_size < 200_000
    keys = {min(seen.tobytes(), seen[:, :, ::-1].tobytes()) for seen in fixed.observations}
    assert len(keys) == positions.COUNT
    plies = np.array([len(moves) for moves in fixed.moves])
    assert set(range(1, 35)) <= set(plies)
    assert abs((plies % 2).mean() - 0.5) < 0.1, "both players are to move"
    signs = np.sign(fixed.values)
    assert (np.nanmax(signs, axis=1) > np.nanmin(signs, axis=1)).all()
    assert set(np.nanmax(signs, axis=1)) == {0, 1}


def test_the_file_can_be_reproduced():
    """As many positions as can be sampled in a second: each must be in the file."""
    known = set(positions.load().moves)
    assert {line.split(",")[0] for line in positions.make(20).splitlines()[1:]} <= known


def test_tic_tac_toe_positions_equal_those_in_games():
    board, every = make_board("tic_tac_toe"), positions.tic_tac_toe_positions()
    seen = {
        observation.tobytes(): mask for observation, mask in zip(every.observations, every.action_masks, strict=True)
    }
    assert len(seen) == len(every.squares) == 4520
    for seed in range(30):
        rng, state = np.random.default_rng(seed), board.game.new_initial_state()
        while not state.is_terminal():
            mask = seen[board.observe(state, state.current_player()).tobytes()]
            np.testing.assert_array_equal(mask, board.mask(state))
            state.apply_action(int(rng.choice(state.legal_actions())))


def test_the_moves_to_a_tic_tac_toe_position_lead_to_it():
    board, every = make_board("tic_tac_toe"), positions.tic_tac_toe_positions()
    for moves, observation in zip(every.moves, every.observations, strict=True):
        state = after(board, moves)
        np.testing.assert_array_equal(board.observe(state, state.current_player()), observation)
