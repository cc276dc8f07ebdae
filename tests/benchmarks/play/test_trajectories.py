import mmap
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import digest, read_json, write_json, write_text
from benchmarks.base.seeds import Purpose
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.recording import RecordingJob, record
from benchmarks.play.rollout import Episode, rollout
from benchmarks.play.trajectories import Trajectories, verify_shard, write_shard
from benchmarks.runs.failures import Failures
from benchmarks.tasks import Suite, spaces
from tests.conftest import make_task
from tests.properties import few


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


def test_episodes_are_read_back_exactly(recorded):
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


def test_a_sequence_ends_at_its_episodes_end(recorded):
    folder, episodes = recorded
    read = Trajectories(folder)
    for number, episode in enumerate(episodes):
        for start in range(episode.length):
            window = read.window(number, start, 4, ["observations", "actions"])
            last = min(start + 4, episode.length)
            np.testing.assert_array_equal(window["observations"], episode.steps["observations"][start:last])
            np.testing.assert_array_equal(window["actions"], episode.steps["actions"][start:last])


def test_scattered_steps_index_the_concatenated_episodes(recorded):
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


def test_an_unfinished_recording_is_rejected(tmp_path):
    with pytest.raises(GatitoError, match=r"no finished recording: run with stages=\[record\]"):
        Trajectories(tmp_path)


def test_a_flipped_bit_is_found_before_anything_is_read(recorded):
    path = recorded[0] / "shard-001" / "labels.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(GatitoError, match=r"shard-001/labels.npy is damaged"):
        Trajectories(recorded[0])


def test_shards_are_written_atomically(tmp_path):
    task = make_task()
    episodes = list(rollout(RandomPolicy(), {task: [0, 1]}))  # without their steps
    with pytest.raises(ValueError, match="must have their steps"):
        write_shard(tmp_path / "shard", episodes, spaces(task)[0])
    assert list(tmp_path.iterdir()) == []


def foreign_shard(folder):
    shutil.copytree(folder / "shard-001", folder / "shard-777")


def lost_shard(folder):
    shutil.rmtree(folder / "shard-001")


@pytest.mark.parametrize(
    "change, words", [(foreign_shard, "shard-777, not a part of this recording: remove it"), (lost_shard, "missing")]
)
def test_a_recording_is_a_closed_list_of_shards(recorded, change, words):
    change(recorded[0])
    with pytest.raises(GatitoError, match=words):
        Trajectories(recorded[0])


def test_unknown_columns_in_a_shard_are_ignored(recorded):
    np.save(recorded[0] / "shard-000" / "advantages.npy", np.zeros(3))
    assert not Trajectories(recorded[0]).has("advantages")


@pytest.mark.parametrize(
    "content, words",
    [("[]", "damaged"), ("{}", "damaged"), ("\x00", "damaged"), ('{"episodes": [], "sha256": {}}', "damaged")],
)
def test_an_invalid_index_is_reported_with_a_remedy(tmp_path, content, words):
    write_text(tmp_path / "shard-000" / "index.json", content)
    with pytest.raises(GatitoError, match=rf"index.json is damaged .* Remove the folder {tmp_path / 'shard-000'} and"):
        verify_shard(tmp_path / "shard-000", "")


def test_an_index_cannot_name_files_outside_of_its_shard(recorded, tmp_path):
    folder = recorded[0] / "shard-000"
    index = read_json(folder / "index.json")
    body = {name: value for name, value in index.items() if name != "digest"}
    body["sha256"] = {"../../../victim.npy": "x"}
    write_json(folder / "index.json", body | {"digest": digest(body)})
    with pytest.raises(GatitoError, match="outside of it"):
        verify_shard(folder, "")


def test_columns_with_a_wrong_length_are_rejected(recorded):
    folder = recorded[0]
    np.save(folder / "shard-000" / "actions.npy", np.zeros(3))
    with pytest.raises(GatitoError, match=r"actions.npy has \d+ bytes instead of"):
        Trajectories(folder)
    Artifact(folder, "trajectories", {}).finish(1.0)  # with valid checksums
    with pytest.raises(GatitoError, match="actions has 3 rows instead of"):
        Trajectories(folder)


def test_a_shard_of_another_recording_is_rejected(tmp_path):
    task = make_task()
    for name, recording in (("shard-000", "mine"), ("shard-001", "another")):
        played = rollout(RandomPolicy(), {task: range(2)}, keep_steps=True)
        write_shard(tmp_path / name, played, spaces(task)[0], recording, lambda: {"discarded": 3})
    assert verify_shard(tmp_path / "shard-000", "mine") == {"discarded": 3}
    with pytest.raises(GatitoError, match=f"is part of another recording. Remove the folder {tmp_path / 'shard-001'}"):
        verify_shard(tmp_path / "shard-001", "mine")
    (tmp_path / "shard-000").rename(tmp_path / "shard-002")  # the same episodes twice
    with pytest.raises(GatitoError, match="is part of another recording"):
        verify_shard(tmp_path / "shard-002", "mine")


def test_foreign_shards_fail_only_their_task(tmp_path):
    tasks = [make_task(), make_task("tests.environments:Target-v0")]
    suite, failures = Suite("toy", tuple(tasks)), Failures([task.name for task in tasks])
    jobs = []
    for task in tasks:
        artifact = Artifact(tmp_path / "run" / task.name, "trajectories", {"agent": "random"})
        artifact.start()
        jobs.append(RecordingJob(task, RandomPolicy, artifact, 30, Purpose.RECORDING_RANDOM, 0, shards=2))
    (jobs[0].artifact.folder / "shard-777").mkdir()
    lines = record(jobs, workers=1, failures=failures, suite=suite)
    assert list(failures.survivors(suite)) == tasks[1:] and "record/steps/toy/target/random" in lines
    assert not jobs[0].artifact.is_complete()
    (jobs[0].artifact.folder / "shard-777").rmdir()
    failures = Failures([task.name for task in tasks])
    record(jobs[:1], workers=1, failures=failures, suite=suite)
    assert jobs[0].artifact.is_complete() and Trajectories(jobs[0].artifact.folder).facts["discarded"] == 0
    assert not list(jobs[0].artifact.folder.glob("discarded*"))


@st.composite
def episodes(draw):
    recording = []
    for seed in range(draw(st.integers(1, 4))):
        length = draw(st.integers(1, 6))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        steps = {
            "observations": rng.normal(size=(length + 1, 2)).astype(np.float32),
            "actions": rng.integers(3, size=length),
            "labels": rng.integers(3, size=length),
            "rewards": rng.normal(size=length),
            "terminated": np.arange(length) == length - 1,
            "truncated": np.zeros(length, bool),
        }
        recording.append(Episode("toy/counter", seed, float(steps["rewards"].sum()), length, None, False, steps))
    return recording


@few
@given(shards=st.lists(episodes(), min_size=1, max_size=3))
def test_any_episodes_come_back_by_window_and_by_step(shards, tmp_path_factory):
    artifact = Artifact(tmp_path_factory.mktemp("recording") / "a", "trajectories", {})
    artifact.start()
    for number, some in enumerate(shards):
        write_shard(artifact.folder / f"shard-{number:03d}", some, spaces(make_task())[0])
    artifact.finish(1.0, task="toy/counter", agent="random", distribution_kind=None)
    read, every = Trajectories(artifact.folder), [episode for some in shards for episode in some]
    assert len(read) == len(every) and read.lengths.tolist() == [episode.length for episode in every]
    columns = ["observations", "actions", "labels", "rewards", "terminated", "truncated"]
    for number, episode in enumerate(every):
        window = read.window(number, 0, 99, columns)
        for name in columns:
            np.testing.assert_array_equal(window[name], episode.steps[name][: episode.length])
    scattered = read.scattered(np.arange(read.steps), ["rewards"])["rewards"]
    np.testing.assert_array_equal(scattered, np.concatenate([episode.steps["rewards"] for episode in every]))
