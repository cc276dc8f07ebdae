"""Ctrl-C and SIGTERM: one line instead of a traceback, and nothing half-started."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = "interrupted. The same command resumes where it stopped."

_COPY_SECONDS = 1.0  # within which a further SIGTERM is a copy of the first
_raised_at: list[float] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ``kill``, ``timeout`` and schedulers send; handled like Ctrl-C."""


def raise_on_sigterm() -> None:
    """Have SIGTERM raise :class:`Terminated` in this process, unless it has an answer to SIGTERM already.

    Copies within a second of it are ignored, since ``timeout make …`` sends one to the group and make passes another
    on: raised while the first one unwinds, it could leave a lock released twice.

    Processes of torchrun keep ending at once: while they wait for each other in native code, nothing can be raised.
    """
    if "RANK" in os.environ or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        _raised_at.clear()


@contextmanager
def delayed_interrupts() -> Iterator[None]:
    """Delay a Ctrl-C or SIGTERM until the block ends; a second one, unless it is a copy, is not delayed.

    Handlers that the block installs are replaced by those before it.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives them
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    received: list[int] = []
    received_at: list[float] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM and _is_copy(received_at):
            return
        if received:
            restore_handlers()
            signal.raise_signal(number)
        received.append(number)

    def restore_handlers() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, remember)
    try:
        yield
    finally:
        restore_handlers()
        if received:
            signal.raise_signal(received[0])


def end_on_sigterm() -> None:
    """Undo :func:`raise_on_sigterm`."""
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    if not _is_copy(_raised_at):
        raise Terminated


def _is_copy(received_at: list[float]) -> bool:
    """Whether a SIGTERM comes just after another one; otherwise its time is added."""
    now = time.monotonic()
    if received_at and now - received_at[-1] < _COPY_SECONDS:
        return True
    received_at.append(now)
    return False
