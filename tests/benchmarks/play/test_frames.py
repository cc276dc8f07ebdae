import numpy as np
import pytest
import zstandard

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.play.frames import FrameReader, FrameWriter
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import make_env, spaces
from tests.conftest import make_task

TASK = make_task("tests.environments:Film-v0", kwargs={"length": 40}, horizon=100)


@pytest.fixture
def recorded(tmp_path):
    artifact = Artifact(tmp_path / "run" / "trajectories", "trajectories", {})
    artifact.start()
    write_shard(
        artifact.folder / "shard-000", rollout(RandomPolicy(), {TASK: range(3)}, keep_steps=True), spaces(TASK)[0]
    )
    artifact.finish(1.0, distribution_kind=None)
    return Trajectories(artifact.folder)


def replayed(seed, actions):
    """The environment's own frame stacks, ``(steps + 1, 4, 84, 84)``."""
    env = make_env(TASK)
    stacks = [env.reset(seed=int(seed))[0]]
    return np.stack(stacks + [env.step(int(action))[0] for action in actions])


def test_frame_stacks_are_restored_exactly(recorded):
    for number, steps in enumerate(recorded.episodes()):
        shown = replayed(recorded.seeds[number], steps["actions"])
        np.testing.assert_array_equal(steps["observations"], shown)
        for start in (0, 1, 2, 5, 14, 15, 16, 17, 33, 38):
            window = recorded.window(number, start, 6, ["observations", "actions"])
            assert len(window["observations"]) == len(window["actions"]) == min(6, 40 - start)
            np.testing.assert_array_equal(window["observations"], shown[start : min(start + 6, 40)])


def test_scattered_frame_stacks_stay_within_their_episodes(recorded):
    episodes = list(recorded.episodes())
    rows = recorded.scattered(np.array([0, 2, 39, 40, 41, 119]), ["observations"])["observations"]
    for stack, (episode, step) in zip(rows, [(0, 0), (0, 2), (0, 39), (1, 0), (1, 1), (2, 39)], strict=True):
        np.testing.assert_array_equal(stack, episodes[episode]["observations"][step])


def test_each_frame_is_stored_once_and_compressed(recorded):
    size = (recorded.folder / "shard-000" / "observations.frames").stat().st_size
    assert size < 0.25 * recorded.steps * 84 * 84
    assert not (recorded.folder / "shard-000" / "observations.npy").exists()


def written(path, frames):
    with path.open("wb") as file:
        writer = FrameWriter(file)
        writer.add(frames)
    return np.array(writer.ends)


@pytest.mark.parametrize("sized", [True, False])
def test_a_chunk_that_would_fill_the_memory_is_rejected(tmp_path, sized):
    frames = np.zeros((3, 4, 4), np.uint8)
    ends = written(tmp_path / "frames", frames)
    assert np.array_equal(FrameReader(tmp_path / "frames", ends, np.array([3]), (4, 4)).frames(0, 0, 3), frames)
    bomb = zstandard.ZstdCompressor(write_content_size=sized).compress(bytes(1_000_000))
    (tmp_path / "frames").write_bytes(bomb)
    reader = FrameReader(tmp_path / "frames", np.array([0, len(bomb)]), np.array([3]), (4, 4))
    with pytest.raises(GatitoError, match=r"chunk 0, is damaged \(it does not have 48 bytes"):
        reader.frames(0, 0, 3)


def test_frames_that_do_not_match_their_index_are_rejected(tmp_path):
    ends = written(tmp_path / "frames", np.zeros((40, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="does not have the listed chunks"):
        FrameReader(tmp_path / "frames", ends[:-1], np.array([40]), (4, 4))
    (tmp_path / "frames").write_bytes((tmp_path / "frames").read_bytes()[:-1])
    with pytest.raises(ValueError, match="does not have the listed chunks"):
        FrameReader(tmp_path / "frames", ends, np.array([40]), (4, 4))
