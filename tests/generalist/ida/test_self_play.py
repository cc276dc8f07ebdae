"""Rounds of self-play: what is recorded, what the critic learns from it, and that a killed round resumes."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyspiel")

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Suite, make_env
from benchmarks.tasks.games import as_self_play, is_self_play
from generalist.amplifiers import make_amplifier
from generalist.config.codec import CodecConfig
from generalist.config.ida import IdaConfig
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.distill.returns import critic_targets, returns_to_go
from generalist.ida.run import make_rounds
from generalist.network.network import load_network
from generalist.network.policy import NetworkPolicy
from tests.benchmarks.tasks.games.test_games import game
from tests.conftest import make_task
from tests.generalist.ida.starts import start_ida

MODEL = ModelConfig(layers=1, heads=2, width=32, feedforward=64, context_length=4)
DISTILL = DistillConfig(updates=20, batch_size=16, sequence_length=4, warmup=2)
CODEC = CodecConfig(
    critic=1.0, board_features=8, image_frames=0, grid_size=0, text_length=0, vector_width=1, discrete_actions=9
)
CONFIG = IdaConfig(
    rounds=2, start="random", env_steps=150, num_envs=16, noise=0.0, updates=60, learning_rate=3e-3, batch_size=32
)
OPTIONS = {"name": "two_player_search", "num_simulations": 16, "gumbel_scale": 1.0}
TASK = game("tic_tac_toe", ["random"])


def make_ida(folder, config=CONFIG, options=OPTIONS, task=TASK):
    recipe = NetworkRecipe(DISTILL, MODEL, CODEC)
    return start_ida(folder, Suite("games", (task,)), RandomPolicy(), recipe, config, options)


def against_random(policy):
    return np.mean([each.total_return for each in rollout(policy, {TASK: range(900, 1000)}, envs_per_task=50)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    ida = make_ida(tmp_path_factory.mktemp("self-play"))
    make_rounds(ida)
    return ida


def test_both_sides_are_played_and_rewards_are_the_movers(finished):
    for round_ in finished.rounds:
        played = Trajectories(round_.plays[TASK.name].folder)
        assert played.facts["self_play"] and len(played) > 15
        for steps in played.episodes():
            rewards = steps["rewards"]
            assert (rewards[:-1] == 0).all() and rewards[-1] in (0, 1)  # a player cannot lose by its own move
            stones = steps["observations"][:-1, :2].sum(axis=(1, 2, 3))
            np.testing.assert_array_equal(stones, np.arange(len(rewards)))


def test_returns_alternate_in_sign(finished):
    played = Trajectories(finished.rounds[0].plays[TASK.name].folder)
    returns = returns_to_go(played, 0.5)
    won = next(episode for episode, steps in enumerate(played.episodes()) if steps["rewards"][-1] == 1)
    length, end = int(played.lengths[won]), int(played.ends[won])
    np.testing.assert_allclose(returns[end - length : end], [(-0.5) ** power for power in range(length)][::-1])


def test_a_search_records_its_values_and_the_critic_learns_a_share_of_them(tmp_path):
    recipe = NetworkRecipe(replace(DISTILL, search_values=0.25), MODEL, CODEC)
    ida = start_ida(
        tmp_path, Suite("games", (TASK,)), RandomPolicy(), recipe, replace(CONFIG, rounds=1, control=True), OPTIONS
    )
    make_rounds(ida)
    amplified, control = (Trajectories(round_.plays[TASK.name].folder) for round_ in ida.rounds)
    assert amplified.has("values") and not control.has("values")
    values = np.concatenate([steps["values"] for steps in amplified.episodes()])
    assert values.dtype == np.float32 and (np.abs(values) <= 1).all()
    returns = returns_to_go(amplified, 0.9)
    np.testing.assert_allclose(critic_targets(amplified, 0.9, 0.25), 0.75 * returns + 0.25 * values, rtol=1e-5)
    np.testing.assert_array_equal(critic_targets(control, 0.9, 0.25), returns_to_go(control, 0.9))
    won = [steps["values"][-1] for steps in amplified.episodes() if steps["rewards"][-1] == 1]
    assert np.mean(won) > np.mean(values)  # a search sees the win that the next move brings


def test_targets_are_legal_and_improved(finished):
    played = Trajectories(finished.rounds[0].plays[TASK.name].folder)
    for steps in played.episodes():
        weights = np.exp(steps["distributions"])
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-4)
        assert (weights[~steps["masks"].astype(bool)] == 0).all()


def test_rounds_from_random_weights_learn_to_play(finished):
    amplified = [round_ for round_ in finished.rounds if round_.side == "amplified"]
    before = against_random(NetworkPolicy.load(finished.start.folder, [TASK]))
    after = against_random(NetworkPolicy.load(amplified[-1].student.folder, [TASK]))
    assert after > before + 0.3


def test_the_control_plays_as_many_steps_with_different_games(finished):
    amplified, control = finished.rounds[:2]
    ours, theirs = (Trajectories(round_.plays[TASK.name].folder) for round_ in (amplified, control))
    assert theirs.steps >= 16 * ours.steps  # a step per simulation
    games = {steps["actions"].tobytes() for steps in theirs.episodes()}
    assert len(games) > len(theirs) / 4  # sampled: the most likely moves would repeat one game


def test_a_killed_round_resumes_to_the_same_weights(finished, tmp_path, monkeypatch, capsys):
    from generalist.distill import train as fit

    original, calls = fit.save_network, {"left": 3}

    def killed(*arguments):
        calls["left"] -= 1
        if not calls["left"]:
            raise KeyboardInterrupt
        original(*arguments)

    ida = make_ida(tmp_path)
    monkeypatch.setattr(fit, "save_network", killed)
    with pytest.raises(KeyboardInterrupt):
        make_rounds(ida)
    monkeypatch.undo()
    make_rounds(make_ida(tmp_path))
    assert "round 1, amplified, games per second: games/tic_tac_toe " in capsys.readouterr().err
    for ours, theirs in zip(ida.rounds, finished.rounds, strict=True):
        networks = [load_network(round_.student.folder).state_dict() for round_ in (ours, theirs)]
        assert all((networks[0][name] == networks[1][name]).all() for name in networks[0])


def test_a_game_against_itself_has_the_moves_of_both_sides():
    task = as_self_play(game("connect_four", ["random"]))
    assert is_self_play(task) and not is_self_play(game("connect_four", ["random"])) and task.horizon == 42


def test_self_play_without_a_search_for_two_players_is_refused(tmp_path):
    ida = make_ida(tmp_path, options={"name": "best_of_n"}, task=game("tic_tac_toe", ["self"]))
    with pytest.raises(GatitoError, match="self-play, which needs a search for two players: set amplifier=two_player"):
        ida.check()


@pytest.mark.parametrize(
    ("task", "codec", "line"),
    [
        (make_task(), CODEC, "is no board game for two players: set amplifier=search"),
        (TASK, replace(CODEC, critic=0.0), "needs a critic"),
        (TASK, replace(CODEC, memory="all"), "set codec.memory=partial"),
    ],
)
def test_what_the_search_cannot_play_gets_one_line(task, codec, line):
    with pytest.raises(GatitoError, match=line):
        make_amplifier(OPTIONS).check([task], MODEL, codec)


@pytest.mark.parametrize("amplifier", ["finetune", "self_imitation"])
def test_an_amplifier_without_a_policy_of_its_own_is_not_scored_before_rounds(finished, amplifier):
    with pytest.raises(GatitoError, match=f"amplifier {amplifier} has no policy before its first round; set"):
        replace(finished, options={"name": amplifier}).check_planner()


def test_a_position_is_evaluated_once(finished, monkeypatch):
    """Positions come again by other orders of moves, in other games and in later searches; the search is the same."""
    import generalist.amplifiers.two_player as module

    def played():
        policy = finished.amplifier.policy(finished.start.folder, [finished.played(TASK)], "amplified")
        episodes = list(rollout(policy, {finished.played(TASK): range(6)}, keep_steps=True))
        return [episode.steps["actions"].tolist() for episode in episodes], policy.cost

    remembered, cost = played()
    monkeypatch.setattr(module, "_KNOWN_POSITIONS", -1)  # forgotten before every evaluation
    forgotten, more = played()
    assert remembered == forgotten
    assert cost.forward_passes < 0.7 * more.forward_passes and cost.simulator_steps == more.simulator_steps


def test_games_begin_after_random_moves_of_their_seed(tmp_path):
    """Self-play alone does; the suite's games and the recordings of runs without the setting are as before."""
    ida = make_ida(tmp_path, replace(CONFIG, random_opening=4))
    played = ida.played(TASK)
    assert played.kwargs["random_opening"] == 4 and played == as_self_play(TASK, 4)
    assert as_self_play(TASK).kwargs == {"opponent": ["self"]}
    env, again = make_env(played), make_env(played)
    stones = []
    for seed in range(60):
        observation, info = env.reset(seed=seed)
        assert np.array_equal(observation, again.reset(seed=seed)[0])
        assert info["to_play"] in (0, 1) and info["action_mask"].any()
        stones.append(int(observation[:2].sum()))
    assert set(stones) == {0, 1, 2, 3, 4}


def test_random_openings_never_end_a_game():
    env = make_env(as_self_play(TASK, 9))
    for seed in range(100):
        _, info = env.reset(seed=seed)
        assert info["action_mask"].any()
    _, info = env.reset(seed=0, options={"moves": "04"})  # a given position stays as it is
    assert info["to_play"] == 0 and info["action_mask"].sum() == 7
