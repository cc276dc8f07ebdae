"""Experts from outside in whole runs: models of stable-baselines3 in and out, folders of episodes, recorded costs."""

import csv
import shutil

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO

from benchmarks.base.artifacts import Artifact, read_json, read_manifest
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.evaluate import Agent, EvaluateConfig, evaluate
from benchmarks.tasks import Suite, spaces
from experts.recipe import ExpertRecipe, ExpertsConfig
from experts.train import expert_artifact
from tests.conftest import make_run, make_task
from tests.environments import Counter
from tests.experts.sb3.models import CARTPOLE, observations_of, predicted
from tests.experts.sb3.test_imported import made
from tests.experts.test_episode_files import recorded, write_npz
from tests.experts.test_sources import run


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder as RL-Zoo leaves it, with a model and its statistics."""
    folder = tmp_path_factory.mktemp("zoo")
    made(folder / "CartPole-v1.zip", PPO, CARTPOLE, normalized=True)
    return folder


def test_a_model_goes_through_a_whole_run_and_comes_out_again(models, tmp_path):
    words = [f"+experts.models.cartpole={models / 'CartPole-v1.zip'}", "name=zoo", "experts=sb3"]
    code, error = run(tmp_path, *words, "stages=[experts,record,distill,evaluate,report,export]")
    assert code == 0, error
    folder = tmp_path / "results/runs/zoo"
    agents = {row["agent"] for row in csv.DictReader((folder / "scores.csv").open())}
    assert agents == {"random", "expert", "generalist"}
    expert = folder / "experts/classic/cartpole"
    assert read_json(expert / "expert.json")["recipe"]["algorithm"] == "ppo"
    assert read_json(expert / "gate.json")["episodes"] == 3
    manifest = read_manifest(expert)
    assert manifest["facts"]["steps"] == 1234 and set(manifest["config"]["model"]) == {"zip", "normalizer"}
    [cost] = [row for row in csv.DictReader((folder / "costs.csv").open()) if row["agent"] == "expert"]
    assert cost["env_steps"] == "1234" and int(cost["parameters"]) > 0
    seen, _ = observations_of(CARTPOLE)
    again = [f"+experts.models.cartpole={folder / 'sb3/classic/cartpole.zip'}", "name=again", "experts=sb3"]
    code, error = run(tmp_path, *again, "stages=[experts]")
    assert code == 0, error
    one, other = (
        tmp_path / f"results/runs/{name}/experts/classic/cartpole/policy.safetensors" for name in ("zoo", "again")
    )
    assert one.read_bytes() == other.read_bytes()
    loaded = PPO.load(folder / "sb3/classic/cartpole.zip", device="cpu")
    theirs = predicted(PPO.load(models / "CartPole-v1.zip", device="cpu"), seen)
    np.testing.assert_array_equal(predicted(loaded, seen), theirs)


def test_an_experts_fingerprint_follows_its_files_and_not_their_place(models, tmp_path):
    def fingerprint(path, **named):
        config = ExpertsConfig(source="sb3", models={"cartpole": str(path)}, **named)
        return expert_artifact(
            make_run(tmp_path), CARTPOLE, config.recipe("toy/cartpole", ExpertRecipe()), config
        ).fingerprint

    first = fingerprint(models / "CartPole-v1.zip")
    shutil.copytree(models, tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere" / "CartPole-v1.zip") == first
    (tmp_path / "elsewhere" / "CartPole-v1" / "vecnormalize.pkl").unlink()
    bare = fingerprint(tmp_path / "elsewhere" / "CartPole-v1.zip")
    assert bare != first
    statistics = str(models / "CartPole-v1" / "vecnormalize.pkl")
    assert fingerprint(tmp_path / "elsewhere" / "CartPole-v1.zip", normalizers={"cartpole": statistics}) == first
    made(tmp_path / "elsewhere" / "CartPole-v1.zip", PPO, CARTPOLE, policy_kwargs={"net_arch": [8]})
    assert fingerprint(tmp_path / "elsewhere" / "CartPole-v1.zip") != bare


def test_a_task_without_a_model_is_told_how_to_name_one(tmp_path):
    code, error = run(tmp_path, "experts=sb3", "stages=[experts]")
    assert code == 1 and "task classic/cartpole has no model: name one with +experts.models.cartpole=PATH.zip" in error
    with pytest.raises(GatitoError, match="experts.models and experts.normalizers are only for experts=sb3"):
        ExpertsConfig(models={"cartpole": "x.zip"}).check()
    bot = ExpertRecipe(algorithm="bot")
    assert ExpertsConfig(source="sb3").recipe("toy/x", bot) is bot


def test_a_folder_of_episodes_goes_through_a_whole_run(tmp_path):
    task = make_task("CartPole-v1", "classic/cartpole")
    write_npz(tmp_path / "data", task, recorded(task, 4))
    words = [
        "name=files",
        "experts=files",
        "+experts.datasets.cartpole=data",
        "stages=[experts,record,distill,evaluate,report]",
    ]
    code, error = run(tmp_path, *words)
    assert code == 0, error
    rows = list(csv.DictReader((tmp_path / "results/runs/files/scores.csv").open()))
    expert = [float(row["return"]) for row in rows if row["agent"] == "expert"]
    assert expert == [episode.total_return for episode in recorded(task, 3)]
    code, error = run(tmp_path, "experts=files", "stages=[experts]")
    assert code == 1 and "task classic/cartpole has no dataset: set +experts.datasets.cartpole" in error


class Costly(Counter):
    """Every action costs itself."""

    def step(self, action):
        return (*super().step(action)[:4], {"cost": float(action)})


gym.register("Costly-v0", entry_point=Costly, max_episode_steps=20)
COSTLY = make_task("tests.experts.test_outside_experts:Costly-v0")


def recording(task, folder):
    artifact = Artifact(folder, "trajectories", {"agent": "expert"})
    artifact.start()
    write_shard(folder / "shard-000", rollout(RandomPolicy(), {task: range(5)}, keep_steps=True), spaces(task)[0])
    artifact.finish(1.0, distribution_kind=None)
    return Trajectories(folder)


def test_the_costs_of_a_recorded_expert_are_scored(tmp_path):
    found = recording(COSTLY, tmp_path / "trajectories")
    played = [episode.cost for episode in rollout(RandomPolicy(), {COSTLY: range(5)})]
    assert sorted(found.costs) == pytest.approx(sorted(played)) and any(played)
    suite = Suite("toy", (COSTLY,))
    agents = [
        Agent(AgentId("random"), RandomPolicy),
        Agent(AgentId("expert"), RandomPolicy, recorded={COSTLY.name: tmp_path / "trajectories"}),
    ]
    results = evaluate(make_run(tmp_path / "runs" / "r", suite), agents, {COSTLY.name: 0.0}, EvaluateConfig(episodes=3))
    assert [row.cost for row in results.scores if row.agent == "expert"] == found.costs[:3]


def test_masks_are_recorded_where_the_environment_gives_them(tmp_path):
    masked = recording(make_task("tests.environments:Masked-v0"), tmp_path / "masked")
    for steps in masked.episodes():
        assert steps["masks"].tolist() == [[True, True, False]] * len(steps["actions"])
    assert not recording(make_task("tests.environments:Counter-v0"), tmp_path / "plain").has("masks")
