"""Plugins that register their own classes, used from the command line."""

import csv

import pytest

from tests.conftest import gatito

PLUGIN = """
from functools import partial

import gymnasium as gym
import numpy as np

from benchmarks.play.policy import Policy, PolicyOutput
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.scoring.scoreboard import AGGREGATES, Aggregate
from benchmarks.tasks import FAMILIES
from benchmarks.tasks.metrics import METRICS
from experts.programs.program import Program
from experts.recipe import PROGRAMS
from generalist.config.settings import CONTROLS
from generalist.controls.control import Control


class Corridor(gym.Env):
    observation_space = gym.spaces.Box(0, 9, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place = min(9, max(0, self.place + (1 if action else -1)))
        return np.array([self.place], np.float32), float(self.place == 9), self.place == 9, False, {}


class Corridors:
    @staticmethod
    def resolve(name, config):
        return config.kwargs, config.horizon or 50

    @staticmethod
    def make(task, render_mode=None):
        return gym.wrappers.TimeLimit(Corridor(), task.horizon)


class Right(Policy):
    distribution_kind = {}

    def __init__(self, name):
        self.name = name

    def initial_state(self, num_envs):
        return None

    def act(self, inputs, state):
        actions = [np.ones(len(rows.observations), np.int64) for rows in inputs]
        return [PolicyOutput(chosen, chosen) for chosen in actions], state


class AlwaysRight(Control):
    def agent(self):
        return Agent(AgentId("always-right"), partial(Right, "always-right"))


FAMILIES.register("corridors", Corridors)
PROGRAMS.register("walker", Program(lambda task, recipe: Right("expert"), "corridors"))
CONTROLS.register("always-right", AlwaysRight)
AGGREGATES.register("minimum", Aggregate(lambda f: f.min(axis=-1), "Minimum: the lowest task."))
METRICS.register("shortness", lambda episode: 50.0 - episode.length)
"""

SUITE = """
name: mine
tasks:
  mine-corridor:
    env_id: Corridor
    family: corridors
    metric: shortness
    expert: {algorithm: walker}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    (tmp_path / "settings" / "suite").mkdir(parents=True)
    (tmp_path / "settings" / "suite" / "mine.yaml").write_text(SUITE)
    return tmp_path


def test_a_plugin_in_the_working_folder_works_in_every_process_and_table(folder):
    words = ["suite=mine", "plugins=[my_plugin]", "name=a", "tracking=none", "experts.gate_episodes=2"]
    words += ["record.env_steps=200", "distill.updates=2", "distill.batch_size=4", "evaluate.episodes=4"]
    words += ["controls.agents=[always-right]", "clips.agents=[]"]
    done = gatito("--config-dir", "settings", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    with (folder / "results/runs/a/table.csv").open() as file:
        rows = {(row["task"], row["agent"]): row for row in csv.DictReader(file)}
    assert float(rows["mine/corridor", "expert"]["raw"]) == 41  # 50 less the nine steps that lead to the end
    assert float(rows["mine/corridor", "always-right"]["f"]) == 1
    assert float(rows["minimum", "always-right"]["f"]) == 1
    assert "Minimum: the lowest task." in (folder / "results/runs/a/table.md").read_text()


def test_without_the_plugin_its_names_are_unknown(folder):
    done = gatito("--config-dir", "settings", "suite=mine", "stages=[list]", "tracking=none", cwd=folder)
    assert (
        done.returncode == 1
        and "unknown metric of task mine/corridor 'shortness'" in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
    )


def test_a_plugin_that_is_missing_gets_one_line(folder):
    done = gatito("suite=classic", "plugins=[my_plugn]", "stages=[list]", "tracking=none", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "plugin my_plugn: there is no module my_plugn" in done.stderr
