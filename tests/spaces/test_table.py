"""Every kind of space from the environment to a distilled network, in miniature."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.base.artifacts import Artifact
from benchmarks.play.policy import Noisy, Policy, PolicyOutput, RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import make_env, own_spaces, spaces
from benchmarks.tasks.actions import is_legal, options_of
from benchmarks.tasks.canonical import canonical_action, native_observation
from benchmarks.tasks.check import check_env
from benchmarks.tasks.images import image_layout
from generalist.controls.retrieval import RetrievalPolicy, features_of
from generalist.controls.single_task import _fitted
from generalist.distill.data import Mixture, Source
from generalist.network.modalities import split_modalities
from generalist.network.policy import NetworkPolicy
from tests.codecs import plain_codec
from tests.conftest import make_task, small_network
from tests.spaces import odd_spaces

ANSWERS, MASKS, SIGHTS, STEPS = odd_spaces.ANSWERS, odd_spaces.MASKS, odd_spaces.SIGHTS, odd_spaces.STEPS
CASES = [(sight, "discrete", False) for sight in SIGHTS]
CASES += [("number", answer, False) for answer in ANSWERS if answer != "discrete"]
CASES += [("number", answer, True) for answer in MASKS]


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory):
    """The environments are a module of a folder outside the repository."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copyfile(odd_spaces.__file__, folder / "my_spaces.py")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


class Scripted(Policy):
    """Knows the right action, which it says in the environment's own space."""

    name = "expert"
    distribution_kind = {}

    def initial_state(self, num_envs):
        return None

    def act(self, inputs, state):
        outputs = []
        for rows in inputs:
            own = own_spaces(rows.task)[1]
            actions = np.stack([canonical_action(own, env.unwrapped.right()) for env in rows.envs])
            outputs.append(PolicyOutput(actions, actions))
        return outputs, state


def make(sight, answer, masked):
    kwargs = {"sight": sight, "answer": answer, "masked": masked}
    return make_task("my_spaces:MyThirds-v0", "odd/thirds", kwargs=kwargs)


def play(policy, task, episodes, **settings):
    return list(rollout(policy, {task: range(episodes)}, envs_per_task=4, **settings))


def record(task, folder: Path, episodes=40):
    artifact = Artifact(folder / "trajectories", "trajectories", {"task": task.digest})
    artifact.start()
    played = play(Noisy(Scripted(), 0.2), task, episodes, keep_steps=True)
    write_shard(artifact.folder / "shard-000", played, spaces(task)[0])
    artifact.finish(0.0, task=task.name, agent="expert", distribution_kind=None)
    return played, Trajectories(artifact.folder)


def train(network, task, trajectories, updates, batch_size=16, learning_rate=1e-2):
    mixture = Mixture([Source(task, trajectories, 1.0)], network, batch_size=batch_size, sequence_length=32, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate)
    network.train()
    for step in range(updates):
        loss = network.loss(mixture.batch(step))["loss"]
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def mean_return(policy, task):
    return np.mean([episode.total_return for episode in play(policy, task, 8)])


@pytest.mark.parametrize(("sight", "answer", "masked"), CASES)
def test_a_space_is_played_recorded_distilled_and_scored(sight, answer, masked, tmp_path):
    task = make(sight, answer, masked)
    check_env(task)
    assert mean_return(RandomPolicy(), task) < 0.9 * STEPS
    assert mean_return(Scripted(), task) > 0.98 * STEPS
    played, trajectories = record(task, tmp_path)
    for episode, steps in zip(played, trajectories.episodes(), strict=True):
        for name, rows in episode.steps.items():
            assert rows.tobytes() == np.ascontiguousarray(steps[name]).tobytes(), name
    observation, action = spaces(task)
    assert trajectories.has("masks") == (masked and bool(options_of(action)))
    if trajectories.has("masks"):
        assert all(is_legal(action, row, mask) for row, mask in zip(steps["labels"], steps["masks"], strict=True))
    pictures = any(image_layout(part) for part in getattr(observation, "values", lambda: [observation])())
    torch.manual_seed(0)
    network = small_network(_fitted(plain_codec(continuous="normal"), task), width=32)
    network.check_task(network.codec, task, network.model.context_length)
    train(network, task, trajectories, updates=8 if pictures else 150, batch_size=2 if pictures else 16)
    score = mean_return(NetworkPolicy(network), task)
    assert pictures or score > 0.6 * STEPS  # 6.8 at the least, for unbounded actions


@pytest.mark.parametrize("codec", ["gato", "jat"])
@pytest.mark.parametrize(("sight", "answer", "masked"), [case for case in CASES if case[0] != "screen"])
def test_the_other_networks_carry_it(codec, sight, answer, masked, tmp_path):
    task = make(sight, answer, masked)
    _, trajectories = record(task, tmp_path, episodes=6)
    settings = {"observation_loss": 0.1} if codec == "jat" else {}
    network = small_network(plain_codec(codec, **settings), width=32, context_length=200)
    network.check_task(network.codec, task, 200)
    mixture = Mixture([Source(task, trajectories, 1.0)], network, batch_size=2, sequence_length=200, seed=0)
    values = network.train().loss(mixture.batch(0))
    values["loss"].backward()
    assert torch.isfinite(values["loss"])
    assert len(play(NetworkPolicy(network.eval()), task, 2)) == 2


@pytest.mark.parametrize(("sight", "answer", "masked"), CASES)
def test_observations_and_actions_come_back_as_the_environments_own(sight, answer, masked):
    task = make(sight, answer, masked)
    seen, done = own_spaces(task)
    env = make_env(task)
    observation, _ = env.reset(seed=0)
    own = env.unwrapped
    back = native_observation(seen, env_packed(task, observation))
    assert seen.contains(back) and same(back, own._show(own.third, own.x))
    assert done.contains(own.right())
    env.step(canonical_action(done, own.right()))
    env.close()


def test_retrieval_takes_the_nearest_legal_action(tmp_path):
    task = make("number", "choices", True)
    _, trajectories = record(task, tmp_path)
    steps = [*trajectories.episodes()]
    shown = np.concatenate([part["observations"][:-1] for part in steps])
    features, numbers = features_of(split_modalities(task, shown))
    shuffled = np.random.default_rng(0).permutation(np.concatenate([part["labels"] for part in steps]))
    policy = RetrievalPolicy(features, shuffled, numbers)  # labels that are often illegal
    assert len(play(policy, task, 4)) == 4  # the environment refuses illegal actions


def env_packed(task, observation):
    from benchmarks.tasks.observations import pack

    return pack(spaces(task)[0], observation)


def same(left, right):
    if isinstance(left, dict):
        return set(left) == set(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right if isinstance(left, str) else np.array_equal(left, right)
