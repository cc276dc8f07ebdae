"""Image frames in one file, each stored once, with lossless compression in short chunks.

An observation of four stacked frames repeats three frames of the previous one: only the newest is stored, and stacks
are rebuilt when they are read. A chunk never spans two episodes, so reading a random window takes one to three chunks.
"""

import mmap
from pathlib import Path
from typing import IO

import numpy as np
import zstandard

from benchmarks.base.errors import GatitoError

_CHUNK = 16  # frames; longer chunks compress better, shorter ones are faster to read
_LEVEL = 3


class FrameWriter:
    """Writes episodes of frames one after another."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.ends = [0]  # byte offsets of the chunks' ends

    def add(self, frames: np.ndarray) -> None:
        """Append an episode's frames, ``(n, height, width)``, uint8."""
        for start in range(0, len(frames), _CHUNK):
            chunk = self._compressor.compress(frames[start : start + _CHUNK].tobytes())
            self.file.write(chunk)
            self.ends.append(self.ends[-1] + len(chunk))


class FrameReader:
    """Reads frames, or stacks of them.

    Args:
        path: a file of a :class:`FrameWriter`.
        ends: the writer's ``ends``, ``(chunks + 1,)``.
        lengths: number of frames of each episode, ``(episodes,)``.
        shape: ``(height, width)``.

    Raises:
        ValueError: if the file has another number of chunks or bytes.
    """

    def __init__(self, path: Path, ends: np.ndarray, lengths: np.ndarray, shape: tuple[int, ...]) -> None:
        self._path = path
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._ends = ends
        self._first_chunks = np.concatenate([[0], np.cumsum(-(-lengths // _CHUNK))])
        if ends.shape != (int(self._first_chunks[-1]) + 1,) or len(self._bytes) != int(ends[-1]):
            raise ValueError(f"{path.name} does not have the listed chunks")
        self._lengths = lengths
        self._shape = shape
        self._decompressor = zstandard.ZstdDecompressor()

    def frames(self, episode: int, first: int, last: int) -> np.ndarray:
        """Frames ``first`` to ``last`` (exclusive) of an episode, ``(last - first, height, width)``."""
        begin, end = first // _CHUNK, -(-last // _CHUNK)
        size = int(np.prod(self._shape))
        whole = np.empty((min(end * _CHUNK, int(self._lengths[episode])) - begin * _CHUNK, *self._shape), np.uint8)
        flat = whole.reshape(-1)
        for place, chunk in enumerate(range(begin, end)):
            part = flat[place * _CHUNK * size :][: _CHUNK * size]
            part[:] = np.frombuffer(self._unpacked(int(self._first_chunks[episode]) + chunk, len(part)), np.uint8)
        return whole[first - begin * _CHUNK : last - begin * _CHUNK]

    def _unpacked(self, chunk: int, size: int) -> bytes:
        """Decompress a chunk of known size, so that a malicious file cannot fill the memory."""
        packed = self._bytes[int(self._ends[chunk]) : int(self._ends[chunk + 1])]
        try:
            if zstandard.frame_content_size(packed) != size:
                raise zstandard.ZstdError(f"it does not have {size} bytes")
            return self._decompressor.decompress(packed)
        except zstandard.ZstdError as error:
            raise GatitoError(
                f"{self._path}, chunk {chunk}, is damaged ({error}). Remove the recording {self._path.parent.parent} "
                "and run the same command again."
            ) from None

    def stacks(self, episode: int, first: int, last: int, depth: int) -> np.ndarray:
        """Each of these frames with the ``depth - 1`` frames before it; zeros before the episode's first.

        Returns:
            Shape ``(last - first, depth, height, width)``, a read-only view: neighbours share memory.
        """
        earliest = max(0, first - depth + 1)
        frames = self.frames(episode, earliest, last)
        missing = earliest - (first - depth + 1)
        if missing:
            frames = np.concatenate([np.zeros((missing, *self._shape), np.uint8), frames])
        return stack(frames, depth)


def stack(frames: np.ndarray, depth: int) -> np.ndarray:
    """Sliding windows over frames, ``(n, height, width)`` → ``(n - depth + 1, depth, height, width)``, a view."""
    windows = np.lib.stride_tricks.sliding_window_view(frames, depth, axis=0)
    return np.moveaxis(windows, -1, 1)
