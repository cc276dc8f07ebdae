"""Experts out to stable-baselines3, and back."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.vec_env import VecNormalize

from experts.recipe import IMPORTED, ExpertRecipe
from experts.sb3.algorithms import build, make_vec_env
from experts.sb3.exported import export_model
from experts.sb3.imported import import_model
from experts.sb3.player import ExpertPolicy, acting_weights
from tests.conftest import make_task
from tests.experts.sb3.models import (
    CARTPOLE,
    MIXED,
    PENDULUM,
    actions_of,
    environment,
    observations_of,
    predicted,
    shake,
)

FILM = make_task("tests.environments:Film-v0")
CNN = ExpertRecipe(algorithm="ppo", hyperparameters={"policy_kwargs": {"features_extractor_class": "small_cnn"}})
RATE = {"learning_rate": "lin_0.001"}


def trained(task, recipe):
    """The state of an expert with weights of its own."""
    torch.manual_seed(0)
    model = build(task, recipe, make_vec_env(task, recipe, 0), 0)
    shake(model, task)
    state = {"policy": acting_weights(model.policy.state_dict()), "normalizer": None}
    if recipe.normalize_observations:
        shape = model.observation_space.shape
        state["normalizer"] = {"mean": np.full(shape, 0.3), "var": np.full(shape, 0.5), "count": np.asarray(9.0)}
        state["normalizer"] |= {"epsilon": np.asarray(1e-8), "clip": np.asarray(2.0)}
    return state


@pytest.mark.parametrize(
    "task, kind, recipe",
    [
        (CARTPOLE, PPO, ExpertRecipe(algorithm="ppo", hyperparameters=RATE)),
        (CARTPOLE, PPO, ExpertRecipe(algorithm="ppo", normalize_observations=True)),
        (CARTPOLE, DQN, ExpertRecipe(algorithm="dqn", hold_exploration=4, hyperparameters={"buffer_size": 9})),
        (PENDULUM, SAC, ExpertRecipe(algorithm="sac", hyperparameters={"buffer_size": 9})),
        (FILM, PPO, CNN),
    ],
    ids=["ppo", "ppo-normalized", "dqn", "sac", "ppo-small-cnn"],
)  # fmt: skip
def test_stable_baselines3_loads_what_is_exported_and_it_comes_back(task, kind, recipe, tmp_path):
    state = trained(task, recipe)
    own = ExpertPolicy(task, recipe, state)
    path = tmp_path / "model.zip"
    export_model(task, recipe, state, path, 77)
    loaded = kind.load(path, device="cpu")
    assert loaded.num_timesteps == 77
    seen, packed = observations_of(task)
    normalizer = None
    if recipe.normalize_observations:
        normalizer = VecNormalize.load(str(tmp_path / "model" / "vecnormalize.pkl"), environment(task))
    theirs = predicted(loaded, seen, normalizer)
    np.testing.assert_allclose(actions_of(own, task, packed), theirs, rtol=1e-4, atol=1e-5)
    assert len(np.unique(theirs, axis=0)) > 1
    again = import_model(task, ExpertRecipe(algorithm=IMPORTED, model=str(path)))
    np.testing.assert_array_equal(actions_of(again.policy, task, packed), actions_of(own, task, packed))
    assert again.steps == 77


def test_an_exported_expert_loads_where_gatito_is_not(tmp_path):
    export_model(FILM, CNN, trained(FILM, CNN), tmp_path / "model.zip", 1)
    code = (
        "import sys, numpy as np; from stable_baselines3 import PPO; model = PPO.load('model.zip');"
        "print(model.predict(np.zeros((4, 84, 84), np.uint8), deterministic=True)[0]);"
        "assert not any(name.split('.')[0] in ('gatito', 'experts', 'benchmarks') for name in sys.modules)"
    )
    words = [sys.executable, "-P", "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("0", "1")


def test_a_dictionarys_statistics_go_out_and_come_back(tmp_path):
    model = SAC("MultiInputPolicy", VecNormalize(environment(MIXED), norm_obs_keys=["place"]), buffer_size=9)
    model.save(tmp_path / "model.zip")
    model.env.seed(0)
    model.env.reset()
    for _ in range(20):
        model.env.step([model.action_space.sample()])
    model.env.save(tmp_path / "vecnormalize.pkl")
    imported = import_model(MIXED, ExpertRecipe(algorithm=IMPORTED, model=str(tmp_path / "model.zip")))
    seen, packed = observations_of(MIXED)
    own = actions_of(imported.policy, MIXED, packed)
    np.testing.assert_allclose(own, predicted(model, seen, model.env), rtol=1e-4, atol=1e-5)
    export_model(MIXED, imported.recipe, imported.state, tmp_path / "out" / "model.zip", 1)
    found = VecNormalize.load(str(tmp_path / "out" / "model" / "vecnormalize.pkl"), environment(MIXED))
    loaded = SAC.load(tmp_path / "out" / "model.zip", device="cpu")
    np.testing.assert_allclose(own, predicted(loaded, seen, found), rtol=1e-4, atol=1e-5)
