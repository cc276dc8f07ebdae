import numpy as np
import pytest

pytest.importorskip("pyspiel")

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.scoring.games import exploitability, one_hot
from benchmarks.tasks.games.boards import GAMES, after, make_board
from benchmarks.tasks.games.positions import tic_tac_toe_positions
from benchmarks.tasks.games.solvers import solve_tic_tac_toe
from generalist.amplifiers.two_player import SELECTIONS, TwoPlayerSearch, considered_visits, search
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig


def ignorant(board):
    return lambda states: (np.zeros((len(states), board.actions)), np.zeros(len(states)))


def exact(states):
    """A perfect critic of tic-tac-toe and a uniform policy."""
    values = [np.sign(max(solve_tic_tac_toe(state).values())) for state in states]
    return np.zeros((len(states), 9)), np.array(values, dtype=float)


def knowing(states):
    """A perfect critic and a perfect policy of tic-tac-toe."""
    logits = np.zeros((len(states), 9))
    for row, state in zip(logits, states, strict=True):
        for action, value in solve_tic_tac_toe(state).items():
            row[action] = 5 * np.sign(value)
    return logits, exact(states)[1]


def silent(selection, simulations):
    return TwoPlayerSearch(simulations, selection, gumbel_scale=0.0, dirichlet_fraction=0.0, temperature=0.0)


def streams(count):
    return [stream("test", index) for index in range(count)]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(
    ("moves", "best"),
    [
        ("0341", 8),  # x wins on the diagonal at once
        ("031", 2),  # o must block the row
        ("04136", 5),  # o wins by the row in the middle
    ],
)
def test_wins_and_threats_are_found_without_a_prior(selection, moves, best):
    board = make_board("tic_tac_toe")
    found = search(board, [after(board, moves)], ignorant(board), silent(selection, 200), streams(1))
    assert found.actions.tolist() == [best] == found.action_weights.argmax(axis=1).tolist()
    assert found.visit_counts[0, best] == found.visit_counts.max()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_values_are_from_the_view_of_the_player_to_move(selection):
    board = make_board("tic_tac_toe")
    # x to move can win at 8; o to move cannot stop x, who threatens 5, 6 and 8; the empty board is a draw.
    states = [after(board, moves) for moves in ("0341", "01473", "")]
    won, lost, drawn = search(board, states, exact, silent(selection, 60), streams(3)).values
    assert won > 0.8 and abs(drawn) < 0.5, "a draw, and replies that lose are tried, too"
    assert lost < -0.8


@pytest.mark.parametrize("selection", SELECTIONS)
def test_with_exact_values_it_never_loses(selection):
    board, positions = make_board("tic_tac_toe"), tic_tac_toe_positions()
    states = []
    for mine, theirs in positions.squares:
        state = board.game.new_initial_state()
        first, second = (mine, theirs) if mine.bit_count() == theirs.bit_count() else (theirs, mine)
        sides = [[square for square in range(9) if squares >> square & 1] for squares in (first, second)]
        for ply in range(len(sides[0]) + len(sides[1])):
            state.apply_action(sides[ply % 2][ply // 2])
        states.append(state)
    found = search(board, states, knowing, silent(selection, 20), streams(len(states)))
    assert exploitability(one_hot(found.actions, 9)) == 0.0
    assert not (found.action_weights * ~positions.action_masks).any()


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", GAMES)
def test_illegal_moves_are_never_chosen(name, selection):
    """Games of noisy searches whose priors favour illegal moves."""
    board, rngs = make_board(name), streams(4)
    states = [board.game.new_initial_state() for _ in rngs]

    def perverse(seen):
        masks = np.stack([board.mask(state) for state in seen])
        return np.where(masks, rngs[0].normal(size=masks.shape), 1e6), rngs[0].uniform(-1, 1, len(seen))

    while states:
        found = search(board, states, perverse, TwoPlayerSearch(6, selection), rngs[: len(states)])
        legal = np.stack([board.mask(state) for state in states]).astype(bool)
        assert not found.action_weights[~legal].any() and not found.visit_counts[~legal].any()
        np.testing.assert_allclose(found.action_weights.sum(axis=1), 1)
        assert (found.visit_counts.sum(axis=1) == 6).all()
        for state, action in zip(states, found.actions, strict=True):
            state.apply_action(board.spiel_action(state, int(action)))
        states = [state for state in states if not state.is_terminal()]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_mirrored_position_has_the_mirrored_search(selection):
    board = make_board("connect_four")

    def central(states):  # prefers columns near the centre, nearly symmetric, without ties
        seen = np.stack([board.observe(state, state.current_player()) for state in states]).astype(float)
        weights = np.abs(np.arange(7) - 2.9) if mirrored else np.abs(np.arange(7) - 3.1)
        values = 0.1 * np.tanh((seen[:, 0] - seen[:, 1]).sum(axis=1) @ (1 / (1 + weights)))
        return np.tile(-weights, (len(states), 1)), values

    mirrored = False
    one = search(board, [after(board, "334")], central, silent(selection, 100), streams(1))
    mirrored = True
    other = search(board, [after(board, "332")], central, silent(selection, 100), streams(1))
    np.testing.assert_allclose(one.action_weights, other.action_weights[:, ::-1], atol=1e-9)
    np.testing.assert_allclose(one.values, other.values, atol=1e-9)


def test_parallel_games_are_independent():
    board, config = make_board("connect_four"), TwoPlayerSearch(24)
    states = [after(board, moves) for moves in ("", "33", "0123456")]
    together = search(board, states, ignorant(board), config, streams(3))
    for index, state in enumerate(states):
        alone = search(board, [state], ignorant(board), config, [stream("test", index)])
        np.testing.assert_array_equal(alone.action_weights[0], together.action_weights[index])
        assert alone.actions[0] == together.actions[index]


def test_sequential_halving_as_a_schedule():
    # mctx.get_sequence_of_considered_visits(4, 8): all four once, then the better two.
    assert considered_visits(4, 8) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert considered_visits(1, 3) == [0, 1, 2]
    assert considered_visits(3, 2) == [0, 0]


def test_finished_games_and_invalid_settings_are_rejected():
    board = make_board("tic_tac_toe")
    with pytest.raises(GatitoError, match=r"cannot search xxx/oo\./\.\.\.: the game is over"):
        search(board, [after(board, "03142")], ignorant(board), TwoPlayerSearch(), streams(1))
    with pytest.raises(GatitoError, match=r"amplifier\.selection 'uct'"):
        TwoPlayerSearch(selection="uct").check([], ModelConfig(), CodecConfig())
    with pytest.raises(GatitoError, match=r"amplifier\.num_simulations must be at least 1"):
        TwoPlayerSearch(num_simulations=0).check([], ModelConfig(), CodecConfig())
