"""PPO's update with a hand-written gradient against stable-baselines3's own."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO

from experts.sb3.manual_gradients import use_manual_gradients

SETTINGS = {"n_steps": 32, "batch_size": 48, "n_epochs": 3, "learning_rate": 3e-3, "device": "cpu"}
CASES = {
    "categorical": ("CartPole-v1", {"ent_coef": 0.1}),
    "one epoch of whole rollouts": ("CartPole-v1", {"batch_size": 32, "n_epochs": 1, "normalize_advantage": False}),
    "relu and another depth": (
        "CartPole-v1",
        {"policy_kwargs": {"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [16], "vf": [32, 16]}}},
    ),
    "linear": ("CartPole-v1", {"policy_kwargs": {"net_arch": []}}),
    "much clipped": ("CartPole-v1", {"clip_range": 0.01, "learning_rate": 0.02, "max_grad_norm": 10.0}),
    "stopped early": ("CartPole-v1", {"target_kl": 1e-3, "learning_rate": 0.01}),
    "normal": ("Pendulum-v1", {"ent_coef": 0.1}),
    "a fused Adam, clipped": (
        "CartPole-v1",
        {"max_grad_norm": 0.05, "policy_kwargs": {"optimizer_kwargs": {"fused": True, "eps": 1e-5}}},
    ),
    "gSDE": ("Pendulum-v1", {"use_sde": True, "sde_sample_freq": 4, "ent_coef": 0.01}),
}


def trained(env, settings, by_hand):
    model = PPO("MlpPolicy", env, seed=3, **SETTINGS | settings)
    if by_hand:
        use_manual_gradients(model, lambda _: None)
        assert "train" in vars(model)
    model.learn(3 * SETTINGS["n_steps"])
    return model


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize("name", CASES)
def test_three_rollouts_give_the_weights_and_logs_of_stable_baselines3(name):
    env, settings = CASES[name]
    theirs, ours = trained(env, settings, False), trained(env, settings, True)
    started = PPO("MlpPolicy", env, seed=3, **SETTINGS | settings).policy.state_dict()
    for weight, wanted in theirs.policy.state_dict().items():
        found = ours.policy.state_dict()[weight]
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-4)
        assert (found - started[weight]).abs().max() > 1e-4, weight
    for line, wanted in theirs.logger.name_to_value.items():
        if line.startswith("train/") and line != "train/loss":  # theirs is that of the last batch
            assert ours.logger.name_to_value[line] == pytest.approx(wanted, rel=1e-3, abs=1e-4), line
    assert ours._n_updates == theirs._n_updates


def test_products_are_counted():
    model, counted = PPO("MlpPolicy", "CartPole-v1", seed=0, **SETTINGS), []
    use_manual_gradients(model, counted.append)
    model.learn(32)
    products = 2 * (4 * 64 + 64 * 64) + 64 * 2 + 64
    assert sum(counted) == 2 * products * (32 + 3 * 32 * 3)  # acting once, then three epochs forward and backward


@pytest.mark.parametrize(
    "make",
    [
        lambda: A2C("MlpPolicy", "CartPole-v1", device="cpu"),
        lambda: PPO("MlpPolicy", "CartPole-v1", clip_range_vf=0.2, device="cpu"),
        lambda: PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"activation_fn": torch.nn.ELU}, device="cpu"),
        lambda: PPO("MlpPolicy", gym.make("FrozenLake-v1"), device="cpu"),
        lambda: PPO(
            "MultiInputPolicy",
            gym.wrappers.AddRenderObservation(gym.make("CartPole-v1", render_mode="rgb_array"), render_only=False),
            device="cpu",
        ),
    ],
)
def test_other_models_stay_as_they_are(make):
    model = make()
    use_manual_gradients(model, lambda _: None)
    assert "train" not in vars(model)


def test_actions_are_sampled_from_the_policy():
    model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.tensor([0.0, 2.0]))
    use_manual_gradients(model, lambda _: None)
    actions, values, log_prob = model.policy(torch.zeros(4000, 4))
    assert actions.shape == (4000,) and values.shape == (4000, 1)
    assert actions.double().mean().item() == pytest.approx(1 / (1 + np.exp(-2)), abs=0.02)
    likely = torch.tensor([0.1192, 0.8808])[actions]
    torch.testing.assert_close(log_prob.exp(), likely, atol=1e-4, rtol=0)
