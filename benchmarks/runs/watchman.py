"""Kills worker processes that hang in an environment, where nothing within the process can."""

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
    """Kills processes that hang in an environment: in native code, or in code that catches whatever is raised."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[Sight, float]] = {}  # where each was seen last, and for how many seconds by now
        self._killed: dict[Path, Sight] = {}
        self._lock = threading.Lock()  # it looks in a thread of its own

    def look(self) -> None:
        """Look once; called every so many seconds, which are counted, so that a suspended run has not used them."""
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
        """A process is about to show itself in a file."""
        file.unlink(missing_ok=True)
        with self._lock:
            self._killed.pop(file, None)
            self._seen[file] = (Sight(0, None, float("inf"), 0), 0.0)

    def end(self, file: Path) -> GatitoError | None:
        """It does so no more. Returns why it was killed, if it was."""
        with self._lock:
            self._seen.pop(file, None)
            killed = self._killed.get(file)
        if killed is None:
            return None
        return GatitoError(
            f"the environment of task {killed.task} did not come back from a call within {killed.limit:g} "
            "seconds (see the task's step_seconds), and could not be interrupted. Mend the environment, or leave the "
            "task out with tasks=[…], and run the same command again.",
            killed.task,
        )


@contextmanager
def watching() -> Iterator[Watchman]:
    """One that looks until the block ends."""
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
