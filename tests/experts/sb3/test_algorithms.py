import numpy as np
import pytest
import torch

from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.errors import GatitoError
from benchmarks.play.rollout import rollout
from experts.recipe import ALGORITHMS, ExpertRecipe
from experts.sb3.algorithms import build, check_recipe, make_vec_env
from experts.sb3.player import ExpertPolicy, policy_state
from experts.sb3.replay import Replayable
from experts.sb3.training import Training
from tests.conftest import make_task

RECIPES = {
    "ppo discrete": (
        "CartPole-v1",
        ExpertRecipe(
            env_steps=600, num_envs=3, hyperparameters={"n_steps": 32, "batch_size": 32, "learning_rate": "lin_0.01"}
        ),
    ),
    "ppo normalised, box2d": (
        "LunarLander-v3",
        ExpertRecipe(
            env_steps=600,
            num_envs=3,
            normalize_observations=True,
            normalize_rewards=True,
            hyperparameters={"n_steps": 32, "clip_range": "lin_0.2"},
        ),
    ),
    "ppo state-dependent noise": (
        "Pendulum-v1",
        ExpertRecipe(env_steps=600, num_envs=2, hyperparameters={"n_steps": 64, "use_sde": True, "sde_sample_freq": 4}),
    ),
    "sac": (
        "Pendulum-v1",
        ExpertRecipe(
            algorithm="sac",
            env_steps=600,
            num_envs=2,
            normalize_observations=True,
            hyperparameters={"learning_starts": 50, "batch_size": 16, "gradient_steps": 2, "buffer_size": 500},
        ),
    ),
    "td3": (
        "Pendulum-v1",
        ExpertRecipe(
            algorithm="td3",
            env_steps=600,
            num_envs=2,
            hyperparameters={"learning_starts": 50, "batch_size": 16, "action_noise": 0.1, "buffer_size": 500},
        ),
    ),
    "a2c": ("Acrobot-v1", ExpertRecipe(algorithm="a2c", env_steps=600, num_envs=2)),
    "dqn": (
        "MountainCar-v0",
        ExpertRecipe(
            algorithm="dqn",
            env_steps=600,
            num_envs=1,
            normalize_observations=True,
            hold_exploration=10,
            hyperparameters={"learning_starts": 100, "buffer_size": 300, "train_freq": 4, "target_update_interval": 50},
        ),
    ),
}


def advance(training, until):
    training.advance(until, on_progress=lambda steps: None, on_metrics=lambda steps, metrics: None)


@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_training_resumes_to_the_same_weights(name, tmp_path):
    env_id, recipe = RECIPES[name]
    task = make_task(env_id)
    undisturbed = Training(task, recipe, seed=5)
    for until in (200, 400, 600):
        advance(undisturbed, until)

    first = Training(task, recipe, seed=5)
    advance(first, 200)
    save_state(tmp_path / "200", first.state())
    advance(first, 390)  # lost by the kill
    second = Training(task, recipe, 5, load_state(tmp_path / "200"))
    advance(second, 400)
    save_state(tmp_path / "400", second.state())
    third = Training(task, recipe, 5, load_state(tmp_path / "400"))
    advance(third, 600)

    assert third.steps == undisturbed.steps
    save_state(tmp_path / "resumed", third.state())
    save_state(tmp_path / "undisturbed", undisturbed.state())
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "undisturbed").read_bytes()


def test_weights_depend_on_the_seed():
    env_id, recipe = RECIPES["ppo discrete"]
    weights = [Training(make_task(env_id), recipe, seed)._model.policy.state_dict() for seed in (1, 1, 2)]
    same = [all(torch.equal(weights[0][name], other[name]) for name in other) for other in weights[1:]]
    assert same == [True, False]


def test_a_rate_falls_over_the_whole_training_not_over_each_segment():
    env_id, recipe = RECIPES["ppo discrete"]
    rates = []
    training = Training(make_task(env_id), recipe, seed=0)
    for until in (192, 384, 576):
        training.advance(until, lambda steps: None, lambda steps, metrics: None)
        rates.append(training._model.policy.optimizer.param_groups[0]["lr"])
    # The rate of an update is that at the end of its rollout: 0.01 * (1 - steps / 600).
    assert rates == pytest.approx([0.0068, 0.0036, 0.0004])


@pytest.mark.parametrize("name", ["ppo discrete", "ppo normalised, box2d", "ppo state-dependent noise", "dqn"])
def test_a_loaded_expert_plays_as_stable_baselines3_does(name, tmp_path):
    env_id, recipe = RECIPES[name]
    task = make_task(env_id)
    training = Training(task, recipe, seed=1)
    advance(training, 200)
    save_state(tmp_path / "policy", policy_state(training.state()))
    expert = ExpertPolicy(task, recipe, load_state(tmp_path / "policy"))
    [episode] = rollout(expert, {task: [3]}, keep_steps=True)
    observations = episode.steps["observations"][:-1]
    if recipe.normalize_observations:
        observations = training._env.normalize_obs(observations)
    theirs, _ = training._model.predict(observations, deterministic=True)
    np.testing.assert_allclose(episode.steps["actions"], theirs, atol=1e-6)
    distributions = episode.steps["distributions"]
    kind = expert.distribution_kind[task.name]
    assert kind == {"dqn": "q", "ppo state-dependent noise": "gaussian"}.get(name, "logits")
    assert len(distributions) == episode.length
    if kind == "gaussian":
        assert distributions.shape[1:] == (2, 1) and (distributions[:, 1] > 0).all()
    else:
        np.testing.assert_array_equal(distributions.argmax(axis=1), episode.steps["actions"])


def test_environments_are_restored_by_replaying_their_episode():
    from benchmarks.tasks import make_env

    env = Replayable(make_env(make_task("LunarLander-v3")), seed=3)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(150):  # through the end of an episode into the next
        observation, _, terminated, truncated, _ = env.step(int(rng.integers(4)))
        if terminated or truncated:
            observation, _ = env.reset()
    other = Replayable(make_env(make_task("LunarLander-v3")), seed=3)
    np.testing.assert_array_equal(Replayable.bring(other, env.place()), observation)
    np.testing.assert_array_equal(other.step(2)[0], env.step(2)[0])


@pytest.mark.parametrize(
    "recipe, words",
    [
        (ExpertRecipe(algorithm="pppo"), "unknown algorithm of task toy/cartpole 'pppo'. Did you mean 'ppo'"),
        (ExpertRecipe(hyperparameters={"n_step": 3}), "unknown ppo hyperparameter .* Did you mean 'n_steps'"),
        (ExpertRecipe(env_steps=0), "must be at least 1"),
    ],
)
def test_an_invalid_recipe_is_rejected(recipe, words):
    with pytest.raises(GatitoError, match=words):
        check_recipe(make_task("CartPole-v1"), recipe)


def test_an_algorithm_that_does_not_fit_the_actions_is_rejected_in_one_line():
    with pytest.raises(GatitoError, match="task toy/pendulum: dqn refuses its recipe"):
        Training(make_task("Pendulum-v1"), ExpertRecipe(algorithm="dqn", env_steps=100, num_envs=1), seed=0)


def test_weights_that_become_nan_stop_the_training():
    env_id, recipe = RECIPES["ppo discrete"]
    training = Training(make_task(env_id), recipe, seed=0)
    next(training._model.policy.parameters()).data[0] = float("nan")
    with pytest.raises(GatitoError, match="toy/cartpole diverged: its weights are NaN after"):
        advance(training, 100)


@pytest.mark.parametrize(
    ("rate", "at"),
    [
        ("lin_0.4", {1: 0.4, 0.75: 0.3, 0.5: 0.2, 0: 0, -0.1: 0}),
        ("lin2_0.4", {1: 0.4, 0.75: 0.2, 0.5: 0.4, 0.25: 0.2, 0: 0}),
    ],
)
def test_a_rate_decays_to_zero_once_or_twice_as_configured(rate, at):
    recipe = ExpertRecipe(hyperparameters={"n_steps": 32, "batch_size": 32, "learning_rate": rate})
    model = build(make_task("CartPole-v1"), recipe, make_vec_env(make_task("CartPole-v1"), recipe, 0), 0)
    assert {remaining: model.lr_schedule(remaining) for remaining in at} == pytest.approx(at)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_optimisers_have_the_settings_of_stable_baselines3(algorithm):
    task = make_task("CartPole-v1" if algorithm in ("dqn", "qrdqn", "maskable_ppo") else "Pendulum-v1")
    recipe = ExpertRecipe(algorithm=algorithm, num_envs=1)
    env = make_vec_env(task, recipe, seed=0)
    ours, theirs = build(task, recipe, env, seed=0), ALGORITHMS.load(algorithm)("MlpPolicy", env, device="cpu")
    for name in ("policy", "actor", "critic"):
        own, stock = (getattr(getattr(model, name, None), "optimizer", None) for model in (ours, theirs))
        assert (own is None) == (stock is None)
        if own is not None:
            assert own.defaults | {"fused": None} == stock.defaults | {"fused": None}
            assert type(own) is type(stock) and (own.defaults.get("fused") is True) == (
                algorithm not in ("a2c", "qrdqn")
            )


def test_the_cost_is_subtracted_from_the_training_reward_only():
    task = make_task("CartPole-v1", name="restraint/cartpole", family="restraint", kwargs={"limit": 100.0})
    recipe = ExpertRecipe(algorithm="ppo", num_envs=1, cost_weight=0.25)
    env = make_vec_env(task, recipe, seed=0)
    env.reset()
    _, rewards, _, infos = env.step(np.array([0]))
    assert rewards[0] == 0.75 and infos[0]["cost"] == 1.0
    plain = make_vec_env(make_task("CartPole-v1"), recipe, seed=0)
    plain.reset()
    with pytest.raises(GatitoError, match="cost_weight needs an environment that gives"):
        plain.step(np.array([0]))


@pytest.mark.parametrize("algorithm", ["td3", "sac", "dqn"])
def test_an_expert_keeps_only_the_acting_weights_and_plays_the_same(algorithm, tmp_path):
    task = make_task("MountainCar-v0" if algorithm == "dqn" else "Pendulum-v1")
    recipe = ExpertRecipe(algorithm=algorithm, env_steps=300, num_envs=1)
    training = Training(task, recipe, seed=1)
    advance(training, 20)
    state = training.state()
    kept = policy_state(state)
    assert not [name for name in kept["policy"] if name.startswith(("critic", "actor_target", "q_net_target"))]
    assert len(kept["policy"]) < len(state["parameters"]["policy"])
    whole = {"policy": state["parameters"]["policy"], "normalizer": None}
    returns = [
        next(iter(rollout(ExpertPolicy(task, recipe, part), {task: [3]}))).total_return for part in (kept, whole)
    ]
    assert returns[0] == returns[1]
    first = next(iter(kept["policy"]))
    with pytest.raises(RuntimeError, match=f"missing .*{first}"):
        ExpertPolicy(task, recipe, {"policy": {k: v for k, v in kept["policy"].items() if k != first}})
