"""Wrapper policies and uniform actions, on hand-made inputs."""

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.play import policy as policy_module
from benchmarks.play.policy import (
    Noisy,
    Policy,
    PolicyInput,
    PolicyOutput,
    PolicyPerTask,
    RandomPolicy,
    TeacherLabelled,
    sample,
    stack_masks,
    total_cost,
)
from tests.conftest import make_task

COUNTER, TARGET = make_task(), make_task("tests.environments:Target-v0")


class Fixed(Policy):
    """Takes one action with a distribution, counts its calls in its state, and truncates from a given step on."""

    def __init__(self, action=1, name="fixed", kind="logits", stops_at=99, cost=None):
        self.name, self.distribution_kind = name, {COUNTER.name: kind}
        self.closed, self.seen = False, []
        self._action, self._stops_at = action, stops_at
        self._cost = cost or {}

    def initial_state(self, num_envs):
        return {"envs": num_envs, "calls": 0}

    def act(self, inputs, state):
        [rows] = inputs
        self.seen.append((rows, dict(state)))
        count = len(rows.observations)
        actions = np.full(count, self._action, np.int64)
        stops = rows.observations[:, 1] >= self._stops_at
        distributions = np.full((count, 3), float(self._action))
        return [PolicyOutput(actions, actions + 10, distributions, stops)], state | {"calls": state["calls"] + 1}

    def inference_cost(self):
        return self._cost

    def close(self):
        self.closed = True


def given(task=COUNTER, envs=(0,), step=0, start=False, masks=None, key="rows"):
    """The input of one task at one step."""
    rows = len(envs)
    return PolicyInput(
        task,
        np.tile(np.array([7, step], np.float32), (rows, 1)),
        np.array(envs),
        np.full(rows, start),
        np.zeros(rows),
        [stream(key, step, env) for env in envs],
        [None] * rows,
        masks,
    )


def test_noise_replaces_the_stated_share_of_actions_and_neither_labels_nor_distributions():
    inner = Fixed(1, kind="q", cost={"decisions": 3})
    noisy = Noisy(inner, 0.05)
    assert (noisy.name, noisy.distribution_kind, noisy.inference_cost()) == (
        "fixed",
        {COUNTER.name: "q"},
        {"decisions": 3},
    )
    assert noisy.initial_state(4) == {"envs": 4, "calls": 0}
    rows = given(envs=range(3000))
    [output], state = noisy.act([rows], noisy.initial_state(3000))
    assert state["calls"] == 1 and inner.seen[0][0] is rows
    assert (output.labels == 11).all() and (output.distributions == 1.0).all() and not output.truncated_by_policy.any()
    assert 0.02 < (output.actions != 1).mean() < 0.05  # a third of the uniform actions is the policy's own
    assert {0, 2} <= set(output.actions)
    noisy.close()
    assert inner.closed and Noisy(Fixed(), 0.5).inference_cost() == {}


def test_noise_does_not_change_the_policys_arrays():
    kept = {}

    class Keeps(Fixed):
        def act(self, inputs, state):
            outputs, state = super().act(inputs, state)
            kept["output"] = outputs[0]
            return outputs, state

    [calm], _ = Noisy(Keeps(), 0.0).act([given(envs=range(5))], {"calls": 0})
    assert calm is kept["output"]
    [output], _ = Noisy(Keeps(), 1.0).act([given(envs=range(50))], {"calls": 0})
    assert (kept["output"].actions == 1).all() and len(set(output.actions)) == 3
    masks = np.tile([True, False, False], (50, 1))
    [output], _ = Noisy(Keeps(), 1.0).act([given(envs=range(50), masks=masks)], {"calls": 0})
    assert (output.actions == 0).all()


def test_a_rows_noise_does_not_depend_on_other_rows():
    together, _ = Noisy(Fixed(), 0.5).act([given(envs=range(20))], {"calls": 0})
    alone = [Noisy(Fixed(), 0.5).act([given(envs=[env])], {"calls": 0})[0][0].actions[0] for env in range(20)]
    assert together[0].actions.tolist() == alone


def test_each_task_is_played_by_its_own_policy_on_environments_counted_from_zero():
    counter = Fixed(0, cost={"decisions": 2, "flops": 5})
    target = Fixed(2, kind="gaussian", cost={"decisions": 1})
    target.distribution_kind = {TARGET.name: "gaussian"}
    both = PolicyPerTask("expert", {COUNTER.name: counter, TARGET.name: target})
    assert both.name == "expert"
    assert both.distribution_kind == {COUNTER.name: "logits", TARGET.name: "gaussian"}
    state = both.initial_state(7)
    outputs, state = both.act([given(envs=[0, 1, 2]), given(TARGET, envs=[3, 4, 5, 6])], state)
    assert [output.actions.tolist() for output in outputs] == [[0, 0, 0], [2, 2, 2, 2]]
    outputs, state = both.act([given(TARGET, envs=[4, 6])], state)
    assert outputs[0].actions.tolist() == [2, 2]
    assert [memory for _, memory in counter.seen] == [{"envs": 3, "calls": 0}]
    assert [memory for _, memory in target.seen] == [{"envs": 4, "calls": 0}, {"envs": 4, "calls": 1}]
    assert [rows.env_ids.tolist() for rows, _ in target.seen] == [[0, 1, 2, 3], [1, 3]]
    assert both.inference_cost() == {"decisions": 3, "flops": 5}
    both.close()
    assert counter.closed and target.closed


def test_policies_without_counters_have_no_cost_and_missing_policies_are_named():
    both = PolicyPerTask("expert", {TARGET.name: Fixed()})
    assert both.inference_cost() == {} == RandomPolicy().inference_cost()
    with pytest.raises(GatitoError, match="agent expert has no policy for task toy/counter: run its stage"):
        both.act([given()], {})
    assert total_cost([{"a": 1}, {"b": 2, "a": 3}, {}]) == {"a": 4, "b": 2}


def test_the_learner_acts_and_the_teacher_labels_until_it_stops():
    learner, teacher = Fixed(1, "learner"), Fixed(2, "teacher", kind="q", stops_at=2)
    policy = TeacherLabelled(learner, teacher, longest=3)
    assert (policy.name, policy.distribution_kind) == ("learner", {COUNTER.name: "q"})
    state = policy.initial_state(2)
    ends = []
    for step in range(3):
        [output], state = policy.act([given(envs=[0, 1], step=step, start=step == 0)], state)
        assert (output.actions.tolist(), output.labels.tolist()) == ([1, 1], [12, 12])
        assert (output.distributions == 2.0).all()
        ends.append(output.truncated_by_policy.tolist())
    assert ends == [[False, False], [False, False], [True, True]]
    assert (
        [memory["calls"] for _, memory in learner.seen] == [memory["calls"] for _, memory in teacher.seen] == [0, 1, 2]
    )
    assert learner.seen[0][1]["envs"] == teacher.seen[0][1]["envs"] == 2
    policy.close()
    assert learner.closed and teacher.closed


def test_a_labelled_episode_ends_after_the_stated_steps_counted_for_each_environment():
    class Silent(Fixed):
        def act(self, inputs, state):
            [output], state = super().act(inputs, state)
            return [PolicyOutput(output.actions, output.labels)], state

    policy = TeacherLabelled(Silent(), Silent(), longest=2)
    state = policy.initial_state(3)
    ends = []
    for step, start in enumerate([(True, True), (False, False), (False, True), (False, False), (True, False)]):
        rows = given(envs=[0, 2], step=step)
        rows.episode_start[:] = start
        [output], state = policy.act([rows], state)
        ends.append(output.truncated_by_policy.tolist())
    assert ends == [[False, False], [False, False], [True, False], [True, False], [False, True]]
    policy = TeacherLabelled(Fixed(), Fixed(), longest=0)  # this teacher says that it could continue
    [output], _ = policy.act([given(start=True)], policy.initial_state(1))
    assert output.truncated_by_policy.tolist() == [True]


def test_uniform_actions_of_every_kind_of_space():
    rng = stream("uniform")

    def draws(space, mask=None):
        return np.array([sample(space, rng, COUNTER, mask) for _ in range(300)])

    assert set(draws(gym.spaces.Discrete(3, start=5))) == {5, 6, 7}
    assert draws(gym.spaces.Discrete(3)).dtype == np.int64
    assert set(draws(gym.spaces.Discrete(4, start=1), np.array([0, 1, 0, 1]))) == {2, 4}
    whole = draws(gym.spaces.Box(-2, 1, (2,), np.int32))
    assert whole.dtype == np.int32 and set(whole.ravel()) == {-2, -1, 0, 1}
    box = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 10], np.float32))
    real = draws(box)
    assert real.dtype == np.float32 and real.min(axis=0) == pytest.approx([-1, 0], abs=0.1)
    assert real.max(axis=0) == pytest.approx([1, 10], abs=0.1)
    for space in (gym.spaces.Box(-np.inf, 1, (2,)), gym.spaces.Text(2)):
        with pytest.raises(GatitoError, match="task toy/counter: actions of kind .* are not supported") as error:
            sample(space, rng, COUNTER)
        assert error.value.task == COUNTER.name


def test_random_play_and_noise_name_the_task_whose_actions_are_not_supported(monkeypatch):
    monkeypatch.setattr(policy_module, "spaces", lambda task: (None, gym.spaces.Text(2)))
    for policy in RandomPolicy(), Noisy(Fixed(), 1.0):
        with pytest.raises(GatitoError, match="task toy/counter: actions of kind"):
            policy.act([given()], policy.initial_state(1) or {"calls": 0})


def test_random_play_stays_within_each_rows_legal_actions():
    masks = np.array([[True, False, False], [False, False, True]])
    rows = given(envs=[0, 1], masks=masks)
    assert rows.action_mask(1).tolist() == [False, False, True] and given().action_mask(0) is None
    state = object()
    outputs, kept = RandomPolicy().act([rows, given(TARGET, envs=[2])], state)
    assert kept is state and outputs[0].actions.tolist() == [0, 2]
    assert outputs[0].labels.tolist() == [0, 2] and outputs[1].actions.shape == (1, 2)
    assert RandomPolicy().initial_state(3) is None and RandomPolicy.name == "random"


def test_masks_of_environments_are_stacked_or_there_is_none():
    assert stack_masks([None, None]) is None
    assert stack_masks([np.array([1, 0]), np.array([0, 1])]).tolist() == [[1, 0], [0, 1]]
    partly = stack_masks([np.array([True, False]), None])
    assert partly.tolist() == [[True, False], [True, True]] and partly.dtype == bool
