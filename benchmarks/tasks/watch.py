"""Time limits for environments: a call that hangs fails its task, not the run.

A timer ticks once a second while environments are used. A tick that finds an environment within a call is charged to
that call and its episode; arming a timer for every step would cost as much as the step. Ticks, not clock readings, are
counted, so that a process that was suspended has not used up its time.

The tick interrupts Python code. Native code is not interrupted: the watchdog of :mod:`faulthandler`, which needs no
interpreter, then ends the process, and its task is listed as one whose worker process died.
"""

import atexit
import faulthandler
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

_GRACE_SECONDS = 30  # in which Python code gets the chance to be interrupted, before the process is ended


class OutOfTimeError(BaseException):
    """Raised within an environment that takes too long; no ``except Exception`` of its own catches it."""


@dataclass
class Stopwatch:
    """The time that one environment takes.

    Attributes:
        call_limit: seconds that one call of ``step`` or ``reset`` may take.
        episode_limit: seconds that all calls of an episode may take.
        calls: number of calls so far.
        in_call: seconds that the current call has taken.
        in_episode: seconds that the calls of the episode have taken.
    """

    call_limit: float
    episode_limit: float
    calls: int = 0
    in_call: int = 0
    in_episode: int = 0


class _Watch:
    """The process's one timer. Only a main thread can have it, which is where jobs run.

    Attributes:
        inside: the stopwatch of the environment that is being called; None between calls.
    """

    def __init__(self) -> None:
        self.inside: Stopwatch | None = None
        self._runs = self._wanted = self._armed = False
        self._last: tuple[int, int] | None = None
        self._null = None
        if hasattr(signal, "setitimer"):
            atexit.register(self._stop)  # a tick after the last handler would end the process

    def enter(self, stopwatch: Stopwatch) -> None:
        """Begin a call."""
        self._wanted = True
        if not self._runs:
            self._start()
        stopwatch.calls += 1
        self.inside = stopwatch

    def leave(self) -> None:
        """End a call."""
        self.inside = None
        if self._armed:
            faulthandler.cancel_dump_traceback_later()
            self._armed = False

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
        if stopwatch.call_limit < float("inf"):
            if self._null is None:
                self._null = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (the watchdog writes to it)
            seconds = stopwatch.call_limit + _GRACE_SECONDS
            faulthandler.dump_traceback_later(seconds, exit=True, file=self._null)
            self._armed = True


WATCH = _Watch()
