"""Recordings out to Minari datasets.

Minari (minari.farama.org) is the standard that others read. A dataset written here holds all that was recorded: the
expert's clean labels, costs, masks and successes stand beside the actions in its infos.

Run by ``gatito stages=[export]``.
"""

import contextlib
import copy
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.base.files import TEMPORARY, make_folder, place_folder
from benchmarks.play.rollout import Steps
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Task, spaces
from experts.episodes import unpacked
from experts.minari_files import LABELS, MARK, mark_of, minari_package


def dataset_id(task: Task, agent: str) -> str:
    """The id of an exported recording, such as ``gatito/classic/cartpole/expert-v0``."""
    return f"gatito/{task.name}/{agent}-v0"


def export_dataset(task: Task, agent: str, trajectories: Trajectories, root: Path) -> str:
    """Write a recording as a Minari dataset below ``root``, unless the same recording is already there.

    The write is atomic. With ``MINARI_DATASETS_PATH`` set to the root, ``minari.load_dataset(id)`` reads the dataset.

    Returns:
        The dataset's id in Minari.

    Raises:
        GatitoError: if the package is missing, or the folder holds a dataset that gatito did not export.
    """
    minari = minari_package()
    name = dataset_id(task, agent)
    root = root.resolve()  # Minari resolves a relative path twice
    target = root / name
    mark = {"recording": trajectories.digest, "labels": True}
    if target.exists():
        known = mark_of(target / "data")
        if known == mark:
            return name
        if known is None:
            raise GatitoError(f"{target} holds a dataset that gatito did not export: move it away.")
    make_folder(root)
    temporary = tempfile.TemporaryDirectory(prefix=".export-", suffix=TEMPORARY, dir=root)
    with temporary as folder, _datasets_in(Path(folder)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"minari\.")  # a dataset of a wrapped environment has no env_spec
        observation, action = spaces(task)
        rows = zip(trajectories.episodes(), trajectories.seeds, trajectories.successes, strict=True)
        buffers = (_buffer(minari, observation, steps, int(seed), success) for steps, seed, success in rows)
        dataset = minari.create_dataset_from_buffers(
            name,
            [next(buffers)],
            env=_spec(task),
            observation_space=observation,
            action_space=action,
            algorithm_name=agent,
            author="gatito",
            description=f"{task.name}, played by {agent}, recorded by gatito; infos hold clean labels.",
            jpeg_encoding=False,  # JPEG is lossy
        )
        dataset.storage.update_episodes(buffers)  # one at a time: a recording may be larger than memory
        dataset.storage.update_metadata({MARK: mark})
        for namespace in (Path(folder) / name).parents:
            if namespace != Path(folder) and Path(folder) in namespace.parents:
                _copy_namespace(namespace, root / namespace.relative_to(folder))
        make_folder(target.parent)
        place_folder(Path(folder) / name, target)
    return name


def _buffer(minari: Any, space: gym.Space, steps: Steps, seed: int, success: bool | None) -> Any:  # noqa: ANN401
    # Infos have a row for the reset as well, so the last label is repeated.
    labels = np.concatenate([steps["labels"], steps["labels"][-1:]])
    return minari.data_collector.EpisodeBuffer(
        seed=seed,
        observations=unpacked(space, steps["observations"]),
        actions=np.asarray(steps["actions"]),
        rewards=steps["rewards"].tolist(),
        terminations=steps["terminated"].tolist(),
        truncations=steps["truncated"].tolist(),
        infos={LABELS: labels} | _told(steps, success),
    )


def _told(steps: Steps, success: bool | None) -> dict[str, np.ndarray]:
    """Costs, masks and success as an environment tells them: nothing at the reset, then a row per step."""
    told: dict[str, np.ndarray] = {}
    if "costs" in steps:
        told["cost"] = np.concatenate([np.zeros(1), steps["costs"]])
    if "masks" in steps:  # each is of the step after it
        told["action_mask"] = np.concatenate([steps["masks"], np.ones_like(steps["masks"][-1:])])
    if success is not None:
        told["success"] = np.zeros(len(steps["rewards"]) + 1, dtype=bool)
        told["success"][-1] = success
    return told


def _spec(task: Task) -> Any:  # noqa: ANN401
    """Gymnasium's spec of the environment; None for families that this project wraps or modifies."""
    if task.family != "registered":
        return None
    spec = copy.deepcopy(gym.spec(task.env_id.rpartition(":")[2]))
    spec.kwargs, spec.max_episode_steps = dict(task.kwargs), task.horizon
    try:
        spec.to_json()
    except ValueError:  # registered with a class instead of an import path: it cannot be serialised
        return None
    return spec


@contextlib.contextmanager
def _datasets_in(folder: Path) -> Iterator[None]:
    """Set Minari's datasets folder, which it reads from an environment variable."""
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
