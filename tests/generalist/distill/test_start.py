"""Trainings that continue a network on new tasks, from few episodes."""

import json

import pytest
import torch

from benchmarks.base.artifacts import read_manifest
from benchmarks.base.errors import GatitoError
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Suite
from generalist.config.recipe import NetworkRecipe
from generalist.config.settings import DistillConfig, for_one_task
from generalist.distill import train as module
from generalist.distill.distill import distill
from generalist.network.network import load_network
from tests.codecs import plain_codec
from tests.conftest import make_run
from tests.generalist.distill.test_distill import MODEL, SUITE, recordings

assert recordings  # the fixture of the recorded toys
FIRST, SECOND = SUITE.tasks


def train(recordings, folder, name, tasks, codec=None, seed=0, **settings):
    values = {"updates": 12, "batch_size": 4, "sequence_length": 4, "warmup": 2, "checkpoint_every": 5} | settings
    run = make_run(folder / "runs" / name, Suite("toy", tasks), seed=seed)
    chosen = {task.name: recordings[task.name] for task in tasks}
    return distill(run, chosen, NetworkRecipe(DistillConfig(**values), MODEL, codec or plain_codec()))


def weights(artifact):
    return load_network(artifact.folder).state_dict()


@pytest.fixture
def start(recordings, tmp_path):
    return train(recordings, tmp_path, "start", [FIRST])


def test_training_goes_on_from_the_weights_of_a_run(recordings, tmp_path, start):
    still = train(recordings, tmp_path, "still", [SECOND], start="start", learning_rate=1e-12, weight_decay=0)
    assert all(torch.allclose(values, weights(start)[name], atol=1e-6) for name, values in weights(still).items())
    moved = train(recordings, tmp_path, "moved", [SECOND], start=str(start.folder), learning_rate=1e-2)
    assert any(not torch.equal(values, weights(start)[name]) for name, values in weights(moved).items())
    shape = json.loads((moved.folder / "network.json").read_text())
    assert shape["tasks"] == [FIRST.name, SECOND.name]
    again = train(recordings, tmp_path, "again", [SECOND], start="moved", new_tasks=False)
    assert again.is_complete()


def test_a_killed_training_resumes_to_the_same_weights(recordings, tmp_path, start, monkeypatch):
    undisturbed = weights(train(recordings, tmp_path, "a", [SECOND], start="start", updates=13))
    calls, original = [], module.learning_rate

    def killed(step, config):
        calls.append(step)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return original(step, config)

    monkeypatch.setattr(module, "learning_rate", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recordings, tmp_path / "x", "b", [SECOND], start=str(start.folder), updates=13)
    monkeypatch.setattr(module, "learning_rate", original)
    resumed = weights(train(recordings, tmp_path / "x", "b", [SECOND], start=str(start.folder), updates=13))
    assert all(torch.equal(values, undisturbed[name]) for name, values in resumed.items())


def test_the_fingerprint_depends_on_the_starts_weights(recordings, tmp_path, start):
    plain = train(recordings, tmp_path, "plain", [SECOND], updates=1)
    one = train(recordings, tmp_path, "one", [SECOND], updates=1, start="start")
    train(recordings, tmp_path, "start2", [FIRST], seed=1)
    two = train(recordings, tmp_path, "two", [SECOND], updates=1, start="start2")
    assert len({plain.fingerprint, one.fingerprint, two.fingerprint}) == 3
    assert set(one.inputs) == {SECOND.name, "start"} and set(plain.inputs) == {SECOND.name}


def test_only_the_first_episodes_are_used_and_counted(recordings, tmp_path):
    few = train(recordings, tmp_path, "few", [FIRST, SECOND], episodes=2, updates=1)
    lengths = [Trajectories(recordings[task.name].folder).lengths[:2].sum() for task in SUITE]
    assert read_manifest(few.folder)["facts"]["cost"]["env_steps"] == sum(lengths)
    assert DistillConfig(episodes=3).used(20) == 3 and DistillConfig(episodes=30).used(20) == 20
    assert DistillConfig(data=0.1, episodes=3).used(20) == 2 and DistillConfig().used(20) == 20


def test_a_specialist_begins_with_random_weights():
    config = for_one_task(DistillConfig(start="start", episodes=3), "a", ["a", "b"])
    assert config.start is None and config.episodes == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"start": "nowhere"}, "distill.start=nowhere has no finished generalist: name a run below"),
        ({"start": "start", "codec": plain_codec(bins=7)}, "has another codec: set codec.bins="),
        ({"start": "start", "new_tasks": True, "tasks": [FIRST]}, "has learned toy/counter: leave them out"),
    ],
)
def test_a_start_that_does_not_fit_gets_one_line(recordings, tmp_path, start, settings, words):
    tasks = settings.pop("tasks", [SECOND])
    with pytest.raises(GatitoError, match=words) as error:
        train(recordings, tmp_path, "r", tasks, **settings)
    assert "\n" not in str(error.value)
