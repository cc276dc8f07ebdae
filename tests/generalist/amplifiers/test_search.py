"""Tree search on games that can be solved by hand; its arithmetic is in ``test_tree``."""

import math

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from generalist.amplifiers import make_amplifier
from generalist.amplifiers.search import Search, SearchPolicy
from generalist.amplifiers.tree import ILLEGAL
from generalist.config.settings import ModelConfig
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import make_task
from tests.thinking import Follows, Watched, Written, made_up, memory_of_env, play, same, saved

CORRIDOR = make_task("tests.environments:Corridor-v0")


def searching(player, task=CORRIDOR, **settings):
    defaults = {"num_simulations": 32, "max_num_considered_actions": 2, "gumbel_scale": 0.0, "confirmation_rollouts": 0}
    return SearchPolicy(player, [task], Search(**defaults | settings))


def returns(player, task, seeds=(0,)):
    return [episode.total_return for episode in play(player, task, seeds).values()]


@pytest.mark.parametrize("selection, length, simulations", [("gumbel", 4, 64), ("puct", 3, 400)])
def test_a_reward_several_steps_away_is_found(selection, length, simulations):
    """The policy takes 1 at once; a reward of 10 is several steps away, and the critic is uninformative."""
    task = make_task("tests.environments:Corridor-v0", kwargs={"length": length})
    player = Written(lambda seen: [0.1, 0.0])
    assert returns(player, task) == [1]
    assert returns(searching(player, task, selection=selection, num_simulations=simulations), task) == [10]
    assert returns(searching(player, task, selection=selection, num_simulations=2), task) == [1]


def test_values_after_a_terminal_state_are_zero():
    """Every place has value 100 or -100: an end without a reward is avoided or preferred."""
    task = make_task("tests.environments:Corridor-v0", kwargs={"length": 3})
    for value, right in ((100.0, 1), (-100.0, 0)):
        player = searching(Written(lambda seen: [0.0, 0.0], lambda seen, value=value: value), task, num_simulations=4)
        [episode] = play(player, task, [0]).values()
        assert episode.steps["actions"][0] == right


def test_the_critic_estimates_the_value_after_a_truncation():
    """Both actions lead to place 1 with value 100; one is truncated there, with a reward of 1."""
    task = make_task("tests.environments:Corridor-v0", kwargs={"length": 3, "cut": True})
    player = Written(lambda seen: [0.0, 0.0], lambda seen: 100.0 if seen[0] == 1 else 0.0)
    watched = Watched(searching(player, task, num_simulations=2))
    [episode] = play(watched, task, [0]).values()
    assert episode.steps["actions"].tolist() == [0]
    assert 0.9 * 100 < watched.decisions[0].values < 1 + 0.9 * 100  # both actions' values, by the improved policy


def test_the_chosen_action_and_the_policys_are_confirmed_with_shared_random_numbers():
    """The critic is uninformative, and visits have independent noise: without rollouts, the choice is random."""
    task = make_task("tests.environments:Lottery-v0", kwargs={"edge": 0.1})
    taken = {}
    for proofs in (0, 1):
        player = searching(
            Written(lambda seen: [1.0, 0.0]), task, num_simulations=2, value_scale=100.0, confirmation_rollouts=proofs
        )
        episodes = play(player, task, range(60)).values()
        taken[proofs] = np.mean([episode.steps["actions"][0] for episode in episodes])
    own = searching(
        Written(lambda seen: [0.0, 1.0]), task, num_simulations=2, value_scale=100.0, confirmation_rollouts=1
    )
    # Actions found better are better, and actions found worse are worse.
    assert taken[1] == taken[0] and 0.3 < taken[1] < 0.7
    assert all(episode.steps["actions"][0] == 1 for episode in play(own, task, range(60)).values())


def test_a_choice_that_loses_its_confirmation_rollouts_is_not_played():
    """The critic believes in action 1, whose end pays less than 1 within the horizon."""
    player = Written(lambda seen: [1.0, 0.0], lambda seen: 50.0 if seen[0] == 1 else 0.0)
    task = make_task("tests.environments:Corridor-v0", kwargs={"length": 15})
    assert play(searching(player, task, num_simulations=2), task, [0])[0].steps["actions"][0] == 1
    doubting = searching(player, task, num_simulations=2, confirmation_rollouts=1)
    [episode] = play(doubting, task, [0]).values()
    assert episode.steps["actions"].tolist() == episode.steps["labels"].tolist() == [0] and episode.total_return == 1
    np.testing.assert_allclose(np.diff(episode.steps["distributions"][0]), [-1])  # the distribution is the policy's


@pytest.mark.parametrize("proofs, gambled", [(0, 0.42), (1, 0.42**2), (3, 0.42**4)])
def test_a_gamble_must_win_every_confirmation(proofs, gambled):
    """It pays less on average than the policy's own action, and more in 42 of 100 draws."""
    task = make_task("tests.environments:Lottery-v0")
    player = searching(
        Written(lambda seen: [1.0, 0.0]), task, num_simulations=2, value_scale=100.0, confirmation_rollouts=proofs
    )
    episodes = play(player, task, range(300)).values()
    taken = np.mean([episode.steps["actions"][0] for episode in episodes])
    assert taken == pytest.approx(gambled, abs=0.06)


@pytest.mark.parametrize("length, wins", [(20, True), (23, False)])
def test_a_choice_that_wins_its_confirmation_rollouts_is_played(length, wins):
    """The critic's value of the prize is 1.35 or .98; the trap pays 1. The search does not reach the prize."""
    task = make_task("tests.environments:Corridor-v0", kwargs={"length": length}, horizon=30)
    player = Written(lambda seen: [1.0, 0.0] if seen[0] == 0 else [0.0, 1.0], lambda seen: 9.0)
    doubting = searching(player, task, num_simulations=4, confirmation_rollouts=1)
    assert returns(doubting, task, range(3)) == [10 if wins else 1] * 3
    first = play(doubting, task, [0])[0].steps["distributions"][0]
    assert first.argmax() == wins  # the improved policy is taught if it was right, and otherwise the policy itself


def test_the_critic_estimates_the_value_at_a_rollouts_horizon():
    task = make_task("tests.environments:Corridor-v0", kwargs={"length": 20})
    for value, right in ((9.0, 1), (0.0, 0)):
        player = Written(
            lambda seen: [1.0, 0.0] if seen[0] == 0 else [0.0, 1.0],
            lambda seen, value=value: value if seen[0] == 5 else 9.0 * (seen[0] == 1),
        )
        doubting = searching(player, task, num_simulations=2, confirmation_rollouts=1, horizon=5)
        [episode] = play(doubting, task, [0]).values()
        assert episode.steps["actions"][0] == right


COUNTER = make_task(kwargs={"length": 9})


@pytest.mark.parametrize("settings", [{}, {"selection": "puct"}, {"confirmation_rollouts": 1, "value_scale": 0.0}])
def test_planning_does_not_change_the_played_episode(settings):
    """A confident policy acts the same with and without planning; the game's random numbers are the same too."""
    player = Written(lambda seen: [0.0, 1e4, 0.0])
    thinking = searching(player, COUNTER, num_simulations=9, max_num_considered_actions=3, **settings)
    thinking.name = player.name
    assert same(play(player, COUNTER, range(5)), play(thinking, COUNTER, range(5)))
    assert thinking.cost.simulator_steps > 9 * 5


@pytest.mark.parametrize("task, known", [(COUNTER, False), (CORRIDOR, True)])
def test_planning_does_not_foresee_random_events(task, known):
    player = Written(lambda seen: [0.0, 9.0, 0.0] if task is COUNTER else [0.0, 9.0])
    thinking = searching(player, task, num_simulations=9, max_num_considered_actions=3, confirmation_rollouts=1)
    [episode] = play(thinking, task, [3]).values()
    asked = [
        (env_id, tuple(row))
        for rows in player.asked
        for env_id, row in zip(rows.env_ids, rows.observations, strict=True)
    ]
    played = {tuple(row) for row in episode.steps["observations"][:-1]}
    imagined = {row for env_id, row in asked if env_id != 0}
    assert {row for env_id, row in asked if env_id == 0} == played and len(played) > 3
    assert bool(imagined & played) == known


@pytest.mark.parametrize("settings", [{}, {"previous_actions": True}, {"name": "jat"}])
@pytest.mark.parametrize("proofs", [0, 1])
def test_the_policy_state_after_planning_depends_on_the_played_episode_only(settings, proofs):
    thinking = searching(
        made_up(critic=1.0, **settings),
        COUNTER,
        num_simulations=9,
        max_num_considered_actions=3,
        confirmation_rollouts=proofs,
        gumbel_scale=9.0,
    )
    player = Watched(thinking)
    [episode] = play(player, COUNTER, [1]).values()
    alone = Follows(made_up(critic=1.0, **settings), episode.steps["actions"])
    play(alone, COUNTER, [1])
    assert len(set(episode.steps["actions"].tolist())) > 1
    for ours, theirs in zip(memory_of_env(player.memory.memory), memory_of_env(alone.memory), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_policy_state_has_the_executed_action():
    player = Watched(searching(Written(lambda seen: [1.0, 0.0]), num_simulations=100))
    play(player, CORRIDOR, [0])
    assert player.memory.memory[0] == ((0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1))


def test_every_node_has_the_policy_state_of_its_path():
    """After the first 0 the prize is lost, and this is observed."""
    player = Watched(
        searching(Written(lambda seen: [0.1, 0.0] if seen[0] == 0 else [0.0, 0.1]), confirmation_rollouts=1)
    )
    play(player, CORRIDOR, [0])
    remembered = [memory for memory in player.memory.memory if memory]
    assert len(remembered) > 9
    for memory in remembered:
        done = [action for *_, action in memory]
        assert [lost for _, lost, _ in memory] == [0 in done[:step] for step in range(len(done))]


def test_inference_cost_is_counted():
    player = Written(lambda seen: [2.0, 1.0, 0.0])
    thinking = searching(player, COUNTER, num_simulations=8, max_num_considered_actions=3)
    play(thinking, COUNTER, range(4), envs_per_task=2)
    spent = thinking.cost
    # Each of three actions once, each of two twice: seven visits, until close to the end.
    assert spent.decisions == 4 * 9
    first = 3 * (1 + 7)
    assert sum(len(rows.env_ids) for rows in player.asked) == spent.forward_passes <= 4 * 9 * (1 + 7)
    assert spent.forward_passes - spent.decisions <= spent.simulator_steps <= 4 * 9 * 7 and spent.forward_passes > first
    assert 0 < spent.network_seconds + spent.simulator_seconds < spent.seconds


@pytest.mark.parametrize("settings", [{}, {"selection": "puct"}, {"confirmation_rollouts": 1}])
def test_an_episode_does_not_depend_on_parallel_episodes(settings):
    player = Written(lambda seen: [0.0, 0.3, 0.6], lambda seen: math.sin(9 * seen[0]))
    plays = []
    for count in (1, 3, 7):
        thinking = searching(
            player, COUNTER, num_simulations=8, max_num_considered_actions=3, gumbel_scale=1.0, **settings
        )
        plays.append(play(thinking, COUNTER, range(7), envs_per_task=count))
    assert same(plays[0], plays[1]) and same(plays[0], plays[2])


@pytest.mark.parametrize("proofs", [0, 1])
def test_continuous_actions_are_searched_among_samples(proofs):
    """The critic is uninformative, but the next reward shows which sample is best."""
    task = make_task("tests.environments:Target-v0")
    player = made_up(critic=1.0, bins=16)
    player.network.critic.output.weight.data.zero_()
    player.network.critic.output.bias.data.zero_()
    thinking = searching(player, task, num_simulations=16, max_num_considered_actions=16, confirmation_rollouts=proofs)
    better, plain = np.mean(returns(thinking, task, range(4))), np.mean(returns(player, task, range(4)))
    assert better > plain + 2
    [episode] = play(thinking, task, [0]).values()
    assert episode.steps["actions"].dtype == np.float32 and "distributions" not in episode.steps


def test_pendulum_is_searched():
    pytest.importorskip("pygame", reason="classic control")
    task = make_task("Pendulum-v1", horizon=5)
    thinking = searching(made_up(critic=1.0), task, num_simulations=8, max_num_considered_actions=4)
    [episode] = play(thinking, task, [0]).values()
    # In the last decision, every new node is an end.
    assert episode.length == 5 and 4 * 8 < thinking.cost.simulator_steps <= 4 * 8 + 4


def test_noise_explores_first_actions_but_not_the_targets():
    player = Written(lambda seen: [0.1, 0.0])
    task = make_task("tests.environments:Lottery-v0")
    episodes = play(
        searching(player, task, num_simulations=2, gumbel_scale=100.0, value_scale=0.0), task, range(60)
    ).values()
    actions, labels = (np.array([each.steps[name][0] for each in episodes]) for name in ("actions", "labels"))
    assert 15 < actions.sum() < 45 and not labels.any()


def test_actions_chosen_by_noise_need_confirmation_too():
    """With this policy the prize is lost, so the trap is the best outcome."""
    player = Written(lambda seen: [0.1, 0.0])
    for proofs in (0, 1):
        thinking = searching(
            player, num_simulations=2, gumbel_scale=100.0, value_scale=0.0, confirmation_rollouts=proofs
        )
        firsts = [episode.steps["actions"][0] for episode in play(thinking, CORRIDOR, range(20)).values()]
        assert any(firsts) == (proofs == 0)


@pytest.mark.parametrize("selection, other", [("puct", "interior"), ("gumbel", "puct")])
def test_each_selection_descends_by_its_own_rule(selection, other, monkeypatch):
    monkeypatch.setattr(f"generalist.amplifiers.tree.Trees.{other}_action_selection", None)
    assert len(play(searching(Written(lambda seen: [0.0, 1.0]), selection=selection), CORRIDOR, [0])) == 1


def test_shares_of_pucts_visits_are_its_distribution():
    player = Written(lambda seen: [9.0, 1.0, -9.0])
    settings = {"selection": "puct", "num_simulations": 8, "max_num_considered_actions": 3}
    for episode in play(searching(player, COUNTER, **settings), COUNTER, range(3)).values():
        visits = 8 * np.exp(episode.steps["distributions"])
        np.testing.assert_allclose(visits, visits.round(), atol=1e-4)
        np.testing.assert_allclose(visits.sum(axis=1), 8, atol=1e-3)
        assert (visits[:, 2] < 1e-4).any()  # nothing is undefined where there was no visit


@pytest.mark.parametrize("scale, share", [(0.0, 0.0), (0.4, 0.05), (1.0, 0.125), (9.0, 0.125)])
def test_a_quarter_of_pucts_prior_is_noise_at_most(scale, share):
    """Both actions pay the same, so that visits follow the prior: all for action 0, but for the noise."""
    task = make_task("CartPole-v1", horizon=1)
    player = Written(lambda seen: [50.0, 0.0])
    thinking = searching(player, task, selection="puct", num_simulations=64, gumbel_scale=scale)
    episodes = play(thinking, task, range(60)).values()
    shares = np.array([np.exp(episode.steps["distributions"][0, 1]) for episode in episodes])
    assert shares.mean() == pytest.approx(share, abs=0.012) and (len(set(shares.round(3))) > 3) == (scale > 0)


def test_costs_and_unlikely_actions_count_as_they_are_weighed():
    """Rewards are 1, 2 and 3, costs 0, 1 and 5, and the policy's probabilities .67, .24 and .09."""
    task, player = make_task("tests.environments:Shortcut-v0"), Written(lambda seen: [2.0, 1.0, 0.0])
    for settings, chosen in (({}, 3), ({"cost_weight": 0.5}, 2), ({"min_probability": 0.15}, 2)):
        assert returns(searching(player, task, max_num_considered_actions=3, **settings), task) == [3 * chosen]


@pytest.mark.parametrize("task", [COUNTER, make_task("tests.environments:Target-v0")])
def test_a_decisions_value_does_not_depend_on_parallel_rows(task):
    values = []
    for count in (1, 3):
        watched = Watched(searching(made_up(critic=1.0), task, num_simulations=4))
        play(watched, task, range(3), envs_per_task=count)
        values.append(np.concatenate([decision.values for decision in watched.decisions]))
    np.testing.assert_allclose(np.sort(values[0]), np.sort(values[1]), rtol=1e-4)
    assert len(set(values[0])) > 10


@pytest.mark.parametrize("selection", ["gumbel", "puct"])
def test_illegal_actions_are_not_searched(selection):
    task = make_task("tests.environments:Masked-v0", kwargs={"length": 4})
    player = made_up(critic=1.0)
    settings = {"selection": selection, "num_simulations": 9, "max_num_considered_actions": 3, "gumbel_scale": 1.0}
    for episode in play(searching(player, task, **settings), task, range(3)).values():
        assert set(episode.steps["actions"]) | set(episode.steps["labels"]) <= {0, 1}
        assert (episode.steps["distributions"][:, 2] <= ILLEGAL).all()


def test_an_amplified_policy_is_made_from_a_networks_folder(tmp_path):
    config = Search(num_simulations=4, max_num_considered_actions=3, confirmation_rollouts=0)
    amplified = config.policy(saved(tmp_path), [COUNTER], "stronger")
    expected = SearchPolicy(NetworkPolicy.load(tmp_path, [COUNTER], "stronger"), [COUNTER], config)
    assert amplified.name == "stronger" and amplified.distribution_kind == {"toy/counter": "logits"}
    assert same(play(amplified, COUNTER, range(2)), play(expected, COUNTER, range(2)))


def test_invalid_settings_get_one_line():
    step, target = plain_codec(critic=0.5), make_task("tests.environments:Target-v0")
    for settings, codec, tasks, line in [
        ({"num_simulations": 7}, step, [], "num_simulations=7 is less than one for each of .*considered_actions=8"),
        ({"cost_weight": 2.0}, step, [COUNTER], "^amplifier.cost_weight=2 needs a hidden cost .* toy/counter"),
        ({"min_probability": 0.1}, step, [target], "^amplifier.min_probability=0.1 is for discrete actions"),
        ({"max_num_considered_actions": 1}, step, [], "amplifier.max_num_considered_actions must be at least 2, not 1"),
        ({"selection": "best"}, step, [], "unknown amplifier.selection 'best'.*gumbel, puct"),
        ({}, plain_codec(), [], "needs a critic: distil with codec.critic=0.5"),
        ({}, plain_codec("gato"), [], "codec gato has no critic"),
        ({}, plain_codec(critic=0.5, continuous="regression"), [target], "continuous=regression has no distribution"),
        (
            {},
            step,
            [make_task("tests.benchmarks.tasks.snapshots.test_refusals:Global-v0")],
            "task toy/global cannot be cloned",
        ),
    ]:
        with pytest.raises(GatitoError, match=line) as refused:
            make_amplifier({"name": "search"} | settings).check(tasks, ModelConfig(), codec)
        assert "\n" not in str(refused.value)
    with pytest.raises(GatitoError, match="^amplifier.horizon must be at least 1"):
        Search(horizon=0).check([], ModelConfig(), step)
    make_amplifier({"name": "search", "num_simulations": 8}).check([target, CORRIDOR], ModelConfig(), step)
