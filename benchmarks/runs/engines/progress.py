"""The board: progress of all jobs of one machine in a memory map, which they write and progress bars show."""

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from benchmarks.base import console
from benchmarks.runs.engines.job import Board, Job

_POLL_SECONDS = 0.3
_TEMPORARY = "gatito-board-"


@contextmanager
def progress_board(jobs: Sequence[Job], on_poll: Callable[[], None]) -> Iterator[Board]:
    """Show progress bars for a board with one number per job, which jobs write; yields each job's place on it."""
    with silent_board(jobs) as board, console.progress() as bars:
        labels = list(dict.fromkeys(job.label for job in jobs))
        totals = {label: sum(job.total for job in jobs if job.label == label) for label in labels}
        tasks = {label: bars.add_task(label, total=totals[label], note="") for label in labels}
        path = board[jobs[0]][0]

        def poll() -> None:
            counts = np.fromfile(path, dtype=np.int64)
            done = dict.fromkeys(labels, 0)
            for count, job in zip(counts, jobs, strict=False):
                done[job.label] += int(count)
            for label in labels:
                bars.update(tasks[label], completed=done[label])
            on_poll()

        try:
            with every(_POLL_SECONDS, poll):
                yield board
        finally:
            poll()


@contextmanager
def silent_board(jobs: Sequence[Job]) -> Iterator[Board]:
    """A board that nobody watches; yields each job's place on it."""
    with temporary_folder() as folder:
        path = folder / "board"
        np.zeros(len(jobs), dtype=np.int64).tofile(path)
        yield {job: (path, place) for place, job in enumerate(jobs)}


@contextmanager
def every(seconds: float, action: Callable[[], None]) -> Iterator[None]:
    """Call a function regularly in another thread until the block ends."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for a board; folders of killed commands, which are no longer locked, are removed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
    folder, descriptor = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _locked_folder() -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)
        # Another process took it for that of a killed command before it was locked.
