"""Trials against gains worked by hand."""

import math

import pytest

from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from generalist.ppo.selection import Trial, try_out
from tests.conftest import make_task

COUNTER = make_task()
TARGET = make_task("tests.environments:Target-v0")
SOLVED = make_task(name="toy/solved", metric="success")


def test_a_trial_knows_means_and_what_gains_are_measured_in():
    trial = Trial.of(
        [COUNTER, TARGET, SOLVED],
        {"toy/counter": [-9.0, -11.0], "toy/target": [1.0, -3.0], "toy/solved": [1.0, 0.0]},
    )
    assert trial.means == {"toy/counter": -10.0, "toy/target": -1.0, "toy/solved": 0.5}
    # The size of the mean, the spread where that is larger, and 1 for success.
    assert trial.units == {"toy/counter": 10.0, "toy/target": 2.0, "toy/solved": 1.0}
    assert Trial.of([COUNTER], {"toy/counter": [0.0, 0.0]}).units == {"toy/counter": 1.0}


def test_a_gain_is_the_mean_over_tasks_on_the_symlog_scale():
    trial = Trial({"a": 10.0, "b": -2.0}, {"a": 5.0, "b": 2.0})
    assert trial.gain({"a": [10.0, 10.0], "b": [-2.0]}) == 0.0
    assert trial.gain({"a": [20.0, 30.0], "b": [-2.0]}) == pytest.approx(math.log1p(3.0) / 2)
    assert trial.gain({"a": [10.0], "b": [-6.0]}) == pytest.approx(-math.log1p(2.0) / 2)
    assert trial.gain({"a": [20.0], "b": [-6.0]}) == pytest.approx(0.0)


def test_a_trial_is_played_on_the_selection_seeds_of_its_training_seed():
    scores, steps = try_out(RandomPolicy(), [COUNTER, TARGET], 4, seed=3)
    seeds = [episode_seed(Purpose.SELECTION, index, 3) for index in range(4)]
    played = list(rollout(RandomPolicy(), {task: seeds for task in (COUNTER, TARGET)}))
    for task in (COUNTER, TARGET):
        expected = sorted(episode.total_return for episode in played if episode.task == task.name)
        assert sorted(scores[task.name]) == pytest.approx(expected)
    assert steps == sum(episode.length for episode in played)
    assert try_out(RandomPolicy(), [COUNTER], 4, seed=4)[0] != {"toy/counter": scores["toy/counter"]}
    solved, _ = try_out(RandomPolicy(), [SOLVED], 6, seed=0)
    assert set(solved["toy/solved"]) <= {0.0, 1.0} and len(solved["toy/solved"]) == 6


def test_a_hidden_cost_counts_by_its_weight_where_there_is_one():
    shortcut = make_task("tests.environments:Shortcut-v0")
    seeds = [episode_seed(Purpose.SELECTION, index, 0) for index in range(4)]
    played = {episode.seed: episode for episode in rollout(RandomPolicy(), {shortcut: seeds})}
    assert any(episode.cost for episode in played.values())
    for weight in (0.0, 0.5):
        scores, _ = try_out(RandomPolicy(), [shortcut, COUNTER], 4, 0, weight)
        expected = sorted(episode.total_return - weight * episode.cost for episode in played.values())
        assert sorted(scores["toy/shortcut"]) == pytest.approx(expected)
        assert scores["toy/counter"] == try_out(RandomPolicy(), [COUNTER], 4, 0)[0]["toy/counter"]  # it has no cost
    assert try_out(RandomPolicy(), [shortcut], 4, 0) == try_out(RandomPolicy(), [shortcut], 4, 0, 0.0)
