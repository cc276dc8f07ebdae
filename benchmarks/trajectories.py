"""The episode store: flat, memory-mapped arrays per task and agent, in shards with checksums.

A shard is a folder of ``.npy`` files in which episodes lie end to end. Steps have T rows an episode, observations T + 1
(the last one is where the episode ended), so reading a window of steps touches a page or two and never a whole episode.
"""

import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.artifacts import file_digest, read_json, read_manifest, verify, write_bytes, write_json
from benchmarks.errors import GatitoError
from benchmarks.rollout import Episode, Steps

_INDEX = "index.json"
SHARDS = "shard-*"


def write_shard(folder: Path, episodes: Sequence[Episode]) -> None:
    """Write episodes (with their steps) as one shard; the folder appears whole or not at all.

    Raises:
        ValueError: if there are no episodes, or one has no steps.
    """
    if not episodes:
        raise ValueError("a shard needs an episode")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        files = {}
        for name, rows in _columns(episodes).items():
            content = io.BytesIO()  # np.save into a file would report a full disk without its errno
            np.save(content, rows, allow_pickle=False)
            write_bytes(temporary / f"{name}.npy", content.getbuffer())
            files[f"{name}.npy"] = file_digest(temporary / f"{name}.npy")
        index = [
            {
                "seed": episode.seed,
                "length": episode.length,
                "return": episode.total_return,
                "success": episode.success,
            }
            for episode in episodes
        ]
        write_json(temporary / _INDEX, {"episodes": index, "sha256": files})
        shutil.rmtree(folder, ignore_errors=True)
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def verify_shard(folder: Path) -> None:
    """Check a shard that an interrupted recording left.

    Raises:
        GatitoError: naming the file that is lost or damaged.
    """
    for name, expected in read_json(folder / _INDEX)["sha256"].items():
        path = folder / name
        if not path.exists() or file_digest(path) != expected:
            raise GatitoError(f"{path} is damaged. Remove the folder {folder} and run the same command again.")


@dataclass(frozen=True)
class _Shard:
    columns: Mapping[str, np.ndarray]
    index: list[dict[str, Any]]
    starts: np.ndarray  # first step of each episode, and the end of the last


class Trajectories:
    """Recorded episodes of one agent on one task, read through memory maps.

    Attributes:
        facts: what the recording says of itself (``task``, ``agent``, ``distribution_kind``, …).
        seeds: shape ``(episodes,)``.
        lengths: shape ``(episodes,)``, in steps.
        returns: shape ``(episodes,)``, undiscounted.
    """

    def __init__(self, folder: Path) -> None:
        """Open a finished recording; every file is checked against its checksum first.

        Raises:
            GatitoError: if the recording is unfinished, or a file is lost or damaged (it is named).
        """
        manifest = read_manifest(folder)
        if manifest is None:
            raise GatitoError(f"{folder} holds no finished recording. Run with stages=[record] first.")
        verify(folder, manifest)
        self.folder = folder
        self.facts: dict[str, Any] = manifest["facts"]
        self._shards = [_open_shard(path.parent) for path in sorted(folder.glob(f"{SHARDS}/{_INDEX}"))]
        episodes = [(number, row) for number, shard in enumerate(self._shards) for row in range(len(shard.index))]
        self._places = np.array(episodes, dtype=np.int64).reshape(-1, 2)
        rows = [row for shard in self._shards for row in shard.index]
        self.seeds = np.array([row["seed"] for row in rows], dtype=np.int64)
        self.lengths = np.array([row["length"] for row in rows], dtype=np.int64)
        self.returns = np.array([row["return"] for row in rows], dtype=np.float64)

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self._places)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return int(self.lengths.sum())

    def has(self, column: str) -> bool:
        """Whether the recording has such a column, such as ``distributions``."""
        return all(column in shard.columns for shard in self._shards)

    def window(self, episode: int, start: int, length: int, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Rows ``start`` to ``start + length`` of an episode, cut at its end; observations are those acted on.

        Returns:
            Per column, shape ``(n, …)`` with ``n <= length``; views of the memory map where possible.
        """
        shard_number, row = self._places[episode]
        shard = self._shards[shard_number]
        first = int(shard.starts[row]) + start
        last = min(first + length, int(shard.starts[row + 1]))
        # Each earlier episode of the shard has one observation more than it has steps.
        shift = {"observations": int(row)}
        return {name: shard.columns[name][first + shift.get(name, 0) : last + shift.get(name, 0)] for name in columns}

    def episodes(self) -> Iterator[Steps]:
        """Each episode's arrays in order, observations with their last row."""
        for shard_number, row in self._places:
            shard = self._shards[shard_number]
            first, last = int(shard.starts[row]), int(shard.starts[row + 1])
            yield {
                name: values[first + row : last + row + 1] if name == "observations" else values[first:last]
                for name, values in shard.columns.items()
            }


def _columns(episodes: Sequence[Episode]) -> Steps:
    steps = [episode.steps for episode in episodes]
    if any(arrays is None for arrays in steps):
        raise ValueError("episodes for a shard must carry their steps")
    kept = [arrays for arrays in steps if arrays is not None]
    return {name: np.concatenate([arrays[name] for arrays in kept]) for name in kept[0]}


def _open_shard(folder: Path) -> _Shard:
    index = read_json(folder / _INDEX)["episodes"]
    columns = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
    starts = np.concatenate([[0], np.cumsum([row["length"] for row in index])])
    return _Shard(columns, index, starts)
