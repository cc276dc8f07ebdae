"""External agents become policies whose actions are checked."""

from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.play.outside.checked import CheckedPolicy
from benchmarks.play.outside.loading import AgentConfig, as_policy, load_agent
from benchmarks.play.policy import Policy, PolicyOutput
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env
from tests.conftest import make_task

COUNTER = make_task(kwargs={"length": 5})  # two numbers in, actions 0 to 2, the reward is the action
TARGET = make_task("tests.environments:Target-v0", horizon=5)


class Twos(Policy):
    distribution_kind = {}

    def initial_state(self, num_envs):
        return 0

    def act(self, inputs, state):
        actions = [np.full(len(rows.observations), 2) for rows in inputs]
        return [PolicyOutput(chosen, chosen) for chosen in actions], state + 1


class Single:
    """Acts in one environment: the number of its calls in this episode, at most 2."""

    def __init__(self, most=2):
        self.most = most

    def reset(self):
        self.calls = -1

    def act(self, observation):
        self.calls += 1
        return min(self.calls, self.most)


def two(observation):
    return 2


def load(tasks, action=2):
    assert [task.name for task in tasks] == ["toy/counter"]
    return lambda observation: action


def load_policy(tasks):
    return Twos()


def returns(found, task=COUNTER, seeds=range(3), **options):
    policy = CheckedPolicy("mine", as_policy("mine", found, [task], options))
    with closing(policy):
        return [episode.total_return for episode in rollout(policy, {task: seeds}, envs_per_task=2)]


@pytest.mark.parametrize(
    "found", [Twos, Twos(), two, load, load_policy], ids=["class", "object", "function", "loader", "policy"]
)
def test_classes_objects_and_functions_become_policies(found):
    assert returns(found) == [10, 10, 10]


def test_each_environment_has_its_own_actor_which_is_reset_per_episode():
    assert returns(Single) == [0 + 1 + 2 + 2 + 2] * 3
    assert returns(Single, most=1) == [0 + 1 + 1 + 1 + 1] * 3


def test_options_reach_the_function_of_tasks():
    assert returns(load, action=1) == [5, 5, 5]


def test_act_receives_the_extras_that_it_names():
    given = []

    def act(observation, reward, rng, env, task, action_mask):
        given.append((observation.tolist(), reward, type(rng), env.get_wrapper_attr("position"), task, action_mask))
        return 1

    returns(act, seeds=[7])
    assert [row[1] for row in given] == [0, 1, 1, 1, 1]
    assert [row[0][1] for row in given] == [0, 1, 2, 3, 4]
    assert given[3][2:] == (np.random.Generator, (7, 3), COUNTER, None)


def test_observations_are_the_environments_own():
    task = make_task("BabyAI-GoToLocal-v0", family="babyai", name="babyai/go-to-local", metric="success")
    seen = []

    def act(observation):
        seen.append(observation)
        return 0

    policy = CheckedPolicy("mine", as_policy("mine", act, [task]))
    next(rollout(policy, {task: [0]}))
    assert isinstance(seen[0]["mission"], str) and seen[0]["image"].shape == (7, 7, 3)


@pytest.mark.parametrize(
    "found, words",
    [
        (3, "an object of type int is not an agent"),
        (lambda: 0, "is not an agent"),
        (type("Empty", (), {}), "Empty is not an agent"),
        (lambda tasks: None, "an object of type NoneType is not an agent"),
    ],
)
def test_other_things_are_rejected(found, words):
    with pytest.raises(FatalError, match=words):
        as_policy("mine", found, [COUNTER])


def test_options_that_the_agent_does_not_have_are_rejected():
    with pytest.raises(FatalError, match="has no parameter speed; it has tasks, action"):
        returns(load, speed=3)
    with pytest.raises(FatalError, match="takes no options"):
        returns(two, speed=3)


def wrong(action):
    def act(observation):
        return action

    return act


@pytest.mark.parametrize(
    "task, action, words",
    [
        (COUNTER, 3, "is 3, where its space has 0 to 2"),
        (COUNTER, 1.5, "has 1.5 of type float64, which int64 cannot hold"),
        (COUNTER, None, "is None"),
        (COUNTER, "left", "is 'left' of type str"),
        (COUNTER, [1, 2], r"has shape \(2,\), where its space has \(\)"),
        (TARGET, np.zeros(3), r"has shape \(3,\), where its space has \(2,\)"),
        (TARGET, [np.nan, 0], "has nan"),
        (TARGET, [2, 0], "beyond the bounds of its space: clip it to them"),
    ],
)
def test_wrong_actions_are_named_with_task_seed_and_step(task, action, words):
    with pytest.raises(GatitoError, match=words) as caught:
        returns(wrong(action), task, seeds=[5])
    assert f"agent mine chose an action in task {task.name}, an episode seeded 5, step 1 that" in str(caught.value)


def test_floats_that_exceed_a_bound_by_rounding_are_clipped():
    def act(observation):
        return np.array([1 + 1e-7, 10 + 1e-5])

    assert len(returns(act, TARGET)) == 3


def test_an_agent_that_raises_is_named_with_its_file_and_line():
    def act(observation):
        if observation[1] == 2:
            raise ValueError("no idea")
        return 0

    with pytest.raises(GatitoError, match=r"agent mine raised ValueError in act\(\) in task toy/counter, an episode"):
        returns(act)
    with pytest.raises(GatitoError, match=r"seeded 0, step 3 \(no idea; test_loading.py, line \d+\)"):
        returns(act, seeds=[0])


class Batch(Twos):
    def __init__(self, change):
        self.change = change

    def act(self, inputs, state):
        return self.change(super().act(inputs, state))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda answer: answer[0], r"returned list in act\(\).*not \(outputs, state\)"),
        (lambda answer: ([], 0), "returned no list of 1 outputs"),
        (lambda answer: ([PolicyOutput(np.zeros(7), np.zeros(7))], 0), "returned 7 actions .* where 2 environments"),
        (lambda answer: ([None], 0), "returned NoneType"),
    ],
)
def test_wrong_answers_to_a_batch_are_rejected(change, words):
    with pytest.raises(GatitoError, match=words):
        returns(Batch(change))


def test_an_illegal_action_is_rejected():
    class Masked(gym.Env):
        observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        action_space = gym.spaces.Discrete(3, start=1)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(1, np.float32), {"action_mask": np.array([1, 0, 1], np.int8)}

        def step(self, action):
            return np.zeros(1, np.float32), 0.0, True, False, {"action_mask": np.array([1, 0, 1], np.int8)}

    gym.register("MaskedForAgents-v0", Masked, max_episode_steps=3)
    task = make_task("MaskedForAgents-v0", name="toy/masked")
    assert returns(wrong(3), task) == [0, 0, 0]
    with pytest.raises(GatitoError, match="is 2, which is illegal here"):
        returns(wrong(2), task)


def test_an_agent_that_takes_too_long_is_stopped():
    def act(observation):
        while True:
            pass

    policy = CheckedPolicy("slow", as_policy("slow", act, [COUNTER]), step_seconds=1)
    with pytest.raises(GatitoError, match=r"agent slow took more than 1 seconds in act\(\).*agents.slow.step_seconds"):
        next(rollout(policy, {COUNTER: [0]}))


@pytest.mark.parametrize(
    "entry, words",
    [
        (3, "must be package.module:attribute"),
        ({"path": "x:y"}, "must be package.module:attribute"),
        ({"load": "x:y", "filles": []}, "Did you mean 'files'"),
        ({"load": "x:y", "files": ["gone.zip"]}, "there is no file gone.zip"),
        ({"load": "x:y", "num_envs": 0}, "num_envs must be at least 1"),
    ],
)
def test_wrong_entries_are_rejected(entry, words):
    with pytest.raises(FatalError, match=words):
        AgentConfig.parse("mine", entry)


def test_an_agents_fingerprint_depends_on_its_code_files_and_options(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code, weights = tmp_path / "brought.py", tmp_path / "weights"
    code.write_text("def act(observation):\n    return 2\n")
    weights.write_text("1")
    entry = {"load": "brought:act", "files": [str(weights)]}
    first = AgentConfig.parse("mine", entry).identity
    assert AgentConfig.parse("mine", entry | {"num_envs": 2}).identity == first
    weights.write_text("2")
    second = AgentConfig.parse("mine", entry).identity
    code.write_text("def act(observation):\n    return 1\n")
    third = AgentConfig.parse("mine", entry).identity
    assert len({str(each) for each in (first, second, third)}) == 3
    assert load_agent("mine", AgentConfig.parse("mine", entry), [COUNTER]).name == "mine"


def test_an_agent_whose_first_action_makes_an_environment_is_stopped_all_the_same():
    fresh = make_task(kwargs={"length": 6}, name="toy/fresh")  # its spaces are not known yet

    def act(observation):
        while True:
            pass

    policy = CheckedPolicy("slow", as_policy("slow", act, [fresh]), step_seconds=1)
    env = make_env(fresh)
    with pytest.raises(GatitoError, match="agent slow took more than 1 seconds"):
        next(rollout(policy, {fresh: [0]}, make=lambda task: env))
