"""stable-baselines3 gets spaces that it supports; experts' actions are the environment's own."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy, sample
from benchmarks.play.rollout import rollout
from experts.recipe import ExpertRecipe
from experts.sb3.algorithms import check_masks
from experts.sb3.player import ExpertPolicy, policy_state
from experts.sb3.spaces import Translator
from experts.sb3.training import Training
from tests.conftest import make_task

PPO = ExpertRecipe(
    algorithm="ppo",
    env_steps=1_500,
    num_envs=4,
    hyperparameters={"n_steps": 64, "batch_size": 64, "n_epochs": 10, "learning_rate": 0.003, "ent_coef": 0.0},
)
DQN = ExpertRecipe(
    algorithm="dqn",
    env_steps=1_500,
    num_envs=1,
    hyperparameters={"learning_starts": 200, "learning_rate": 0.003, "gamma": 0.0, "exploration_fraction": 0.5},
)


def odd(name, **settings):
    return make_task(f"tests.odd_environments:{name}-v0", horizon=8, **settings)


def trained(task, recipe, steps=None):
    training = Training(task, recipe, seed=0)
    training.advance(steps or recipe.env_steps, lambda done: None, lambda step, metrics: None)
    policy = ExpertPolicy(task, recipe, policy_state(training.state()))
    training.close()
    return policy


def mean_return(policy, task, episodes=20):
    return np.mean([episode.total_return for episode in rollout(policy, {task: range(episodes)})])


@pytest.mark.parametrize("name", ["FromOne", "SeenFromTwo", "Pairs", "Reuses", "Drifts"])
def test_experts_learn_in_every_kind_of_space(name):
    task = odd(name)
    assert mean_return(trained(task, PPO), task) > 6.5  # of 8; chance gets 4


def test_dqn_supports_discrete_spaces_with_a_start():
    task = odd("FromOne")
    assert mean_return(trained(task, DQN), task) > 6  # of 8; chance gets 4


@pytest.mark.parametrize(
    "bounds",
    [
        {"low": 0.0, "high": 1000.0},
        {"low": -0.01, "high": 0.01},
        {"low": -128, "high": 127, "dtype": "int8"},
    ],
    ids=lambda bounds: f"{bounds['low']} to {bounds['high']}",
)
def test_continuous_actions_of_any_bounds(bounds):
    task = odd("Scales", kwargs=bounds)
    policy = trained(task, replace(PPO, env_steps=2_500))
    episodes = list(rollout(policy, {task: range(20)}, keep_steps=True))
    assert np.mean([episode.total_return for episode in episodes]) > 6.6  # of 8; chance gets 5.3
    steps = episodes[0].steps
    assert steps["actions"].dtype == np.dtype(bounds.get("dtype", "float32"))
    means, deviations = steps["distributions"].transpose(1, 0, 2)
    half = (bounds["high"] - bounds["low"]) / 2
    assert (deviations <= 2 * half).all() and np.abs(means - steps["labels"]).max() <= 1.5 * half + 0.5
    # The environment negates its action in place, which does not change the recording.
    np.testing.assert_array_equal(steps["actions"], steps["labels"])


def test_ppo_with_rollouts_of_one_step_plays_what_it_has_learnt():
    recipe = replace(PPO, hyperparameters={"n_steps": 1, "batch_size": 4})
    policy = trained(odd("Signs"), recipe, steps=200)
    assert mean_return(policy, odd("Signs")) >= 0


def test_integers_are_sampled_uniformly_including_both_bounds():
    space, rng = gym.spaces.Box(-2, 2, (1,), np.int8), np.random.default_rng(0)
    drawn = [int(sample(space, rng, odd("Signs"))[0]) for _ in range(5_000)]
    counts = np.bincount(np.array(drawn) + 2)
    assert len(counts) == 5 and counts.min() > 850


def test_random_actions_start_at_the_spaces_start():
    task = odd("FromOne")
    [episode] = rollout(RandomPolicy(), {task: [0]}, keep_steps=True)
    assert set(episode.steps["actions"]) == {1, 2}


def test_resuming_keeps_the_translation(tmp_path):
    task = odd("FromOne")
    recipe = replace(PPO, hyperparameters={"n_steps": 16, "batch_size": 16})
    whole, first = Training(task, recipe, seed=0), Training(task, recipe, seed=0)
    for training, until in ((whole, 128), (first, 128)):
        training.advance(until, lambda done: None, lambda step, metrics: None)
    save_state(tmp_path / "128", first.state())
    second = Training(task, recipe, 0, load_state(tmp_path / "128"))
    for training in (whole, second):
        training.advance(256, lambda done: None, lambda step, metrics: None)
    for name, values in whole.state()["parameters"]["policy"].items():
        np.testing.assert_array_equal(values, second.state()["parameters"]["policy"][name])


def test_what_cannot_be_learnt_names_the_way_out():
    with pytest.raises(GatitoError, match="learns from numbers alone.*scripted expert.*experts=minari"):
        Translator(make_task("tests.environments:Instructed-v0"))


def test_masks_need_an_algorithm_that_respects_them():
    masked = make_task("tests.environments:Masked-v0")
    with pytest.raises(GatitoError, match="ppo would take illegal actions: set algorithm: maskable_ppo.*scripted"):
        Training(masked, ExpertRecipe(algorithm="ppo"), seed=0)
    check_masks(masked, ExpertRecipe(algorithm="maskable_ppo"))


def test_a_masked_expert_is_trained_and_plays_legal_actions():
    for answer in ("discrete", "choices"):
        kwargs = {"answer": answer, "masked": True}
        task = make_task("tests.spaces.odd_spaces:Thirds-v0", f"odd/{answer}", kwargs=kwargs)
        recipe = ExpertRecipe(algorithm="maskable_ppo", env_steps=64, num_envs=2, hyperparameters={"n_steps": 32})
        training = Training(task, recipe, seed=0)
        training.advance(64, lambda done: None, lambda step, metrics: None)
        expert = ExpertPolicy(task, recipe, policy_state(training.state()))
        episodes = list(rollout(expert, {task: range(4)}, keep_steps=True))  # which raise if an action is illegal
        logits, masks = (episodes[0].steps[name] for name in ("distributions", "masks"))
        assert logits.shape == masks.shape and np.isneginf(logits[~masks]).all()


@pytest.mark.parametrize(
    ("sight", "answer"),
    [(sight, "discrete") for sight in ("hwc", "flat", "no axes", "cube", "choices", "four axes")]
    + [("tuple", answer) for answer in ("choices", "unbounded", "both")],
)
def test_ppo_is_trained_on_every_kind_of_numbers_and_images(sight, answer):
    kwargs = {"sight": sight, "answer": answer}
    task = make_task("tests.spaces.odd_spaces:Thirds-v0", "odd/thirds", kwargs=kwargs)
    recipe = ExpertRecipe(algorithm="ppo", num_envs=1, hyperparameters={"n_steps": 16, "batch_size": 16, "n_epochs": 1})
    training = Training(task, recipe, seed=0)
    training.advance(16, lambda done: None, lambda step, metrics: None)
    expert = ExpertPolicy(task, recipe, policy_state(training.state()))
    assert len(list(rollout(expert, {task: range(2)}))) == 2
