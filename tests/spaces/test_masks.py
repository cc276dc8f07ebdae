"""Action masks in losses, PPO, search and noise; several choices against sums over all combinations."""

import itertools

import numpy as np
import pytest
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import Noisy, RandomPolicy, stack_masks
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env, spaces
from benchmarks.tasks.actions import adapt_actions
from generalist.amplifiers.best_of_n import BestOfN, BestOfNPolicy
from generalist.amplifiers.search import Search, SearchPolicy
from generalist.config.ppo import PPOConfig
from generalist.network.batches import Window
from generalist.network.heads import ActionHeads
from generalist.network.multi_categorical import MultiCategorical
from generalist.network.policy import NetworkPolicy
from generalist.ppo.loss import losses, make_minibatches
from generalist.ppo.rollouts import RolloutCollector
from tests.codecs import plain_codec
from tests.conftest import make_task, small_network
from tests.spaces.odd_spaces import ANSWERS, MASKS

CODEC = plain_codec(image_frames=0, grid_size=0, text_length=0, vector_width=8, critic=1.0)
STREAM = np.random.default_rng


def masked(answer):
    kwargs = {"answer": answer, "masked": True}
    return make_task("tests.spaces.odd_spaces:Thirds-v0", f"odd/{answer.replace(' ', '-')}", kwargs=kwargs)


def network_of(task):
    torch.manual_seed(0)
    network = small_network(CODEC, width=16, tasks=[task.name], context_length=4)
    torch.nn.init.normal_(network.heads.discrete.weight, std=2.0)  # it insists on actions, some of them illegal
    return network.eval()


def probabilities(logits, legal):
    weights = np.exp(logits) * legal
    return weights / weights.sum()


@pytest.mark.parametrize("distributions", [False, True])
def test_illegal_actions_are_left_out_of_the_loss(distributions):
    task = masked("discrete")
    heads = ActionHeads(CODEC, 16)
    hidden, rng = torch.randn(1, 2, 16), STREAM(0)
    labels, masks = np.array([0, 2]), np.array([[True, True, False], [False, True, True]])
    taught = rng.normal(size=(2, 3)).astype(np.float32) if distributions else None
    nothing = np.zeros((2, 1), np.float32)
    window = Window(task, nothing, labels, taught, labels, np.zeros(2), masks=masks)
    loss = heads.losses(hidden, heads.collate([window], 2))["action_loss"]
    logits = heads.discrete(hidden)[0, :, :3].detach().numpy().astype(np.float64)
    expected = 0.0
    for step in range(2):
        wanted = probabilities(taught[step], masks[step]) if distributions else np.eye(3)[labels[step]]
        own = probabilities(logits[step], masks[step])
        expected -= (wanted[masks[step]] * np.log(own[masks[step]])).sum() / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_several_choices_are_the_product_of_their_distributions():
    options, logits = (3, 2), torch.randn(2, 2, 5)
    one, other = MultiCategorical(logits[0], options), MultiCategorical(logits[1], options)
    every = torch.tensor(list(itertools.product(range(3), range(2))))
    logs = [torch.stack([d.log_prob(action.expand(2, 2)) for action in every], dim=1) for d in (one, other)]
    assert torch.allclose(logs[0].exp().sum(dim=1), torch.ones(2))
    assert torch.allclose(one.entropy(), -(logs[0].exp() * logs[0]).sum(dim=1), atol=1e-5)
    assert torch.allclose(one.kl(other), (logs[0].exp() * (logs[0] - logs[1])).sum(dim=1), atol=1e-5)
    assert torch.equal(one.mode(), every[logs[0].argmax(dim=1)])
    drawn = torch.stack([one.sample([STREAM(seed), STREAM(seed)]) for seed in range(2000)])
    for row in range(2):
        shares = (drawn[:, row, None] == every).all(dim=-1).float().mean(dim=0)
        assert torch.allclose(shares, logs[0][row].exp(), atol=0.05)
    mixture = MultiCategorical.mixture([one, one])
    assert torch.allclose(mixture.entropy(), one.entropy(), atol=1e-5)
    legal = torch.tensor([[True, False, True, True, False]] * 2)
    assert set(one.masked(legal).mode()[:, 0].tolist()) <= {0, 2} and not one.masked(legal).mode()[:, 1].any()


@pytest.mark.parametrize("answer", ["discrete", "from 1", "choices", "bits", "tuple"])
def test_noise_and_random_play_are_legal(answer):
    task = masked(answer)
    for policy in (RandomPolicy(), Noisy(RandomPolicy(), 0.9)):
        assert len(list(rollout(policy, {task: range(3)}))) == 3  # an illegal action raises


@pytest.mark.parametrize("answer", ["discrete", "from 1", "choices"])
@pytest.mark.parametrize("amplifier", ["best_of_n", "gumbel", "puct"])
def test_amplifiers_try_and_take_legal_actions(answer, amplifier):
    task = masked(answer)
    player = NetworkPolicy(network_of(task))
    if amplifier == "best_of_n":
        policy = BestOfNPolicy(player, BestOfN(candidates=3, rollouts=1, horizon=3))
    else:
        policy = SearchPolicy(player, [task], Search(num_simulations=8, selection=amplifier))
    for episode in rollout(policy, {task: range(2)}, keep_steps=True):
        if "distributions" in episode.steps:
            assert (episode.steps["distributions"][~episode.steps["masks"]] < -1e6).all()


@pytest.mark.parametrize("answer", ["discrete", "choices"])
def test_ppo_compares_the_probabilities_that_it_acted_by(answer):
    task = masked(answer)
    network = network_of(task)
    collector = RolloutCollector({task: 0}, 2, 0, network.codec.discount, {})
    segments = collector.collect(NetworkPolicy(network), 12, ["test"]).segments
    assert all(segment.legal is not None and not segment.legal.all(axis=1).any() for segment in segments)
    [minibatch] = make_minibatches(network, segments, collector.spreads, PPOConfig(minibatches=1), STREAM(0))
    found = losses(network, minibatch, PPOConfig())
    assert found["clip_fraction"].item() == 0 and abs(found["kl"].item()) < 1e-5
    found["loss"].backward()
    assert all(torch.isfinite(weights.grad).all() for weights in network.parameters() if weights.grad is not None)


def test_an_environment_without_a_mask_now_has_no_illegal_actions():
    mask = np.array([True, False])
    assert stack_masks([None, mask]).tolist() == [[True, True], [True, False]]
    assert stack_masks([None, None]) is None


def test_masks_nest_as_gymnasium_samples_and_lie_flat_as_sb3_contrib_has_them():
    choices = adapt_actions(ANSWERS["choices"][0]).mask
    flat = [True, False, True, True, True]
    assert choices((np.array([1, 0, 1], np.int8), np.ones(2, np.int8))).tolist() == flat
    assert choices(np.array([1, 0, 1, 1, 1], np.int8)).tolist() == flat
    bits = adapt_actions(ANSWERS["bits"][0]).mask
    assert bits(np.array([[0, 1, 2]], np.int8)).tolist() == [True, False, False, True, True, True]
    assert bits([1, 0, 0, 1, 1, 1]).tolist() == [True, False, False, True, True, True]


def test_a_mask_of_another_length_is_refused(monkeypatch):
    monkeypatch.setitem(MASKS, "choices", lambda legal: legal)
    task = masked("choices")
    with pytest.raises(GatitoError, match="task odd/choices.*action mask of 3 values, the action space has 5 options"):
        make_env(task).reset(seed=0)
    assert spaces(task)[1].shape == (2,)
