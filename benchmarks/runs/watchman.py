"""Kill worker processes that hang in an environment and cannot be interrupted from within."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.base.errors import GatitoError
from benchmarks.tasks.watch import GRACE_SECONDS, Sight

_LOOK_SECONDS = 0.3


class Watchman:
    """Kills processes that hang in an environment: in native code, or in code that catches all exceptions."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[Sight, float]] = {}  # each process's last sight, and its duration in seconds
        self._killed: dict[Path, Sight] = {}
        self._lock = threading.Lock()  # looks happen in another thread

    def look(self) -> None:
        """Look once. Calls are counted instead of clock time, so that a suspended run does not use up its time."""
        with self._lock:
            for file, (before, seconds) in list(self._seen.items()):
                sight = Sight.read(file)
                if sight is None:
                    continue
                seconds = seconds + _LOOK_SECONDS if sight == before and sight.task is not None else 0.0
                self._seen[file] = (sight, seconds)
                if seconds > sight.limit + GRACE_SECONDS:
                    self._killed[file] = sight
                    del self._seen[file]
                    with suppress(ProcessLookupError):
                        os.kill(sight.process, signal.SIGKILL)

    def begin(self, file: Path) -> None:
        """Start watching a process that will report its position in a file."""
        file.unlink(missing_ok=True)
        with self._lock:
            self._killed.pop(file, None)
            self._seen[file] = (Sight(0, None, float("inf"), 0), 0.0)

    def end(self, file: Path) -> GatitoError | None:
        """Stop watching the process; returns an error if it was killed."""
        with self._lock:
            self._seen.pop(file, None)
            killed = self._killed.get(file)
        if killed is None:
            return None
        return GatitoError(
            f"the environment of task {killed.task} did not return from a call within {killed.limit:g} seconds (the "
            "task's step_seconds) and could not be interrupted. Fix the environment, or leave the "
            "task out with tasks=[…], and run the same command again.",
            killed.task,
        )


@contextmanager
def watching() -> Iterator[Watchman]:
    """A watchman that looks regularly until the block ends."""
    watchman, stop = Watchman(), threading.Event()
    thread = threading.Thread(target=_look_again, args=(watchman.look, stop), daemon=True)
    thread.start()
    try:
        yield watchman
    finally:
        stop.set()
        thread.join()


def _look_again(look: Callable[[], None], stop: threading.Event) -> None:
    while not stop.wait(_LOOK_SECONDS):
        look()
