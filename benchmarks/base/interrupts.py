"""Ctrl-C while packages are imported, which takes seconds: one line instead of a traceback.

Imported before anything else by the entry point, which calls :func:`restore` once its imports are done.
"""

import sys
from types import TracebackType

INTERRUPTED = "interrupted. The same command resumes where it stopped."

_previous = sys.excepthook


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(f"error: {INTERRUPTED}", file=sys.stderr)
    else:
        _previous(kind, error, trace)


def restore() -> None:
    """Restore Python's handling of errors."""
    sys.excepthook = _previous


sys.excepthook = _one_line
