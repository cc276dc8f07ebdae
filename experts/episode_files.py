"""Folders of episodes in NumPy or Parquet files, as described in docs/data.md."""

import itertools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError, damage_as
from benchmarks.base.names import inside
from benchmarks.tasks import Task, spaces
from experts.episodes import RawEpisode

FOLDER = "episodes"
_SUFFIXES = (".npz", ".parquet")
_STEPS = ("rewards", "terminated", "truncated")
_MOST_BYTES = 2**32  # of an uncompressed file
_OF_DICTIONARY = "observations."  # prefix of a dictionary's entries


def is_episode_folder(name: str) -> bool:
    """Whether a dataset is a folder of episodes."""
    return (Path(name) / FOLDER).is_dir()


def episode_paths(task: Task, name: str) -> list[Path]:
    """The files of a folder of episodes, in the order of their names.

    Raises:
        GatitoError: if there are no files, or one is a link that leads out of the folder.
    """
    folder = Path(name) / FOLDER
    paths = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise GatitoError(
            f"dataset {name} of task {task.name} has no files {FOLDER}/*.npz or {FOLDER}/*.parquet: see docs/data.md."
        )
    return [inside(Path(name), f"{FOLDER}/{path.name}") for path in paths]


def file_episodes(task: Task, name: str) -> Iterator[RawEpisode]:
    """The episodes of all files.

    Raises:
        GatitoError: if a file is incomplete or damaged; names the file.
    """
    for path in episode_paths(task, name):
        with damage_as(lambda reason, path=path: f"{path} is damaged ({reason}): write it again, see docs/data.md."):
            if path.suffix == ".npz":
                yield _raw(_numpy_columns(path), path)
            else:
                for columns in _parquet_episodes(path, task):
                    yield _raw(columns, path)


def _raw(columns: Mapping[str, np.ndarray], path: Path) -> RawEpisode:
    """An episode from its columns: T + 1 rows of observations, T rows of all others."""
    parts = {key.removeprefix(_OF_DICTIONARY): rows for key, rows in columns.items() if key.startswith(_OF_DICTIONARY)}
    observations = parts or columns.get("observations")
    missing = [name for name in ("actions", *_STEPS) if name not in columns]
    if observations is None or missing:
        raise GatitoError(f"{path} has no {', '.join(missing or ['observations'])}: see docs/data.md.")
    success = columns.get("successes")
    seed = columns.get("seed")
    return RawEpisode(
        observations,
        columns["actions"],
        columns["rewards"],
        _flags(columns["terminated"], "terminated", path),
        _flags(columns["truncated"], "truncated", path),
        columns.get("labels"),
        columns.get("costs"),
        columns.get("masks"),
        None if success is None else bool(_flags(success, "successes", path).any()),
        None if seed is None else int(np.asarray(seed).reshape(-1)[0]),
    )


def _flags(rows: np.ndarray, name: str, path: Path) -> np.ndarray:
    if rows.dtype.kind not in "iub" or not np.isin(rows, (0, 1)).all():
        raise GatitoError(f"{path}: {name} have type {rows.dtype}, and are to be true or false.")
    return rows.astype(bool)


def _numpy_columns(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        _refuse_large(path, sum(part.file_size for part in archive.infolist()))
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise GatitoError(f"{path} holds objects, which would need pickle: save plain arrays (np.savez).") from None
        raise


def _refuse_large(path: Path, size: int) -> None:
    if size > _MOST_BYTES:
        raise GatitoError(f"{path} unpacks to more than {_MOST_BYTES:,} bytes: write fewer episodes into a file.")


def _parquet_episodes(path: Path, task: Task) -> Iterator[dict[str, np.ndarray]]:
    """The episodes of a Parquet file, by the column ``episode``; without it, the file is one episode."""
    file = _pyarrow()[0].ParquetFile(path)
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    _refuse_large(path, sum(group.total_byte_size for group in groups))
    table = file.read()
    if "episode" not in table.column_names:
        yield _parquet_columns(table, task, path)
        return
    numbers = table.column("episode").to_numpy()
    borders = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1), len(numbers)]
    if len(np.unique(numbers)) != len(borders) - 1:
        raise GatitoError(f"{path}: the rows of an episode are not one after another: sort them by the column episode.")
    for start, end in itertools.pairwise(borders):
        yield _parquet_columns(table.slice(start, end - start), task, path)


def _parquet_columns(table: Any, task: Task, path: Path) -> dict[str, np.ndarray]:  # noqa: ANN401
    """The columns of one episode; of its last row, only the observation is read."""
    observation, action = spaces(task)
    shapes = _shapes(observation) | {"actions": action.shape or (), "labels": action.shape or ()}
    columns: dict[str, np.ndarray] = {}
    for name in table.column_names:
        column = table.column(name)
        if name == "episode":
            continue
        if not name.startswith("observations"):
            column = column.slice(0, table.num_rows - 1)
        columns[name] = _values(column, shapes.get(name), f"{path}: {name}")
    return columns


def _values(column: Any, shape: Sequence[int] | None, place: str) -> np.ndarray:  # noqa: ANN401
    """A column as an array; lists of equal lengths become axes, and flat lists get the shape of the space."""
    import pyarrow

    _, compute = _pyarrow()
    array = column.combine_chunks()
    if isinstance(array, pyarrow.ChunkedArray):  # an empty column stays chunked
        array = array.chunk(0) if array.num_chunks else pyarrow.array([], array.type)
    axes = [len(array)]
    while pyarrow.types.is_nested(array.type):
        if not hasattr(array, "flatten") or pyarrow.types.is_struct(array.type):
            raise GatitoError(f"{place} are of type {array.type}: write numbers, or lists of them.")
        lengths = compute.unique(compute.list_value_length(array)).to_pylist()
        if len(array) and (len(lengths) != 1 or lengths[0] is None):
            raise GatitoError(f"{place} have lists of several lengths, or none, in an episode.")
        axes.append(lengths[0] if lengths else 0)
        array = array.flatten()
    if array.null_count:
        raise GatitoError(f"{place} lack values; only the last row of an episode may, of all but observations.")
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype == object:
        values = values.astype(str)
    values = values.reshape(axes)
    if shape is not None and values.ndim == 2 and values.shape[1:] == (int(np.prod(shape)),):
        values = values.reshape(len(values), *shape)
    return values


def _shapes(space: gym.Space) -> dict[str, tuple[int, ...]]:
    if isinstance(space, gym.spaces.Dict):
        return {f"{_OF_DICTIONARY}{name}": part.shape or () for name, part in space.items()}
    return {"observations": space.shape or ()}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise GatitoError(f"Parquet files need a package ({error}): pip install 'gatito[parquet]'.") from None
    return pyarrow.parquet, pyarrow.compute
