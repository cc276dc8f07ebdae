"""Modules from outside the project that register what they bring, tried with the command line."""

import pytest

from tests.conftest import gatito

PLUGIN = """
import gymnasium as gym
import numpy as np

from benchmarks.tasks import FAMILIES
from benchmarks.tasks.metrics import METRICS


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


FAMILIES.register("corridors", Corridors)
METRICS.register("shortness", lambda episode: 50.0 - episode.length)
"""

SUITE = """
name: mine
tasks:
  mine-corridor:
    env_id: Corridor
    family: corridors
    metric: shortness
    expert: {algorithm: random}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    (tmp_path / "settings" / "suite").mkdir(parents=True)
    (tmp_path / "settings" / "suite" / "mine.yaml").write_text(SUITE)
    return tmp_path


def test_a_plugin_in_the_working_folder_brings_a_family_and_a_metric_to_every_process(folder):
    words = ["suite=mine", "plugins=[my_plugin]", "experts.gate_episodes=2", "stages=[experts]", "name=a"]
    done = gatito("--config-dir", "settings", *words, "tracking=none", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "results/runs/a/experts/mine/corridor/gate.json").exists()


def test_without_the_plugin_its_family_is_unknown(folder):
    done = gatito("--config-dir", "settings", "suite=mine", "stages=[list]", "tracking=none", cwd=folder)
    assert done.returncode == 1 and "unknown" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_plugin_that_is_missing_gets_one_line(folder):
    done = gatito("suite=classic", "plugins=[my_plugn]", "stages=[list]", "tracking=none", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "plugin my_plugn: there is no module my_plugn" in done.stderr
