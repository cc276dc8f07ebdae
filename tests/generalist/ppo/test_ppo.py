"""PPO: advantages, likelihoods, collected experience, and updates."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.base.seeds import Purpose
from generalist.config.ppo import PPOConfig
from generalist.config.settings import ModelConfig
from generalist.network.batches import Window
from generalist.network.network import make_network
from generalist.network.policy import NetworkPolicy
from generalist.ppo.advantages import Spread, gae
from generalist.ppo.choices import by_task, distributions_of, divergences, entropies, log_probs
from generalist.ppo.loss import Updates, losses, make_minibatches
from generalist.ppo.rollouts import RolloutCollector
from tests.codecs import plain_codec
from tests.conftest import make_task

MODEL = ModelConfig(layers=2, heads=2, width=16, feedforward=32, context_length=8)
SMALL = {"image_frames": 0, "grid_size": 0, "text_length": 0, "vector_width": 8, "bins": 8, "critic": 1.0}
COUNTER, TARGET, RECALL = (make_task(f"tests.environments:{name}-v0") for name in ("Counter", "Target", "Recall"))
TASKS = (COUNTER, TARGET, RECALL)


def network_of(model=MODEL, tasks=TASKS, **codec):
    torch.manual_seed(0)
    network = make_network(model, plain_codec(**SMALL | codec), [task.name for task in tasks])
    torch.nn.init.normal_(network.heads.discrete.weight, std=1.0)  # far from uniform
    torch.nn.init.normal_(network.critic.output.weight, std=0.3)
    return network.eval()


def collector_for(network, tasks=TASKS, num_envs=3, prompts=None):
    contexts = {task: network.steps_in(task, network.model.context_length - 1) for task in tasks}
    return RolloutCollector(contexts, num_envs, 0, network.codec.discount, prompts or {})


def test_advantages_match_a_hand_computation():
    rewards, values = np.array([1.0, 0.0, 2.0]), np.array([0.5, 1.0, 0.2])
    # Errors 1 + .5 - .5 = 1, 0 + .1 - 1 = -.9, and 2 - .2 = 1.8 where that was the end, 2 + .5 * 4 - .2 = 3.8 where
    # it was not; each counts a quarter in the step before.
    assert gae(rewards, values, 0.0, 0.5, 0.5) == pytest.approx([0.8875, -0.45, 1.8])
    assert gae(rewards, values, 4.0, 0.5, 0.5) == pytest.approx([1.0125, 0.05, 3.8])


def test_truncated_episodes_are_bootstrapped_and_terminated_ones_are_not():
    network = network_of()
    critic = network.critic
    with torch.no_grad():
        critic.output.weight.zero_()
        critic.output.bias[100] = 50.0  # a constant prediction
    expected = float(critic.points[100])
    collector = collector_for(network)
    collector.collect(NetworkPolicy(network), 20, ["test", 0])  # each Target episode is truncated and restarts
    play = collector.collect(NetworkPolicy(network), 30, ["test", 1])
    ends = {
        name: [segment.last_value for segment in play.segments if segment.window.task.name == name]
        for name in ("toy/counter", "toy/target")
    }
    # 30 steps in 3 environments: each Target is truncated after 20 steps and at the end; each Counter ends within 11.
    assert ends["toy/target"] == pytest.approx([expected] * 6)
    assert len(ends["toy/counter"]) >= 9 and np.count_nonzero(ends["toy/counter"]) <= 3
    assert len(play.returns["toy/target"]) == 3 and "toy/recall" in play.returns


@pytest.mark.parametrize(
    ("model", "codec"),
    [
        ({}, {}),
        ({"context_length": 32}, {}),
        ({}, {"previous_actions": True}),
        ({}, {"conditioning": "task_id"}),
        ({}, {"name": "jat", "vector_width": 9}),
        ({}, {"conditioning": "prompt"}),
        ({"kind": "perceptron", "context_length": 1}, {}),
        ({}, {"continuous": "normal"}),
    ],
    ids=str,
)
def test_ratios_are_1_and_values_equal_before_the_first_update(model, codec):
    """Three collections that end within episodes, shorter and longer than the context."""
    network = network_of(replace(MODEL, **model), **codec)
    prompts = {task.name: prompt_of(task) for task in TASKS} if codec.get("conditioning") == "prompt" else {}
    collector = collector_for(network, prompts=prompts)
    config = PPOConfig(minibatches=3)
    for iteration in range(3):
        play = collector.collect(NetworkPolicy(network, prompts=prompts), 7, ["test", iteration])
        assert sum(len(segment.window) - segment.context for segment in play.segments) == 7 * 9
        minibatches = make_minibatches(network, play.segments, collector.spreads, config, np.random.default_rng(0))
        assert len(minibatches) == 3 and sum(map(len, minibatches)) == 7 * 9
        for minibatch in minibatches:
            hidden = minibatch.hidden(network)
            now = log_probs(distributions_of(network.heads, hidden, minibatch.choices), minibatch.choices)
            torch.testing.assert_close((now - minibatch.log_probs).exp(), torch.ones(len(now)), atol=1e-3, rtol=0)
            assert losses(network, minibatch, config)["clip_fraction"] == 0
        for segment in play.segments:
            batch = network.collate([segment.window], 64, [np.random.default_rng(0)])
            hidden = network.action_states(batch)[0, segment.context : len(segment.window)]
            assert network.critic(hidden).detach().numpy() == pytest.approx(segment.values, rel=0.01, abs=0.5)
    assert any(segment.context for segment in play.segments) == (model.get("context_length") != 1)


def prompt_of(task):
    collector = RolloutCollector({task: 0}, 1, 1, 0.9, {})
    network = network_of(tasks=[task])
    return collector.collect(NetworkPolicy(network), 3, ["demonstration"]).segments[0].window


def test_recomputed_outputs_equal_those_of_an_uninterrupted_context():
    """An episode over three collections is one sequence to the network if its context is long enough."""
    network = network_of(replace(MODEL, context_length=32))
    collector = collector_for(network, [TARGET], num_envs=1)
    parts = [collector.collect(NetworkPolicy(network), 6, ["test", part]).segments[0] for part in range(3)]
    assert [part.context for part in parts] == [0, 6, 12]
    whole = parts[-1].window
    assert len(whole) == 18
    with torch.no_grad():
        hidden = network.hidden(network.collate([whole], 18, [np.random.default_rng(0)]))[0]
    choices = by_task([(TARGET, np.concatenate([part.chosen for part in parts]), None)])
    now = log_probs(distributions_of(network.heads, hidden, choices), choices)
    expected = np.concatenate([part.log_probs for part in parts])
    assert now.detach().numpy() == pytest.approx(expected, abs=1e-4)


def test_episodes_use_new_training_seeds(monkeypatch):
    seen = []
    original = type(make_env_of(COUNTER)).reset

    def watched(self, *, seed=None, options=None):
        seen.append(seed)
        return original(self, seed=seed, options=options)

    monkeypatch.setattr(type(make_env_of(COUNTER)), "reset", watched)
    network = network_of()
    collector_for(network, [COUNTER]).collect(NetworkPolicy(network), 40, ["test"])
    assert len(seen) > 9 and len(set(seen)) == len(seen)
    assert {seed // 100_000_000 for seed in seen} == {Purpose.TRAINING}


def make_env_of(task):
    from benchmarks.tasks import make_env

    return make_env(task)


def test_samples_are_weighted_per_task_and_restored_in_order():
    """Alternating steps of a discrete and a continuous task, compared with separate distributions."""
    network, others = network_of(continuous="normal"), network_of(continuous="normal")
    torch.nn.init.normal_(others.heads.continuous[-1].weight, std=0.3)
    target = np.array([[0.25, -0.5], [0.0, 1.0], [1.5, 0.0]])
    parts = [(RECALL, np.array([1])), (TARGET, target[:2]), (RECALL, np.array([0])), (TARGET, target[2:])]
    parts = [(*part, None) for part in parts]
    choices, hidden = by_task(parts), torch.randn(5, 16)
    assert [chosen.steps.tolist() for chosen in choices] == [[0, 3], [1, 2, 4]]
    of, against = (distributions_of(each.heads, hidden, choices) for each in (network, others))
    for step, (task, action) in enumerate(
        [(RECALL, 1), (TARGET, target[0]), (TARGET, target[1]), (RECALL, 0), (TARGET, target[2])]
    ):
        alone, other = (each.heads.distribution(task, hidden[[step]]) for each in (network, others))
        expected = [alone.log_prob(torch.from_numpy(np.array([action]))), alone.entropy(), alone.kl(other)]
        values = [log_probs(of, choices), entropies(of, choices), divergences(of, against, choices)]
        for value, one in zip(values, expected, strict=True):
            assert value[step].item() == pytest.approx(one.item(), rel=1e-5)
    assert (divergences(of, of, choices) == 0).all()
    sum([entropies(of, choices).sum(), divergences(of, against, choices).sum()]).backward()
    assert all(torch.isfinite(each.grad).all() for each in network.parameters() if each.grad is not None)


def test_the_clipped_surrogate_matches_a_hand_computation():
    """Ratios of 2 and 1/2: improvements beyond the clip range are clipped, deteriorations are not."""
    network = network_of()
    collector = collector_for(network, [RECALL])
    play = collector.collect(NetworkPolicy(network), 8, ["test"])
    config = PPOConfig(minibatches=1, clip_range=0.2)
    [minibatch] = make_minibatches(network, play.segments, collector.spreads, config, np.random.default_rng(0))
    ones = torch.ones(len(minibatch))
    for ratio, advantage, expected in ((2, 1, -1.2), (2, -1, 2.0), (0.5, 1, -0.5), (0.5, -1, 0.8)):
        moved = replace(
            minibatch,
            log_probs=minibatch.log_probs - float(np.log(ratio)),
            advantages=advantage * ones,
        )
        values = losses(network, moved, config)
        assert values["policy_loss"].item() == pytest.approx(expected, abs=1e-4)
        assert values["clip_fraction"] == 1
        assert float(values["kl"]) == pytest.approx(ratio - 1 - np.log(ratio), abs=1e-4)


def test_the_standard_deviation_of_returns_is_over_all_of_them():
    values = np.random.default_rng(0).normal(3, 7, 100)
    spread = Spread()
    assert spread.deviation == 1
    for part in (values[:1], values[1:40], values[40:]):
        spread.add(part)
    assert spread.deviation == pytest.approx(values.std())


def test_advantages_and_critic_targets_have_the_same_scale_in_every_task():
    """Scaling one task's rewards by a thousand does not change the policy's and the critic's losses."""
    network = network_of()
    config = PPOConfig(minibatches=1)
    dealt = []
    for scale in (1.0, 1000.0):
        collector = collector_for(network, [COUNTER, RECALL])
        play = collector.collect(NetworkPolicy(network), 20, ["test"])
        own = [segment for segment in play.segments if segment.window.task == COUNTER]
        scaled = [
            replace(segment, window=replace(segment.window, rewards=segment.window.rewards * scale)) for segment in own
        ]
        collector.spreads[COUNTER.name].squares *= scale**2
        segments = scaled + [segment for segment in play.segments if segment.window.task == RECALL]
        [minibatch] = make_minibatches(network, segments, collector.spreads, config, np.random.default_rng(0))
        dealt.append(minibatch)
    torch.testing.assert_close(dealt[0].advantages, dealt[1].advantages, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(dealt[0].returns, dealt[1].returns, atol=1e-4, rtol=1e-4)
    assert float(dealt[0].advantages.mean()) == pytest.approx(0, abs=1e-5)
    assert float(dealt[0].advantages.std(correction=0)) == pytest.approx(1, abs=1e-3)


def test_an_update_stops_at_the_kl_limit():
    network = network_of()
    collector = collector_for(network)
    play = collector.collect(NetworkPolicy(network), 20, ["test"])
    updates = {}
    for target in (0.0, 1e-4):
        moved = network_of()
        config = PPOConfig(minibatches=2, epochs=5, learning_rate=1e-2, target_kl=target)
        dealt = make_minibatches(moved, play.segments, collector.spreads, config, np.random.default_rng(0))
        updates[target] = Updates(moved, config).learn(dealt, np.random.default_rng(0))["updates"]
    assert updates[0.0] == 10 and updates[1e-4] == 2  # the second update is computed, but not applied


def test_a_nan_loss_does_not_change_the_weights():
    network = network_of()
    collector = collector_for(network)
    play = collector.collect(NetworkPolicy(network), 10, ["test"])
    config = PPOConfig(minibatches=1)
    [minibatch] = make_minibatches(network, play.segments, collector.spreads, config, np.random.default_rng(0))
    before = {name: values.clone() for name, values in network.state_dict().items()}
    broken = replace(minibatch, advantages=minibatch.advantages * float("nan"))
    with pytest.raises(FloatingPointError):
        Updates(network, config).learn([broken], np.random.default_rng(0))
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())


def test_sequences_contain_the_observations_and_actions():
    network = network_of()
    collector = collector_for(network, [COUNTER], num_envs=1)
    first, *_ = collector.collect(NetworkPolicy(network), 12, ["test"]).segments
    window = first.window
    assert isinstance(window, Window) and first.context == 0
    assert (window.observations[:, 1] == np.arange(len(window))).all()  # it counts its steps
    assert (window.rewards == window.actions).all() and (window.actions == first.chosen).all()
