"""Conditioning inputs besides observations: demonstrations, the task's identity, and previous actions."""

import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import Suite, spaces
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DistillConfig, ModelConfig
from generalist.distill.data import Mixture, Source, demonstration, held_out
from generalist.distill.distill import distill
from generalist.network.batches import Window
from generalist.network.distributions import Deterministic, environment_actions
from generalist.network.network import make_network
from generalist.network.policy import NetworkPolicy
from generalist.network.transformer import Transformer
from tests.codecs import plain_codec
from tests.conftest import make_run, make_task, small_network

MODEL = ModelConfig(layers=2, heads=2, width=32, feedforward=64, context_length=8)
TWINS = [make_task("tests.environments:Counter-v0", name=f"toy/{name}") for name in ("left", "right")]
"""Two tasks with identical observations that need different actions."""


class Twin(Policy):
    name = "expert"
    distribution_kind = {}

    def initial_state(self, num_envs):
        return None

    def act(self, inputs, state):
        chosen = [np.full(len(rows.env_ids), 0 if rows.task.name == "toy/left" else 2) for rows in inputs]
        return [PolicyOutput(actions, actions) for actions in chosen], state


def record(folder, task, policy, episodes=40):
    artifact = Artifact(folder / "trajectories" / task.name, "trajectories", {"task": task.digest, "name": task.name})
    artifact.start()
    write_shard(
        artifact.folder / "shard-000", rollout(policy, {task: range(episodes)}, keep_steps=True), spaces(task)[0]
    )
    artifact.finish(0.0, task=task.name, agent="expert", distribution_kind=None)
    return artifact


def learn(folder, codec, **settings):
    recordings = {task.name: record(folder, task, Twin()) for task in TWINS}
    config = DistillConfig(
        **{"updates": 100, "batch_size": 16, "sequence_length": 8, "warmup": 5, "learning_rate": 3e-3} | settings
    )
    run = make_run(folder / "runs" / "r", Suite("toy", tuple(TWINS)))
    return distill(run, recordings, NetworkRecipe(config, MODEL, codec))


def right_actions(student):
    policy = NetworkPolicy.load(student.folder, TWINS)
    played = rollout(policy, {task: range(500, 520) for task in TWINS}, keep_steps=True)
    right = {"toy/left": 0, "toy/right": 2}
    return np.mean(np.concatenate([episode.steps["actions"] == right[episode.task] for episode in played]))


@pytest.mark.parametrize("conditioning, least, most", [("none", 0.3, 0.7), ("task_id", 1, 1), ("prompt", 0.99, 1)])
def test_only_task_conditioning_distinguishes_identical_tasks(tmp_path, conditioning, least, most):
    student = learn(tmp_path, plain_codec(conditioning=conditioning, prompt_steps=4), prompts=0.5)
    assert least <= right_actions(student) <= most


def test_a_network_without_its_demonstrations_is_rejected(tmp_path):
    student = learn(tmp_path, plain_codec(conditioning="prompt"), updates=2)
    with pytest.raises(GatitoError, match="no demonstration of task toy/counter: distil with this task"):
        NetworkPolicy.load(student.folder, [make_task()])


@torch.no_grad()
def test_prompts_give_the_same_outputs_cached_and_uncached_beyond_the_context():
    torch.manual_seed(0)
    model = Transformer(ModelConfig(layers=3, heads=4, width=64, feedforward=128, context_length=8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    tokens, shown = torch.randn(3, 40, 64), torch.randn(3, 5, 64)
    there = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    prefix = model.read(shown, there)
    whole = model(tokens, prefix)
    cache, env_ids = model.new_cache(3), torch.arange(3)
    for step in range(40):
        hidden = model.step(tokens[:, step], cache, env_ids, torch.full((3,), step == 0), prefix)
        torch.testing.assert_close(hidden, whole[:, step], atol=1e-5, rtol=0)
    # Every step attends to its own prompt, but neither to a prompt's padding nor to other prompts.
    changed = shown.clone()
    changed[1, 3:] += 1
    torch.testing.assert_close(model(tokens, model.read(changed, there)), whole)
    changed[1, 0] += 1
    moved = (model(tokens, model.read(changed, there)) - whole).abs().amax(dim=-1) > 1e-6
    assert moved[1].all() and not moved[[0, 2]].any()


@torch.no_grad()
def test_a_prompt_has_the_same_distance_at_every_step():
    """One layer: the hidden state depends on the context and the prompt only, even late in an episode."""
    torch.manual_seed(0)
    model = Transformer(ModelConfig(layers=1, heads=4, width=64, feedforward=128, context_length=8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    tokens, prefix = torch.randn(2, 60, 64), model.read(torch.randn(2, 5, 64), torch.ones(2, 5, dtype=torch.bool))
    late, early = model(tokens, prefix)[:, -1], model(tokens[:, -8:], prefix)[:, -1]
    torch.testing.assert_close(late, early, atol=1e-5, rtol=0)
    assert (late - model(tokens)[:, -1]).abs().max() > 0.01


def test_training_prompts_are_not_the_evaluation_prompt(tmp_path):
    task = TWINS[0]
    recording = Trajectories(record(tmp_path, task, Twin()).folder)
    assert held_out(recording) == 2
    # Every observation except an episode's first has independent noise.
    held = {
        float(row[0])
        for episode in (38, 39)
        for row in recording.window(episode, 1, 99, ["observations"])["observations"]
    }
    shown = demonstration(task, recording, 4)
    assert {float(row[0]) for row in shown.observations if row[1]} <= held
    codec = small_network(plain_codec(conditioning="prompt", prompt_steps=4), 32, [task.name])
    drawn = []
    codec.collate = lambda windows, length, rngs: drawn.extend(windows)
    mixture = Mixture([Source(task, recording, 1.0)], codec, batch_size=400, sequence_length=8, seed=0, prompts=0.25)
    mixture.batch(0)
    assert np.mean([window.prompt is not None for window in drawn]) == pytest.approx(0.25, abs=0.06)
    for window in drawn:  # a sequence's own labels are not in its prompt
        if window.prompt:
            own, shown = ({float(row[0]) for row in each.observations if row[1]} for each in (window, window.prompt))
            assert not own & shown
    for window in [*drawn, *(window.prompt for window in drawn if window.prompt)]:
        assert not held & {float(row[0]) for row in window.observations if row[1]}


def test_a_single_episode_cannot_be_held_out(tmp_path):
    recording = Trajectories(record(tmp_path, TWINS[0], Twin(), episodes=1).folder)
    with pytest.raises(GatitoError, match=r"task toy/left has a single episode.*codec.conditioning=none"):
        held_out(recording)


def window(actions, before=None):
    actions = np.array(actions)
    return Window(
        TWINS[0], np.zeros((len(actions), 2), np.float32), actions, None, actions, np.ones(len(actions)), before
    )


def test_the_previous_action_is_the_executed_one_and_missing_at_episode_starts():
    codec = small_network(plain_codec(previous_actions=True, previous_action_dropout=0.0), 32)
    rngs = [np.random.default_rng(0)] * 2
    batch = codec.collate([window([2, 1, 0]), window([1, 1], before=(np.array(2), 0.5))], 3, rngs)
    there = batch.previous[..., -1]
    assert there.tolist() == [[0, 1, 1], [1, 1, 0]]
    assert batch.previous[0, 1:, :3].argmax(dim=-1).tolist() == [2, 1]
    assert batch.previous[1, :2, :3].argmax(dim=-1).tolist() == [2, 1]


def test_previous_actions_are_dropped_for_whole_sequences_at_the_stated_rate():
    codec = small_network(plain_codec(previous_actions=True, previous_action_dropout=0.3), 32)
    rngs = [np.random.default_rng(seed) for seed in range(500)]
    batch = codec.collate([window([2, 1, 0]) for _ in rngs], 3, rngs)
    kept = batch.previous[:, 1:, -1]
    assert ((kept == 0).all(dim=1) | (kept == 1).all(dim=1)).all()
    assert kept[:, 0].mean().item() == pytest.approx(0.7, abs=0.06)


@torch.no_grad()
def test_while_acting_the_previous_action_is_that_of_the_same_environment():
    torch.manual_seed(0)
    network = make_network(MODEL, plain_codec(previous_actions=True, previous_action_dropout=0.0)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    policy, task = NetworkPolicy(network), TWINS[0]
    observations = np.random.default_rng(0).normal(size=(2, 12, 2)).astype(np.float32)
    state, acted = policy.initial_state(2), []
    for step in range(12):
        episode_start = np.array([step == 0, step in (0, 5)])
        shown = PolicyInput(task, observations[:, step], np.arange(2), episode_start, np.zeros(2), [], [])
        [decision], state = policy.act([shown], state)
        acted.append(decision.actions)
    acted = np.stack(acted, axis=1)
    for env_id, first, last in ((0, 0, 12), (1, 0, 5), (1, 5, 12)):
        done = acted[env_id, first:last]
        own = Window(task, observations[env_id, first:last], done, None, done, np.zeros(len(done)))
        batch = network.collate([own], len(own), [np.random.default_rng(0)])
        hidden = network.hidden(batch)[0]
        assert network.heads.decide(task, hidden).actions.tolist() == done.tolist()


def test_regression_is_squared_error_relative_to_the_action_range():
    task = make_task("tests.environments:Target-v0")  # bounds -1 to 1 and 0 to 10
    codec = small_network(plain_codec(continuous="regression"), 8)
    labels = np.array([[0.5, 5.0]], np.float32)
    targets = codec.heads.collate([Window(task, np.zeros((1, 3)), labels, None, labels, np.zeros(1))], 1)
    hidden = torch.randn(1, 1, 8)
    numbers = codec.heads.numbers(hidden, 2)[0, 0, :, 0]
    expected = ((numbers - torch.tensor([0.5, 0.0])) ** 2).mean()
    assert codec.heads.losses(hidden, targets)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    unit = torch.tensor([[[0.5], [-2.0]]])
    actions = environment_actions(task, Deterministic(unit[..., 0]).mode())
    np.testing.assert_allclose(actions, [[0.5, 0.0]])  # clipped to the bounds


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"conditioning": "promt"}, "unknown codec.conditioning 'promt'. Did you mean 'prompt'"),
        ({"continuous": "bin"}, "unknown codec.continuous 'bin'. Did you mean 'bins'"),
        ({"prompt_steps": 0}, "codec.prompt_steps must be at least 1"),
    ],
)
def test_incompatible_settings_are_rejected(settings, words):
    with pytest.raises(GatitoError, match=words):
        small_network(plain_codec(**settings), 8)
