"""Open Minari datasets from untrusted sources: no other file is read and no code is run."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError, damage_as
from benchmarks.base.files import read_json
from benchmarks.base.names import inside
from benchmarks.tasks import Task, own_spaces, spaces
from experts.episodes import RawEpisode

MARK = "gatito"  # the metadata key that marks gatito's exports
LABELS = "labels"  # the key of the clean labels in the infos of gatito's exports


def data_folder(name: str) -> Path:
    """The folder of a dataset's files."""
    if (Path(name) / "data").is_dir():
        return Path(name).resolve() / "data"
    root = os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets"
    return Path(root).resolve() / name / "data"


def open_dataset(task: Task, name: str) -> Any:  # noqa: ANN401
    """The dataset, after checks that reading it opens no other file and runs no code."""
    minari = minari_package()
    data = data_folder(name)
    if not (data / "metadata.json").is_file():
        raise GatitoError(
            f"dataset {name} of task {task.name} is not in {data.parent}: run `minari download {name}`, or give the id "
            "of a dataset that `minari list local` shows, or a dataset's folder."
        )
    for path in sorted(data.rglob("*")):
        inside(data, path.relative_to(data).as_posix())
        if path.suffix == ".hdf5":
            _check_hdf5(path)
    metadata = read_json(data / "metadata.json", dict, f"Remove the folder {data.parent} and download it again.")
    if "observation_space" in metadata and "action_space" in metadata:
        return minari.MinariDataset(data)
    from minari.dataset._storages import get_minari_storage

    # Without stored spaces, Minari would make the environment that the metadata name, which can run any code.
    storage = get_minari_storage(metadata["data_format"])
    return minari.MinariDataset(
        storage(data, *own_spaces(task), jpeg_encoding=bool(metadata.get("jpeg_encoding", True)))
    )


def _check_hdf5(path: Path) -> None:
    """Reject a file with links, or with datasets that are stored in other files.

    Raises:
        GatitoError: if the file refers to other files.
    """
    import h5py
    import h5py.h5o

    seen: set[int] = set()

    def check(group: Any) -> None:  # noqa: ANN401
        for name in group:
            link, place = group.get(name, getlink=True), f"{group.name.rstrip('/')}/{name}"
            if not isinstance(link, h5py.HardLink):
                raise GatitoError(f"{path}: {place} is a link, which datasets never contain: do not use this dataset.")
            item = group[name]
            if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise GatitoError(f"{path}: the values of {place} are in other files: do not use this dataset.")
            address = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Group) and address not in seen:
                seen.add(address)
                check(item)

    with h5py.File(path, "r") as file:
        check(file)


def minari_episodes(task: Task, name: str) -> Iterator[RawEpisode]:
    """The episodes of a local Minari dataset, by its id or its folder.

    Raises:
        GatitoError: if the package or the dataset is missing, its spaces do not fit, or it is damaged.
    """
    with report_damage(task, name):
        dataset = open_dataset(task, name)
        labelled = (mark_of(data_folder(name)) or {}).get("labels") is True
        # Others' datasets have the spaces of the environment itself, gatito's own those that policies see.
        observation, action = spaces(task) if labelled else own_spaces(task)
        for task_space, dataset_space, kind in (
            (observation, dataset.observation_space, "observations"),
            (action, dataset.action_space, "actions"),
        ):
            if not _compatible(task_space, dataset_space):
                raise GatitoError(
                    f"task {task.name} has {kind} {task_space}, dataset {name} has {dataset_space}: give it its own "
                    "dataset."
                )
        for data in dataset.iterate_episodes():
            yield _raw(data, labelled)


def minari_paths(task: Task, name: str) -> list[Path]:
    """All files of a dataset, in order.

    Raises:
        GatitoError: if the package or the dataset is missing, or it is damaged.
    """
    with report_damage(task, name):
        open_dataset(task, name)
        return sorted(path for path in data_folder(name).rglob("*") if path.is_file())


def _raw(data: Any, labelled: bool) -> RawEpisode:  # noqa: ANN401
    """An episode; its infos have a row for the reset before those of the steps."""
    steps, infos = len(data.actions), data.infos or {}
    success, masks, costs = (infos.get(name) for name in ("success", "action_mask", "cost"))
    return RawEpisode(
        data.observations,
        data.actions,
        data.rewards,
        data.terminations,
        data.truncations,
        infos[LABELS][:steps] if labelled else None,
        None if costs is None else costs[len(costs) - steps :],
        None if masks is None else masks[:steps],  # each is of the step after it
        None if success is None else bool(np.any(success)),
        canonical=labelled,
    )


def _compatible(expected: gym.Space, other: gym.Space) -> bool:
    """Whether a dataset's space has the shape of the task's. Types and bounds may differ: values are checked."""
    if isinstance(expected, gym.spaces.Box) and isinstance(other, gym.spaces.Box):  # a FrameStack is stored as a Box
        return expected.shape == other.shape and expected.dtype.kind == other.dtype.kind
    if isinstance(expected, gym.spaces.Dict) and isinstance(other, gym.spaces.Dict):
        return set(expected) == set(other) and all(_compatible(expected[name], other[name]) for name in expected)
    if isinstance(expected, gym.spaces.Tuple) and isinstance(other, gym.spaces.Tuple):
        pairs = list(zip(expected.spaces, other.spaces, strict=False))
        return len(expected.spaces) == len(other.spaces) and all(_compatible(*pair) for pair in pairs)
    if isinstance(expected, gym.spaces.Text) and isinstance(other, gym.spaces.Text):
        return True
    return expected == other


def report_damage(task: Task, name: str) -> contextlib.AbstractContextManager[None]:
    """Turn the various errors that h5py and Minari raise for damaged files into one kind, with a remedy."""
    return damage_as(
        lambda reason: (
            f"dataset {name} of task {task.name} is damaged ({reason}): remove the folder {data_folder(name).parent} "
            "and download it again with `minari download`."
        )
    )


def minari_package() -> Any:  # noqa: ANN401
    """The optional package ``minari``.

    Raises:
        GatitoError: if it is not installed.
    """
    try:
        import h5py  # noqa: F401
        import minari
        import minari.data_collector
    except ImportError as error:
        raise GatitoError(f"Minari datasets need a package ({error}): pip install 'gatito[minari]'.") from None
    return minari


def mark_of(data: Path) -> dict[str, Any] | None:
    """Gatito's entry in the metadata of a dataset that it exported; None for other datasets."""
    path = data / "metadata.json"
    mark = read_json(path, dict, f"Remove the folder {data.parent}.").get(MARK) if path.is_file() else None
    return mark if isinstance(mark, dict) else None
