"""Action heads against losses and choices worked by hand, for two and three actions and for one and two numbers."""

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.special import softmax

from benchmarks.base.errors import GatitoError
from generalist.network import heads as heads_module
from generalist.network.batches import Window
from generalist.network.distributions import Categorical
from generalist.network.heads import ActionHeads, action_count, check_actions, check_limits, check_samples
from tests.codecs import plain_codec
from tests.conftest import make_task

THREE = make_task("tests.environments:Counter-v0")
TWO = make_task("CartPole-v1")
FROM_ONE = make_task("tests.odd_environments:FromOne-v0")
PAIR = make_task("tests.environments:Target-v0")  # bounds -1 to 1 and 0 to 10
ARM = make_task("tests.environments:Target-v0", name="toy/arm", kwargs={"more": 2})
SINGLE = make_task("Pendulum-v1")  # -2 to 2
CHOICES = make_task("tests.odd_environments:TwoChoices-v0")  # of three and of two options
WIDTH, LENGTH = 16, 5


def heads(continuous="bins", **settings):
    torch.manual_seed(0)
    action_heads = ActionHeads(
        plain_codec(continuous=continuous, bins=8, discrete_actions=6, action_dimensions=4, **settings), WIDTH
    )
    torch.nn.init.normal_(action_heads.discrete.weight, std=0.5)
    return action_heads


def window(task, labels, distributions=None, returns=None):
    count = len(labels)
    labels = np.asarray(labels)
    return Window(task, np.zeros((count, 1)), labels, distributions, labels, np.zeros(count), returns=returns)


def hidden(*shape):
    return torch.randn(*shape, WIDTH, generator=torch.manual_seed(1))


def test_targets_stand_side_by_side_padded():
    logits = np.array([[1.0, 2.0], [0.0, 0.0]], np.float32)
    windows = [
        window(THREE, [2, 0, 1]),
        window(SINGLE, [[0.0]]),
        window(TWO, [0, 1], logits),
        window(PAIR, [[1, 10.0]] * 2),
    ]
    made = heads().collate(windows, LENGTH)
    assert made.valid.sum(dim=1).tolist() == [3, 1, 2, 2] and made.valid[0].tolist() == [True] * 3 + [False] * 2
    assert made.discrete.tolist() == [0, 2] and made.counts.tolist() == [3, 2] and made.returns is None
    one, two = made.continuous[1], made.continuous[2]
    assert one.windows.tolist() == [1] and two.windows.tolist() == [3] and len(made.continuous) == 2
    assert made.probabilities.shape == (2, LENGTH, 6)
    assert one.normals.shape == (1, LENGTH, 1, 2) and two.normals.shape == (1, LENGTH, 2, 2)
    assert made.probabilities[0, :3].argmax(dim=-1).tolist() == [2, 0, 1]
    np.testing.assert_allclose(made.probabilities[1, :2, :2], softmax(logits, axis=-1), rtol=1e-6)
    assert made.probabilities.sum(dim=-1).tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    np.testing.assert_allclose(one.normals[0, 0, 0], [4.0, 0.5])  # the middle of eight bins, half a bin wide
    np.testing.assert_allclose(two.normals[0, 0], [[8.0, 0.5], [8.0, 0.5]])
    assert one.normals[0, 1, 0].tolist() == pytest.approx([0.0, 1e-3])  # padding does not divide by zero
    assert made.probabilities.dtype == one.normals.dtype == torch.float32
    assert {made.discrete.dtype, made.counts.dtype, one.windows.dtype} == {torch.long}


@pytest.mark.parametrize("task, labels", [(TWO, [1]), (PAIR, [[0.0, 5.0]])])
def test_a_batch_may_have_actions_of_one_kind(task, labels):
    action_heads = heads()
    targets = action_heads.collate([window(task, labels)], LENGTH)
    assert targets.probabilities.shape[:2] == (int(task is TWO), LENGTH)
    assert list(targets.continuous) == ([2] if task is PAIR else [])
    assert action_heads.losses(hidden(1, LENGTH), targets)["loss"] > 0


def test_actions_are_counted_from_their_start():
    assert heads().targets(FROM_ONE, np.array([1, 2]), None)[:, :2].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_the_loss_of_discrete_actions_is_the_mean_cross_entropy_over_real_steps():
    action_heads = heads()
    wanted = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]], np.float32)
    states = hidden(2, LENGTH)
    windows = [window(THREE, [2, 0], wanted), window(TWO, [1, 0, 1])]
    values = action_heads.losses(states, action_heads.collate(windows, LENGTH))
    expected, hits = 0.0, 0
    for row, (step_window, count) in enumerate(zip(windows, (3, 2), strict=True)):
        for step, label in enumerate(step_window.labels):
            shares = softmax(wanted[step]) if step_window.distributions is not None else np.eye(count)[label]
            logits = action_heads.discrete(states[row, step])[:count].detach()
            expected -= float((torch.tensor(shares) * logits.log_softmax(dim=-1)).sum())
            hits += int(logits.argmax()) == int(np.argmax(shares))
    assert values["loss"].item() == pytest.approx(expected / 5, rel=1e-5)
    assert values["accuracy"].item() == pytest.approx(hits / 5)
    assert set(values) == {"loss", "accuracy"}


@pytest.mark.parametrize("continuous", ["bins", "normal", "regression"])
def test_the_loss_of_a_continuous_action_is_the_mean_over_its_dimensions(continuous):
    action_heads = heads(continuous)
    states = hidden(3, LENGTH)
    windows = [window(PAIR, [[0.2, 7.0], [-1.0, 0.0]]), window(SINGLE, [[1.9]]), window(ARM, [[0.2, 7.0, 0.5, -0.9]])]
    targets = action_heads.collate(windows, LENGTH)
    values = action_heads.losses(states, targets)
    expected, hits = 0.0, 0
    for row, (some, dimensions) in enumerate(zip(windows, (2, 1, 4), strict=True)):
        for step in range(len(some)):
            numbers = action_heads.numbers(states[row, step], dimensions)
            normals = targets.continuous[dimensions].normals[0, step]
            costs, missed = action_heads.output.losses(numbers.float(), normals)
            expected += costs.mean().item()
            hits += int(not missed.any())
    assert values["loss"].item() == pytest.approx(expected / 4, rel=1e-5)
    assert values["accuracy"].item() == pytest.approx(hits / 4)


def test_losses_of_both_kinds_are_averaged_over_all_steps_and_reach_every_weight():
    action_heads = heads()
    windows = [window(THREE, [2, 0]), window(PAIR, [[0.2, 7.0]]), window(SINGLE, [[1.0]] * 3)]
    states = hidden(3, LENGTH)
    together = action_heads.losses(states, action_heads.collate(windows, LENGTH))["loss"]
    alone = [
        action_heads.losses(states[[row]], action_heads.collate([some], LENGTH))["loss"] * len(some)
        for row, some in enumerate(windows)
    ]
    assert together.item() == pytest.approx(sum(alone).item() / 6, rel=1e-5)
    together.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in action_heads.parameters())
    assert action_heads.dimension.grad[2:].abs().sum() == 0  # no task of these has a third dimension


def test_accuracy_is_1_where_the_network_is_right():
    action_heads = heads()
    states = hidden(1, 4)
    right = action_heads.discrete(states[0])[:, :3].argmax(dim=-1).numpy()
    assert action_heads.losses(states, action_heads.collate([window(THREE, right)], 4))["accuracy"] == 1
    assert action_heads.losses(states, action_heads.collate([window(THREE, (right + 1) % 3)], 4))["accuracy"] == 0


def test_several_choices_are_right_if_each_is():
    action_heads = heads()
    states = hidden(1, 4)
    logits = action_heads.discrete(states[0]).detach()
    right = np.stack([logits[:, :3].argmax(dim=-1), logits[:, 3:5].argmax(dim=-1)], axis=1)
    for wrong, accuracy in (([0, 0], 1.0), ([1, 0], 0.0), ([0, 1], 0.0)):
        labels = (right + wrong) % [3, 2]
        assert action_heads.losses(states, action_heads.collate([window(CHOICES, labels)], 4))["accuracy"] == accuracy


def test_the_critics_loss_counts_by_its_weight_and_where_returns_are_known():
    action_heads = heads(critic=0.25)
    known = np.array([1.0, np.nan, 3.0])
    windows = [window(TWO, [0, 1, 1], returns=known), window(TWO, [1])]
    states, targets = hidden(2, LENGTH), action_heads.collate(windows, LENGTH)
    np.testing.assert_array_equal(targets.returns[0], [*known, np.nan, np.nan])
    assert targets.returns[1].isnan().all()
    values = action_heads.losses(states, targets)
    expected = action_heads.critic.losses(states[0, [0, 2]], torch.tensor([1.0, 3.0])).sum() / 4
    torch.testing.assert_close(values["critic_loss"], expected)
    torch.testing.assert_close(values["loss"], values["action_loss"] + 0.25 * expected)
    without = heads()
    without.load_state_dict(action_heads.state_dict(), strict=False)
    torch.testing.assert_close(values["action_loss"], without.losses(states, without.collate(windows, LENGTH))["loss"])


def test_logits_of_actions_that_a_task_lacks_are_ruled_out():
    action_heads = heads()
    for shape in ((2,), (2, 3), (2, 3, 4)):
        states = hidden(*shape)
        logits = action_heads.discrete_logits(states, torch.tensor([2, 5]))
        assert logits.shape == (*shape, 6)
        assert logits[0].isneginf().sum(dim=-1).unique().tolist() == [4]
        assert logits[1].isneginf().sum(dim=-1).unique().tolist() == [1]
        torch.testing.assert_close(logits[1, ..., :5], action_heads.discrete(states[1])[..., :5])


@pytest.mark.parametrize("continuous", ["bins", "normal", "regression"])
@torch.no_grad()
def test_sharpened_heads_choose_the_same_with_less_doubt(continuous):
    action_heads = heads(continuous)
    states = hidden(7)
    before = [action_heads.distribution(task, states) for task in (THREE, PAIR)]
    action_heads.sharpen(0.5)
    after = [action_heads.distribution(task, states) for task in (THREE, PAIR)]
    torch.testing.assert_close(after[0].logits, before[0].logits * 2)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one.mode(), other.mode())
    if continuous == "bins":
        torch.testing.assert_close(after[1].logits, before[1].logits * 2)
    if continuous == "normal":
        torch.testing.assert_close(after[1].std, (before[1].std * 0.5).clamp_min(0.5 / 4))


@torch.no_grad()
def test_decisions_are_actions_of_the_task_with_what_they_were_chosen_from():
    action_heads = heads(critic=1.0)
    states = hidden(4)
    decided = action_heads.decide(THREE, states)
    assert decided.actions.tolist() == action_heads.discrete(states)[:, :3].argmax(dim=-1).tolist()
    assert decided.labels is decided.actions and decided.distributions.shape == (4, 3)
    np.testing.assert_allclose(decided.values, action_heads.critic(states).numpy())
    assert decided.chosen.tolist() == decided.actions.tolist()
    assert heads().decide(THREE, states).values is None
    assert set(action_heads.decide(FROM_ONE, states).actions) <= {1, 2}
    assert action_heads.decide(PAIR, states).actions.shape == (4, 2)
    last = action_heads.decide(THREE, states, lambda distribution, rngs: torch.full((4,), len(rngs)), [None, None])
    assert last.actions.tolist() == [2] * 4


@torch.no_grad()
def test_illegal_actions_have_no_chance():
    action_heads = heads()
    states = hidden(4)
    legal = np.array([[True, False, False], [False, True, True], [True, True, True], [False, False, True]])
    decided = action_heads.decide(THREE, states, action_masks=legal)
    assert isinstance(decided.distribution, Categorical)
    assert all(legal[row, action] for row, action in enumerate(decided.actions))
    assert decided.distribution.logits.isneginf().numpy().tolist() == (~legal).tolist()
    torch.testing.assert_close(decided.distribution.logits[2], action_heads.distribution(THREE, states).logits[2])


def test_what_a_codec_cannot_carry_is_named_with_the_setting():
    config = plain_codec(discrete_actions=2, action_dimensions=1)
    assert check_actions(config, THREE) == [(3, "discrete_actions", "discrete actions")]
    assert check_actions(config, PAIR) == [(2, "action_dimensions", "action dimensions")]
    check_limits(config, TWO, check_actions(config, TWO))
    check_limits(config, SINGLE, check_actions(config, SINGLE))
    words = "^task toy/counter has 3 discrete actions, codec step carries 2: set codec.discrete_actions=3.$"
    with pytest.raises(GatitoError, match=words):
        check_limits(config, THREE, check_actions(config, THREE))
    with pytest.raises(
        GatitoError, match="has 2 action dimensions, codec step carries 1: set codec.action_dimensions=2"
    ):
        check_limits(config, PAIR, check_actions(config, PAIR))


@pytest.mark.parametrize("action", [gym.spaces.Box(-np.inf, 1, (2,)), gym.spaces.Text(3)])
def test_actions_of_no_known_kind_are_named(monkeypatch, action):
    monkeypatch.setattr(heads_module, "spaces", lambda task: (None, action))
    words = (
        "^task toy/counter: codec step cannot carry actions .*; it carries Discrete, MultiDiscrete and bounded Box.$"
    )
    with pytest.raises(GatitoError, match=words):
        check_actions(plain_codec(), THREE)


def test_an_experts_deviations_are_targets_in_bins_and_have_a_floor():
    experts = np.array([[[0.0, 5.0], [0.5, 0.001]]], np.float32)  # the mean of what it did, and its deviations
    targets = heads(min_std=1.0).targets(PAIR, np.array([[0.0, 5.0]], np.float32), experts)
    np.testing.assert_allclose(targets, [[[4.0, 2.0], [4.0, 1.0]]])  # eight bins in a width of 2 and of 10


@torch.no_grad()
def test_the_map_to_continuous_actions_is_not_linear_and_its_parameters_are_told_for_the_task():
    action_heads = heads("normal")
    states = hidden(4)
    middle = action_heads.numbers(states * 0, 2)
    assert (action_heads.numbers(states, 2) + action_heads.numbers(-states, 2) - 2 * middle).abs().max() > 0.01
    decided = action_heads.decide(PAIR, states)
    np.testing.assert_array_equal(decided.distributions, decided.distribution.parameters(PAIR))


def test_regression_has_nothing_to_sample_from():
    check_samples(plain_codec(continuous="normal"), PAIR)
    check_samples(plain_codec(continuous="regression"), THREE)
    words = "^task toy/target: codec.continuous=regression .* set codec.continuous=normal .*, and distil with it.$"
    with pytest.raises(GatitoError, match=words) as error:
        check_samples(replace(plain_codec(), continuous="regression"), PAIR)
    assert error.value.task == "toy/target"


def test_actions_are_counted():
    assert [action_count(task) for task in (TWO, THREE, FROM_ONE, SINGLE, PAIR)] == [2, 3, 2, 1, 2]


def test_fresh_heads_are_nearly_indifferent():
    action_heads = ActionHeads(plain_codec(), 512)
    assert action_heads.discrete.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert action_heads.dimension.std().item() == pytest.approx(0.3, rel=0.1)
    entropy = action_heads.distribution(THREE, hidden(9).repeat(1, 32)).entropy()
    assert entropy.min() > 0.8 * math.log(3)


def test_several_choices_add_up_and_are_right_together():
    action_heads = heads()
    wanted = np.array([[0.0, 1.0, 2.0, 0.5, 0.0], [3.0, 0.0, 0.0, 0.0, 1.0]], np.float32)
    windows = [window(CHOICES, [[2, 1], [0, 0]]), window(THREE, [1]), window(CHOICES, [[1, 1], [2, 0]], wanted)]
    states = hidden(3, LENGTH)
    targets = action_heads.collate(windows, LENGTH)
    assert list(targets.choices) == [(3, 2)] and targets.choices[3, 2].windows.tolist() == [0, 2]
    assert targets.choices[3, 2].probabilities[0, :2].tolist() == [[0, 0, 1, 0, 1], [1, 0, 0, 1, 0]]
    assert targets.discrete.tolist() == [1] and not targets.continuous
    values = action_heads.losses(states, targets)
    expected = hits = 0.0
    for row in (0, 2):
        for step in range(2):
            logits = action_heads.discrete(states[row, step]).detach()
            right = True
            for first_option, count, choice in ((0, 3, 0), (3, 2, 1)):
                own = logits[first_option : first_option + count]
                shares = np.eye(count)[windows[row].labels[step, choice]]
                if row == 2:
                    shares = softmax(wanted[step, first_option : first_option + count])
                expected -= float((torch.tensor(shares) * own.log_softmax(dim=-1)).sum())
                right &= int(own.argmax()) == int(shares.argmax())
            hits += right
    single = action_heads.losses(states[[1]], action_heads.collate([windows[1]], LENGTH))
    assert values["loss"].item() == pytest.approx((expected + single["loss"].item()) / 5, rel=1e-5)
    assert values["accuracy"].item() == pytest.approx((hits + single["accuracy"].item()) / 5)
    assert check_actions(plain_codec(), CHOICES) == [(5, "discrete_actions", "options of discrete actions")]
    assert action_count(CHOICES) == 5


@torch.no_grad()
def test_each_of_several_choices_is_made_among_its_legal_options():
    action_heads = heads()
    legal = np.array([[True, False, False, False, True], [False, True, True, True, False]])
    decided = action_heads.decide(CHOICES, hidden(2), action_masks=legal)
    assert decided.actions[0].tolist() == [0, 1] and decided.actions[1, 0] in (1, 2) and decided.actions[1, 1] == 0
    assert action_heads.decide(CHOICES, hidden(2)).actions.shape == (2, 2)


def test_illegal_options_are_no_part_of_the_loss():
    action_heads = heads()
    masks = np.array([[True, True, False]])
    wanted = np.array([[1.0, 0.0, 9.0]], np.float32)
    masked = replace(window(THREE, [0], wanted), masks=masks)
    states = hidden(1, 1)
    logits = action_heads.discrete(states[0, 0])[:2].detach()
    expected = -(torch.tensor(softmax([1.0, 0.0])) * logits.log_softmax(dim=-1)).sum().item()
    assert action_heads.losses(states, action_heads.collate([masked], 1))["loss"].item() == pytest.approx(
        expected, rel=1e-5
    )
    choices = np.array([[True, True, False, True, True]])
    wanted = np.array([[1.0, 0.0, 9.0, 2.0, 0.0]], np.float32)
    masked = replace(window(CHOICES, [[0, 0]], wanted), masks=choices)
    second = action_heads.discrete(states[0, 0])[3:5].detach()
    expected -= (torch.tensor(softmax([2.0, 0.0])) * second.log_softmax(dim=-1)).sum().item()
    assert action_heads.losses(states, action_heads.collate([masked], 1))["loss"].item() == pytest.approx(
        expected, rel=1e-5
    )
