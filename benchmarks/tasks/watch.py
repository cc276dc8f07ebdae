"""Time limits for environments: a call that hangs fails its task, not the run.

A timer ticks once a second while environments are used. A tick during a call is charged to that call and its episode
(arming a timer for every step would cost as much as the step). Ticks are counted instead of clock time, so that a
suspended process does not use up its time.

The tick interrupts Python code, but neither native code nor Python code that catches all exceptions. So a worker
process reports its environment and its call in shared memory, and the parent process kills it if they do not change for
too long (see :mod:`benchmarks.runs.parallel`).
"""

import atexit
import contextlib
import json
import mmap
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 10  # for the interruption of Python code, before its process is killed
_KINDS = 255  # maximum number of kinds of environments in a process; more share the last place


class OutOfTimeError(BaseException):
    """Raised inside an environment that takes too long; ``except Exception`` does not catch it."""


@dataclass
class Stopwatch:
    """The time that one environment takes.

    Attributes:
        task: the task's name.
        call_limit: seconds that one call of ``step`` or ``reset`` may take.
        episode_limit: seconds that all calls of an episode may take.
        calls: number of calls so far.
        in_call: seconds that the current call has taken.
        in_episode: seconds that the calls of the episode have taken.
        place: index of its task among those that this process reports; None before the first call.
    """

    task: str
    call_limit: float
    episode_limit: float
    calls: int = 0
    in_call: int = 0
    in_episode: int = 0
    place: int | None = None


class _Watch:
    """The process's timer, which needs the main thread, where jobs run.

    Attributes:
        inside: the stopwatch of the environment that is being called; None between calls.
    """

    def __init__(self) -> None:
        self.inside: Stopwatch | None = None
        self._runs = self._wanted = False
        self._last: tuple[int, int] | None = None
        self._shown: mmap.mmap | bytearray = bytearray(2)  # the place of a task, and its call, or 0 between calls
        self._calls = 0
        self._tasks: list[tuple[str, float]] = []
        self._file: Path | None = None
        if hasattr(signal, "setitimer"):
            atexit.register(self._stop)  # a tick after the last handler would end the process

    def enter(self, stopwatch: Stopwatch) -> None:
        """Begin a call."""
        self._wanted = True
        if not self._runs:
            self._start()
        if stopwatch.place is None:
            stopwatch.place = self._place(stopwatch)
        stopwatch.calls += 1
        self.inside = stopwatch
        self._shown[0] = stopwatch.place
        self._calls = self._calls % 255 + 1  # of all environments: two of them may be in their first call
        self._shown[1] = self._calls

    def leave(self) -> None:
        """End a call."""
        self.inside = None
        self._shown[1] = 0

    @contextlib.contextmanager
    def timed(self, stopwatch: Stopwatch) -> Iterator[None]:
        """Time one call that need not be fast; an outer call is timed on afterwards."""
        outer = self.inside
        try:
            self.enter(stopwatch)
            yield
        finally:
            self.leave()
            if outer is not None:
                self.enter(outer)

    @contextlib.contextmanager
    def shown_in(self, file: Path) -> Iterator[None]:
        """Report this process's position in a file, which another process reads with :meth:`Sight.read`."""
        file.write_bytes(bytes(2))
        with file.open("r+b") as opened:
            self._shown = mmap.mmap(opened.fileno(), 2)
        self._file = file
        self._write_tasks()
        try:
            yield
        finally:
            self._shown, self._file = bytearray(2), None

    def _place(self, stopwatch: Stopwatch) -> int:
        kind = stopwatch.task, stopwatch.call_limit
        if kind not in self._tasks:
            self._tasks.append(kind)
            self._write_tasks()
        return min(self._tasks.index(kind), _KINDS)

    def _write_tasks(self) -> None:
        if self._file is not None:
            text = json.dumps({"process": os.getpid(), "tasks": self._tasks})
            _tasks_file(self._file).write_text(text, encoding="utf-8")

    def _start(self) -> None:
        if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGALRM) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            return  # an environment or a test has a timer of its own
        signal.signal(signal.SIGALRM, self._tick)
        signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
        self._runs = True

    def _stop(self) -> None:
        if self._runs:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            self._runs = False

    def _tick(self, *_: object) -> None:
        stopwatch, wanted, self._wanted = self.inside, self._wanted, False
        if stopwatch is None:
            if not wanted:
                self._stop()
            return
        call = (id(stopwatch), stopwatch.calls)
        stopwatch.in_call = stopwatch.in_call + 1 if call == self._last else 0
        self._last = call
        stopwatch.in_episode += 1
        if stopwatch.in_call >= stopwatch.call_limit or stopwatch.in_episode >= stopwatch.episode_limit:
            raise OutOfTimeError


@dataclass(frozen=True)
class Sight:
    """The environment call that another process reports.

    Attributes:
        process: the process id.
        task: the task of the environment that is being called; None between calls.
        limit: seconds that a call of that environment may take.
        call: changes from call to call.
    """

    process: int
    task: str | None
    limit: float
    call: int

    @staticmethod
    def read(file: Path) -> "Sight | None":
        """Read a report; None if there is none, or it is being written."""
        try:
            place, call = file.read_bytes()
            known = json.loads(_tasks_file(file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if call == 0 or place >= len(known["tasks"]):
            return Sight(known["process"], None, float("inf"), 0)
        task, limit = known["tasks"][place]
        return Sight(known["process"], task, limit, call)


def _tasks_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


WATCH = _Watch()
