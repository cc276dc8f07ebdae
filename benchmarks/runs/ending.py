"""The end of a command: no thread or process of an environment keeps it waiting."""

import contextlib
import os
import signal
import sys
import threading
import time
from typing import NoReturn

from benchmarks.runs.parallel import close_pools

_SECONDS = 10  # that whatever runs at the end, such as an upload, may take
_code = 0
_watcher: threading.Thread | None = None


def end(code: int) -> NoReturn:
    """End this process with an exit code, within seconds.

    An environment may have begun threads that never end, for which Python would wait.
    """
    global _code, _watcher
    _code = code
    close_pools()
    if _watcher is None:
        _watcher = threading.Thread(target=_watch, daemon=True)
        _watcher.start()
    if not _flush():
        code = _code = 128 + signal.SIGPIPE
    sys.exit(code)


def ignore_closed_output() -> None:
    """Let nothing more be written to an output that nobody reads (``gatito --help | head -5``)."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flush() -> bool:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        ignore_closed_output()
        return False
    return True


def _watch() -> None:
    """Wait until the main thread has ended, then a while for the others, and end all."""
    threading.main_thread().join()
    time.sleep(_SECONDS)
    os._exit(_code)
