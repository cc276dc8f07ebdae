import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env, spaces
from benchmarks.tasks.observations import pack
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.distill.data import demonstration
from generalist.distill.distill import distill
from generalist.network.batches import Window
from generalist.network.encoders import ImageDecoder, ImageEncoder
from generalist.network.jat.jat import JatNetwork
from generalist.network.modalities import choices
from generalist.network.network import load_prompts, make_network, save_network
from generalist.network.policy import NetworkPolicy
from generalist.network.step import StepNetwork
from tests.codecs import plain_codec
from tests.conftest import make_run, make_task, small_network
from tests.generalist.distill.test_distill import MODEL, SUITE, recordings  # noqa: F401

COUNTER = make_task()
TARGET = make_task("tests.environments:Target-v0")
LAKE = make_task("FrozenLake-v1")
FILM = make_task("tests.environments:Film-v0")
INSTRUCTED = make_task("tests.environments:Instructed-v0")
TASKS = [COUNTER, TARGET, LAKE, FILM, INSTRUCTED]
JAT = plain_codec("jat", continuous="regression", observation_loss=0.25)


def window(task, steps=4, seed=0, **changes):
    """Steps of random play over one or more episodes; actions differ from labels."""
    env, rng = make_env(task), np.random.default_rng(seed)
    env.action_space.seed(seed)
    observations, actions, labels, rewards = [], [], [], []
    observation, over = None, True
    while len(observations) < steps:
        observation = env.reset(seed=seed)[0] if over else observation
        observations.append(pack(env.observation_space, observation))
        actions.append(env.action_space.sample())
        labels.append(env.action_space.sample())
        observation, _, terminated, truncated, _ = env.step(actions[-1])
        rewards.append(rng.normal())
        over = terminated or truncated
    arrays = [np.stack(rows) for rows in (observations, labels, actions, rewards)]
    return replace(Window(task, arrays[0], arrays[1], None, arrays[2], arrays[3]), **changes)


def network(config=JAT, tasks=(), **sizes):
    torch.manual_seed(0)
    model = ModelConfig(**{"layers": 2, "heads": 2, "width": 32, "feedforward": 64, "context_length": 7} | sizes)
    jat_network = make_network(model, config, [task.name for task in tasks])
    for parameter in jat_network.trunk.parameters():  # far from the near-identity of a new network
        torch.nn.init.normal_(parameter, std=0.2)
    return jat_network.eval()


def batch_of(codec, *windows, length=8):
    return codec.collate(windows, length, [np.random.default_rng(0)] * len(windows))


def without_trunk(codec, states=None):
    """The network with a trunk that returns its inputs, or these states."""
    codec.trunk.forward = lambda tokens, *_: tokens if states is None else states
    return codec


def tokens_of(codec, *windows, length=8):
    """The trunk's inputs."""
    return without_trunk(codec).hidden(batch_of(codec, *windows, length=length))


def changed(rows, step):
    """The same rows except one."""
    rows = rows.copy()
    rows[step] = 1 - rows[step]
    return rows


@pytest.fixture
def codec():
    torch.manual_seed(0)
    return small_network(JAT, 32)


def test_observation_and_action_tokens_alternate(codec):
    played = window(COUNTER, 3)
    tokens = tokens_of(codec, played, length=7)  # with an odd number of tokens, the last one is not part of a step
    assert tokens.shape == (1, 6, 32)
    batch = batch_of(codec, played, length=7)
    torch.testing.assert_close(tokens[:, 0::2], codec.observation_encoder(batch.inputs))
    for step, action in enumerate(played.actions):
        by_hand = codec.action_encoder.project.weight[:, action] + codec.action_encoder.project.weight[:, -1]
        torch.testing.assert_close(tokens[0, 2 * step + 1], by_hand)
    assert (tokens_of(codec, replace(played, labels=played.labels[::-1].copy()), length=7) == tokens).all()
    assert (codec.steps_in(COUNTER, 7), codec.steps_in(COUNTER, 8)) == (3, 4)


def test_observation_tokens_predict_actions_and_action_tokens_predict_observations(codec):
    batch = batch_of(codec, window(TARGET, 3))  # a fourth step is padding
    for name, expected in (("action_loss", [0, 2, 4]), ("observation_loss", [1, 3])):
        states = torch.randn(1, 8, 32, requires_grad=True)
        without_trunk(codec, states).loss(batch)[name].backward()
        assert states.grad is not None
        assert states.grad[0].abs().sum(dim=1).nonzero()[:, 0].tolist() == expected, name


def test_the_loss_matches_a_hand_computation(codec):
    """Three steps; it always predicts 0, the middle of each action, and 1 for every number."""
    for part in (codec.heads.continuous[2], codec.next_observation.vector):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    torch.nn.init.ones_(codec.next_observation.vector.bias)
    e = math.e - 1  # its symlog is 1
    played = replace(
        window(TARGET, 3),
        observations=np.array([[9, 9, 9], [e, 0, -e], [e, e, e]], np.float32),
        labels=np.array([[0.5, 5], [0, 10], [0, 5]], np.float32),  # from -1 to 1: (.5, 0), (0, 1), (0, 0)
        rewards=np.array([0, e, 7]),
    )
    values = without_trunk(codec).loss(batch_of(codec, played))
    action = (0.25 / 2 + 1 / 2 + 0) / 3
    # Errors of the second observation: 0, 1 and 4, and 1 for its reward; of the third observation: none.
    foreseen = ((0 + 1 + 4 + 1) / 4 + 0) / 3
    assert values["action_loss"].item() == pytest.approx(action)
    assert values["observation_loss"].item() == pytest.approx(foreseen)
    assert values["loss"].item() == pytest.approx(0.25 * foreseen + 0.75 * action)
    plain = small_network(replace(JAT, observation_loss=0.0), 32)
    assert plain.next_observation is None
    assert set(without_trunk(plain).loss(batch_of(plain, played))) == {"loss", "accuracy"}


def test_predictions_of_discrete_entries_cells_and_pixels_match_hand_computed_losses(codec):
    assert choices(spaces(LAKE)[0]).tolist() == [1] * 16
    assert choices(spaces(INSTRUCTED)[0]).tolist() == [1] * 4
    for part in (
        codec.next_observation.vector,
        codec.next_observation.cell[2],
        codec.next_observation.image.layers[-2],
    ):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)

    def foreseen(task, **changes):
        played = window(task, 2, rewards=np.zeros(2), **changes)
        return without_trunk(codec).loss(batch_of(codec, played))["observation_loss"].item() * 2

    # All actions are equally likely; the reward, 0, is one more number and predicted exactly.
    assert foreseen(LAKE) == pytest.approx(math.log(16) / 2)
    assert foreseen(INSTRUCTED) == pytest.approx(math.log(4) / 2 + math.log(16))
    frames = np.stack([np.full((4, 84, 84), grey, np.uint8) for grey in (99, 255)])
    assert foreseen(FILM, observations=frames) == pytest.approx(1)


@pytest.mark.parametrize("size", [36, 64, 77, 84, 86])
def test_images_are_decoded_to_their_own_size(size):
    images = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    encoded = ImageEncoder(3, size, 16)(images, torch.arange(2), torch.zeros(2, 16))
    assert ImageDecoder(3, size, 16)(encoded).shape == images.shape


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_reward_is_an_input_of_the_next_observation(codec, task):
    played = window(task, 4)
    before = tokens_of(codec, played)
    for other, expected in (
        (replace(played, rewards=changed(played.rewards, 1)), [4]),
        (replace(played, rewards=changed(played.rewards, 3)), []),
        (replace(played, before=(played.actions[0], 5.0)), [0]),
    ):
        moved = (tokens_of(codec, other) - before).abs().amax(dim=-1)[0] > 1e-5
        assert moved.nonzero()[:, 0].tolist() == expected


@torch.no_grad()
def test_padding_and_other_sequences_do_not_change_outputs():
    jat_network = network()
    windows = [window(task, steps) for task, steps in zip(TASKS, (3, 6, 1, 4, 5), strict=True)]
    among = jat_network.hidden(batch_of(jat_network, *windows, length=12))
    each = []
    for played, hidden in zip(windows, among, strict=True):
        alone = batch_of(jat_network, played, length=2 * len(played))
        states = jat_network.hidden(alone)[0]
        torch.testing.assert_close(hidden[: 2 * len(played)], states, atol=1e-5, rtol=0)
        each.append({name: value * alone.weight for name, value in jat_network.loss(alone).items()})
    whole = batch_of(jat_network, *windows, length=12)
    for name, value in jat_network.loss(whole).items():
        torch.testing.assert_close(value * whole.weight, torch.stack([one[name] for one in each]).sum())


@torch.no_grad()
@pytest.mark.parametrize("task", [COUNTER, TARGET], ids=lambda task: task.name)
def test_a_prediction_depends_neither_on_its_own_action_nor_on_later_steps(task):
    jat_network = network(context_length=16)
    played = window(task, 5)
    before = jat_network.hidden(batch_of(jat_network, played, length=10))
    for name, first in (("observations", 4), ("actions", 5), ("rewards", 6), ("labels", None)):
        other = replace(played, **{name: changed(getattr(played, name), 2)})
        hidden = jat_network.hidden(batch_of(jat_network, other, length=10))
        moved = ((hidden - before).abs().amax(dim=-1)[0] > 1e-6).nonzero()[:, 0].tolist()
        assert moved == ([] if first is None else list(range(first, 10))), name


@torch.no_grad()
@pytest.mark.parametrize("conditioning", ["none", "task_id", "prompt"])
@pytest.mark.parametrize("task", [COUNTER, TARGET, INSTRUCTED], ids=lambda task: task.name)
def test_acting_over_a_cache_gives_the_hidden_states_of_whole_episodes(task, conditioning, monkeypatch):
    jat_network = network(
        replace(JAT, conditioning=conditioning), [COUNTER, task]
    )  # sequences of three and a half steps
    prompts = {one.name: window(one, 3, seed=5) for one in (COUNTER, task)} if conditioning == "prompt" else {}
    heads, seen = jat_network.heads, []
    original = heads.decide
    monkeypatch.setattr(heads, "decide", lambda task, hidden, *how: seen.append(hidden) or original(task, hidden, *how))
    episodes = list(
        rollout(NetworkPolicy(jat_network, "it", prompts), {task: range(3)}, envs_per_task=1, keep_steps=True)
    )
    assert max(episode.length for episode in episodes) > 4
    for episode in episodes:
        steps = episode.steps
        played = Window(
            task, steps["observations"][:-1], steps["labels"], None, steps["actions"], steps["rewards"],
            prompt=prompts.get(task.name),
        )  # fmt: skip
        whole = jat_network.hidden(batch_of(jat_network, played, length=2 * episode.length))[0, 0::2]
        acting = torch.cat([seen.pop(0) for _ in range(episode.length)])
        torch.testing.assert_close(acting, whole, atol=1e-5, rtol=0)
    assert not seen


@torch.no_grad()
def test_only_its_own_sequence_attends_to_a_prompt_and_prompts_are_saved_with_the_weights(recordings, tmp_path):  # noqa: F811
    from benchmarks.play.trajectories import Trajectories

    jat_network = network(replace(JAT, conditioning="prompt"))
    shown, alone = window(COUNTER, 3, seed=1), window(COUNTER, 3)

    def hidden(prompt):
        return jat_network.hidden(batch_of(jat_network, alone, replace(alone, prompt=prompt), alone))

    before = hidden(shown)
    torch.testing.assert_close(before[0], before[2])
    for name in ("observations", "labels", "rewards"):
        moved = (hidden(replace(shown, **{name: changed(getattr(shown, name), 1)})) - before).abs().amax(dim=(1, 2))
        assert (moved > 1e-5).tolist() == [False, True, False], name
    best = demonstration(COUNTER, Trajectories(recordings[COUNTER.name].folder), 3)
    save_network(tmp_path, jat_network, {COUNTER.name: best})
    again = load_prompts(tmp_path, [COUNTER])[COUNTER.name]
    assert best.rewards.any()
    torch.testing.assert_close(hidden(again), hidden(best), atol=0, rtol=0)


@pytest.mark.parametrize("continuous", ["regression", "bins"])
def test_it_learns_discrete_and_continuous_actions_in_the_same_weights(recordings, tmp_path, continuous):  # noqa: F811
    settings = {"updates": 800, "batch_size": 8, "sequence_length": 8, "warmup": 20, "learning_rate": 1e-2}
    config = plain_codec("jat", continuous=continuous, observation_loss=0.005)
    run, recipe = make_run(tmp_path / "runs" / "r", SUITE), NetworkRecipe(DistillConfig(**settings), MODEL, config)
    jat_network = distill(run, recordings, recipe)
    policy = NetworkPolicy.load(jat_network.folder, SUITE.tasks)
    hits, distances = [], []
    for episode in rollout(policy, {task: range(1000, 1010) for task in SUITE}, keep_steps=True):
        if episode.task == COUNTER.name:
            hits.append((episode.steps["actions"] == episode.steps["observations"][:-1, 1] % 2).mean())
        else:
            distances.append(-episode.total_return / episode.length)
    assert np.mean(hits) > 0.9
    assert max(distances) < 0.1  # of 3 at most


@pytest.mark.parametrize(
    "settings, task, size, words",
    [
        ({"previous_actions": True}, COUNTER, 32, "tokens of their own: set codec.previous_actions=false"),
        (
            {},
            COUNTER,
            1,
            "task toy/counter: a time step of codec jat takes 2 tokens.*set model.context_length=2 or more",
        ),
        ({"vector_width": 2}, COUNTER, 32, "3 observation numbers, the reward included.*set codec.vector_width=3"),
        ({"discrete_actions": 2}, COUNTER, 32, "set codec.discrete_actions=3"),
        ({"image_frames": 0}, FILM, 32, "set codec.image_frames"),
        ({}, make_task("tests.environments:TwoTexts-v0"), 32, "codec jat cannot carry observations Dict"),
    ],
)
def test_unsupported_spaces_are_rejected_with_the_setting_to_change(settings, task, size, words):
    with pytest.raises(GatitoError, match=words) as error:
        JatNetwork.check_task(replace(JAT, **settings), task, size)
    assert "\n" not in str(error.value)


def test_an_observation_loss_needs_a_codec_that_predicts_observations():
    for task in TASKS:
        JatNetwork.check_task(JAT, task, 2)
    with pytest.raises(GatitoError, match="codec step predicts no observations.*codec=jat"):
        StepNetwork.check_task(replace(JAT, name="step"), COUNTER, 32)
    with pytest.raises(GatitoError, match="codec.observation_loss must be at least 0 and below 1, not 1"):
        replace(JAT, observation_loss=1.0).check()
