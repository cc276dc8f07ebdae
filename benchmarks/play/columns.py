"""Write the arrays of a shard episode by episode: ``.npy`` files, and compressed frames."""

import contextlib
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.play.frames import FrameWriter
from benchmarks.play.rollout import Steps

FRAMES = "observations.frames"
CHUNKS = "chunks.npy"


class Columns(contextlib.ExitStack):
    """The open files of a shard."""

    def __init__(self, folder: Path, stacked: bool) -> None:
        super().__init__()
        self._folder = folder
        self._files: dict[str, _Column] = {}
        self._names: set[str] = set()
        self._frames = FrameWriter(self._open(folder / FRAMES)) if stacked else None

    def add(self, steps: Steps) -> None:
        """Append an episode.

        Raises:
            GatitoError: if the episode has other arrays than the first one.
        """
        if self._names and self._names != set(steps):
            different = ", ".join(sorted(self._names ^ set(steps)))
            raise GatitoError(
                f"{self._folder.parent}: some episodes have {different} and others do not: let the environment, or the "
                "dataset, give the same of every episode."
            )
        self._names = set(steps)
        for name, rows in steps.items():
            if name == "observations" and self._frames:
                self._frames.add(rows)
                continue
            if name not in self._files:
                self._files[name] = _Column(self._open(self._folder / f"{name}.npy"), rows)
            self._files[name].add(rows)

    def _open(self, path: Path) -> IO[bytes]:
        file = path.open("w+b")
        self.callback(file.close)
        return file

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:  # noqa: ANN401
        if error is None:
            for column in self._files.values():
                column.finish()
            if self._frames:
                _sync(self._frames.file)
                np.save(self._folder / CHUNKS, np.array(self._frames.ends))
        return super().__exit__(kind, error, trace)


class _Column:
    """A growing ``.npy`` file; NumPy's header has room for the final number of rows."""

    def __init__(self, file: IO[bytes], example: np.ndarray) -> None:
        self._file, self._rows = file, 0
        self._dtype, self._shape = example.dtype, example.shape[1:]
        self._write_header()
        self._start = file.tell()

    def add(self, rows: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._rows += len(rows)

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()
        assert self._file.tell() == self._start, "numpy no longer leaves room in its headers"
        _sync(self._file)

    def _write_header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self._file, header | {"shape": (self._rows, *self._shape)})


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
