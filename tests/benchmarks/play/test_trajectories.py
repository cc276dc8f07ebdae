import mmap

import numpy as np
import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import spaces
from tests.conftest import make_task


@pytest.fixture
def recorded(tmp_path):
    """Two shards of five episodes, and the episodes that are in them."""
    task = make_task()
    artifact = Artifact(tmp_path / "run" / "trajectories", "trajectories", {})
    artifact.start()
    episodes = []
    for shard in range(2):
        seeds = range(5 * shard, 5 * shard + 5)
        played = sorted(rollout(RandomPolicy(), {task: seeds}, keep_steps=True), key=lambda episode: episode.seed)
        write_shard(artifact.folder / f"shard-{shard:03d}", played, spaces(task)[0])
        episodes += played
    artifact.finish(1.0, task=task.name, agent="random", distribution_kind=None)
    return artifact.folder, episodes


def test_episodes_come_back_as_they_were(recorded):
    folder, episodes = recorded
    read = Trajectories(folder)
    assert len(read) == 10
    assert read.seeds.tolist() == list(range(10))
    assert read.steps == sum(episode.length for episode in episodes)
    assert read.returns.tolist() == [episode.total_return for episode in episodes]
    for steps, episode in zip(read.episodes(), episodes, strict=True):
        assert set(steps) == set(episode.steps)
        for name in steps:
            np.testing.assert_array_equal(steps[name], episode.steps[name])


def test_a_window_is_cut_at_its_episodes_end_and_never_shows_the_next_one(recorded):
    folder, episodes = recorded
    read = Trajectories(folder)
    for number, episode in enumerate(episodes):
        for start in range(episode.length):
            window = read.window(number, start, 4, ["observations", "actions"])
            last = min(start + 4, episode.length)
            np.testing.assert_array_equal(window["observations"], episode.steps["observations"][start:last])
            np.testing.assert_array_equal(window["actions"], episode.steps["actions"][start:last])


def test_scattered_steps_are_those_of_the_episodes_one_after_another(recorded):
    folder, episodes = recorded
    steps = np.array([0, 0, 3, sum(episode.length for episode in episodes[:4]), Trajectories(folder).steps - 1])
    rows = Trajectories(folder).scattered(steps, ["observations", "actions", "rewards"])
    for name, values in rows.items():
        every = np.concatenate([episode.steps[name][: episode.length] for episode in episodes])
        np.testing.assert_array_equal(values, every[steps])


def test_columns_are_memory_maps(recorded):
    memory = Trajectories(recorded[0]).window(0, 0, 2, ["observations"])["observations"]
    while isinstance(memory, np.ndarray):
        memory = memory.base
    assert isinstance(memory, mmap.mmap)


def test_an_unfinished_recording_is_refused(tmp_path):
    with pytest.raises(GatitoError, match=r"no finished recording. Run with stages=\[record\]"):
        Trajectories(tmp_path)


def test_a_flipped_bit_is_found_before_anything_is_read(recorded):
    path = recorded[0] / "shard-001" / "labels.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(GatitoError, match=r"shard-001/labels.npy is damaged"):
        Trajectories(recorded[0])


def test_a_shard_appears_whole_or_not_at_all(tmp_path):
    task = make_task()
    episodes = list(rollout(RandomPolicy(), {task: [0, 1]}))  # without their steps
    with pytest.raises(ValueError, match="must carry their steps"):
        write_shard(tmp_path / "shard", episodes, spaces(task)[0])
    assert list(tmp_path.iterdir()) == []
