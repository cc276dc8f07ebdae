import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from benchmarks.play.policy import Noisy, PolicyInput
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import write_shard
from benchmarks.runs.tracking import read_log
from benchmarks.tasks import Suite, make_env, spaces
from benchmarks.tasks.observations import pack
from generalist.config.codec import CodecConfig
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.distill.distill import distill
from generalist.network.batches import Window
from generalist.network.gato.gato import GatoNetwork
from generalist.network.gato.tokens import Vocabulary, action_tokens, read_text, step_length, tokenise, valid_tokens
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import make_run, make_task, small_network
from tests.environments import MISSIONS
from tests.generalist.distill.test_distill import Parity

WORDS = Vocabulary(1024)
COUNTER = make_task()
TARGET = make_task("tests.environments:Target-v0")
INSTRUCTED = make_task("tests.environments:Instructed-v0")
FILM = make_task("tests.environments:Film-v0")
LAKE = make_task("FrozenLake-v1")
TASKS = [COUNTER, TARGET, INSTRUCTED, FILM, LAKE]
CONFIG = plain_codec("gato", bins=1024)


def play(task, steps, seed=0):
    """A sequence of random play within an episode; the labels differ from the actions at steps 2, 5, 8, …"""
    env = make_env(task)
    env.observation_space.seed(seed)
    env.action_space.seed(seed)
    observations = []
    while len(observations) < steps:
        observation, _ = env.reset(seed=seed + len(observations))
        for _ in range(3):
            observations.append(pack(env.observation_space, observation))
            observation = env.step(env.action_space.sample())[0]
    actions = np.stack([np.asarray(env.action_space.sample()) for _ in range(steps)])
    labels = actions.copy()
    labels[2::3] = np.roll(actions, 1, axis=0)[2::3]
    return Window(task, np.stack(observations[:steps]), labels, None, actions, np.zeros(steps))


def make(width=32, window=512, tasks=(), spread=1.0, **settings):
    """A network with weights far from their initial values."""
    torch.manual_seed(0)
    codec = plain_codec("gato", bins=1024, **settings)
    network = small_network(codec, width, tasks, layers=2, feedforward=64, context_length=window)
    for parameter in (*network.trunk.parameters(), network.head.weight):
        torch.nn.init.normal_(parameter, std=spread)
    with torch.no_grad():  # so that decisions at a separator depend on the observation, not on the separator
        network.tokens.weight[network.vocabulary.separator] = network.places.weight[-1] = 0.0
    return network.eval()


def collate(network, windows, length):
    return network.collate(windows, length, [np.random.default_rng(number) for number in range(len(windows))])


def test_positions_are_sampled_in_training_only():
    network = make()
    window = play(FILM, 2)
    assert torch.equal(*(collate(network, [window], 80 + extra).sequences.positions for extra in range(2)))
    network.train()
    first, second = collate(network, [window, window], 80).sequences.positions.split(2)
    assert not torch.equal(first, second)


def test_the_predicted_tokens_match_a_hand_made_list():
    """The labels of steps 0 and 1 are the actions; those of step 2 differ, so its second number is not predicted."""
    network = make()
    window = play(TARGET, 3)
    batch = collate(network, [play(COUNTER, 1), window], 20)
    ids = batch.targets.ids
    # 20 + two separators and first numbers, 6 tokens a step; the counter's separator is its third token.
    assert ids.at.tolist() == [2, 23, 24, 29, 30, 35]
    assert ids.numbers.tolist() == [0, 1, 1, 2, 2, 3]
    labels = action_tokens(TARGET, window.labels, WORDS)
    assert ids.wanted[1:].tolist() == [*labels[:2].reshape(-1), labels[2, 0]]
    done = batch.sequences.ids[1, 16:18]
    assert done.tolist() == action_tokens(TARGET, window.actions[2:], WORDS)[0].tolist() != labels[2].tolist()


def test_every_text_token_is_predicted_except_the_first_of_a_sequence():
    network = make()
    window = play(INSTRUCTED, 3)
    batch = collate(network, [window], 512)
    ids, sequence = batch.targets.ids, batch.sequences.ids[0]
    text = ids.numbers < 0
    assert torch.equal(sequence[ids.at[text] + 1], ids.wanted[text])
    predicted = torch.zeros(512, dtype=torch.bool)
    predicted[ids.at[text] + 1] = True
    is_text = (sequence < WORDS.discrete) & (torch.arange(512) < step_total(window))
    is_text[0] = False
    assert torch.equal(predicted, is_text)


def step_total(window):
    return int(tokenise(window.task, window.observations, window.actions, WORDS, CodecConfig()).lengths.sum())


def test_distributions_are_soft_targets_in_every_dimension():
    network = make()
    window = play(TARGET, 3)
    spread = np.full_like(window.labels, 0.25)
    soft = Window(
        TARGET, window.observations, window.labels, np.stack([window.labels, spread], 1), window.actions, None
    )
    counter = play(COUNTER, 2)
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], np.float32)) + 3
    targets = collate(
        network, [soft, Window(COUNTER, counter.observations, counter.labels, logits, counter.actions, None)], 20
    ).targets
    assert targets.normals.at.tolist() == [3, 4, 9, 10, 15, 16]
    assert targets.normals.wanted[:, 1].tolist() == pytest.approx(3 * [0.25 * 512, 0.25 * 102.4])
    assert targets.probabilities.at.tolist() == [22, 26]
    np.testing.assert_allclose(targets.probabilities.wanted, np.exp(logits - 3), atol=1e-6)
    assert len(targets.ids.at) == 0


def test_the_loss_of_an_untrained_network_is_the_logarithm_of_the_vocabulary_size():
    network = make()
    torch.nn.init.zeros_(network.head.weight)
    window = play(TARGET, 3)
    values = network.loss(collate(network, [window, play(INSTRUCTED, 1)], 200))
    texts = len(read_text(bytes(play(INSTRUCTED, 1).observations["mission"][0]).rstrip(b"\0"))) - 1
    nats = math.log(WORDS.size)
    assert values["loss"].item() == pytest.approx((5 + 1 + texts) * nats / 4, rel=1e-5)
    assert values["text"].item() == pytest.approx(texts * nats / 4, rel=1e-5)
    soft = replace(window, distributions=np.ones((3, 2, 2), np.float32))
    assert network.loss(collate(network, [soft], 20))["loss"].item() == pytest.approx(2 * nats, rel=1e-5)


def test_sequences_are_cut_to_whole_steps_and_cover_every_step():
    network = make()
    window = play(INSTRUCTED, 6)
    assert network.steps_in(INSTRUCTED, 310) == 2 and network.steps_in(TARGET, 310) == 51
    firsts = set()
    for seed in range(40):
        batch = network.collate([window], 330, [np.random.default_rng(seed)])
        assert batch.weight == 2
        [separator, second] = (batch.sequences.ids[0] == WORDS.separator).nonzero()[:, 0].tolist()
        whole = batch.sequences.ids[0, separator + 2 : second - 148]
        assert whole.tolist() in [list(read_text(mission.encode())) for mission in MISSIONS]
        grid = batch.sequences.ids[0, second - 147 : second] - WORDS.discrete
        [first] = [n for n in range(6) if window.observations["image"][n].reshape(-1).tolist() == grid.tolist()]
        firsts.add(first)
    assert firsts == {1, 2, 3, 4, 5}


def decode(network, window, length):
    """Actions by teacher forcing: every token's most likely value within the valid ones, and the hidden states."""
    batch = collate(network, [window], length)
    hidden = network.trunk(network.embed(batch.sequences, batch.tasks))[0]
    low, high = valid_tokens(window.task, WORDS)[0]
    predicted = network.head(hidden)[:, low:high].argmax(dim=-1) + low
    separators = (batch.sequences.ids[0] == WORDS.separator).nonzero()[:, 0][-len(window) :]
    size = len(action_tokens(window.task, window.actions[:1], WORDS)[0])
    return torch.stack([predicted[separators + each] for each in range(size)], dim=1).numpy()


@pytest.mark.parametrize("settings", [{}, {"conditioning": "task_id"}, {"conditioning": "prompt"}], ids=str)
@torch.no_grad()
def test_acting_equals_teacher_forcing_beyond_the_context_as_environments_join_and_leave(settings):
    """Cached and decoded token by token for parallel tasks; then the whole episodes at once, uncached."""
    tasks = [COUNTER, TARGET, INSTRUCTED, FILM]
    network = make(window=400, tasks=[task.name for task in tasks], **settings)
    prompts = {task.name: play(task, 3, seed=5) for task in tasks} if "prompt" in settings.values() else {}
    windows = {env_id: play(tasks[env_id // 2], 14, seed=env_id) for env_id in range(8)}
    memory = network.initial_state(8, prompts)
    done = {env_id: [] for env_id in windows}
    rng = np.random.default_rng(0)
    while any(len(done[env_id]) < len(windows[env_id]) for env_id in windows):
        inputs = []
        for task in tasks:
            own = [
                env_id
                for env_id in windows
                if windows[env_id].task is task and len(done[env_id]) < len(windows[env_id])
            ]
            env_ids = [env_id for env_id in own if rng.random() < 0.7]
            if env_ids:
                rows = np.stack([windows[env_id].observations[len(done[env_id])] for env_id in env_ids])
                episode_start = np.array([not done[env_id] for env_id in env_ids])
                rngs = [stream(0)] * len(env_ids)
                inputs.append(
                    PolicyInput(task, rows, np.array(env_ids), episode_start, np.zeros(len(env_ids)), rngs, [])
                )
        for rows, decision in zip(inputs, network.act(inputs, memory) if inputs else [], strict=True):
            assert decision.actions is decision.labels
            for env_id, action in zip(rows.env_ids, decision.actions, strict=True):
                done[env_id].append(action)
    # Actions depend on observations.
    assert sum(len({str(action) for action in done[env_id]}) > 1 for env_id in windows) >= 4
    for env_id, window in windows.items():
        actions = np.stack(done[env_id])
        prompt = prompts.get(window.task.name)
        whole = Window(window.task, window.observations, actions, None, actions, np.zeros(len(actions)), None, prompt)
        length = 14 * step_length(window.task, CodecConfig(), longest=True) + 400
        if prompt is not None:  # as many steps as fit half of the model's context
            kept = min(3, int(200 // (step_total(prompt) / 3)))
            whole = replace(whole, prompt=cut(prompt, kept))
        expected = decode(network, whole, length)
        assert expected.tolist() == action_tokens(window.task, actions, WORDS).tolist(), window.task.name


def cut(window, steps):
    observations, labels = window.observations[-steps:], window.labels[-steps:]
    return Window(window.task, observations, labels, None, labels, np.zeros(steps))


@torch.no_grad()
def test_tokens_attend_neither_to_later_tokens_nor_to_padding():
    network = make(spread=0.2)  # small weights, so that attention covers every token
    windows = [play(TARGET, 4), play(FILM, 3)]
    batch = collate(network, windows, 130)
    vectors = network.embed(batch.sequences, None)
    hidden = network.trunk(vectors)
    for sequence, token in [(0, 9), (1, 50)]:
        changed = vectors.clone()
        changed[sequence, token] += 1
        moved = (network.trunk(changed) - hidden).abs().amax(dim=-1) > 0
        assert not moved[1 - sequence].any() and not moved[sequence, :token].any() and moved[sequence, token:].all()
    roomy = network.trunk(network.embed(collate(network, windows, 200).sequences, None))
    torch.testing.assert_close(roomy[0, :24], hidden[0, :24])
    torch.testing.assert_close(roomy[1, :114], hidden[1, :114])
    later = play(TARGET, 4)
    later.actions[2] = 0.5
    other = network.trunk(network.embed(collate(network, [later], 130).sequences, None))
    moved = ((other[0] - hidden[0]).abs().amax(dim=-1) > 0)[:24]
    assert moved.tolist() == 16 * [False] + 8 * [True]  # two steps of 6 tokens, and the third's 4 before its action


@pytest.mark.parametrize(
    "settings, task, window, words",
    [
        ({}, INSTRUCTED, 209, "instructed needs 210 tokens for one time step.*model.context_length=210"),
        (
            {},
            FILM,
            37,
            "film needs 38 tokens for one time step, model.context_length=37 holds fewer: set model.context_length=38",
        ),
        ({"conditioning": "prompt"}, FILM, 75, "one of a demonstration.*set model.context_length=76"),
        ({"vector_width": 2}, TARGET, 64, "set codec.vector_width=3"),
        ({"previous_actions": True}, TARGET, 64, "set codec.previous_actions=false"),
        ({"continuous": "regression"}, TARGET, 64, "set it to bins"),
        ({}, make_task("tests.environments:TwoTexts-v0"), 64, "cannot carry observations Dict"),
    ],
)
def test_oversized_inputs_are_rejected_with_a_remedy(settings, task, window, words):
    with pytest.raises(GatitoError, match=words):
        GatoNetwork.check_task(plain_codec("gato", **settings), task, window)


def test_inputs_of_the_maximum_size_are_accepted():
    GatoNetwork.check_task(CONFIG, INSTRUCTED, 210)
    GatoNetwork.check_task(plain_codec("gato", conditioning="prompt"), FILM, 76)


def test_settings_without_effect_are_rejected_by_the_network_too():
    for setting, words in (({"previous_actions": True}, "previous_actions=false"), ({"text": "words"}, "text=bytes")):
        with pytest.raises(GatitoError, match=words):
            small_network(plain_codec("gato", **setting), 32)


def test_a_demonstration_precedes_the_sequence_and_is_not_predicted():
    network = make(conditioning="prompt", prompt_steps=3)
    window, prompt = play(TARGET, 4), play(TARGET, 5, seed=9)
    window = replace(window, prompt=prompt)
    for length, shown in [(60, 3), (30, 2)]:
        batch = collate(network, [window], length)
        start = 6 * shown
        assert batch.sequences.ids[0, 4:start:6].tolist() == [
            tokens[0] for tokens in action_tokens(TARGET, prompt.labels[-shown:], WORDS)
        ]
        assert batch.weight == min(4, (length - start) // 6)
        assert batch.targets.ids.at.min() == start + 3


def record(tmp_path, task, policy, noise, episodes):
    artifact = Artifact(tmp_path / "runs" / "r" / "trajectories" / task.name, "trajectories", {"task": task.digest})
    artifact.start()
    played = list(rollout(Noisy(policy, noise), {task: range(episodes)}, keep_steps=True))
    write_shard(artifact.folder / "shard-000", played, spaces(task)[0])
    kind = policy.distribution_kind.get(task.name)
    artifact.finish(0.0, task=task.name, agent="expert", distribution_kind=kind)
    return artifact


@pytest.mark.parametrize("loss, conditioning", [("kl", "none"), ("nll", "none"), ("kl", "prompt"), ("kl", "task_id")])
def test_it_learns_discrete_and_continuous_actions(tmp_path, loss, conditioning):
    suite = Suite("toy", (COUNTER, TARGET))
    recordings = {task.name: record(tmp_path, task, Parity(), 0.2, 40) for task in suite}
    config = DistillConfig(updates=300, batch_size=8, sequence_length=24, warmup=5, learning_rate=1e-2, loss=loss)
    model = ModelConfig(layers=1, heads=2, width=16, feedforward=32, context_length=24)
    codec = plain_codec("gato", conditioning=conditioning, bins=256, prompt_steps=2)
    artifact = distill(make_run(tmp_path / "runs" / "r", suite), recordings, NetworkRecipe(config, model, codec))
    log = read_log(artifact.folder / "log.jsonl")
    assert log[-1]["distill/loss"] < log[0]["distill/loss"] - 1
    policy = NetworkPolicy.load(artifact.folder, suite.tasks)
    hits, returns = [], []
    for episode in rollout(policy, {task: range(1000, 1020) for task in suite}, keep_steps=True):
        if episode.task == COUNTER.name:
            hits.append((episode.steps["actions"] == episode.steps["observations"][:-1, 1] % 2).mean())
        else:
            returns.append(episode.total_return)
    assert np.mean(hits) > 0.9
    assert min(returns) > -20 * 0.1  # 20 steps, within a twentieth of each bound
