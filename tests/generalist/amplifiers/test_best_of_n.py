"""Best of N, on games that can be solved by hand."""

import gc

import numpy as np
import pytest
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env
from generalist.amplifiers import make_amplifier
from generalist.amplifiers.best_of_n import BestOfN, BestOfNPolicy, _first_and_others
from generalist.amplifiers.simulator import Simulator
from generalist.config.settings import ModelConfig
from generalist.network.distributions import Binned, Categorical
from generalist.network.inference_cost import InferenceCost
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import make_task
from tests.thinking import Follows, Watched, Written, made_up, memory_of_env, play, same, saved

CORRIDOR = make_task("tests.environments:Corridor-v0")
COUNTER = make_task(kwargs={"length": 9})
REFUSALS = "tests.benchmarks.tasks.snapshots.test_refusals"
LOTTERY = make_task("tests.environments:Lottery-v0")


def trying(player, **settings):
    return BestOfNPolicy(player, BestOfN(**settings))


def returns(player, task, seeds=(0,)):
    return [episode.total_return for episode in play(player, task, seeds).values()]


def test_the_first_action_with_the_best_outcome_is_chosen():
    """The policy enters the trap at the first place, but plays well elsewhere."""
    player = Written(lambda seen: [1.0, 0.0] if seen[0] == 0 else [0.0, 1.0])
    assert returns(player, CORRIDOR) == [1]
    assert returns(trying(player), CORRIDOR) == [10]
    assert returns(trying(player, horizon=4), CORRIDOR) == [10]
    assert returns(trying(player, horizon=3), CORRIDOR) == [1]  # the prize is out of sight


def test_the_policys_action_is_kept_if_nothing_is_better():
    task = make_task("tests.environments:Corridor-v0", kwargs={"length": 9})
    player = Written(lambda seen: [0.0, 1.0])
    tried = Watched(trying(player, horizon=2))
    [episode] = play(tried, task, [0]).values()
    assert episode.steps["actions"].tolist() == [0]  # within two steps, 1 is better than nothing
    lost = Written(lambda seen: [1.0, 0.0] if seen[0] else [0.0, 1.0])
    [episode] = play(trying(lost, horizon=12), task, [0]).values()
    assert episode.steps["actions"][0] == 0  # with this policy the prize is lost anyway


def test_discrete_candidates_are_all_different_and_the_policys_own_comes_first():
    logits = torch.randn(5, 6, generator=torch.manual_seed(0))
    choose = _first_and_others(4, distinct=True)
    others = set()
    for seed in range(50):
        rngs = [np.random.default_rng([seed, row]) for row in range(20)]
        chosen = choose(Categorical(logits.repeat_interleave(4, dim=0)), rngs).view(5, 4)
        assert (chosen[:, 0] == logits.argmax(dim=1)).all()
        assert all(len(set(row.tolist())) == 4 for row in chosen)
        others.add(tuple(chosen[0].tolist()))
    assert len(others) > 10


def test_candidates_are_sampled_from_the_policy():
    """Two of three actions are tried: the second is sampled with probabilities .1 / .4 and .3 / .4."""
    logits = torch.tensor([[0.6, 0.1, 0.3]]).log().repeat(2, 1)
    choose = _first_and_others(2, distinct=True)
    second = [
        int(choose(Categorical(logits), [np.random.default_rng([seed, row]) for row in range(2)])[1])
        for seed in range(2000)
    ]
    assert np.mean([each == 2 for each in second]) == pytest.approx(0.75, abs=0.04)


def test_continuous_candidates_are_the_greedy_action_and_samples():
    logits = torch.randn(2, 1, 3, 8, generator=torch.manual_seed(0)).repeat(1, 4, 1, 1).flatten(0, 1)
    distribution = Binned(logits)
    chosen = _first_and_others(4, distinct=False)(distribution, [np.random.default_rng(row) for row in range(8)])
    assert torch.equal(chosen[::4], distribution.mode()[::4]) and len(chosen.unique(dim=0)) > 4


def test_a_lucky_candidate_is_rejected_if_it_must_win_every_confirmation():
    """Safe pays .5; the lottery .3 on average, and more than .5 in 42 of 100 draws: twice 18 %, four times 3 %."""
    player = Written(lambda seen: [1.0, 0.0])

    def gambled(**settings):
        episodes = play(trying(player, **settings), LOTTERY, range(400)).values()
        return np.mean([episode.steps["actions"][0] for episode in episodes])

    assert gambled(confirmation_rollouts=0) == pytest.approx(0.42, abs=0.08)
    assert gambled(confirmation_rollouts=1) == pytest.approx(0.18, abs=0.06)
    assert gambled(confirmation_rollouts=3) == pytest.approx(0.03, abs=0.03)
    assert gambled(confirmation_rollouts=1, rollouts=20) < 0.05


def test_compared_rollouts_share_random_numbers():
    """Action 1 gains a tenth of the noise's scale: with shared noise, every single comparison detects it."""
    task = make_task("tests.environments:Lottery-v0", kwargs={"edge": 0.1})
    episodes = play(trying(Written(lambda seen: [1.0, 0.0])), task, range(40)).values()
    assert all(episode.steps["actions"][0] == 1 for episode in episodes)


def test_each_environment_has_its_own_clones():
    simulator, played, rngs = (
        Simulator(COUNTER, InferenceCost()),
        [make_env(COUNTER) for _ in range(2)],
        [stream(0)] * 3,
    )
    for env in played:
        env.reset(seed=0)
    one, other = map(simulator.snapshot, played)

    def entered(*spots):
        simulator.enter(spots, rngs[: len(spots)])
        places = range(len(spots))
        last = simulator.step(places, [0] * len(spots))
        return simulator.policy_input(places, np.arange(len(spots)), last, rngs[: len(spots)]).envs

    first, second, third = entered(one, one, other)
    assert len({id(env) for env in (first, second, third, *played)}) == 5
    assert entered(other, one) == [third, first]
    assert simulator.reached(0).origin is played[1]


def test_a_decisions_value_is_the_mean_of_its_rollouts():
    watched = Watched(trying(Written(lambda seen: [1.0, 0.0] if seen[0] == 0 else [0.0, 1.0])))
    play(watched, CORRIDOR, [0])
    assert [decision.values.tolist() for decision in watched.decisions] == [[10 * 0.9**3], [10 * 0.9**2], [9], [10]]
    for deterministic in (True, False):  # action 2 pays 2; then the policy's likeliest action pays 0, the others more
        watched = Watched(trying(Written(lambda seen: [0.1, 0.0, 0.0]), horizon=4, deterministic=deterministic))
        play(watched, COUNTER, [0])
        assert (watched.decisions[0].values[0] == 2) == deterministic


@pytest.mark.parametrize("deterministic", [True, False])
def test_planning_does_not_change_the_played_episode(deterministic):
    player = Written(lambda seen: [-1e4, 0.0, 1e4])  # action 2 pays most: no other action wins
    tried = trying(player, deterministic=deterministic, horizon=1)
    tried.name = player.name
    assert same(play(player, COUNTER, range(5)), play(tried, COUNTER, range(5)))
    assert tried.cost.simulator_steps > 9 * 5


@pytest.mark.parametrize("task, known", [(COUNTER, False), (CORRIDOR, True)])
def test_planning_does_not_foresee_random_events(task, known):
    player = Written(lambda seen: [0.0, 0.0, 9.0] if task is COUNTER else [0.0, 9.0])
    [episode] = play(trying(player), task, [3]).values()
    played = {tuple(row) for row in episode.steps["observations"][:-1]}
    futures = [rows for rows in player.asked if rows.env_ids.min() > 4]  # after the states of the four candidates
    simulator = {tuple(row) for rows in futures for row in rows.observations}
    assert len(played) > 3 and simulator and bool(simulator & played) == known


@pytest.mark.parametrize("settings", [{}, {"previous_actions": True}, {"name": "jat"}, {"name": "gato"}])
def test_the_policy_state_after_planning_depends_on_the_played_episode_only(settings):
    model = {"image_frames": 0, "grid_size": 0, "text_length": 0, "vector_width": 4} if "name" in settings else {}
    player = Watched(trying(made_up(**settings | model), horizon=2))
    [episode] = play(player, COUNTER, [1]).values()
    if settings.get("name") == "gato":
        alone = Watched(Forced(made_up(**settings | model), episode.steps["actions"]))
    else:
        alone = Follows(made_up(**settings | model), episode.steps["actions"])
    play(alone, COUNTER, [1])
    for ours, theirs in zip(memory_of_env(player.memory.memory), memory_of_env(alone.memory), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


class Forced:
    """A policy with given choices, for a codec that decodes actions token by token."""

    distribution_kind = {}

    def __init__(self, policy, actions):
        self.name, self._policy, self._actions = policy.name, policy, iter(actions)
        self.initial_state = policy.initial_state

    def act(self, inputs, state):
        action = int(next(self._actions))

        def select(distribution, rngs):
            return (~distribution.logits.isneginf()).nonzero()[
                action : action + 1, 1
            ]  # the tokens of actions alone are possible

        return self._policy.act(inputs, state, select)


def test_inference_cost_is_counted():
    player = Written(lambda seen: [2.0, 1.0, 0.0])
    tried = trying(player, horizon=3)
    task = make_task(kwargs={"length": 20})
    play(tried, task, range(4), envs_per_task=2)
    spent = tried.cost
    # Three candidates; three rollouts of three steps; the winner, never the policy's own, and that one, twice: chance
    # plays no role. The last two decisions' rollouts are shorter: of two steps, and of one.
    assert spent.decisions == 4 * 20
    assert spent.simulator_steps == 4 * (18 * (9 + 12) + (6 + 8) + (3 + 4))
    assert spent.forward_passes == 4 * (20 * 3 + 18 * (6 + 8) + (3 + 4))
    assert spent.forward_passes == sum(len(rows.env_ids) for rows in player.asked)
    assert 0 < spent.network_seconds + spent.simulator_seconds < spent.seconds


@pytest.mark.parametrize("settings", [{}, {"deterministic": False, "rollouts": 2}])
def test_an_episode_does_not_depend_on_parallel_episodes(settings):
    player = Written(lambda seen: [0.0, 0.3, float(seen[0] % 2)])
    plays = [play(trying(player, horizon=3, **settings), COUNTER, range(7), envs_per_task=count) for count in (1, 3, 7)]
    assert same(plays[0], plays[1]) and same(plays[0], plays[2])


@pytest.mark.parametrize("task", ["Pendulum-v1", "tests.environments:Target-v0"])
def test_continuous_actions_are_supported(task):
    task = make_task(task, horizon=20)
    player = made_up(bins=16)
    plain, better = (
        np.mean(returns(who, task, range(4))) for who in (player, trying(player, candidates=16, horizon=1))
    )
    assert better > plain + 2


def test_invalid_settings_get_one_line():
    target = make_task("tests.environments:Target-v0")
    for settings, codec, tasks, line in [
        ({"candidates": 1}, plain_codec(), [], "amplifier.candidates must be at least 2, not 1"),
        ({"rollouts": 0}, plain_codec(), [], "amplifier.rollouts must be at least 1"),
        ({"horizon": 0}, plain_codec(), [], "amplifier.horizon must be at least 1"),
        ({}, plain_codec(continuous="regression"), [target], "continuous=regression has no distribution"),
        ({}, plain_codec(), [make_task(f"{REFUSALS}:Global-v0")], "task toy/global cannot be cloned"),
    ]:
        with pytest.raises(GatitoError, match=line) as refused:
            make_amplifier({"name": "best_of_n"} | settings).check(tasks, ModelConfig(), codec)
        assert "\n" not in str(refused.value)
    make_amplifier({"name": "best_of_n"}).check([target, CORRIDOR], ModelConfig(), plain_codec("gato"))


def test_objectives_need_costs_and_discrete_actions_and_settings_are_checked():
    target, model, codec = make_task("tests.environments:Target-v0"), ModelConfig(), plain_codec()
    for settings, task, line in [
        ({"cost_weight": 2.0}, COUNTER, "^amplifier.cost_weight=2 needs a hidden cost .* toy/counter"),
        ({"min_probability": 0.1}, target, "^amplifier.min_probability=0.1 is for discrete actions, .* toy/target"),
        ({"horizon": 0}, COUNTER, "^amplifier.horizon must be at least 1"),
    ]:
        with pytest.raises(GatitoError, match=line):
            BestOfN(**settings).check([task], model, codec)
        BestOfN().check([task], model, codec)


def test_an_amplified_policy_is_made_from_a_networks_folder(tmp_path):
    config = BestOfN(horizon=2, candidates=2)
    amplified = config.policy(saved(tmp_path), [COUNTER], "stronger")
    expected = BestOfNPolicy(NetworkPolicy.load(tmp_path, [COUNTER], "stronger"), config)
    assert amplified.name == expected.name == "stronger"
    assert same(play(amplified, COUNTER, range(2)), play(expected, COUNTER, range(2)))


def test_every_environment_has_slots_for_its_candidates_and_their_rollouts():
    state = trying(Written(lambda seen: [0.0, 1.0]), candidates=3, rollouts=2).initial_state(5)
    assert len(state.memory) == 5 * (1 + 3 + 3 * 2) and state.num_envs == 5


def test_costs_and_unlikely_actions_count_as_they_are_weighed():
    """Rewards are 1, 2 and 3, costs 0, 1 and 5, and the policy's probabilities .67, .24 and .09."""
    task = make_task("tests.environments:Shortcut-v0")
    for settings, chosen in (({}, 2), ({"cost_weight": 0.5}, 1), ({"min_probability": 0.15}, 1)):
        [episode] = play(trying(Written(lambda seen: [2.0, 1.0, 0.0]), **settings), task, [0]).values()
        assert episode.steps["actions"].tolist() == [chosen] * 3


def test_candidates_are_legal_in_their_own_environment():
    task = make_task("tests.environments:Masked-v0", kwargs={"length": 4})
    player = made_up()
    player.network.heads.discrete.bias.data[:3] = torch.tensor([0.0, 0.0, 9.0])  # the illegal action is likely
    episodes = play(trying(player, candidates=3, horizon=2), task, range(3)).values()
    assert all(set(episode.steps["actions"]) <= {0, 1} for episode in episodes)
    written = Written(lambda seen: [0.0, 1.0, 2.0])
    play(trying(written, horizon=1), task, range(3))
    assert all(rows.action_masks.tolist() == [[True, True, False]] * len(rows.env_ids) for rows in written.asked)


def test_a_rejected_candidates_decision_has_the_value_of_the_policys_own_choice():
    watched = Watched(trying(Written(lambda seen: [1.0, 0.0])))
    play(watched, LOTTERY, range(40), envs_per_task=40)  # the safe action pays .5
    [decision] = watched.decisions
    assert set(decision.values[decision.actions == 0]) == {0.5} and (decision.actions == 0).sum() > 30


def test_each_task_has_its_own_clones():
    player = Written(lambda seen: [1.0, 0.0] if seen[0] == 0 else [0.0, 1.0])
    long = make_task("tests.environments:Corridor-v0", name="toy/long", kwargs={"length": 9})
    together = list(rollout(trying(player, horizon=5), {CORRIDOR: [0], long: [0]}))
    assert {episode.task: episode.total_return for episode in together} == {"toy/corridor": 10, "toy/long": 1}


def counting(monkeypatch):
    """Environments that are open, by how they were made."""
    open_ones = {"played": 0, "simulator": 0}

    def maker(kind):
        def make(task):
            env = make_env(task)
            open_ones[kind] += 1
            close, closed = env.close, []

            def counted():
                if not closed:
                    open_ones[kind] -= 1
                closed.append(True)
                close()

            env.close = counted
            return env

        return make

    monkeypatch.setattr("generalist.amplifiers.simulator.make_env", maker("simulator"))
    return open_ones, maker("played")


def test_clones_are_closed(monkeypatch):
    player = Written(lambda seen: [1.0, 0.0] if seen[0] == 0 else [0.0, 1.0])
    player.close = lambda: None
    tried = trying(player)
    open_ones, make = counting(monkeypatch)
    episodes = rollout(tried, {CORRIDOR: range(4)}, envs_per_task=2, make=make)
    next(episodes)
    assert open_ones["played"] == 2 and open_ones["simulator"] > 2
    list(episodes)
    assert open_ones["played"] == 0
    tried.close()
    assert open_ones == {"played": 0, "simulator": 0}


def test_clones_are_closed_with_their_environments(monkeypatch):
    open_ones, make = counting(monkeypatch)
    simulator = Simulator(CORRIDOR, InferenceCost())
    for _ in range(3):
        env = make(CORRIDOR)
        env.reset(seed=0)
        simulator.enter([simulator.snapshot(env)], [stream(0)])
        simulator.enter([], [])
        env.close()
        del env
        gc.collect()
        assert open_ones == {"played": 0, "simulator": 0}
