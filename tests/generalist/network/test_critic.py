"""The critic: its targets and its predictions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import FatalError
from benchmarks.play.rollout import Episode, rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import spaces
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.distill.data import Mixture, Source
from generalist.distill.learner import Learner
from generalist.distill.returns import returns_to_go
from generalist.distill.train import fit
from generalist.network.batches import Window
from generalist.network.critic import Critic
from generalist.network.network import load_network
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import make_task, small_network
from tests.generalist.distill.test_dagger import Always
from tests.generalist.network.test_conditioning import record

TASK = make_task()
CODEC = plain_codec(critic=1.0, discount=0.5)


def recording(folder, rewards, terminated):
    length = len(rewards)
    ends = np.arange(length) == length - 1
    steps = {
        "observations": np.zeros((length + 1, 2), np.float32),
        "actions": np.zeros(length, np.int64),
        "labels": np.zeros(length, np.int64),
        "rewards": np.array(rewards, np.float64),
        "terminated": ends & terminated,
        "truncated": ends & (not terminated),
    }
    artifact = Artifact(folder, "trajectories", {})
    artifact.start()
    episode = Episode(TASK.name, 0, float(sum(rewards)), length, None, False, steps)
    write_shard(folder / "shard-000", [episode], spaces(TASK)[0])
    artifact.finish(0.0, task=TASK.name, agent="expert", distribution_kind=None)
    return Trajectories(folder)


def test_returns_are_discounted_sums_of_later_rewards(tmp_path):
    returns = returns_to_go(recording(tmp_path / "a", [1, 2, 4], terminated=True), 0.5)
    np.testing.assert_allclose(returns, [1 + 1 + 1, 2 + 2, 4])


def test_returns_of_truncated_episodes_are_unknown(tmp_path):
    """Half of the return is beyond the end: one step before it with discount 0.5, ln 2 / 0.01 steps with 0.99."""
    returns = returns_to_go(recording(tmp_path / "a", [1.0] * 200, terminated=False), 0.99)
    assert np.isnan(returns[-68:]).all() and np.isfinite(returns[:131]).all()
    assert returns[0] == pytest.approx((1 - 0.99**200) / 0.01, rel=1e-4)


def test_two_hot_vectors_have_the_given_mean():
    critic, returns = Critic(4), torch.tensor([-2e4, -300.5, -1.0, 0.0, 0.3, 17.0, 499.0])
    wanted = critic.two_hot(returns)
    assert ((wanted > 0).sum(dim=1) <= 2).all()
    torch.testing.assert_close((wanted * critic.points).sum(dim=1), returns, rtol=1e-5, atol=1e-5)
    assert critic.two_hot(torch.tensor([1e9])).argmax() == len(critic.points) - 1


def test_an_untrained_critic_predicts_zero():
    assert (Critic(8)(torch.randn(50, 8)) == 0).all()


def test_a_trained_critic_predicts_the_returns_of_its_data(tmp_path):
    """Counter's rewards are the actions: two per step, until an end that is not observed."""
    artifact = record(tmp_path, TASK, Always(2), episodes=20)
    config = DistillConfig(updates=150, batch_size=8, sequence_length=4, warmup=5, learning_rate=5e-3)
    model = ModelConfig(layers=1, heads=2, width=32, feedforward=32, context_length=4)
    learned = Artifact(tmp_path / "net", "generalist", {})
    learned.start()
    fit(Learner(learned, [TASK], {TASK.name: artifact.folder}, config, model, CODEC, 0), lambda done: None)
    network = load_network(learned.folder)
    recorded = Trajectories(artifact.folder)
    known = returns_to_go(recorded, 0.5)
    policy = NetworkPolicy(network)
    mixture = Mixture(
        [Source(TASK, Trajectories(artifact.folder), 1)], network, batch_size=8, sequence_length=4, seed=1
    )
    losses = network.loss(mixture.batch(0))
    assert set(losses) == {"loss", "accuracy", "action_loss", "critic_loss"}
    assert losses["loss"].item() == pytest.approx((losses["action_loss"] + losses["critic_loss"]).item(), rel=1e-5)
    seen = []

    class Watching:
        name, distribution_kind = "it", {}

        def initial_state(self, num_envs):
            return policy.initial_state(num_envs)

        def act(self, inputs, state):
            decisions, state = policy.act(inputs, state)
            seen.extend(float(value) for value in decisions[0].values)
            return decisions, state

    list(rollout(Watching(), {TASK: [500]}))
    assert seen[0] == pytest.approx(known[np.cumsum([0, *recorded.lengths[:-1]])].mean(), rel=0.2)


def test_steps_with_unknown_returns_have_no_critic_loss():
    codec = small_network(CODEC, 8)
    labels = np.zeros(3, np.int64)
    window = Window(TASK, np.zeros((3, 2), np.float32), labels, None, labels, np.zeros(3))
    hidden = torch.randn(1, 3, 8)
    torch.nn.init.normal_(codec.critic.output.weight)

    def loss(returns):
        known = replace(window, returns=np.array(returns, np.float32))
        return codec.heads.losses(hidden, codec.heads.collate([known], 3))["critic_loss"].item()

    assert loss([np.nan] * 3) == 0
    assert loss([1.0, np.nan, 2.0]) == pytest.approx(
        loss([1.0, np.nan, np.nan]) + loss([np.nan, np.nan, 2.0]), rel=1e-5
    )


@pytest.mark.parametrize(
    "discount, line",
    [
        (1.0, "codec.discount=1.0 is for networks without a critic: set it below 1, or codec.critic=0"),
        (1.5, "codec.discount must be at least 0 and at most 1, not 1.5"),
    ],
)
def test_a_critic_of_unbounded_returns_is_rejected(discount, line):
    with pytest.raises(FatalError, match=line):
        plain_codec(critic=0.5, discount=discount).check()
