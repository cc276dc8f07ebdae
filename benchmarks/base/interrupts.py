"""Ctrl-C and SIGTERM: one line instead of a traceback, and nothing half-started."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = "interrupted. The same command resumes where it stopped."


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ``kill``, ``timeout`` and schedulers send; handled like Ctrl-C."""


def raise_on_sigterm() -> None:
    """Have SIGTERM raise :class:`Terminated` in this process, unless it has an answer to SIGTERM already.

    Processes of torchrun keep ending at once: while they wait for each other in native code, nothing can be raised.
    """
    if "RANK" in os.environ or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


@contextmanager
def delayed_interrupts() -> Iterator[None]:
    """Delay a Ctrl-C or SIGTERM until the block ends; a second one is not delayed.

    Handlers that the block installs are replaced by those before it.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives them
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
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


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
