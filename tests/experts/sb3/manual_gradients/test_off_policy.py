"""SAC's and TD3's updates with hand-written gradients against stable-baselines3's own."""

import pytest
import torch
from stable_baselines3 import DDPG, DQN, SAC, TD3
from stable_baselines3.common.vec_env import VecNormalize

from experts.sb3.manual_gradients import use_manual_gradients

SETTINGS = {"batch_size": 48, "learning_starts": 100, "buffer_size": 1000, "device": "cpu", "seed": 3}

CASES = {
    "SAC": (SAC, {}),
    "SAC with a fixed weight of entropy": (SAC, {"ent_coef": 0.2}),
    "SAC with three critics, tanh and other sizes": (
        SAC,
        {
            "policy_kwargs": {
                "n_critics": 3,
                "activation_fn": torch.nn.Tanh,
                "net_arch": {"pi": [16], "qf": [24, 16, 8]},
            }
        },
    ),
    "SAC with targets that seldom follow": (SAC, {"target_update_interval": 3, "tau": 0.5}),
    "TD3": (TD3, {}),
    "TD3 without a delay, noisy": (TD3, {"policy_delay": 1, "target_policy_noise": 0.5, "gamma": 0.9}),
    "DDPG": (DDPG, {}),
    "TD3 with a fused Adam": (TD3, {"policy_kwargs": {"net_arch": [16], "optimizer_kwargs": {"fused": True}}}),
    "SAC with a fused Adam": (SAC, {"policy_kwargs": {"net_arch": [16], "optimizer_kwargs": {"fused": True}}}),
    "SAC with a fused Adam that decays": (
        SAC,
        {"policy_kwargs": {"net_arch": [16], "optimizer_kwargs": {"fused": True, "weight_decay": 0.1}}},
    ),
}


def new(algorithm, env="Pendulum-v1", **settings):
    settings = {"policy_kwargs": {"net_arch": [32, 24]}} | SETTINGS | settings
    return algorithm(
        "MlpPolicy", env, **settings | {"policy_kwargs": dict(settings["policy_kwargs"])}
    )  # SB3 writes into it


def trained(algorithm, settings, by_hand, env="Pendulum-v1"):
    model = new(algorithm, env, **settings)
    if by_hand:
        use_manual_gradients(model, lambda _: None)
        assert "train" in vars(model)
    model.learn(110)  # ten updates of one batch
    model.train(6, 48)
    return model


@pytest.mark.parametrize("name", CASES)
def test_updates_give_the_weights_and_logs_of_stable_baselines3(name):
    algorithm, settings = CASES[name]
    theirs, ours = trained(algorithm, settings, False), trained(algorithm, settings, True)
    started = new(algorithm, **settings).policy.state_dict()
    for weight, wanted in theirs.policy.state_dict().items():
        found = ours.policy.state_dict()[weight]
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-4)
        assert (found - started[weight]).abs().max() > 1e-6, weight
    logged = {line for line in theirs.logger.name_to_value if line.startswith("train/")}
    assert logged == {line for line in ours.logger.name_to_value if line.startswith("train/")}
    for line in logged:
        assert ours.logger.name_to_value[line] == pytest.approx(
            theirs.logger.name_to_value[line], rel=1e-3, abs=1e-4
        ), line
    assert ours._n_updates == theirs._n_updates
    for kind, wanted in theirs.get_parameters().items():
        if "optimizer" in kind:
            assert ours.get_parameters()[kind]["state"].keys() == wanted["state"].keys()


@pytest.mark.parametrize("bias", [3.0, -25.0])
def test_deviations_beyond_their_limits_are_not_learned(bias):
    model = new(SAC)  # not against SB3's numbers: its gradient is lost in rounding there
    use_manual_gradients(model, lambda _: None)
    with torch.no_grad():
        model.actor.log_std.bias.fill_(bias)
    before = {name: weight.clone() for name, weight in model.actor.named_parameters()}
    model.learn(105)
    changed = {name for name, weight in model.actor.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if not name.startswith("log_std")}


def test_normalized_observations():
    def normalized(algorithm):
        return VecNormalize(new(algorithm).get_env())

    theirs, ours = (trained(SAC, {}, by_hand, normalized(SAC)) for by_hand in (False, True))
    for wanted, found in zip(theirs.policy.parameters(), ours.policy.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-4)


def test_products_are_counted():
    model, counted = new(TD3), []
    use_manual_gradients(model, counted.append)
    model.learn(101)
    counted.clear()
    model.train(2, 48)  # the second update is the actor's, too
    actor, critic = 3 * 32 + 32 * 24 + 24, 4 * 32 + 32 * 24 + 24
    assert sum(counted) == 2 * 48 * (2 * (actor + 8 * critic) + 3 * actor + 2 * critic)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DQN("MlpPolicy", "CartPole-v1", device="cpu"),
        lambda: SAC("MlpPolicy", "Pendulum-v1", use_sde=True, device="cpu"),
        lambda: SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"activation_fn": torch.nn.ELU}, device="cpu"),
        lambda: TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": []}, device="cpu"),
    ],
)
def test_other_models_stay_as_they_are(make):
    model = make()
    use_manual_gradients(model, lambda _: None)
    assert "train" not in vars(model)
