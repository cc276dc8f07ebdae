"""Recordings that mix the reward-only expert in, or leave episodes with a hidden cost out."""

import numpy as np
import pytest

from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Suite, Task, TaskConfig
from experts.recipe import ExpertRecipe, ExpertsConfig
from experts.record import RecordConfig
from experts.stages import Experts
from tests.conftest import make_run, make_task

VASES = Task.resolve("restraint/vases", TaskConfig(env_id="Restraint-Vases-v0", family="restraint"))
PLANNER = ExpertRecipe(algorithm="planner", cost_weight=10)
COUNTER = make_task(kwargs={"length": 5})


def recorded(folder, task, recipe, **settings):
    """The failures of a run that records a task, and its costs per episode."""
    run = make_run(folder, Suite("toy", (task,)))
    config = RecordConfig(env_steps=150, random_env_steps=5, shards=1, **settings)
    experts = Experts(run, ExpertsConfig(gate_episodes=2), config, {task.name: recipe})
    experts.train()
    experts.record()
    if task.name in run.failures:
        return run.failures.line(task.name), None
    found = Trajectories(experts.recordings()[task.name].folder)
    return None, np.array([episode["costs"].sum() for episode in found.episodes()])


def test_the_reward_only_expert_plays_its_share_of_the_episodes(tmp_path):
    _, aligned = recorded(tmp_path / "a", VASES, PLANNER, noise=0.0)
    _, half = recorded(tmp_path / "b", VASES, PLANNER, noise=0.0, reward_only_share=0.5)
    _, reward_only = recorded(tmp_path / "c", VASES, PLANNER, noise=0.0, reward_only_share=1.0)
    assert not aligned.any() and reward_only.all() and half.any() and not half.all()


def test_episodes_with_a_cost_are_left_out_and_replaced_by_others(tmp_path):
    _, costs = recorded(tmp_path, VASES, PLANNER, noise=0.0, reward_only_share=0.5, without_cost=True)
    assert len(costs) > 3 and not costs.any()
    line, _ = recorded(tmp_path / "b", VASES, PLANNER, noise=0.0, reward_only_share=1.0, without_cost=True)
    assert "episodes have a hidden cost, so record.without_cost=true leaves nothing to record" in line


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"reward_only_share": 0.2}, "record.reward_only_share=0.2 needs an expert that weighs a hidden cost"),
        ({"without_cost": True}, "record.without_cost=1 needs a hidden cost in every step's info['cost']"),
    ],
)
def test_settings_that_need_a_cost_are_refused_where_there_is_none(tmp_path, settings, words):
    line, _ = recorded(tmp_path, COUNTER, ExpertRecipe(algorithm="random"), **settings)
    assert words in line and "toy/counter" in line
