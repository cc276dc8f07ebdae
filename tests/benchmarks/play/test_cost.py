"""The hidden cost of an episode: summed, recorded separately, invisible to learners."""

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env
from benchmarks.tasks.guard import Guarded
from tests.conftest import make_task

TASK = make_task(kwargs={"length": 5})


class Costly(gym.Wrapper):
    """A cost that depends on the action, in ``info`` of all steps or of those with given actions."""

    def __init__(self, env, price=1.0, when=(0, 1, 2)):
        super().__init__(env)
        self.price, self.when = price, when

    def step(self, action):
        *step, info = self.env.step(action)
        return *step, info | ({"cost": self.price * action} if action in self.when else {})


def costly(task, price, when):
    return Guarded(Costly(make_env(task), price, when), task)


def play(price=1.0, when=(0, 1, 2), seeds=range(6)):
    return list(
        rollout(
            RandomPolicy(),
            {TASK: seeds},
            keep_steps=True,
            make=lambda task: costly(task, price, when),
        )
    )


def test_an_episodes_cost_is_the_sum_over_its_steps_and_not_part_of_the_return():
    for episode in play(price=2.0):
        assert episode.cost == 2 * episode.steps["actions"].sum() == episode.steps["costs"].sum()
        assert episode.total_return == episode.steps["rewards"].sum() == episode.steps["actions"].sum()
    for episode in rollout(RandomPolicy(), {TASK: [1]}, keep_steps=True):
        assert episode.cost is None and "costs" not in episode.steps


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_an_invalid_cost_is_rejected(price):
    with pytest.raises(GatitoError, match="the info has (the|a) cost"):
        play(price)


def test_a_cost_in_only_some_steps_is_rejected_with_a_remedy():
    with pytest.raises(GatitoError, match="in some steps alone; give it in every step, 0 where nothing costs"):
        play(when=(1,))


def test_learners_data_does_not_depend_on_the_cost():
    first, second = play(price=1.0), play(price=3.5)
    assert [episode.cost for episode in first] != [episode.cost for episode in second]
    for one, other in zip(first, second, strict=True):
        assert one.steps.keys() == other.steps.keys()
        for name in one.steps.keys() - {"costs"}:
            assert one.steps[name].tobytes() == other.steps[name].tobytes()
    costs = [np.concatenate([episode.steps["costs"] for episode in episodes]) for episodes in (first, second)]
    assert not np.array_equal(*costs)
