import numpy as np
import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import Noisy, RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import spaces
from experts.datasets import dataset_digest, dataset_episodes, export_dataset
from tests.conftest import make_task

minari = pytest.importorskip("minari")

TASKS = [
    make_task("CartPole-v1"),
    make_task("tests.environments:Target-v0"),
    make_task("tests.environments:Film-v0"),
    make_task("tests.environments:Instructed-v0"),
]


def record(task, folder):
    artifact = Artifact(folder / "trajectories" / task.name, "trajectories", {})
    artifact.start()
    played = rollout(Noisy(RandomPolicy(), 0.3), {task: range(4)}, keep_steps=True)
    write_shard(artifact.folder / "shard-000", played, spaces(task)[0])
    artifact.finish(1.0, distribution_kind=None)
    return Trajectories(artifact.folder)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_minari_loads_and_steps_through_what_was_exported(task, tmp_path, monkeypatch):
    recorded = record(task, tmp_path)
    name = export_dataset(task, "expert", recorded, tmp_path / "minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    assert list(minari.list_local_datasets()) == [name]
    dataset = minari.load_dataset(name)
    assert dataset.total_episodes == 4 and dataset.total_steps == recorded.steps
    for episode, steps, value in zip(dataset.iterate_episodes(), recorded.episodes(), recorded.returns, strict=True):
        assert episode.rewards.sum() == pytest.approx(value)
        np.testing.assert_array_equal(episode.actions, steps["actions"])
        assert len(episode.rewards) == len(episode.actions) == len(steps["observations"]) - 1
        if isinstance(episode.observations, dict):
            assert set(episode.observations) == {"image", "direction", "mission"}
            assert episode.observations["mission"][0].startswith("go to the ")
        else:
            np.testing.assert_array_equal(episode.observations, steps["observations"])
    assert not [path for path in (tmp_path / "minari").iterdir() if path.name.startswith(".export")]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_what_was_exported_comes_back_as_it_was_recorded(task, tmp_path):
    recorded = record(task, tmp_path)
    name = export_dataset(task, "expert", recorded, tmp_path / "minari")
    folder = str(tmp_path / "minari" / name)
    again = tmp_path / "again" / "shard-000"
    write_shard(again, dataset_episodes(task, folder), spaces(task)[0])
    first = tmp_path / "trajectories" / task.name / "shard-000"
    for path in first.glob("*"):
        if path.name not in ("index.json",):
            assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_minari_can_make_the_environment_of_a_registered_task(tmp_path, monkeypatch):
    name = export_dataset(TASKS[0], "expert", record(TASKS[0], tmp_path), tmp_path / "minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    env = minari.load_dataset(name).recover_environment()
    assert env.spec.id == "CartPole-v1" and env.spec.max_episode_steps == 500


def test_two_tasks_live_below_one_root_and_an_export_is_not_made_twice(tmp_path):
    for task in TASKS[:2]:
        recorded = record(task, tmp_path)
        name = export_dataset(task, "expert", recorded, tmp_path / "minari")
        written = (tmp_path / "minari" / name / "data" / "main_data.hdf5").stat().st_mtime_ns
        assert export_dataset(task, "expert", recorded, tmp_path / "minari") == name
        assert (tmp_path / "minari" / name / "data" / "main_data.hdf5").stat().st_mtime_ns == written


def test_a_dataset_of_another_task_or_none_is_refused_in_one_line(tmp_path):
    name = export_dataset(TASKS[0], "expert", record(TASKS[0], tmp_path), tmp_path / "minari")
    folder = str(tmp_path / "minari" / name)
    assert dataset_digest(TASKS[0], folder) == dataset_digest(TASKS[0], folder)
    with pytest.raises(GatitoError, match=r"task toy/target has observations Box.*give it its own dataset"):
        next(dataset_episodes(TASKS[1], folder))
    with pytest.raises(GatitoError, match="dataset D4RL/none-v0 of task toy/cartpole cannot be read"):
        dataset_digest(TASKS[0], "D4RL/none-v0")


def test_frames_that_are_not_stacked_as_the_tasks_are_refused(tmp_path):
    task = TASKS[2]
    _, action = spaces(task)
    stacks = np.random.default_rng(0).integers(0, 255, (4, 4, 84, 84)).astype(np.uint8)
    buffer = minari.data_collector.EpisodeBuffer(
        observations=stacks, actions=np.zeros(3, np.int64), rewards=[0.0] * 3, terminations=[False] * 3,
        truncations=[False, False, True],
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
        minari.create_dataset_from_buffers(
            "odd-v0", [buffer], observation_space=spaces(task)[0], action_space=action, jpeg_encoding=False
        )
    with pytest.raises(GatitoError, match="does not stack its frames as the task does"):
        list(dataset_episodes(task, str(tmp_path / "odd-v0")))
