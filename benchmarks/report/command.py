"""The command line: checks before Hydra starts, and the exit code."""

import codecs
import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from benchmarks.base import console
from benchmarks.base.interrupts import INTERRUPTED, Terminated, raise_on_sigterm
from benchmarks.base.memory import keep_freed_memory
from benchmarks.base.suite_files import name_suite_files
from benchmarks.base.yaml_files import check_yaml_folders, config_folders
from benchmarks.report.sweep import Sweep, SweepFolder
from benchmarks.runs.ending import end, ignore_closed_output


def run_command(run: Callable[[], None], sweep: Sweep, store_suite: Callable[[str, dict[str, Any]], None]) -> NoReturn:
    """Run the command line of this process, and end the process with its exit code.

    Args:
        run: composes the settings from the command line, and makes the run or the sweep.
        sweep: collects the runs that failed and those that have a report.
        store_suite: receives the name and the content of each suite file that the command line names.
    """
    _ensure_letters()
    if "--version" in sys.argv[1:]:  # Hydra would print its own
        print(f"gatito {importlib.metadata.version('gatito')}")
        end(0)
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # lets Hydra's errors through to us instead of printing them
    SweepFolder.current = None
    raise_on_sigterm()
    keep_freed_memory()
    try:
        with sweep.one_line_errors():
            check_yaml_folders(config_folders(sys.argv[1:]))
            sys.argv[1:] = name_suite_files(sys.argv[1:], store_suite)
            run()
            if SweepFolder.current is not None:
                sweep.gather(SweepFolder.current)
                sweep.report()
    except KeyboardInterrupt as interrupt:
        console.fail(INTERRUPTED)
        end(128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT))
    except BrokenPipeError:
        ignore_closed_output()
        end(128 + signal.SIGPIPE)
    end(1 if sweep.failures else 0)


def _ensure_letters() -> None:
    """Start the process anew in Python's UTF-8 mode where the locale is ASCII and Python was kept from replacing it.

    Folders with other letters would fail in packages that gatito needs (loky's start of worker processes).
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
