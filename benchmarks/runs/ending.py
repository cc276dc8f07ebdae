"""The end of a command, which must not wait for threads or processes of environments."""

import contextlib
import os
import signal
import sys
import threading
import time
from typing import NoReturn

from benchmarks.runs.engines.local import close_pools

_SECONDS = 10  # for work at the end, such as an upload
_code = 0
_watcher: threading.Thread | None = None


def end(code: int) -> NoReturn:
    """End this process with an exit code, within seconds.

    An environment may have started threads that never end, and Python would wait for them.
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
    """Discard further output after the reader has closed the pipe (``gatito --help | head -5``)."""
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
    """Wait for the main thread, then a while for the others, and end the process."""
    threading.main_thread().join()
    time.sleep(_SECONDS)
    os._exit(_code)
