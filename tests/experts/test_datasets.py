import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import read_json, write_json
from benchmarks.play.policy import Noisy, RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import spaces
from experts.datasets import dataset_digest, dataset_episodes
from experts.minari_export import export_dataset
from tests.conftest import make_task

minari = pytest.importorskip("minari")
h5py = pytest.importorskip("h5py")

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
@pytest.mark.filterwarnings("error:.*env.* is .*None")
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
def test_an_exported_recording_is_imported_unchanged(task, tmp_path):
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


def test_two_tasks_share_a_root_and_exports_are_not_repeated(tmp_path):
    for task in TASKS[:2]:
        recorded = record(task, tmp_path)
        name = export_dataset(task, "expert", recorded, tmp_path / "minari")
        written = (tmp_path / "minari" / name / "data" / "main_data.hdf5").stat().st_mtime_ns
        assert export_dataset(task, "expert", recorded, tmp_path / "minari") == name
        assert (tmp_path / "minari" / name / "data" / "main_data.hdf5").stat().st_mtime_ns == written


def test_a_dataset_of_another_task_or_a_missing_one_gets_one_line(tmp_path):
    name = export_dataset(TASKS[0], "expert", record(TASKS[0], tmp_path), tmp_path / "minari")
    folder = str(tmp_path / "minari" / name)
    assert dataset_digest(TASKS[0], folder) == dataset_digest(TASKS[0], folder)
    with pytest.raises(GatitoError, match=r"task toy/target has observations Box.*give it its own dataset"):
        next(dataset_episodes(TASKS[1], folder))
    with pytest.raises(GatitoError, match=r"of task toy/cartpole is not in .* run `minari download"):
        dataset_digest(TASKS[0], "D4RL/none-v0")


def test_differently_stacked_frames_are_rejected(tmp_path):
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
    with pytest.raises(GatitoError, match="does not stack frames like the task"):
        list(dataset_episodes(task, str(tmp_path / "odd-v0")))


COUNTER = make_task("tests.environments:Counter-v0")


def make_dataset(folder, lengths=(3, 3), last=True, actions=None, infos=None, spaces_of=None, dtype=np.float32):
    """A dataset of another origin; ``last`` tells whether its last episode ends."""
    observation, action = spaces_of or spaces(COUNTER)
    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=np.zeros((length + 1, 2), dtype),
            actions=np.ones(length, np.int64) if actions is None else actions[:length],
            rewards=[1.0] * length,
            terminations=[False] * (length - 1) + [last or number < len(lengths) - 1],
            truncations=[False] * length,
            infos=infos and {name: values[: length + 1] for name, values in infos.items()},
        )
        for number, length in enumerate(lengths)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        minari.create_dataset_from_buffers("theirs-v0", buffers, observation_space=observation, action_space=action)
    return folder / "theirs-v0"


def episodes_of(folder, **settings):
    return list(dataset_episodes(COUNTER, str(folder), **settings))


def test_labels_of_foreign_datasets_are_ignored(tmp_path):
    folder = make_dataset(tmp_path, infos={"labels": np.zeros(9, np.int64)})
    for episode in episodes_of(folder):
        np.testing.assert_array_equal(episode.steps["labels"], episode.steps["actions"])
        assert episode.steps["labels"].tolist() == [1, 1, 1]


def test_an_unfinished_last_episode_is_left_out_with_a_warning(tmp_path, capfd):
    folder = make_dataset(tmp_path, lengths=(3, 4, 2), last=False)
    assert [episode.length for episode in episodes_of(folder, warn=True)] == [3, 4]
    assert "1 unfinished episodes are left out" in capfd.readouterr().err


@pytest.mark.parametrize("lengths, last", [((3,), True), ((3, 3), False)])
def test_a_dataset_with_one_finished_episode_is_rejected(tmp_path, lengths, last):
    with pytest.raises(
        GatitoError, match=r"has 1 finished episode, but a score needs two: .* leave it out with tasks="
    ):
        episodes_of(make_dataset(tmp_path, lengths=lengths, last=last))


def test_other_types_and_bounds_are_cast_to_the_tasks(tmp_path):
    box = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    folder = make_dataset(tmp_path, spaces_of=(box, gym.spaces.Discrete(3)), dtype=np.float64)
    assert {episode.steps["observations"].dtype for episode in episodes_of(folder)} == {np.dtype(np.float32)}


def test_actions_outside_of_the_tasks_space_are_rejected(tmp_path):
    folder = make_dataset(tmp_path, actions=np.array([0, 1, 2]))
    assert len(episodes_of(folder)) == 2
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_1/actions"][1] = 3
    with pytest.raises(GatitoError, match="episode 1: actions are not within the task's space Discrete"):
        episodes_of(folder)


def test_an_episode_that_is_longer_than_the_tasks_horizon_is_rejected(tmp_path):
    with pytest.raises(GatitoError, match="episode 0 has 21 steps, task toy/counter at most 20"):
        episodes_of(make_dataset(tmp_path, lengths=(21, 3)))


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


def emptied(path):
    path.write_bytes(b"")


def lost_rewards(path):
    with h5py.File(path, "a") as file:
        del file["episode_0/rewards"]


@pytest.mark.parametrize("damage", [cut, emptied, lost_rewards])
def test_a_damaged_dataset_gets_one_line(tmp_path, damage):
    folder = make_dataset(tmp_path)
    damage(folder / "data" / "main_data.hdf5")
    with pytest.raises(GatitoError, match=rf"is damaged .*: remove the folder {folder} and download it again") as error:
        episodes_of(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["[]", "{", "3", "{}"])
def test_metadata_of_another_shape_get_one_line(tmp_path, content):
    folder = make_dataset(tmp_path)
    (folder / "data" / "metadata.json").write_text(content)
    with pytest.raises(GatitoError, match="is damaged"):
        episodes_of(folder)


def external(file, secret):
    del file["episode_0/rewards"]
    file.create_dataset("episode_0/rewards", (3,), "f8", external=[(str(secret), 0, 24)])


def linked(file, secret):
    del file["episode_0/rewards"]
    file["episode_0/rewards"] = h5py.ExternalLink(str(secret), "/rewards")


def virtual(file, secret):
    del file["episode_0/rewards"]
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "rewards", (3,))
    file.create_virtual_dataset("episode_0/rewards", layout)


@pytest.mark.parametrize("trick", [external, linked, virtual])
def test_a_dataset_that_reads_other_files_is_rejected(tmp_path, trick):
    folder = make_dataset(tmp_path)
    (tmp_path / "secret").write_bytes(b"the contents of a file".ljust(64))
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        trick(file, tmp_path / "secret")
    for read in (episodes_of, lambda folder: dataset_digest(COUNTER, str(folder))):
        with pytest.raises(GatitoError, match=r"episode_0/rewards .*do not use this dataset"):
            read(folder)


def test_a_dataset_of_links_is_rejected(tmp_path):
    folder = make_dataset(tmp_path)
    path = folder / "data" / "main_data.hdf5"
    path.rename(tmp_path / "elsewhere.hdf5")
    path.symlink_to(tmp_path / "elsewhere.hdf5")
    with pytest.raises(GatitoError, match="is a symbolic link"):
        episodes_of(folder)


def test_no_environment_is_made_of_a_datasets_metadata(tmp_path, monkeypatch):
    folder = make_dataset(tmp_path)
    metadata = read_json(folder / "data" / "metadata.json")
    del metadata["observation_space"], metadata["action_space"]
    spec = gym.spec("CartPole-v1").to_json().replace("gymnasium.envs.classic_control.cartpole", "evil")
    write_json(folder / "data" / "metadata.json", metadata | {"env_spec": spec})
    monkeypatch.setattr(gym, "make", lambda *_, **__: pytest.fail("an environment was made"))
    assert len(episodes_of(folder)) == 2


def test_a_datasets_digest_is_of_its_content(tmp_path):
    folder = make_dataset(tmp_path)
    before = dataset_digest(COUNTER, str(folder))
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_0/rewards"][0] = 5.0  # as many bytes as before
    assert dataset_digest(COUNTER, str(folder)) != before


def test_an_export_is_renewed_with_its_recording_and_foreign_datasets_are_kept(tmp_path):
    name = export_dataset(COUNTER, "expert", record(COUNTER, tmp_path / "a"), tmp_path / "minari")
    path = tmp_path / "minari" / name / "data" / "main_data.hdf5"
    before = path.read_bytes()
    write_shard(
        tmp_path / "b" / "shard-000", rollout(RandomPolicy(), {COUNTER: range(9)}, keep_steps=True), spaces(COUNTER)[0]
    )
    Artifact(tmp_path / "b", "trajectories", {}).finish(1.0, distribution_kind=None)
    export_dataset(COUNTER, "expert", Trajectories(tmp_path / "b"), tmp_path / "minari")
    assert path.read_bytes() != before and len(list(dataset_episodes(COUNTER, str(path.parents[1])))) == 9
    assert not list((tmp_path / "minari").glob(".*"))
    metadata = read_json(path.with_name("metadata.json"))
    write_json(path.with_name("metadata.json"), {key: value for key, value in metadata.items() if key != "gatito"})
    with pytest.raises(GatitoError, match="holds a dataset that gatito did not export: move it away"):
        export_dataset(COUNTER, "expert", Trajectories(tmp_path / "b"), tmp_path / "minari")
