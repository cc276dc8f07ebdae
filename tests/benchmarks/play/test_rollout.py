from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.play.policy import Noisy, PolicyOutput, PolicyPerTask, RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env
from benchmarks.tasks.observations import stack
from generalist.config.settings import ModelConfig
from generalist.network.network import make_network
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import make_task

COUNTER = make_task()
TARGET = make_task("tests.environments:Target-v0")
CARTPOLE = make_task("CartPole-v1")
PENDULUM = make_task("Pendulum-v1", horizon=60)


def play(policy, seeds, **settings):
    episodes = list(rollout(policy, seeds, keep_steps=True, **settings))
    return {(episode.task, episode.seed): episode for episode in episodes}


def generalist(codec="step"):
    torch.manual_seed(3)
    network = make_network(
        ModelConfig(layers=2, heads=2, width=32, feedforward=64, context_length=8), plain_codec(codec)
    )
    return NetworkPolicy(network.eval())


@pytest.mark.parametrize("make_policy", [RandomPolicy, generalist, partial(generalist, "jat")])
def test_an_episode_is_the_same_alone_and_among_others(make_policy):
    tasks = [COUNTER, CARTPOLE, PENDULUM, TARGET]
    crowd = play(make_policy(), {task: range(17) for task in tasks}, envs_per_task=5)
    assert len(crowd) == 68
    for task in tasks:
        alone = play(make_policy(), {task: [9]})[task.name, 9]
        among = crowd[task.name, 9]
        assert alone.total_return == among.total_return
        for name, values in alone.steps.items():
            np.testing.assert_array_equal(values, among.steps[name], err_msg=f"{task.name} {name}")


def test_an_episode_contains_its_steps():
    episode = play(RandomPolicy(), {COUNTER: [4]})["toy/counter", 4]
    steps = episode.steps
    assert len(steps["observations"]) == episode.length + 1
    assert steps["observations"][:, 1].tolist() == list(range(episode.length + 1))
    assert steps["rewards"].tolist() == steps["actions"].tolist()
    assert episode.total_return == steps["actions"].sum()
    assert steps["terminated"].tolist() == [False] * (episode.length - 1) + [True]
    assert episode.success == bool((steps["actions"] == 2).any())


def test_a_policy_receives_the_previous_reward():
    class Listens(RandomPolicy):
        reports = []

        def act(self, inputs, state):
            self.reports.extend((rows.rewards[0], rows.episode_start[0]) for rows in inputs)
            return super().act(inputs, state)

    episodes = play(Listens(), {COUNTER: range(3)}, envs_per_task=1)
    expected = []
    for episode in episodes.values():
        expected += [(0.0, True), *((reward, False) for reward in episode.steps["rewards"][:-1])]
    assert Listens.reports == expected


def test_a_time_limit_is_a_truncation():
    steps = play(RandomPolicy(), {TARGET: [0]})["toy/target", 0].steps
    assert steps["truncated"].tolist() == [False] * 19 + [True]
    assert not steps["terminated"].any()
    assert "success" not in steps


def test_random_actions_cover_the_space():
    actions = np.concatenate(
        [episode.steps["actions"] for episode in play(RandomPolicy(), {TARGET: range(50)}).values()]
    )
    assert actions.min(axis=0) == pytest.approx([-1, 0], abs=0.1)
    assert actions.max(axis=0) == pytest.approx([1, 10], abs=0.1)


def test_no_episode_starts_after_enough_steps():
    episodes = play(RandomPolicy(), {TARGET: iter(range(1000))}, envs_per_task=3, enough_steps=100)
    assert len(episodes) == 6  # of 20 steps each: two episodes in each of three environments are 120 steps
    assert sorted(seed for _, seed in episodes) == list(range(6))


def test_noise_changes_actions_but_not_labels():
    class Ones:
        name = "ones"
        distribution_kind = {"toy/counter": "logits"}

        def initial_state(self, num_envs):
            return None

        def act(self, inputs, state):
            rows = len(inputs[0].observations)
            ones = np.ones(rows, np.int64)
            return [PolicyOutput(ones, ones, np.tile([0.0, 5.0, 0.0], (rows, 1)))], state

    episodes = play(Noisy(Ones(), 0.5), {COUNTER: range(60)}).values()
    actions = np.concatenate([episode.steps["actions"] for episode in episodes])
    labels = np.concatenate([episode.steps["labels"] for episode in episodes])
    distributions = np.concatenate([episode.steps["distributions"] for episode in episodes])
    assert (labels == 1).all()
    assert distributions.shape == (len(labels), 3)
    assert 0.25 < (actions != 1).mean() < 0.42  # half are resampled, two thirds of those differ


def test_wrappers_report_the_inference_cost_of_their_policy():
    """Also if the wrapped policies have no state yet."""
    policy = Noisy(PolicyPerTask("generalist", {COUNTER.name: generalist(), CARTPOLE.name: generalist()}), 0.1)
    played = play(policy, {COUNTER: range(3), CARTPOLE: range(3)})
    assert policy.inference_cost()["decisions"] == sum(episode.length for episode in played.values()) > 0


def test_a_task_without_a_policy_is_named():
    with pytest.raises(GatitoError, match="agent expert has no policy for task toy/counter"):
        play(PolicyPerTask("expert", {}), {COUNTER: [0]})


@pytest.mark.parametrize(
    "rows",
    [
        [np.arange(3, dtype=np.float32), np.arange(3, dtype=np.float64) / 3],
        [np.float64(0.1), np.float64(2)],
        [True, np.True_, False],
        [np.array((1, [2, 3]), dtype=[("a", "i8"), ("b", "u1", (2,))])] * 2,
    ],
)
def test_rows_are_stacked_as_numpy_stacks_them(rows):
    stacked = stack(rows)
    assert stacked.dtype == np.stack(rows).dtype
    assert np.array_equal(stacked, np.stack(rows))


class Scripted(RandomPolicy):
    """Takes action 1, writes all it says into arrays that it uses again, and gives up at a step of an episode."""

    name = "scripted"
    distribution_kind = {"toy/counter": "logits"}

    def __init__(self, gives_up_at=99, breaks_at=99):
        self.inputs, self.envs = [], None
        self._gives_up_at, self._breaks_at = gives_up_at, breaks_at
        self._actions, self._labels = np.zeros(64, np.int64), np.zeros(64, np.int64)
        self._distributions = np.zeros((64, 3))

    def initial_state(self, num_envs):
        self.envs = num_envs
        return 0

    def act(self, inputs, state):
        self.inputs.append(inputs)
        if state >= self._breaks_at:
            raise RuntimeError("broken")
        outputs = []
        for rows in inputs:
            count = len(rows.observations)
            self._actions[:count], self._labels[:count], self._distributions[:count] = state % 2, 2, state
            stops = rows.observations[:, 1] >= self._gives_up_at
            outputs.append(
                PolicyOutput(self._actions[:count], self._labels[:count], self._distributions[:count], stops)
            )
        return outputs, state + 1


class Closes(gym.Wrapper):
    closed = 0

    def close(self):
        Closes.closed += 1
        super().close()


def made(task):
    return Closes(make_env(task))


def test_steps_are_copies_of_what_a_policy_says_and_distributions_of_tasks_that_have_one():
    policy = Scripted()
    other = make_task(name="toy/other")
    episodes = play(policy, {COUNTER: [4], other: [4]})
    length = episodes["toy/counter", 4].length
    steps = episodes["toy/counter", 4].steps
    assert steps["actions"].tolist() == [step % 2 for step in range(length)]
    assert steps["labels"].tolist() == [2] * length
    assert steps["distributions"][:, 0].tolist() == list(range(length))
    assert "distributions" not in episodes["toy/other", 4].steps and policy.envs == 2


def test_steps_are_kept_only_if_asked_for():
    [kept] = rollout(Scripted(), {COUNTER: [4]}, keep_steps=True)
    [plain] = rollout(Scripted(), {COUNTER: [4]})
    assert plain.steps is None and kept.steps is not None
    assert (plain.total_return, plain.length, plain.success, plain.cost) == (
        kept.total_return,
        kept.length,
        False,
        None,
    )
    assert plain.total_return == kept.steps["rewards"].sum() == kept.length // 2 and plain.truncated_by_policy is False
    assert kept.steps["rewards"].dtype == np.float64 and kept.steps["terminated"].dtype == bool


def test_a_policy_may_end_an_episode_unfinished_and_the_next_one_begins():
    policy = Scripted(gives_up_at=2)
    episodes = list(rollout(policy, {COUNTER: [0, 1, 2]}, envs_per_task=1, keep_steps=True))
    assert [episode.seed for episode in episodes] == [0, 1, 2]
    for episode in episodes:
        assert (episode.truncated_by_policy, episode.length, episode.success) == (True, 2, False)
        assert len(episode.steps["observations"]) == 3 and not episode.steps["terminated"].any()
    [unspoken] = rollout(Scripted(gives_up_at=0), {COUNTER: [0]})
    assert unspoken.success is False and unspoken.length == 0


@pytest.mark.parametrize("kind, envs, expected", [(list, 5, 2), (tuple, 1, 1), (iter, 5, 5)])
def test_there_are_as_many_environments_as_have_an_episode_to_play(kind, envs, expected):
    policy = Scripted()
    Closes.closed = 0
    list(rollout(policy, {COUNTER: kind([1, 2])}, envs_per_task=envs, make=made))
    assert policy.envs == expected == Closes.closed
    first = policy.inputs[0][0]
    assert first.env_ids.tolist() == list(range(len(first.env_ids))) and first.episode_start.all()


def test_environments_are_closed_when_the_policy_breaks_or_nobody_asks_for_more():
    Closes.closed = 0
    with pytest.raises(RuntimeError, match="broken"):
        list(rollout(Scripted(breaks_at=2), {COUNTER: range(4)}, make=made))
    assert Closes.closed == 4
    playing = rollout(Scripted(), {COUNTER: range(4)}, envs_per_task=2, make=made)
    next(playing)
    playing.close()
    assert Closes.closed == 6


def test_progress_is_counted_in_steps_of_all_environments():
    reports = []
    episodes = list(rollout(Scripted(), {COUNTER: range(4)}, report=reports.append))
    assert reports[0] == 4 and reports == sorted(reports) and reports[-1] == sum(episode.length for episode in episodes)


def test_each_episode_has_the_stream_of_task_agent_and_seed():
    policy = Scripted()
    list(rollout(policy, {COUNTER: [7]}))
    [rows] = policy.inputs[0]
    assert rows.rngs[0].random() == stream("toy/counter", "scripted", 7).random()


def test_episodes_end_the_queue_by_task():
    other = make_task("tests.environments:Target-v0", name="toy/other")
    for enough, expected in (40, (0, 1)), (41, (0, 1, 2)):
        queues = {TARGET: iter(range(99)), other: iter(range(99))}
        episodes = play(RandomPolicy(), queues, envs_per_task=1, enough_steps=enough)
        assert sorted(episodes) == [(name, seed) for name in ("toy/other", "toy/target") for seed in expected]


class Always(RandomPolicy):
    """Takes action 2 of three, and gives up after some steps."""

    def __init__(self, steps=99):
        self._steps = steps

    def act(self, inputs, state):
        state = 1 + (state or 0)
        actions = [np.full(len(rows.observations), 2) for rows in inputs]
        return [PolicyOutput(taken, taken, None, np.full(len(taken), state > self._steps)) for taken in actions], state


def test_costs_are_kept_by_step_and_summed_and_success_is_known_only_where_it_is_reported():
    [episode] = rollout(Always(), {make_task("tests.environments:Shortcut-v0"): [0]}, keep_steps=True)
    assert episode.steps["costs"].tolist() == [5, 5, 5] and episode.steps["costs"].dtype == np.float64
    assert (episode.cost, episode.total_return, episode.success) == (15, 9, None)
    [episode] = rollout(Always(steps=2), {COUNTER: [0]})
    assert episode.success is True and episode.truncated_by_policy is True


class Masks(gym.Wrapper):
    """Gives a mask at the start and after every second step."""

    def reset(self, **settings):
        self.steps = 0
        return super().reset(**settings)[0], {"action_mask": np.array([False, True, True])}

    def step(self, action):
        self.steps += 1
        *said, info = super().step(action)
        return *said, info | ({} if self.steps % 2 else {"action_mask": np.array([True, False, True])})


def test_a_steps_mask_is_that_before_its_action_and_excludes_nothing_where_the_environment_is_silent():
    task = make_task(kwargs={"length": 4})
    [episode] = rollout(Always(), {task: [0]}, keep_steps=True, make=lambda task: Masks(make_env(task)))
    masks = episode.steps["masks"]
    assert masks.dtype == bool and masks.astype(int).tolist() == [[0, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1]]


def test_of_stacked_frames_only_the_newest_is_kept():
    seen = []

    class Looks(RandomPolicy):
        def act(self, inputs, state):
            seen.append(inputs[0].observations[0, -1].copy())
            return super().act(inputs, state)

    [episode] = rollout(Looks(), {make_task("tests.environments:Film-v0"): [3]}, keep_steps=True)
    frames = episode.steps["observations"]
    assert frames.shape == (6, 84, 84) and np.array_equal(frames[:-1], seen)
