import numpy as np
import pytest

from benchmarks.play.mixture import EpisodeMixture
from benchmarks.play.policy import PolicyOutput, RandomPolicy
from benchmarks.play.rollout import rollout
from tests.benchmarks.play.test_policy import Fixed, given
from tests.conftest import make_task


class Numbered(RandomPolicy):
    """Always the same action, with its number as distribution."""

    def __init__(self, action):
        self.action = action
        self.distribution_kind = {"toy/counter": "logits"}

    def act(self, inputs, state):
        actions = [np.full(len(rows.observations), self.action) for rows in inputs]
        return [PolicyOutput(chosen, chosen, np.full((len(chosen), 3), self.action)) for chosen in actions], state


@pytest.mark.parametrize("num_envs", [1, 5])
def test_a_mixture_samples_one_policy_per_episode(num_envs):
    policy = EpisodeMixture(Numbered(0), Numbered(2), 0.25)
    task = make_task(kwargs={"length": 4})
    episodes = list(rollout(policy, {task: range(200)}, envs_per_task=num_envs, keep_steps=True))
    for episode in episodes:
        assert len(set(episode.steps["actions"])) == 1
        assert (episode.steps["labels"] == episode.steps["actions"]).all()
        assert (episode.steps["distributions"] == episode.steps["actions"][:, None]).all()
    second = {episode.seed for episode in episodes if episode.steps["actions"][0] == 2}
    assert 35 <= len(second) <= 65
    alone = list(rollout(policy, {task: [min(second)]}, keep_steps=True))  # sampled from the episode's own stream
    assert alone[0].steps["actions"][0] == 2


def test_each_policy_of_a_mixture_decides_the_episodes_that_it_plays():
    first, second = Fixed(1, "first", cost={"decisions": 1}), Fixed(2, "second", stops_at=1, cost={"decisions": 2})
    policy = EpisodeMixture(first, second, 0.5)
    assert (policy.name, policy.distribution_kind) == ("first", first.distribution_kind)
    state, envs = policy.initial_state(20), range(20)
    masks = np.arange(20)[:, None] == np.arange(3)
    [begun], state = policy.act([given(envs=envs, start=True, masks=masks)], state)
    [later], state = policy.act([given(envs=envs, step=1, masks=masks)], state)
    assert set(begun.actions) == {1, 2} and later.actions.tolist() == begun.actions.tolist()
    assert begun.labels.tolist() == (begun.actions + 10).tolist()
    assert begun.distributions.tolist() == [3 * [action] for action in begun.actions]
    assert later.truncated_by_policy.dtype == bool
    assert later.truncated_by_policy.tolist() == (later.actions == 2).tolist() and not begun.truncated_by_policy.any()
    for action, asked in (1, first), (2, second):
        assert [memory for _, memory in asked.seen] == [{"envs": 20, "calls": calls} for calls in (0, 1)]
        for rows, _ in asked.seen:
            assert rows.env_ids.tolist() == np.flatnonzero(begun.actions == action).tolist()
            assert (rows.action_masks == masks[rows.env_ids]).all() and len(rows.rngs) == len(rows.envs) == len(
                rows.env_ids
            )
    assert policy.inference_cost() == {"decisions": 3}
    policy.close()
    assert first.closed and second.closed


def test_a_mixture_asks_only_the_policy_that_plays():
    first, second = Fixed(1, "first"), Fixed(2, "second")
    policy = EpisodeMixture(first, second, 0.0)
    policy.act([given(envs=range(5), start=True)], policy.initial_state(5))
    assert len(first.seen) == 1 and not second.seen


def test_a_mixture_has_distributions_if_both_have_one_kind_and_never_ends_an_episode_by_itself():
    class Plain(Fixed):
        def act(self, inputs, state):
            [output], state = super().act(inputs, state)
            return [PolicyOutput(output.actions, output.labels)], state

    plain = Plain()
    plain.distribution_kind = {}
    for policies in (Fixed(), plain), (plain, Fixed()), (Fixed(kind="q"), Fixed()):
        mixture = EpisodeMixture(*policies, 0.5)
        [output], _ = mixture.act([given(envs=range(9), start=True)], mixture.initial_state(9))
        assert output.distributions is None and not mixture.distribution_kind
        assert output.truncated_by_policy.dtype == bool and not output.truncated_by_policy.any()
