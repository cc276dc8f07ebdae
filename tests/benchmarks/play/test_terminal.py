import numpy as np
import pytest

pytest.importorskip("pyspiel")

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import PolicyOutput, RandomPolicy
from benchmarks.play.terminal import play_in_terminal, the_game
from benchmarks.tasks import Suite, Task, TaskConfig
from benchmarks.tasks.games.boards import GAMES, make_board
from benchmarks.tasks.games.notation import diagram, legal_moves
from tests.conftest import make_task


def game(name):
    return Task.resolve(f"games/{name}", TaskConfig(family="games", env_id=name, kwargs={"opponent": "random"}))


class Script(RandomPolicy):
    """Plays these actions, one after another, and says what each is worth."""

    name = "script"

    def __init__(self, *actions, value=None):
        self.actions, self.value, self.seen = list(actions), value, []

    def act(self, inputs, state):
        [rows] = inputs
        self.seen.append(rows)
        action = np.array([self.actions.pop(0)])
        return [PolicyOutput(action, action, values=None if self.value is None else np.array([self.value]))], state


def play(policy, task, *answers, capsys):
    """What a person sees who types these answers; then the input ends."""
    left = list(answers)

    def read(question):
        if not left:
            raise EOFError
        return left.pop(0)

    play_in_terminal(policy, task, 0, read)
    assert not left, "all answers were asked for"
    return capsys.readouterr().out


def test_a_person_wins_loses_and_changes_sides(capsys):
    policy = Script(3, 4, 0, 1, 2, value=0.25)
    shown = play(policy, game("tic_tac_toe"), "0", "1", "2", "", "3", "4", "n", "q", capsys=capsys)
    first, second = shown.split("You are o; x begins.")
    assert "You are x; x begins." in first and "You have won." in first
    assert "script (o) plays 3, value +0.25 for it" in first and "x x x\no o 5\n6 7 8" in first
    assert second.index("script (x) plays 0") < second.index("x 1 2\n3 4 5\n6 7 8")
    assert "x x x\no o 5\n6 7 8" in second and "You have lost." in second
    assert [bool(rows.episode_start[0]) for rows in policy.seen] == [True, False, True, False, False]
    np.testing.assert_array_equal(policy.seen[0].observations[0, :2, 0, :3], [[0, 0, 0], [1, 0, 0]])
    assert not any(rows.rewards.any() for rows in policy.seen)


def test_wrong_input_gets_one_line_and_is_asked_again(capsys):
    shown = play(Script(4), game("tic_tac_toe"), "9", "middle", " 0 ", "4", "q", capsys=capsys)
    for answer in ("9", "middle", "4"):
        assert f"'{answer}' is no legal move: type one of " in shown
    assert "script (o) plays 4" in shown and "value" not in shown


def test_the_end_of_the_input_leaves(capsys):
    assert "You are x" in play(Script(), game("hex_5x5"), capsys=capsys)


@pytest.mark.parametrize("name", GAMES)
def test_moves_have_distinct_names_in_whole_games(name):
    board = make_board(name)
    for seed in range(10):
        rng, state = np.random.default_rng(seed), board.game.new_initial_state()
        while not state.is_terminal():
            legal = legal_moves(board, state)
            assert len(legal) == len(state.legal_actions()) and set(legal.values()) == set(board.legal(state))
            state.apply_action(board.spiel_action(state, legal[rng.choice(sorted(legal))]))


def test_labels_name_the_squares_of_a_move():
    board = make_board("breakthrough_6x6")
    state = board.game.new_initial_state()
    assert (
        diagram(board, state).splitlines()[1] == "5 x x x x x x"
        and diagram(board, state).splitlines()[-1] == "  a b c d e f"
    )
    state.apply_action(board.spiel_action(state, legal_moves(board, state)["b5c4"]))
    assert diagram(board, state).splitlines()[1:3] == ["5 x . x x x x", "4 . . x . . ."]
    board = make_board("hex_5x5")
    state = board.game.new_initial_state()
    for move in ("c1", "b2"):
        state.apply_action(board.spiel_action(state, legal_moves(board, state)[move]))
    assert diagram(board, state).splitlines()[:3] == ["  a b c d e", "1 . . x . .", " 2 . o . . ."]


def test_one_game_is_chosen_or_one_line_says_which_there_are():
    four, pole = game("connect_four"), make_task()
    assert the_game(Suite("mine", (pole, four))) == four
    with pytest.raises(GatitoError, match=r"suite mine has no board game .* suite=games tasks=\[connect-four\]"):
        the_game(Suite("mine", (pole,)))
    with pytest.raises(GatitoError, match=r"there are connect_four, hex_5x5: name one, such as tasks=\[connect_four\]"):
        the_game(Suite("mine", (four, game("hex_5x5"))))
