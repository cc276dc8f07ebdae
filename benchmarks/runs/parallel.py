"""Parallel jobs: one process per job with one torch thread, and isolated failures.

If a process dies (a crash in native code, or out of memory), only its current job is lost: its task fails, and the
others continue. A process that hangs in an environment is killed, and that environment's task fails. Jobs write their
progress to a shared memory map, the board.
"""

import faulthandler
import fcntl
import functools
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from joblib.externals.loky.process_executor import BrokenProcessPool, ProcessPoolExecutor, TerminatedWorkerError

from benchmarks.base import console
from benchmarks.base.errors import FatalError, GatitoError, gatito_error, one_line
from benchmarks.base.plugins import load_plugins, loaded_plugins
from benchmarks.runs.failures import Failures
from benchmarks.runs.watchman import Watchman, watching
from benchmarks.tasks.watch import WATCH

_POLL_SECONDS = 0.3
_TEMPORARY = "gatito-board-"
_IDLE_SECONDS = 300  # an idle process ends after this time
# Between two jobs, loky ends a process that has grown by 300 MB (as environments of many tasks do) and starts a new
# one. Nothing is lost, so its warning is ignored.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", module="joblib")
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")}


class Report(Protocol):
    """A callback for a job's progress: ``report(done)`` in the job's own unit."""

    def __call__(self, done: int) -> None:
        """Report the progress of the job."""


@dataclass(frozen=True, eq=False)
class Job:
    """One call of a function in a separate process.

    Attributes:
        label: the label of its progress bar; jobs with the same label share one.
        total: the amount of work, in the job's own unit.
        arguments: the function's arguments.
        task: the name of the task that fails if the job fails; None if it works on several tasks.
    """

    label: str
    total: int
    arguments: Mapping[str, Any]
    task: str | None = None


@dataclass(frozen=True)
class _Parent:
    """The process that starts a worker: its id, working folder and plugins."""

    process: int
    folder: Path
    plugins: Sequence[str]


@dataclass(frozen=True)
class _Outcome:
    """The outcome of a job: a value, an error that the user can fix, a traceback, or the death of its process."""

    value: Any = None
    error: GatitoError | None = None
    bug: str | None = None
    death: str | None = None


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[Job],
    *,
    workers: int,
    failures: Failures,
    on_poll: Callable[[], None] = lambda: None,
) -> dict[Job, Any]:
    """Run ``function(**arguments, report=…)`` for every job, and continue if one fails.

    A job whose process dies is tried once more after the others, when it has all memory.

    Args:
        function: picklable; it calls ``report(done)`` from time to time.
        jobs: the jobs.
        workers: number of processes.
        failures: receives the tasks that fail.
        on_poll: called several times a second while the jobs run (it mirrors logs).

    Returns:
        The results of the jobs that succeeded, in the jobs' order. Jobs whose task has failed are missing, and jobs
        without a task whose process died.

    Raises:
        GatitoError: if an error is fatal, or belongs to no single task; the other jobs are stopped.
        OSError: if the disk is full; the other jobs are stopped.
        RuntimeError: for a bug, with its traceback, after the other jobs are done.
    """
    if not jobs:
        return {}
    results: dict[Job, Any] = {}
    died: list[Job] = []
    bugs: list[str] = []

    def settle(job: Job, outcome: _Outcome) -> None:
        error = outcome.error
        if outcome.death is not None:
            error = GatitoError(
                f"the worker process of {job.label} died{outcome.death} (often: out of memory, or the environment "
                "crashed or hung). Fix it, or leave the task out with tasks=[…], and run the same command again."
            )
        if outcome.bug is not None:
            bugs.append(f"{job.label}:\n{outcome.bug}")
        elif error is None:
            results[job] = outcome.value
        elif error.task or job.task:
            failures.add(error.task or str(job.task), str(error))
        elif outcome.death is None:
            raise error

    with _progress_board(jobs, on_poll) as board, watching() as watchman:
        with closing(_outcomes(function, jobs, board, workers, watchman)) as ended:
            for job, outcome in ended:
                if outcome.death is None:
                    settle(job, outcome)
                else:
                    died.append(job)
        with closing(_outcomes(function, died, board, 1, watchman)) as ended:
            for job, outcome in ended:
                settle(job, outcome)
    if bugs:
        raise RuntimeError("\n".join(bugs))
    return {job: results[job] for job in jobs if job in results}


@contextmanager
def _progress_board(jobs: Sequence[Job], on_poll: Callable[[], None]) -> Iterator[dict[Job, tuple[Path, int]]]:
    """Show progress bars for a board with one number per job, which jobs write; yields each job's place on it."""
    with _temporary_folder() as folder, console.progress() as bars:
        path = Path(folder) / "board"
        np.zeros(len(jobs), dtype=np.int64).tofile(path)
        labels = list(dict.fromkeys(job.label for job in jobs))
        totals = {label: sum(job.total for job in jobs if job.label == label) for label in labels}
        tasks = {label: bars.add_task(label, total=totals[label], note="") for label in labels}

        def poll() -> None:
            board = np.fromfile(path, dtype=np.int64)
            for label in labels:
                done = sum(int(count) for count, job in zip(board, jobs, strict=False) if job.label == label)
                bars.update(tasks[label], completed=done)
            on_poll()

        stop = threading.Event()
        watcher = threading.Thread(target=_every, args=(_POLL_SECONDS, poll, stop), daemon=True)
        watcher.start()
        try:
            yield {job: (path, place) for place, job in enumerate(jobs)}
        finally:
            stop.set()
            watcher.join()
            poll()


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for a board; folders of killed commands, which are no longer locked, are removed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY) as folder:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(descriptor)


# Pools of one process, and when each became idle, kept for the next jobs: importing torch takes seconds.
_idle: list[tuple[ProcessPoolExecutor, float]] = []


def _outcomes(
    function: Callable[..., Any],
    jobs: Sequence[Job],
    board: Mapping[Job, tuple[Path, int]],
    workers: int,
    watchman: Watchman,
) -> Generator[tuple[Job, _Outcome], None, None]:
    """Yield each job when it ends. If closed early, also by Ctrl-C, the working processes are killed."""
    waiting = list(reversed(jobs))
    working: dict[Future[_Outcome], tuple[Job, ProcessPoolExecutor]] = {}
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
                    outcome = _Outcome(error=hung, death=None if hung else _cause(error, _crash_file(*board[job])))
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


def _submit(*call: Any) -> tuple[ProcessPoolExecutor, Future[_Outcome]]:  # noqa: ANN401
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
    pool = ProcessPoolExecutor(
        1, timeout=_IDLE_SECONDS, env=_ONE_THREAD, initializer=_die_with, initargs=(os.getpid(),)
    )
    return pool, pool.submit(*call)


def _job(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    place: tuple[Path, int],
    parent: _Parent,
) -> _Outcome:
    import torch

    _die_with(parent.process)
    os.chdir(parent.folder)  # the parent may have changed it since this process started
    load_plugins(parent.plugins)
    torch.set_num_threads(1)  # small networks run 3-4 times slower on two threads than on one
    counter = np.memmap(place[0], dtype=np.int64, mode="r+")
    crash = _crash_file(*place).open("w", encoding="utf-8")
    faulthandler.enable(crash, all_threads=False)  # records where native code crashes; loky would print it
    try:
        with WATCH.shown_in(_sight_file(*place)):
            return _Outcome(function(**arguments, report=functools.partial(counter.__setitem__, place[1])))
    except (Exception, SystemExit) as error:
        known = gatito_error(error)
        if known is not None and not isinstance(known, FatalError):
            return _Outcome(error=known)
        if one_line(error) is not None:  # fatal, or an error such as a full disk, which affects all jobs
            raise
        return _Outcome(bug=traceback.format_exc())
    finally:
        faulthandler.disable()
        crash.close()


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


def _every(seconds: float, action: Callable[[], None], stop: threading.Event) -> None:
    while not stop.wait(seconds):
        action()
