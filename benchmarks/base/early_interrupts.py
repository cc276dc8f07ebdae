"""Ctrl-C and SIGTERM while packages are imported, which takes seconds: one line instead of a traceback or of silence.

Imported before anything else by the entry point, which calls :func:`restore` once its imports are done.
"""

import os
import signal
import sys
from types import TracebackType

from benchmarks.base.interrupts import INTERRUPTED, Terminated, end_on_sigterm, raise_on_sigterm

_previous = sys.excepthook


def restore() -> None:
    """Restore Python's handling of errors and of SIGTERM."""
    sys.excepthook = _previous
    end_on_sigterm()


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(f"error: {INTERRUPTED}", file=sys.stderr, flush=True)
        if issubclass(kind, Terminated):
            os._exit(128 + signal.SIGTERM)  # Python itself would end as after Ctrl-C
    else:
        _previous(kind, error, trace)


sys.excepthook = _one_line
raise_on_sigterm()
