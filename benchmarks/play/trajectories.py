"""The episode store: flat, memory-mapped arrays per task and agent, in shards with checksums.

A shard is a folder of ``.npy`` files with episodes one after another. Steps have T rows per episode, observations T + 1
(the last one is the final observation). Reading a window of steps touches a page or two, never a whole episode. Stacked
frames are stored once and compressed, see :mod:`benchmarks.play.frames`. Episodes are written one by one, so neither
writing nor reading needs memory for more than one episode.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.artifacts import read_manifest, verify
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import TEMPORARY, digest, file_digest, make_folder, read_json, write_json
from benchmarks.base.names import inside
from benchmarks.play.columns import CHUNKS, FRAMES, Columns
from benchmarks.play.frames import FrameReader
from benchmarks.play.rollout import Episode, Steps
from benchmarks.runs.stage import run_first
from benchmarks.tasks.observations import FrameStack

_INDEX = "index.json"
_INDEX_SHAPE = {"episodes": list, "sha256": dict, "recording": str, "facts": dict, "digest": str}
_EPISODE_SHAPE = (("seed", int), ("length", int), ("return", (int, float)))
_SHARD = re.compile(r"shard-\d{3,}")


def shard_folder(recording: Path, number: int) -> Path:
    """The folder of a shard of a recording."""
    return recording / f"shard-{number:03d}"


def write_shard(
    folder: Path,
    episodes: Iterable[Episode],
    space: gym.Space,
    recording: str = "",
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> int:
    """Write episodes (with their steps) as one shard; the folder appears completely or not at all.

    Args:
        folder: the shard's folder.
        episodes: consumed one by one, so they may be played while they are written. Empty episodes are left out.
        space: the task's observation space.
        recording: fingerprint of the recording that the shard belongs to.
        facts: called after the last episode; its result is stored with the shard.

    Returns:
        The number of steps.

    Raises:
        ValueError: if there are no episodes, or one has no arrays of steps.
    """
    make_folder(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=TEMPORARY, dir=folder.parent))
    stacked = list(space.shape) if isinstance(space, FrameStack) else None
    index: list[dict[str, Any]] = []
    try:
        with Columns(temporary, stacked=stacked is not None) as columns:
            for episode in episodes:
                if episode.steps is None:
                    raise ValueError("episodes of a shard must have their steps")
                if episode.length == 0:
                    continue
                columns.add(episode.steps)
                row = {"seed": episode.seed, "length": episode.length, "return": episode.total_return}
                index.append(row | {"success": episode.success})
        if not index:
            raise ValueError("a shard needs an episode")
        files = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
        body = {"episodes": index, "stacked": stacked, "sha256": files, "facts": dict(facts())}
        body |= {"recording": f"{recording}/{folder.name}"}
        write_json(temporary / _INDEX, body | {"digest": digest(body)})
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        error.filename = error.filename or str(folder)  # the error of a full disk has no file name
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sum(row["length"] for row in index)


def verify_shard(folder: Path, recording: str) -> dict[str, Any]:
    """Verify a shard of an interrupted recording.

    Args:
        folder: the shard's folder.
        recording: fingerprint of the recording that it must belong to.

    Returns:
        The facts that are stored with it.

    Raises:
        GatitoError: names the file that is missing or damaged, or a shard of another recording.
    """
    remedy = f"Remove the folder {folder} and run the same command again."
    index = _read_index(folder, remedy)
    if index["recording"] != f"{recording}/{folder.name}":
        raise GatitoError(f"{folder} is part of another recording. {remedy}")
    for name, expected in index["sha256"].items():
        path = inside(folder, name)
        if not path.is_file() or file_digest(path) != expected:
            raise GatitoError(f"{path} is damaged. {remedy}")
    return index["facts"]


def check_shards(folder: Path, expected: Collection[str], *, complete: bool = True) -> None:
    """Check the shards of a recording.

    Args:
        folder: the recording's folder.
        expected: the names of its shards.
        complete: whether all of them must exist.

    Raises:
        GatitoError: names missing or foreign shards, and the remedy.
    """
    found = {path.name for path in folder.iterdir() if _SHARD.fullmatch(path.name)}
    if foreign := sorted(found - set(expected)):
        raise GatitoError(f"{folder} has {', '.join(foreign)}, not a part of this recording: remove it from there.")
    if complete and (missing := sorted(set(expected) - found)):
        raise GatitoError(f"{folder} lacks {', '.join(missing)}: run the same command again, which records it.")


def _read_index(folder: Path, remedy: str) -> dict[str, Any]:
    """The index of a shard, checked against its digest and its shape."""
    index = read_json(folder / _INDEX, _INDEX_SHAPE, remedy)
    rows = index["episodes"]
    good = all(isinstance(row, dict) and isinstance(row.get(key), kind) for row in rows for key, kind in _EPISODE_SHAPE)
    if not good or index["digest"] != digest({key: value for key, value in index.items() if key != "digest"}):
        raise GatitoError(f"{folder / _INDEX} is damaged: it does not match its own digest. {remedy}")
    return index


@dataclass(frozen=True)
class _Shard:
    columns: Mapping[str, np.ndarray]
    index: list[dict[str, Any]]
    starts: np.ndarray  # first step of each episode, and the end of the last
    frames: FrameReader | None  # replaces the column of observations
    depth: int

    def observations(self, row: int, first: int, last: int) -> np.ndarray:
        """Observations ``first`` to ``last`` (exclusive) of an episode."""
        if self.frames:
            return self.frames.stacks(row, first, last, self.depth)
        # Each earlier episode of the shard has one more observation than steps.
        start = int(self.starts[row]) + row
        return self.columns["observations"][start + first : start + last]

    def cost(self, row: int) -> float | None:
        """The sum of an episode's costs; None if it has none."""
        costs = self.columns.get("costs")
        return None if costs is None else float(sum(costs[self.starts[row] : self.starts[row + 1]].tolist()))

    def scattered(self, rows: np.ndarray, steps: np.ndarray, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Steps of episodes, both ``(n,)``, column by column, ``(n, …)``."""
        found = {name: self.columns[name][self.starts[rows] + steps] for name in columns if name != "observations"}
        if "observations" in columns and self.frames:
            stacks = [self.observations(row, step, step + 1) for row, step in zip(rows, steps, strict=True)]
            found["observations"] = np.concatenate(stacks)
        elif "observations" in columns:
            found["observations"] = self.columns["observations"][self.starts[rows] + rows + steps]
        return found


class Trajectories:
    """Recorded episodes of one agent on one task, read through memory maps.

    Attributes:
        facts: the facts in its manifest (``task``, ``agent``, ``distribution_kind``, …).
        digest: digest of the content of all its files.
        seeds: shape ``(episodes,)``.
        lengths: shape ``(episodes,)``, numbers of steps.
        ends: shape ``(episodes,)``, cumulative numbers of steps.
        returns: shape ``(episodes,)``, undiscounted.
        successes: success of each episode; None if the environment does not report it.
        costs: sum of each episode's hidden costs; None if the environment has none.
    """

    def __init__(self, folder: Path) -> None:
        """Open a finished recording, after every file's checksum is verified.

        Raises:
            GatitoError: if the recording is unfinished, a file is missing or damaged, or a shard does not belong to it.
        """
        manifest = read_manifest(folder)
        if manifest is None:
            raise GatitoError(f"{folder} has no finished recording: {run_first('record')}.")
        verify(folder, manifest)
        self.folder = folder
        self.digest = digest(manifest["files"])
        self.facts: dict[str, Any] = manifest["facts"]
        names = sorted(name.partition("/")[0] for name in manifest["files"] if name.endswith(f"/{_INDEX}"))
        check_shards(folder, names)
        self._shards = [_open_shard(folder / name) for name in names]
        episodes = [(number, row) for number, shard in enumerate(self._shards) for row in range(len(shard.index))]
        self._places = np.array(episodes, dtype=np.int64).reshape(-1, 2)
        rows = [row for shard in self._shards for row in shard.index]
        self.seeds = np.array([row["seed"] for row in rows], dtype=np.int64)
        self.lengths = np.array([row["length"] for row in rows], dtype=np.int64)
        self.successes: list[bool | None] = [row["success"] for row in rows]
        self.returns = np.array([row["return"] for row in rows], dtype=np.float64)
        self.ends = np.cumsum(self.lengths)
        self.costs: list[float | None] = [shard.cost(row) for shard in self._shards for row in range(len(shard.index))]

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self._places)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return int(self.lengths.sum())

    def has(self, column: str) -> bool:
        """Whether the recording has a column, such as ``distributions``."""
        return all(column in shard.columns for shard in self._shards)

    def window(self, episode: int, start: int, length: int, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Rows ``start`` to ``start + length`` of an episode, cut at its end, without the final observation.

        Returns:
            For each column, shape ``(n, …)`` with ``n <= length``; views of the memory map if possible.
        """
        shard_number, row = self._places[episode]
        shard = self._shards[shard_number]
        first = int(shard.starts[row])
        last = min(start + length, int(shard.starts[row + 1]) - first)
        return {
            name: shard.observations(row, start, last)
            if name == "observations"
            else shard.columns[name][first + start : first + last]
            for name in columns
        }

    def scattered(self, steps: np.ndarray, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Arbitrary steps, ``(n,)``, ascending, numbered through all episodes.

        Returns:
            For each column, shape ``(n, …)``, copies.
        """
        episodes = np.searchsorted(self.ends, steps, side="right")
        within = steps - (self.ends - self.lengths)[episodes]
        shards, rows = self._places[episodes].T
        parts = [
            self._shards[number].scattered(rows[shards == number], within[shards == number], columns)
            for number in np.unique(shards)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in columns}

    def episodes(self) -> Iterator[Steps]:
        """Each episode's arrays in order; observations are stacked again and include the final one."""
        for shard_number, row in self._places:
            shard = self._shards[shard_number]
            first, last = int(shard.starts[row]), int(shard.starts[row + 1])
            steps = {name: values[first:last] for name, values in shard.columns.items() if name != "observations"}
            yield {"observations": shard.observations(row, 0, last - first + 1), **steps}


def _open_shard(folder: Path) -> _Shard:
    remedy = f"Remove the folder {folder.parent} and run the same command again."
    index = _read_index(folder, remedy)
    lengths = np.array([row["length"] for row in index["episodes"]], dtype=np.int64)
    names = [name for name in sorted(index["sha256"]) if name.endswith(".npy") and name != CHUNKS]
    frames, depth = None, 0
    try:
        # As plain arrays: slicing numpy's class of memory maps is slow.
        columns = {
            name.removesuffix(".npy"): np.asarray(np.load(inside(folder, name), mmap_mode="r", allow_pickle=False))
            for name in names
        }
        for name, values in columns.items():
            rows = int(lengths.sum()) + (len(lengths) if name == "observations" else 0)
            if len(values) != rows:
                raise ValueError(f"{name} has {len(values)} rows instead of {rows}")
        if index["stacked"]:
            depth, *shape = index["stacked"]
            frames = FrameReader(folder / FRAMES, np.load(folder / CHUNKS), lengths + 1, tuple(shape))
    except (ValueError, TypeError, OSError) as error:
        raise GatitoError(f"{folder} is damaged ({error}). {remedy}") from None
    return _Shard(columns, index["episodes"], np.concatenate([[0], np.cumsum(lengths)]), frames, depth)
