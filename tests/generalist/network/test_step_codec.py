import gymnasium as gym
import numpy as np
import pytest
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.base.settings import decisive
from benchmarks.tasks import make_env, spaces
from benchmarks.tasks.observations import pack
from generalist.network.batches import Window
from generalist.network.continuous import NormalOutput, binned
from generalist.network.distributions import Binned, Categorical, environment_actions
from generalist.network.encoders import ByteEncoder, ImageEncoder, WordEncoder
from generalist.network.inputs import collate
from generalist.network.modalities import join_modalities, split_modalities
from generalist.network.step import StepNetwork
from tests.codecs import plain_codec
from tests.conftest import make_task, small_network

TASKS = [
    make_task("CartPole-v1"),
    make_task("Acrobot-v1"),
    make_task("MountainCar-v0"),
    make_task("LunarLander-v3"),
    make_task("Pendulum-v1"),
    make_task("FrozenLake-v1"),
    make_task("tests.environments:Target-v0"),
]
RICH = [make_task("tests.environments:Instructed-v0"), make_task("tests.environments:Film-v0")]


def play(task, steps=20):
    """Observations of a few random episodes, packed, ``(n, *shape)``."""
    env = make_env(task)
    env.action_space.seed(0)
    rows = []
    while len(rows) < steps:
        observation, _ = env.reset(seed=len(rows))
        over = False
        while not over:
            rows.append(pack(env.observation_space, observation))
            observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
    return np.stack(rows)


@pytest.fixture
def codec():
    torch.manual_seed(0)
    return small_network(plain_codec(fourier_features=4), 32)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_observations_are_decoded_exactly(codec, task):
    StepNetwork.check_task(codec.codec, task, 32)
    space, _ = spaces(task)
    space.seed(0)
    observations = np.stack([space.sample() for _ in range(20)])
    parts = split_modalities(task, observations)
    assert list(parts) == ["vector"] and parts["vector"].dtype == np.float32 and parts["vector"].ndim == 2
    back = join_modalities(task, parts)
    assert back.dtype == observations.dtype
    np.testing.assert_array_equal(back, observations)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_actions_are_recovered_from_their_targets(codec, task):
    """Discrete ones exactly, continuous ones to half a bin."""
    _, space = spaces(task)
    space.seed(0)
    actions = np.stack([space.sample() for _ in range(50)])
    targets = torch.from_numpy(codec.heads.targets(task, actions, None))
    if isinstance(space, gym.spaces.Discrete):
        np.testing.assert_array_equal(environment_actions(task, Categorical(targets).mode()), actions)
    else:
        back = environment_actions(task, Binned(binned(targets[..., 0], targets[..., 1], 256)).mode())
        assert back.dtype == space.dtype and back.shape == actions.shape
        half_a_bin = (space.high - space.low) / 256 / 2
        assert (np.abs(back - actions) <= half_a_bin * 1.001).all()
        assert all(space.contains(action) for action in back)


def test_bins_of_a_normal_distribution_match_the_closed_form():
    from math import erf

    probabilities = binned(torch.tensor(128.0).double(), torch.tensor(10.0).double(), 256)
    assert probabilities.sum() == pytest.approx(1)
    within_one_deviation = probabilities[118:138].sum().item()
    assert within_one_deviation == pytest.approx(erf(1 / 2**0.5), abs=1e-9)


@pytest.mark.parametrize("mean", [0.0, 3.4, 250.0, 256.0])
def test_the_most_likely_bin_contains_the_mean_even_near_the_bounds(mean):
    probabilities = binned(torch.tensor(mean), torch.tensor(60.0), 256)
    assert abs(int(probabilities.argmax()) + 0.5 - mean) <= 0.5 + 1e-6


def test_targets_of_distributions(codec):
    task = TASKS[0]
    logits = np.log(np.array([[0.25, 0.75]], dtype=np.float32)) + 7
    labels = np.array([1])
    soft = codec.heads.targets(task, labels, logits)
    np.testing.assert_allclose(soft[0, :3], [0.25, 0.75, 0.0], atol=1e-6)
    hard = codec.heads.targets(task, labels, None)
    assert hard[0].tolist() == [0.0, 1.0] + [0.0] * 16


def test_targets_of_a_gaussian_are_in_bins(codec):
    task = make_task("Pendulum-v1")  # actions from -2 to 2: 64 bins per unit
    mean = np.array([[1.0]], dtype=np.float32)
    distribution = np.array([[[1.0], [0.5]]], dtype=np.float32)
    np.testing.assert_allclose(codec.heads.targets(task, mean, distribution), [[[192.0, 32.0]]])
    np.testing.assert_allclose(codec.heads.targets(task, mean, None), [[[192.0, 0.5]]])
    wider = small_network(plain_codec(min_std=2.0), 32)
    np.testing.assert_allclose(wider.heads.targets(task, mean, None), [[[192.0, 2.0]]])


@pytest.mark.parametrize("continuous", ["bins", "normal", "regression"])
def test_a_sequences_loss_does_not_depend_on_other_sequences(continuous):
    torch.manual_seed(0)
    codec = small_network(plain_codec(continuous=continuous), 32)
    rng = np.random.default_rng(0)
    windows = []
    for task, steps in ((TASKS[4], 5), (TASKS[6], 3), (TASKS[0], 4), (TASKS[4], 2)):  # 1, 2, no, 1 dimensions
        space = spaces(task)[1]
        space.seed(0)
        labels = np.stack([space.sample() for _ in range(steps)])
        observations = rng.normal(size=(steps, *spaces(task)[0].shape))
        windows.append(Window(task, observations, labels, None, labels, np.zeros(steps)))
    hidden = torch.randn(4, 5, 32)
    together = codec.heads.losses(hidden, codec.heads.collate(windows, 5))
    alone = [codec.heads.losses(hidden[[row]], codec.heads.collate([each], 5)) for row, each in enumerate(windows)]
    for name in ("loss", "accuracy"):
        sums = [float(values[name].detach()) * len(each) for values, each in zip(alone, windows, strict=True)]
        assert float(together[name].detach()) == pytest.approx(sum(sums) / sum(map(len, windows)), rel=1e-5)
    if continuous == "bins":  # against plain cross-entropy, dimension by dimension
        logits = codec.heads.numbers(hidden[1, :3], 2).log_softmax(dim=-1)
        targets = torch.from_numpy(codec.heads.targets(windows[1].task, windows[1].labels, None))
        wanted = binned(targets[..., 0], targets[..., 1], 256)
        assert float(alone[1]["loss"].detach()) == pytest.approx(
            float(-(wanted * logits).sum(dim=-1).mean().detach()), rel=1e-5
        )


def test_the_loss_of_a_normal_distribution_is_its_divergence_weighted_by_its_deviation():
    """Against torch's own divergence; in the units of half an action's range."""
    output = NormalOutput(256, 0.5)
    numbers = torch.tensor([[0.25, 1.0], [-0.5, 2.5]], dtype=torch.float64, requires_grad=True)
    deviations = torch.tensor([1.0, 2.5]).sub(2).exp()
    expert = torch.tensor([[200.0, 12.8], [64.0, 25.6]])
    each, missed = output.losses(numbers, expert)
    own = torch.distributions.Normal(numbers[:, 0].detach(), deviations)
    theirs = torch.distributions.Normal(expert[:, 0] / 128 - 1, expert[:, 1] / 128)
    wanted = torch.distributions.kl_divergence(theirs, own) * deviations
    torch.testing.assert_close(each.detach().float(), wanted.float())
    assert missed.tolist() == [True, False]
    # The mean is pulled to the expert's even with large deviations, by the error in units of the deviation.
    (slope,) = torch.autograd.grad(each.sum(), numbers)
    torch.testing.assert_close(slope[:, 0].float(), ((own.mean - theirs.mean) / deviations).float())


def test_actions_outside_a_tasks_space_have_zero_probability(codec):
    logits = codec.heads.discrete_logits(torch.randn(2, 5, 32), torch.tensor([3, 18]))
    assert (logits[0, :, 3:] == -torch.inf).all() and logits[0, :, :3].isfinite().all()
    assert logits[1].isfinite().all()


def test_padding_and_other_sequences_do_not_change_a_token(codec):
    rng = np.random.default_rng(0)
    short = {"vector": rng.normal(size=(1, 2, 4)).astype(np.float32)}
    long = {"vector": rng.normal(size=(3, 5, 10)).astype(np.float32)}
    alone = codec.observation_encoder(collate([short], 2))
    among = codec.observation_encoder(collate([long, short], 5))[3:, :2]
    torch.testing.assert_close(alone, among)


def test_fourier_features_resolve_a_centimetre_in_a_metre():
    """A change of 0.01 moves a token by an amount that a linear layer can detect."""
    vectors = np.float32([[[[0.6, 0.1, -0.2]], [[0.61, 0.1, -0.2]]]])
    shares = []
    for waves in (0, 4):
        torch.manual_seed(0)
        codec = small_network(plain_codec(fourier_features=waves), 32)
        here, there = codec.observation_encoder(collate([{"vector": each} for each in vectors.reshape(2, 1, 1, 3)], 1))
        shares.append(float(((there - here).norm() / here.norm()).detach()))
    assert shares[1] > 4 * shares[0]


@pytest.mark.parametrize("task", RICH, ids=lambda task: task.name)
def test_images_grids_and_texts_are_encoded_exactly_and_compactly(codec, task):
    StepNetwork.check_task(codec.codec, task, 32)
    observations = play(task)
    parts = split_modalities(task, observations)
    assert {part.dtype for kind, part in parts.items() if kind != "vector"} == {np.dtype(np.uint8)}
    back = join_modalities(task, parts)
    assert back.dtype == observations.dtype
    np.testing.assert_array_equal(back, observations)


def test_each_modality_affects_its_own_token_only(codec):
    """A batch of three tasks; changing one entry of one step changes only that step's token."""
    codec.eval()
    instructed, film, cartpole = play(RICH[0], 6)[:6], play(RICH[1], 6)[:6], np.zeros((6, 4), np.float32)
    tasks = [RICH[0], RICH[1], TASKS[0]]

    def tokens(**changes):
        items = [
            split_modalities(task, rows.copy()) for task, rows in zip(tasks, (instructed, film, cartpole), strict=True)
        ]
        for kind, (item, value) in changes.items():
            items[item][kind] = items[item][kind].copy()
            items[item][kind][3] = value
        return codec.observation_encoder(
            collate([{kind: part[None] for kind, part in item.items()} for item in items], 8)
        )

    before = tokens()
    assert before.shape == (3, 8, 32)
    for kind, item, value in [("text", 0, ord("x")), ("grid", 0, 9), ("vector", 0, 0.0), ("image", 1, 77)]:
        moved = (tokens(**{kind: (item, value)}) - before).abs().amax(dim=-1) > 1e-6
        expected = torch.zeros_like(moved)
        expected[item, 3] = True
        assert torch.equal(moved, expected), kind


def test_pixels_are_scaled_to_minus_one_to_one():
    torch.manual_seed(0)
    encoder = ImageEncoder(4, 84, 16)
    images = torch.randint(0, 256, (3, 4, 84, 84), dtype=torch.uint8)
    encoded = encoder(images, torch.arange(3), torch.zeros(3, 16))
    torch.testing.assert_close(encoded, encoder.layers(images / 127.5 - 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("text", ["bytes", "words"])
def test_texts_are_encoded_once_while_acting_with_the_same_result(text):
    torch.manual_seed(0)
    codec = small_network(plain_codec(text=text), 32)
    observations = play(RICH[0], 12)
    inputs = collate([{kind: part[None] for kind, part in split_modalities(RICH[0], observations).items()}], 16)
    learning = codec.observation_encoder(inputs)
    codec.eval()
    reads, counts = [], []
    codec.observation_encoder.text.words.register_forward_hook(lambda *_: reads.append(1))
    with torch.inference_mode():
        for _ in range(3):
            torch.testing.assert_close(codec.observation_encoder(inputs), learning)
            counts.append(len(reads))  # one for each group of similar lengths
    assert counts[0] > 0 and counts == [counts[0]] * 3


def as_bytes(*texts, length=64):
    rows = torch.zeros(len(texts), length, dtype=torch.uint8)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    return rows


def differ(one, other):
    return (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("make", [lambda: ByteEncoder(64, 32), lambda: WordEncoder(32)], ids=["bytes", "words"])
def test_a_texts_encoding_depends_on_the_order_of_its_words_and_letters_only(make):
    torch.manual_seed(0)
    read = make().eval()
    orders = ["go to a ball, then open a door", "open a door, then go to a ball"]
    texts = [*orders, "to a", "t oa", "ot a", "", "a, b", "a b"]
    together = read(as_bytes(*texts))
    for alone, one in zip((read(as_bytes(text)) for text in texts), together, strict=True):
        torch.testing.assert_close(alone[0], one, atol=1e-5, rtol=0)
    for number, one in enumerate(together):
        assert all(differ(one, other) for other in together[:number]), texts[number]


def test_a_words_encoding_does_not_depend_on_its_position():
    torch.manual_seed(0)
    read = WordEncoder(32).eval()
    one, spaced, other = read(as_bytes("open the door", "   open the   door", "open the doors"))
    torch.testing.assert_close(one, spaced)
    assert differ(one, other)


def test_a_text_encoder_other_than_the_default_changes_the_fingerprint():
    assert "text" not in decisive(plain_codec())  # otherwise earlier networks would not be found
    assert decisive(plain_codec(text="words")) == decisive(plain_codec()) | {"text": "words"}


def test_a_codec_without_an_encoder_rejects_its_modality():
    for task, setting in ((RICH[0], "grid_size"), (RICH[0], "text_length"), (RICH[1], "image_frames")):
        with pytest.raises(GatitoError, match=f"task {task.name} has .*codec.{setting}"):
            StepNetwork.check_task(plain_codec(**{setting: 0}), task, 32)


def test_a_present_zero_differs_from_a_missing_value(codec):
    items = [{"vector": np.zeros((1, 1, size), np.float32)} for size in (4, 5)]
    tokens = codec.observation_encoder(collate(items, 1))
    assert (tokens[0] - tokens[1]).abs().max() > 0.01


@pytest.mark.parametrize(
    "settings, env_id, words",
    [
        ({}, "tests.environments:TwoTexts-v0", "cannot carry observations Dict"),
        ({"vector_width": 3}, "CartPole-v1", "4 observation numbers.*set codec.vector_width=4"),
        ({"discrete_actions": 1}, "CartPole-v1", "2 discrete actions.*set codec.discrete_actions=2"),
        ({"action_dimensions": 1}, "tests.environments:Target-v0", "set codec.action_dimensions=2"),
    ],
)
def test_a_task_that_exceeds_a_limit_is_rejected_with_the_setting_to_raise(settings, env_id, words):
    with pytest.raises(GatitoError, match=words):
        StepNetwork.check_task(plain_codec(**settings), make_task(env_id, horizon=10), 32)


def test_an_unknown_text_encoder_gets_the_valid_names():
    with pytest.raises(GatitoError, match="unknown codec.text 'word'. Did you mean 'words'"):
        small_network(plain_codec(text="word"), 32)


def test_an_unknown_codec_gets_the_valid_names():
    with pytest.raises(GatitoError, match="unknown codec 'stp'. Did you mean 'step'"):
        small_network(plain_codec(name="stp"), 32)
