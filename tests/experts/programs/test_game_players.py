import numpy as np
import pytest

pytest.importorskip("pyspiel")
pytest.importorskip("bitbully")

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose
from benchmarks.play.rollout import rollout
from benchmarks.tasks import Task, TaskConfig, make_env
from experts import train
from experts.programs.games import ILLEGAL_LOGIT, ILLEGAL_Q
from experts.programs.scripted import make_program
from experts.recipe import ExpertRecipe

PERFECT = ExpertRecipe(algorithm="perfect")


def mcts(simulations=50, **more):
    return ExpertRecipe(algorithm="mcts", hyperparameters={"simulations": simulations, **more})


def game(name="connect_four", opponent="random"):
    return Task.resolve(f"games/{name}", TaskConfig(family="games", env_id=name, kwargs={"opponent": opponent}))


def test_the_perfect_player_never_loses_tic_tac_toe_and_returns_each_moves_value():
    task = game("tic_tac_toe", ["random", "mcts-100", "perfect"])
    for episode in rollout(make_program(task, PERFECT), {task: range(60)}, keep_steps=True):
        assert episode.total_return >= 0 and episode.steps is not None
        q, actions = episode.steps["distributions"], episode.steps["actions"]
        assert q.dtype == np.float32 and (np.abs(q[q != ILLEGAL_Q]) < 1).all()
        assert (q[np.arange(len(q)), actions] == q.max(axis=1)).all()
        taken = episode.steps["observations"][:-1, :2, :3, :3].any(axis=1).reshape(-1, 9)
        np.testing.assert_array_equal(q == ILLEGAL_Q, taken)


@pytest.mark.parametrize("name", ["connect_four", "breakthrough_6x6", "hex_5x5"])
def test_mcts_wins_and_its_visits_are_a_distribution_over_legal_moves(name):
    task = game(name)
    episodes = list(rollout(make_program(task, mcts()), {task: range(10)}, keep_steps=True))
    assert np.mean([episode.total_return for episode in episodes]) >= 0.8
    for episode in episodes:
        assert episode.steps is not None
        logits, env = episode.steps["distributions"], make_env(task)
        _, info = env.reset(seed=episode.seed)
        for row, action in zip(logits, episode.steps["actions"], strict=True):
            assert (row[info["action_mask"] == 0] == ILLEGAL_LOGIT).all()
            assert row[action] > ILLEGAL_LOGIT and np.exp(row.astype(float)).sum() <= 50 + 1e-3
            _, _, _, _, info = env.step(action)


def test_a_longer_search_beats_a_shorter_one():
    task = game("hex_5x5", "mcts-20")
    values, _ = train._scores(make_program(task, mcts(500)), task, Purpose.GATE, 30, 0)
    assert np.mean(values) > 0.5


@pytest.mark.parametrize(
    ("name", "recipe", "text"),
    [
        ("hex_5x5", PERFECT, "perfect play is known for tic_tac_toe and connect_four, not for hex_5x5: use mcts"),
        ("hex_5x5", mcts(simulations=1), "with N of at least 2"),
        ("hex_5x5", mcts(depth=3), "nothing else"),
        ("hex_5x5", ExpertRecipe(algorithm="mcts"), "mcts needs hyperparameters"),
        ("tic_tac_toe", ExpertRecipe(algorithm="bot"), "use mcts or perfect"),
        ("tic_tac_toe", ExpertRecipe(algorithm="perfect", hyperparameters={"simulations": 9}), "is not trained"),
    ],
)
def test_invalid_recipes_get_one_line(name, recipe, text):
    with pytest.raises(GatitoError, match=text) as error:
        make_program(game(name), recipe)
    assert "\n" not in str(error.value)
