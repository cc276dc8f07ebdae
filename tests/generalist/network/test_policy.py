"""Finished networks as an agent beside others."""

import pytest
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.play.outside.loading import AgentConfig, load_agent
from benchmarks.play.rollout import rollout
from generalist.config.codec import CodecConfig
from generalist.network.network import save_network
from generalist.network.policy import NetworkPolicy
from tests.conftest import make_task, small_network

TASKS = [make_task("CartPole-v1"), make_task("Acrobot-v1", horizon=40)]
SEEDS = {task: [5, 6] for task in TASKS}


def agent(folder):
    config = AgentConfig("generalist.network.policy:play_networks", {"folder": str(folder)})
    return load_agent("single", config, TASKS)


def save(folder, tasks, seed):
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    save_network(folder, small_network(CodecConfig(), tasks=[task.name for task in tasks]), {})


def played(policy, seeds=SEEDS):
    episodes = rollout(policy, seeds, keep_steps=True)
    return sorted((each.task, each.seed, each.steps["actions"].tobytes()) for each in episodes)


def test_each_task_has_the_network_of_its_folder(tmp_path):
    for seed, task in enumerate(TASKS):
        save(tmp_path / task.name, [task], seed)
    alone = [
        game for task in TASKS for game in played(NetworkPolicy.load(tmp_path / task.name, [task]), {task: SEEDS[task]})
    ]
    assert played(agent(tmp_path)) == sorted(alone)


def test_one_network_plays_all_tasks(tmp_path):
    save(tmp_path / "one", TASKS, 0)
    assert played(agent(tmp_path / "one")) == played(NetworkPolicy.load(tmp_path / "one", TASKS))


def test_a_missing_network_gets_one_line(tmp_path):
    save(tmp_path / TASKS[0].name, TASKS[:1], 0)
    with pytest.raises(GatitoError, match="acrobot has no network") as error:
        agent(tmp_path)
    assert "\n" not in str(error.value)
