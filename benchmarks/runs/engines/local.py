"""Jobs in processes of this machine: one process per job with one torch thread, and isolated failures.

If a process dies (a crash in native code, or out of memory), only its current job is lost. A process that hangs in an
environment is killed, and that environment's task fails. Jobs write their progress to a shared memory map, the board.
"""

import faulthandler
import functools
import os
import re
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from joblib.externals.loky.backend import resource_tracker
from joblib.externals.loky.process_executor import BrokenProcessPool, ProcessPoolExecutor, TerminatedWorkerError

from benchmarks.base.errors import FatalError, gatito_error, one_line
from benchmarks.base.memory import forget_peak, keep_freed_memory, peak_bytes, return_freed_memory
from benchmarks.base.plugins import load_plugins, loaded_plugins
from benchmarks.runs.engines.job import Board, Job, Outcome, Outcomes
from benchmarks.runs.watchman import Watchman, watching
from benchmarks.tasks.watch import WATCH

_IDLE_SECONDS = 300  # an idle process ends after this time
# Between two jobs, loky ends a process that has grown by 300 MB (as environments of many tasks do) and starts a new
# one. Nothing is lost, so its warning is ignored.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", module="joblib")
# Small networks run 3-4 times slower on two threads than on one. torch reads these when a job imports it.
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")}


@dataclass(frozen=True)
class _Parent:
    """The process that starts a worker: its id, working folder and plugins."""

    process: int
    folder: Path
    plugins: Sequence[str]


class LocalEngine:
    """Runs jobs in processes of this machine."""

    @property
    def capacity(self) -> int:
        """One job per core."""
        return joblib.cpu_count()

    def threads_here(self, workers: int) -> int:
        """All that the user gave."""
        return workers

    def threads_of_one(self, workers: int) -> int:
        """All that the user gave."""
        return workers

    def outcomes(self, function: Callable[..., Any], jobs: Sequence[Job], board: Board, workers: int) -> Outcomes:
        """Yield each job when it ends. If closed early, also by Ctrl-C, the working processes are killed."""
        with watching() as watchman:
            yield from _outcomes(function, jobs, board, workers, watchman)


# Pools of one process, and when each became idle, kept for the next jobs: importing torch takes seconds.
_idle: list[tuple[ProcessPoolExecutor, float]] = []


def _outcomes(
    function: Callable[..., Any], jobs: Sequence[Job], board: Board, workers: int, watchman: Watchman
) -> Outcomes:
    waiting = list(reversed(jobs))
    working: dict[Future[Outcome], tuple[Job, ProcessPoolExecutor]] = {}
    try:
        while waiting or working:
            while waiting and len(working) < max(1, workers):
                job = waiting.pop()
                watchman.begin(_sight_file(*board[job]))
                with _uninterrupted():
                    parent = _Parent(os.getpid(), Path.cwd(), loaded_plugins())
                    pool, future = _submit(_job, function, job.arguments, board[job], parent)
                    working[future] = (job, pool)
            for future in wait(working, return_when=FIRST_COMPLETED).done:
                job, pool = working[future]
                try:
                    outcome = future.result()
                    _idle.append((pool, time.monotonic()))
                except TerminatedWorkerError as error:
                    hung = watchman.end(_sight_file(*board[job]))
                    outcome = Outcome(error=hung, death=None if hung else _cause(error, _crash_file(*board[job])))
                watchman.end(_sight_file(*board[job]))
                del working[future]
                yield job, outcome
    finally:
        for _, pool in working.values():
            pool.shutdown(kill_workers=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Block Ctrl-C for a moment: a process that is still starting cannot be killed cleanly."""
    # The new process inherits the mask: the main process handles Ctrl-C and kills its workers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def close_pools() -> None:
    """Kill idle processes, which threads of an environment could otherwise keep alive."""
    while _idle:
        _idle.pop()[0].shutdown(kill_workers=True)


def _submit(*call: Any) -> tuple[ProcessPoolExecutor, Future[Outcome]]:  # noqa: ANN401
    while _idle:
        pool, since = _idle.pop()
        # A pool whose process has ended starts another one, but loky would not notice that one's death.
        if not pool._processes or time.monotonic() - since > _IDLE_SECONDS / 2:
            pool.shutdown(kill_workers=True)
            continue
        try:
            return pool, pool.submit(*call)
        except BrokenProcessPool:  # its process was killed while idle
            continue
    # The worker watches its parent from the start, since the parent may be killed at any time.
    _start_quiet_tracker()
    pool = ProcessPoolExecutor(
        1, timeout=_IDLE_SECONDS, env=_ONE_THREAD, initializer=_die_with, initargs=(os.getpid(),)
    )
    return pool, pool.submit(*call)


def _job(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    place: tuple[Path, int],
    parent: _Parent,
) -> Outcome:
    _die_with(parent.process)
    os.chdir(parent.folder)  # the parent may have changed it since this process started
    load_plugins(parent.plugins)
    counter = np.memmap(place[0], dtype=np.int64, mode="r+")
    crash = _crash_file(*place).open("w", encoding="utf-8")
    faulthandler.enable(crash, all_threads=False)  # records where native code crashes; loky would print it
    start = time.monotonic()
    keep_freed_memory()
    forget_peak()
    try:
        with WATCH.shown_in(_sight_file(*place)):
            outcome = Outcome(function(**arguments, report=functools.partial(counter.__setitem__, place[1])))
            return replace(outcome, seconds=time.monotonic() - start, peak_bytes=peak_bytes())
    except (Exception, SystemExit) as error:
        known = gatito_error(error)
        if known is not None and not isinstance(known, FatalError):
            return Outcome(error=known)
        if one_line(error) is not None:  # fatal, or an error such as a full disk, which affects all jobs
            raise
        return Outcome(bug=traceback.format_exc())
    finally:
        faulthandler.disable()
        crash.close()
        return_freed_memory()


def _crash_file(board: Path, place: int) -> Path:
    return board.with_name(f"crash-{place}")


def _sight_file(board: Path, place: int) -> Path:
    return board.with_name(f"sight-{place}")


def _cause(error: TerminatedWorkerError, crash: Path) -> str:
    """The cause and place of a process's death, as far as known: `` of SIGSEGV(-11) in games.py, line 7``."""
    code = re.search(r"exit codes.*\{(.*)\}", str(error))
    place = re.search(r'File "(.*)", (line \d+) in', crash.read_text(encoding="utf-8") if crash.exists() else "")
    return (f" of {code[1]}" if code else "") + (f" in {place[1]}, {place[2]}" if place else "")


@functools.cache
def _die_with(parent: int) -> None:
    """End this worker when its parent has ended, so that it does not write while another run resumes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@functools.cache
def _start_quiet_tracker() -> None:
    """Start loky's process that removes the semaphores of a killed command, without its warnings about them.

    Otherwise a command that was killed, or that ends while a worker is closed, has lines after its last one that name
    nothing a user could mend.
    """
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before
