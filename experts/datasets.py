"""Recordings out to Minari datasets, and Minari datasets in as experts' trajectories.

Minari (minari.farama.org) is the standard that others read. A dataset written here holds all that was recorded: the
expert's clean labels stand beside the actions in its infos.

Run by ``gatito stages=[export]`` and ``experts=minari``.
"""

import contextlib
import copy
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.artifacts import digest
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import TEMPORARY
from benchmarks.play.rollout import Episode, Steps
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.observations import FrameStack, pack, packed_dtype, text_of

_LABELS = "labels"  # the key of the clean labels in a dataset's infos


def dataset_id(task: Task, agent: str) -> str:
    """What an exported recording is called, such as ``gatito/classic/cartpole/expert-v0``."""
    return f"gatito/{task.name}/{agent}-v0"


def export_dataset(task: Task, agent: str, trajectories: Trajectories, root: Path) -> str:
    """Write a recording as a Minari dataset below ``root``, unless it is there; the id that Minari loads it by.

    It appears whole or not at all. With ``MINARI_DATASETS_PATH`` set to the root, ``minari.load_dataset(id)`` reads it.

    Raises:
        GatitoError: if the package is missing.
    """
    minari = _minari()
    name = dataset_id(task, agent)
    root = root.resolve()  # Minari takes a relative path twice
    target = root / name
    if target.exists():
        return name
    root.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".export-", suffix=TEMPORARY, dir=root) as folder,
        _datasets_in(Path(folder)),
    ):
        observation, action = spaces(task)
        rows = zip(trajectories.episodes(), trajectories.seeds, strict=True)
        buffers = (_buffer(minari, observation, steps, int(seed)) for steps, seed in rows)
        dataset = minari.create_dataset_from_buffers(
            name,
            [next(buffers)],
            env=_spec(task),
            observation_space=observation,
            action_space=action,
            algorithm_name=agent,
            author="gatito",
            description=f"{task.name}, played by {agent}, recorded by gatito; infos hold clean labels.",
            jpeg_encoding=False,  # it would lose pixels
        )
        dataset.storage.update_episodes(buffers)  # one at a time: a recording may be larger than memory
        for namespace in (Path(folder) / name).parents:
            if namespace != Path(folder) and Path(folder) in namespace.parents:
                _copy_namespace(namespace, root / namespace.relative_to(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).rename(target)
    return name


def dataset_episodes(task: Task, name: str) -> Iterator[Episode]:
    """The episodes of a local Minari dataset, by its id or its folder, as if they had been recorded here.

    Raises:
        GatitoError: if the package or the dataset is missing, or its spaces are not the task's.
    """
    dataset = _open(task, name)
    observation, action = spaces(task)
    for mine, theirs, what in (
        (observation, dataset.observation_space, "observations"),
        (action, dataset.action_space, "actions"),
    ):
        if not _same(mine, theirs):
            raise GatitoError(
                f"task {task.name} has {what} {mine}, dataset {name} has {theirs}: give it its own dataset."
            )
    for number, data in enumerate(dataset.iterate_episodes()):
        steps = _steps(task, name, observation, data)
        success = data.infos.get("success") if data.infos else None
        yield Episode(
            task.name,
            number,
            float(np.sum(data.rewards)),
            len(data.rewards),
            None if success is None else bool(np.any(success)),
            False,
            steps,
        )


def dataset_digest(task: Task, name: str) -> str:
    """Digest of what a dataset says of itself; another version of the dataset has another.

    Raises:
        GatitoError: if the package or the dataset is missing.
    """
    storage = _open(task, name).storage
    files = sorted((path.name, path.stat().st_size) for path in Path(storage.data_path).iterdir())
    return digest({"metadata": {key: str(value) for key, value in storage.metadata.items()}, "files": files})


def _buffer(minari: Any, space: gym.Space, steps: Steps, seed: int) -> Any:  # noqa: ANN401
    # Infos have a row for the reset as well: the last label stands twice.
    labels = np.concatenate([steps["labels"], steps["labels"][-1:]])
    return minari.data_collector.EpisodeBuffer(
        seed=seed,
        observations=_unpacked(space, steps["observations"]),
        actions=np.asarray(steps["actions"]),
        rewards=steps["rewards"].tolist(),
        terminations=steps["terminated"].tolist(),
        truncations=steps["truncated"].tolist(),
        infos={_LABELS: labels},
    )


def _unpacked(space: gym.Space, rows: np.ndarray) -> Any:  # noqa: ANN401
    if isinstance(space, gym.spaces.Dict):
        return {name: _unpacked(part, rows[name]) for name, part in space.items()}
    if isinstance(space, gym.spaces.Text):
        return [text_of(row) for row in rows]
    return np.ascontiguousarray(rows)


def _steps(task: Task, name: str, space: gym.Space, data: Any) -> Steps:  # noqa: ANN401
    actions = np.asarray(data.actions)
    labels = data.infos.get(_LABELS) if data.infos else None
    observations = _packed(space, data.observations)
    if isinstance(space, FrameStack):
        observations = _newest_frames(task, name, observations)
    return {
        "observations": observations,
        "actions": actions,
        "labels": actions if labels is None else labels[: len(actions)],
        "rewards": np.asarray(data.rewards, dtype=np.float64),
        "terminated": np.asarray(data.terminations),
        "truncated": np.asarray(data.truncations),
    }


def _packed(space: gym.Space, values: Any) -> np.ndarray:  # noqa: ANN401
    if isinstance(space, gym.spaces.Dict):
        parts = {name: _packed(part, values[name]) for name, part in space.items()}
        packed = np.zeros(len(next(iter(parts.values()))), dtype=packed_dtype(space))
        for name, part in parts.items():
            packed[name] = part
        return packed
    if isinstance(space, gym.spaces.Text):
        return np.stack([pack(space, text) for text in values])
    return np.asarray(values, dtype=space.dtype)


def _newest_frames(task: Task, name: str, stacks: np.ndarray) -> np.ndarray:
    if not (np.array_equal(stacks[1:, :-1], stacks[:-1, 1:]) and not stacks[0, :-1].any()):
        raise GatitoError(
            f"dataset {name} of task {task.name} does not stack its frames as the task does (each observation the one "
            "before, moved on by a frame, zeros before the first): record it with the task's own environment."
        )
    return stacks[:, -1]


def _same(mine: gym.Space, theirs: gym.Space) -> bool:
    if isinstance(mine, gym.spaces.Box) and isinstance(theirs, gym.spaces.Box):  # a FrameStack is a Box elsewhere
        same_bounds = np.array_equal(mine.low, theirs.low) and np.array_equal(mine.high, theirs.high)
        return mine.shape == theirs.shape and mine.dtype == theirs.dtype and same_bounds
    if isinstance(mine, gym.spaces.Dict) and isinstance(theirs, gym.spaces.Dict):
        return set(mine) == set(theirs) and all(_same(mine[name], theirs[name]) for name in mine)
    return mine == theirs


def _spec(task: Task) -> Any:  # noqa: ANN401
    """How Gymnasium itself makes the environment; None for families that it does not know as they are played here."""
    if task.family != "registered":
        return None
    spec = copy.deepcopy(gym.spec(task.env_id.rpartition(":")[2]))
    spec.kwargs, spec.max_episode_steps = dict(task.kwargs), task.horizon
    try:
        spec.to_json()
    except ValueError:  # registered with a class in place of its name: nobody else could make it
        return None
    return spec


def _open(task: Task, name: str) -> Any:  # noqa: ANN401
    minari = _minari()
    try:
        if (Path(name) / "data").exists():
            return minari.MinariDataset(Path(name).resolve() / "data")
        return minari.load_dataset(name)
    except (FileNotFoundError, ValueError) as error:
        root = os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")
        raise GatitoError(
            f"dataset {name} of task {task.name} cannot be read ({error}): give the id of a dataset below {root} "
            "(`minari list local` shows them), or its folder."
        ) from None


def _minari() -> Any:  # noqa: ANN401
    try:
        import h5py  # noqa: F401
        import minari
        import minari.data_collector
    except ImportError as error:
        raise GatitoError(f"Minari datasets need a package ({error}): pip install 'gatito[minari]'.") from None
    return minari


@contextlib.contextmanager
def _datasets_in(folder: Path) -> Iterator[None]:
    """Minari knows the place of its datasets from the environment alone."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def _copy_namespace(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)
