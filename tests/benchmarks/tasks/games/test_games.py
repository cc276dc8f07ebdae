import numpy as np
import pytest

pytest.importorskip("pyspiel")
pytest.importorskip("bitbully")

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.play.policy import Noisy, RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.tasks import Task, TaskConfig, make_env
from benchmarks.tasks.games.boards import GAMES, SHAPE, after, make_board
from benchmarks.tasks.games.environment import opponent_of
from benchmarks.tasks.games.opponents import make_opponent
from benchmarks.tasks.games.solvers import make_solver
from benchmarks.tasks.snapshots.snapshot import check, restore, save


def game(name="connect_four", opponent="random", horizon=None):
    config = TaskConfig(family="games", env_id=name, kwargs={"opponent": opponent}, horizon=horizon)
    return Task.resolve(f"games/{name}", config)


def play(env, seed, choose):
    """A whole game: infos, rewards, and the moves of both sides."""
    observation, info = env.reset(seed=seed)
    steps = [(observation, info, 0.0)]
    terminated = truncated = False
    while not (terminated or truncated):
        observation, reward, terminated, truncated, info = env.step(choose(observation, info["action_mask"]))
        steps.append((observation, info, reward))
    return steps, env.unwrapped.state.history()


def randomly(seed):
    rng = stream("test", seed)  # not default_rng(seed), which is the environment's own stream
    return lambda observation, mask: rng.choice(mask.nonzero()[0])


def first_legal(env, count):
    """Observations of some steps of a player that takes the first legal action."""
    seen = []
    for _ in range(count):
        if env.unwrapped.state.is_terminal():
            break
        seen.append(env.step(env.unwrapped.action_masks().argmax())[0])
    return seen


@pytest.mark.parametrize("name", GAMES)
def test_random_playouts_of_openspiel_are_the_same_games_here(name):
    board, env = make_board(name), make_env(game(name, "self"))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        state = board.game.new_initial_state()
        _, info = env.reset(seed=seed)
        while not state.is_terminal():
            mover = state.current_player()
            assert info["to_play"] == mover
            assert {board.legal(state)[a] for a in info["action_mask"].nonzero()[0]} == set(state.legal_actions())
            assert info["action_mask"].sum() == len(state.legal_actions()), "two moves share an action"
            action = int(rng.choice(state.legal_actions()))
            _, reward, terminated, truncated, info = env.step(board.canonical(state, action))
            state.apply_action(action)
            assert str(env.unwrapped.state) == str(state) and terminated == state.is_terminal() and not truncated
            assert reward == (state.returns()[mover] if terminated else 0)
        assert not info["action_mask"].any() and info["to_play"] == -1
        assert info["success"] == (state.returns()[info["learner"]] == 1)


def squares_of(name, text):
    """A position's text from the players' squares, parsed independently from OpenSpiel's text."""
    marks = {"breakthrough_6x6": "bw"}.get(name, "xo")
    rows = [line.replace(" ", "") for line in text.splitlines() if line.strip()]
    if name == "breakthrough_6x6":
        rows = [row[1:] for row in rows[:-1]]
    return [np.array([[square == mark for square in row] for row in rows]) for mark in marks]


@pytest.mark.parametrize("name", GAMES)
def test_both_players_have_canonical_views(name):
    board = make_board(name)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        state = board.game.new_initial_state()
        while not state.is_terminal():
            first, second = squares_of(name, str(state))
            turned = {"breakthrough_6x6": np.flipud, "hex_5x5": np.transpose}.get(name, np.array)
            height, width = first.shape
            for player, planes in ((0, (first, second)), (1, (turned(second), turned(first)))):
                seen = board.observe(state, player)
                assert seen.shape == SHAPE and seen.dtype == np.int8
                np.testing.assert_array_equal(seen[:2, :height, :width], planes)
                assert seen[2, :height, :width].all() and seen.sum() == height * width + first.sum() + second.sum()
            state.apply_action(int(rng.choice(state.legal_actions())))


def test_an_action_means_the_same_to_both_players():
    """A canonical action's square is the one in the mover's view."""
    for name in ("tic_tac_toe", "breakthrough_6x6", "hex_5x5"):
        board = make_board(name)
        rng = np.random.default_rng(1)
        state = board.game.new_initial_state()
        while not state.is_terminal():
            player = state.current_player()
            before = board.observe(state, player)
            action = int(rng.choice(board.mask(state).nonzero()[0]))
            state.apply_action(board.spiel_action(state, action))
            own = board.observe(state, player)[0] - before[0]
            if name == "breakthrough_6x6":
                square, direction = divmod(action, 3)
                row, column = divmod(square, 6)
                assert own[row, column] == -1 and own[row + 1, column + direction - 1] == 1
            else:
                assert own[divmod(action, 3 if name == "tic_tac_toe" else 5)] == 1 and own.sum() == 1


def test_a_reward_of_self_play_is_the_movers_and_success_the_learners():
    env, moves = make_env(game("connect_four", "self")), [3, 0, 3, 0, 3, 0, 3]
    outcomes = {}
    for seed in range(20):
        _, info = env.reset(seed=seed)
        for move in moves:
            _, reward, terminated, _, last = env.step(move)
        assert terminated
        outcomes[info["learner"]] = (reward, last["success"])
    assert outcomes == {0: (1.0, True), 1: (1.0, False)}  # the first player moved last, and won


def test_a_mirrored_position_has_mirrored_values():
    board = make_board("connect_four")
    solve = make_solver(board)
    for moves in ("33333", "0123456012", "33442200"):
        values = solve(after(board, moves))
        mirrored = solve(after(board, "".join(str(6 - int(move)) for move in moves)))
        assert values == {6 - column: value for column, value in mirrored.items()}


def test_the_solver_reproduces_known_values():
    board = make_board("connect_four")
    solve = make_solver(board)
    # Allis 1988: the first player wins only in the centre; Pons 2015 gives the magnitudes.
    assert solve(after(board, "")) == {0: -2, 1: -1, 2: 0, 3: 1, 4: 0, 5: -1, 6: -2}
    assert solve(after(board, "303030"))[3] == 22 - 4, "the fourth in a row wins with the fourth stone"
    assert max(solve(after(board, "30303")).values()) == solve(after(board, "30303"))[3] < 19, "only a block helps"
    tic_tac_toe = make_board("tic_tac_toe")
    solve = make_solver(tic_tac_toe)
    assert set(solve(after(tic_tac_toe, "")).values()) == {0}
    assert solve(after(tic_tac_toe, "4"))[1] < 0 == solve(after(tic_tac_toe, "4"))[0], "answer the centre in a corner"
    values = solve(after(tic_tac_toe, "0143"))
    assert values[8] == 6 - 3 and values[2] == 6 - 4, "a win by the third stone, and by two threats with the fourth"


def test_the_solver_agrees_with_a_search_of_all_ends():
    board = make_board("connect_four")
    solve, rng, compared = make_solver(board), np.random.default_rng(0), 0

    def value(state):
        if state.is_terminal():
            outcome = state.returns()[len(state.history()) % 2]
            return int(outcome) * (22 - (len(state.history()) + 1) // 2)
        return max(-value(state.child(action)) for action in state.legal_actions())

    while compared < 10:
        state = board.game.new_initial_state()
        while not state.is_terminal() and len(state.history()) < 34:
            state.apply_action(int(rng.choice(state.legal_actions())))
        if not state.is_terminal():
            assert solve(state) == {action: -value(state.child(action)) for action in state.legal_actions()}
            compared += 1


def test_perfect_players_draw_tic_tac_toe_and_the_first_one_wins_connect_four():
    for name, outcome in (("tic_tac_toe", 0), ("connect_four", 1)):
        board, rng = make_board(name), np.random.default_rng(0)
        perfect, state = make_opponent(board, "perfect"), None
        for _ in range(3 if name == "tic_tac_toe" else 1):
            state = board.game.new_initial_state()
            while not state.is_terminal():
                state.apply_action(perfect(state, rng))
            assert state.returns()[0] == outcome


def test_a_stronger_opponent_wins_more():
    def mean(opponent, games=60):
        env = make_env(game("connect_four", opponent))
        return np.mean([play(env, seed, randomly(seed))[0][-1][2] for seed in range(games)])

    assert mean("mcts-100") < -0.9 < mean("mcts-10") < -0.5 < mean("random")


def test_the_seed_determines_the_game_and_all_colours_and_opponents_occur():
    env, again = (make_env(game("hex_5x5", ["random", "mcts-10"])) for _ in range(2))
    opponents, games = set(), set()
    for seed in range(20):
        (steps, moves), (same, same_moves) = play(env, seed, randomly(0)), play(again, seed, randomly(0))
        assert moves == same_moves
        for (a, info_a, reward_a), (b, info_b, reward_b) in zip(steps, same, strict=True):
            np.testing.assert_array_equal(a, b)
            assert reward_a == reward_b and info_a["opponent"] == info_b["opponent"]
        opponents.add((steps[0][1]["learner"], steps[0][1]["opponent"]))
        games.add(tuple(moves))
    assert len(opponents) == 4 and len(games) == 20


def test_scores_know_the_opponent_of_a_seed():
    opponents = ["random", "mcts-10", "mcts-100"]
    env = make_env(game("tic_tac_toe", opponents))
    played = [env.reset(seed=600_000_000 + seed)[1]["opponent"] for seed in range(30)]
    assert played == [opponent_of(600_000_000 + seed, opponents) for seed in range(30)]
    assert set(played) == set(opponents)


def test_a_game_can_start_in_a_position():
    env, board = make_env(game("connect_four", ["random", "mcts-10"])), make_board("connect_four")
    for moves, learner in (("334", 1), ("3344", 0)):
        observation, info = env.reset(seed=5, options={"moves": moves})
        state = after(board, moves)
        assert env.unwrapped.state.history() == [int(move) for move in moves]
        assert info["learner"] == info["to_play"] == learner and info["opponent"] == opponent_of(
            5, ["random", "mcts-10"]
        )
        np.testing.assert_array_equal(observation, board.observe(state, learner))
    with pytest.raises(GatitoError, match="move 7 of '3333333' is illegal"):
        env.reset(seed=5, options={"moves": "3333333"})


def test_a_clone_keeps_the_game_and_samples_new_replies():
    task = game("connect_four", ["random", "mcts-10"])
    env, clone = make_env(task), make_env(task)
    env.reset(seed=3)
    for _ in range(2):
        env.step(3)
    before, state = env.unwrapped.state.history(), save(env)
    futures = set()
    for seed in range(8):
        seen = restore(clone, state, stream(seed))
        np.testing.assert_array_equal(seen, env.observation)
        inner = clone.unwrapped
        assert inner.state.history() == before and inner.learner == env.unwrapped.learner
        assert (inner.action_masks() == env.unwrapped.action_masks()).all()
        first_legal(clone, 3)
        futures.add(tuple(inner.state.history()))
    assert len(futures) > 4, "clones draw from streams of their own"
    assert env.unwrapped.state.history() == before, "the game that is played goes on as it was"
    restore(clone, state, stream(0))
    restore(env, state, stream(0))
    np.testing.assert_array_equal(first_legal(clone, 3), first_legal(env, 3))


def test_a_clone_is_truncated_at_the_same_step():
    env = make_env(game("connect_four", "self", horizon=5))
    env.reset(seed=0)
    for column in (0, 1, 2):
        env.step(column)
    clone = make_env(game("connect_four", "self", horizon=5))
    restore(clone, save(env), stream(0))
    assert [clone.step(column)[3] for column in (4, 5)] == [False, True]


@pytest.mark.parametrize("action", [3, 7, -1])
def test_an_illegal_move_names_the_position(action):
    env = make_env(game("connect_four", "self"))
    env.reset(seed=0)
    for _ in range(6):
        env.step(3)
    with pytest.raises(GatitoError) as error:
        env.step(action)
    text = str(error.value)
    assert f"no action {action} in position ...o.../...x.../...o.../...x.../...o.../...x... (to move: x; " in text
    assert "legal actions: 0, 1, 2, 4, 5, 6" in text and "\n" not in text and "action_mask" in text
    assert "Fix the environment" not in text and error.value.task == "games/connect_four"


def test_a_move_after_the_end_is_illegal():
    env = make_env(game("tic_tac_toe", "self"))
    env.reset(seed=0)
    for action in (0, 3, 1, 4, 2):
        env.step(action)
    with pytest.raises(GatitoError, match="the game is over"):
        env.step(8)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"name": "conect_four"}, "unknown game of task games/conect_four 'conect_four'. Did you mean 'connect_four'"),
        ({"opponent": "mtcs-10"}, "unknown opponent 'mtcs-10'. Did you mean 'mcts-10'"),
        ({"opponent": "mcts-1"}, "at least 2 simulations"),
        ({"opponent": []}, "has no opponent"),
        ({"opponent": 5}, "unknown opponent '5'"),
        ({"name": "hex_5x5", "opponent": ["random", "perfect"]}, "unknown game with a solver 'hex_5x5'"),
    ],
)
def test_invalid_settings_get_one_line(settings, text):
    with pytest.raises(GatitoError, match=text) as error:
        game(**settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("module", "settings"), [("pyspiel", {}), ("bitbully", {"opponent": "perfect"})])
def test_a_missing_package_names_the_extra(module, settings, monkeypatch):
    from benchmarks.tasks.games import boards, solvers

    monkeypatch.setitem(__import__("sys").modules, module, None)
    for cached in (boards._board, solvers._bitbully):
        cached.cache_clear()
    with pytest.raises(GatitoError, match=r"pip install 'gatito\[games\]'") as error:
        game(**settings)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    for cached in (boards._board, solvers._bitbully):
        cached.cache_clear()


def test_images_and_texts_show_the_board():
    env = make_env(game("tic_tac_toe", "self"), "ansi")
    env.reset(seed=0)
    env.step(4)
    assert env.render() == "...\n.x.\n..."
    picture = make_env(game("hex_5x5"), "rgb_array")
    picture.reset(seed=0)
    assert picture.render().shape == (240, 240, 3) and picture.render().dtype == np.uint8


@pytest.mark.parametrize("name", GAMES)
def test_random_play_is_legal_and_about_as_good_as_a_random_opponent(name):
    task = game(name)
    for policy in (RandomPolicy(), Noisy(RandomPolicy(), 0.5)):
        episodes = list(rollout(policy, {task: range(200)}, keep_steps=True))
        assert abs(np.mean([episode.total_return for episode in episodes])) < 0.25
        assert {episode.success for episode in episodes} == {True, False}


@pytest.mark.parametrize("name", GAMES)
def test_every_game_passes_the_check_of_clones(name):
    check(game(name, ["random", "mcts-10"]))
    check(game(name, "self"))
