"""Folders of episodes that somebody else recorded, in NumPy's and in Parquet's files."""

import io
import pickle
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import write_shard
from benchmarks.tasks import spaces
from benchmarks.tasks.observations import text_of
from experts import episode_files
from experts.datasets import dataset_digest, dataset_episodes
from tests.conftest import make_task

COUNTER = make_task("tests.environments:Counter-v0")
TASKS = [
    COUNTER,
    make_task("CartPole-v1"),
    make_task("tests.environments:Target-v0"),
    make_task("tests.environments:Instructed-v0"),
    make_task("tests.environments:Masked-v0"),
    make_task("tests.experts.sb3.models:Camera-v0"),
]


def recorded(task, count=3):
    return sorted(rollout(RandomPolicy(), {task: range(count)}, keep_steps=True), key=lambda episode: episode.seed)


def columns_of(task, episode):
    """An episode as docs/data.md describes its file."""
    space, steps = spaces(task)[0], episode.steps
    columns = {name: rows for name, rows in steps.items() if name != "observations"}
    columns["seed"] = np.array([episode.seed])
    if episode.success is not None:
        columns["successes"] = np.array([episode.success])
    if not isinstance(space, gym.spaces.Dict):
        return columns | {"observations": steps["observations"]}
    for name, part in space.items():
        rows = steps["observations"][name]
        if isinstance(part, gym.spaces.Text):
            rows = np.array([text_of(row) for row in rows])
        columns[f"observations.{name}"] = rows
    return columns


def write_npz(folder, task, episodes, **changes):
    (folder / "episodes").mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(episodes):
        columns = columns_of(task, episode) | changes
        columns = {name: rows for name, rows in columns.items() if rows is not None}
        np.savez_compressed(folder / "episodes" / f"{number:03d}.npz", **columns)
    return folder


def write_parquet(folder, task, episodes, flat=False, together=True):
    """All episodes in one file, or one each; pictures as nested lists, or flat ones."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def cells(rows, count):
        rows = np.asarray(rows)
        rows = rows.reshape(len(rows), -1) if flat and rows.ndim > 2 else rows
        values = rows.tolist()
        return values * count if len(values) == 1 and count > 1 else values + [None] * (count - len(values))

    tables = []
    for number, episode in enumerate(episodes):
        columns = columns_of(task, episode)
        table = {name: pyarrow.array(cells(rows, episode.length + 1)) for name, rows in columns.items()}
        if together:
            table["episode"] = pyarrow.array([number] * (episode.length + 1))
        tables.append(pyarrow.table(table))
    (folder / "episodes").mkdir(parents=True, exist_ok=True)
    for number, table in enumerate([pyarrow.concat_tables(tables)] if together else tables):
        parquet.write_table(table, folder / "episodes" / f"{number:03d}.parquet")
    return folder


def same(task, folder, episodes):
    found = list(dataset_episodes(task, str(folder)))
    assert len(found) == len(episodes)
    for one, other in zip(found, episodes, strict=True):
        assert (one.seed, one.total_return, one.length, one.success) == (
            other.seed, pytest.approx(other.total_return), other.length, other.success,
        )  # fmt: skip
        assert set(one.steps) == set(other.steps)
        for name, rows in one.steps.items():
            np.testing.assert_array_equal(rows, other.steps[name], err_msg=name)
            assert rows.dtype == other.steps[name].dtype, name


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_what_was_recorded_comes_back_from_numpys_files(task, tmp_path):
    episodes = recorded(task)
    same(task, write_npz(tmp_path / "data", task, episodes), episodes)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("flat, together", [(False, True), (True, False)])
def test_what_was_recorded_comes_back_from_parquets_files(task, flat, together, tmp_path):
    episodes = recorded(task)
    same(task, write_parquet(tmp_path / "data", task, episodes, flat, together), episodes)


def test_a_shard_is_made_of_a_folder_and_its_digest_follows_its_files(tmp_path):
    folder = write_npz(tmp_path / "data", COUNTER, recorded(COUNTER))
    assert write_shard(tmp_path / "shard-000", dataset_episodes(COUNTER, str(folder)), spaces(COUNTER)[0]) > 0
    before = dataset_digest(COUNTER, str(folder))
    assert before == dataset_digest(COUNTER, str(folder))
    write_npz(folder, COUNTER, recorded(COUNTER, 4))
    assert dataset_digest(COUNTER, str(folder)) != before


def test_costs_are_kept_and_summed(tmp_path):
    first = recorded(COUNTER)[0]
    folder = write_npz(tmp_path / "data", COUNTER, [first, first], costs=np.full(first.length, 0.5), successes=None)
    found = list(dataset_episodes(COUNTER, str(folder)))
    assert [episode.cost for episode in found] == [0.5 * first.length] * 2 and found[0].success is None
    assert found[0].steps["costs"].dtype == np.float64


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"observations": np.zeros((4, 5), np.float32)},
            r"have shape \(5,\) and type float32, the task's space is Box",
        ),
        ({"observations": np.zeros((4, 2), "U3")}, "and type <U3, the task's space is Box"),
        (
            {"observations": np.array([[0, 0], [0, np.nan], [0, 0], [0, 0]], np.float32)},
            "observations have nan at index 1, 1",
        ),
        ({"observations": np.full((4, 2), np.inf)}, "observations have inf at index 0, 0"),
        ({"observations": None}, "has no observations: see docs/data.md"),
        ({"actions": np.full(3, 7)}, r"actions are not within the task's space Discrete\(3\)"),
        ({"actions": np.full(3, 0.5)}, "actions have shape .* and type float64"),
        ({"actions": None, "rewards": None}, "has no actions, rewards: see docs/data.md"),
        ({"rewards": np.full(3, np.nan)}, "a reward is not a finite number"),
        ({"rewards": np.zeros(2)}, "have different lengths: an episode of T steps has T . 1 observations"),
        ({"costs": np.zeros(2)}, "costs are not one for each of 3 steps"),
        ({"costs": np.full(3, np.inf)}, "a cost is not a finite number"),
        ({"terminated": np.array([0, 0, 2])}, "terminated have type int64, and are to be true or false"),
        ({"masks": np.zeros((3, 3), bool)}, "or forbid what was done"),
        ({"masks": np.ones((3, 4), bool)}, "masks are of another space than"),
        ({"masks": np.ones(3)}, r"masks have shape \(3,\)"),
        ({"terminated": np.zeros(3, bool)}, "has 0 finished episodes, but a score needs two"),
    ],
)
def test_what_is_not_the_tasks_is_refused_in_one_line(changes, words, tmp_path):
    columns = {
        "observations": np.zeros((4, 2), np.float32), "actions": np.ones(3, np.int64), "rewards": np.zeros(3),
        "terminated": np.array([False, False, True]), "truncated": np.zeros(3, bool),
    }  # fmt: skip
    (tmp_path / "episodes").mkdir()
    columns |= changes
    for number in range(2):
        np.savez(
            tmp_path / "episodes" / f"{number}.npz", **{k: rows for k, rows in columns.items() if rows is not None}
        )
    with pytest.raises(GatitoError, match=words) as refused:
        list(dataset_episodes(COUNTER, str(tmp_path)))
    assert "\n" not in str(refused.value)


def test_another_spaces_folder_is_refused_with_both_spaces(tmp_path):
    instructed, target = TASKS[3], TASKS[2]
    for owner, other, words in (
        (instructed, COUNTER, "have image, direction, mission, the task's space is Box"),
        (COUNTER, instructed, "have one array, the task's space is Dict"),
        (COUNTER, target, "type int64, the task's space is Box|have shape"),
    ):
        folder = write_npz(tmp_path / f"{owner.key}-{other.key}", owner, recorded(owner))
        with pytest.raises(GatitoError, match=words):
            list(dataset_episodes(other, str(folder)))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_run_and_damage_is_named(tmp_path, monkeypatch):
    folder, proof = write_npz(tmp_path / "data", COUNTER, recorded(COUNTER)), tmp_path / "run"
    path = folder / "episodes" / "000.npz"
    content = path.read_bytes()
    pickled = io.BytesIO()
    np.savez(pickled, **(columns_of(COUNTER, recorded(COUNTER)[0]) | {"rewards": np.array([Evil(proof)], object)}))
    cases = {
        "holds objects, which would need pickle": pickled.getvalue(),
        "000.npz is damaged": content[: len(content) // 2],
        "000.npz is damaged .*BadZipFile": pickle.dumps(Evil(proof)),
    }
    for words, changed in cases.items():
        path.write_bytes(changed)
        with pytest.raises(GatitoError, match=words) as refused:
            list(dataset_episodes(COUNTER, str(folder)))
        assert "\n" not in str(refused.value)
    assert not proof.exists()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rewards.npy", bytes(100_000))
    monkeypatch.setattr(episode_files, "_MOST_BYTES", 50_000)
    with pytest.raises(GatitoError, match="unpacks to more than 50,000 bytes"):
        list(dataset_episodes(COUNTER, str(folder)))
    path.unlink()
    path.symlink_to(folder / "episodes" / "001.npz")
    with pytest.raises(GatitoError, match="is a symbolic link"):
        dataset_digest(COUNTER, str(folder))
    for each in (folder / "episodes").iterdir():
        each.unlink()
    with pytest.raises(GatitoError, match=r"has no files episodes/\*.npz or episodes/\*.parquet"):
        dataset_digest(COUNTER, str(folder))


def test_a_parquet_file_that_is_cut_unsorted_or_ragged_is_named(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = write_parquet(tmp_path / "data", COUNTER, recorded(COUNTER))
    path = folder / "episodes" / "000.parquet"
    content, table = path.read_bytes(), parquet.read_table(path)
    path.write_bytes(content[:-20])
    with pytest.raises(GatitoError, match="000.parquet is damaged"):
        list(dataset_episodes(COUNTER, str(folder)))
    order = np.arange(table.num_rows)[::-1].copy()
    order[[0, -1]] = order[[-1, 0]]
    parquet.write_table(table.take(order), path)
    with pytest.raises(GatitoError, match="rows of an episode are not one after another"):
        list(dataset_episodes(COUNTER, str(folder)))
    ragged = pyarrow.array([[0.0, 1.0]] * (table.num_rows - 1) + [[0.0]])
    parquet.write_table(table.set_column(table.column_names.index("observations"), "observations", ragged), path)
    with pytest.raises(GatitoError, match="observations have lists of several lengths"):
        list(dataset_episodes(COUNTER, str(folder)))


def test_without_its_package_a_parquet_file_gets_one_line(tmp_path, monkeypatch):
    folder = write_parquet(tmp_path / "data", COUNTER, recorded(COUNTER))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(GatitoError, match=r"pip install 'gatito\[parquet\]'"):
        list(dataset_episodes(COUNTER, str(folder)))
