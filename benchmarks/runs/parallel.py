"""Jobs over processes: one process per job at a time, one torch thread in each, all told apart when they fail.

A process that dies (a crash in native code, or out of memory) takes the one job with it that it was at. Its task is
named and the others go on. A shared board shows how far each job is.
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

_POLL_SECONDS = 0.3
_TEMPORARY = "gatito-board-"
_IDLE_SECONDS = 300  # after which a process without work ends
# A process that has grown by 300 MB (environments of many tasks do that) is ended by loky between two jobs, and the
# next one gets a fresh process. Nothing is lost; loky says so all the same.
warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", module="joblib")
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")}


class Report(Protocol):
    """How a job tells how far it is: ``report(done)`` in the job's own unit."""

    def __call__(self, done: int) -> None:
        """Say how far the job is."""


@dataclass(frozen=True, eq=False)
class Job:
    """One call of a function in a process of its own.

    Attributes:
        label: of its progress bar; jobs of one label share it.
        total: how much there is to do, in the job's own unit.
        arguments: of the function.
        task: the name of the task that fails if it fails; None: it works on several.
    """

    label: str
    total: int
    arguments: Mapping[str, Any]
    task: str | None = None


@dataclass(frozen=True)
class _Parent:
    """What a worker has to know of the process that started it: its number, working folder and plugins."""

    process: int
    folder: Path
    plugins: Sequence[str]


@dataclass(frozen=True)
class _Outcome:
    """How a job ended: with a value, an error that a person can mend, a traceback, or the death of its process."""

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
    """Run ``function(**arguments, report=…)`` for every job, and go on when one fails.

    A job whose process dies is tried once more when the others are done, with all memory to itself.

    Args:
        function: picklable; it calls ``report(done)`` now and then.
        jobs: what to do.
        workers: processes to use.
        failures: told which task failed of what.
        on_poll: called several times a second while the jobs run (it mirrors logs).

    Returns:
        The results of the jobs that succeeded, in the jobs' order. Missing are those whose task is now among the
        failures, and those without a task whose process died.

    Raises:
        GatitoError: that is fatal, or of no one task; the other jobs are stopped.
        OSError: if the disk is full; the other jobs are stopped.
        RuntimeError: for a bug, with its traceback, once the other jobs are done.
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
                "crashed or hung). Mend it, or leave the task out with tasks=[…], and run the same command again."
            )
        if outcome.bug is not None:
            bugs.append(f"{job.label}:\n{outcome.bug}")
        elif error is None:
            results[job] = outcome.value
        elif error.task or job.task:
            failures.add(error.task or str(job.task), str(error))
        elif outcome.death is None:
            raise error

    with _shown(jobs, on_poll) as board:
        with closing(_outcomes(function, jobs, board, workers)) as ended:
            for job, outcome in ended:
                if outcome.death is None:
                    settle(job, outcome)
                else:
                    died.append(job)
        with closing(_outcomes(function, died, board, workers=1)) as ended:
            for job, outcome in ended:
                settle(job, outcome)
    if bugs:
        raise RuntimeError("\n".join(bugs))
    return {job: results[job] for job in jobs if job in results}


@contextmanager
def _shown(jobs: Sequence[Job], on_poll: Callable[[], None]) -> Iterator[dict[Job, tuple[Path, int]]]:
    """Progress bars for a board with a number per job, which the jobs write; yields each job's place on it."""
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
    """A folder for a board; those that killed commands left, whose locks are gone with them, are removed."""
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


_idle: list[ProcessPoolExecutor] = []  # pools of one process, kept for the next jobs: to import torch takes seconds


def _outcomes(
    function: Callable[..., Any], jobs: Sequence[Job], board: Mapping[Job, tuple[Path, int]], workers: int
) -> Generator[tuple[Job, _Outcome], None, None]:
    """Each job as it ends. Closed early, by Ctrl-C too, the processes that are at work are killed."""
    waiting = list(reversed(jobs))
    working: dict[Future[_Outcome], tuple[Job, ProcessPoolExecutor]] = {}
    try:
        while waiting or working:
            while waiting and len(working) < max(1, workers):
                job = waiting.pop()
                with _uninterrupted():
                    parent = _Parent(os.getpid(), Path.cwd(), loaded_plugins())
                    pool, future = _submit(_job, function, job.arguments, board[job], parent)
                    working[future] = (job, pool)
            for future in wait(working, return_when=FIRST_COMPLETED).done:
                job, pool = working[future]
                try:
                    outcome = future.result()
                except TerminatedWorkerError as error:
                    outcome = _Outcome(death=_cause(error, _crash_file(*board[job])))
                else:
                    _idle.append(pool)
                del working[future]
                yield job, outcome
    finally:
        for _, pool in working.values():
            pool.shutdown(kill_workers=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back for a moment: a process that is half begun cannot be ended."""
    # The new process inherits this: Ctrl-C is for the process that was started, which kills its workers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def close_pools() -> None:
    """Kill the processes that wait for further jobs; an environment's threads must not keep them alive."""
    while _idle:
        _idle.pop().shutdown(kill_workers=True)


def _submit(*call: Any) -> tuple[ProcessPoolExecutor, Future[_Outcome]]:  # noqa: ANN401
    while _idle:
        pool = _idle.pop()
        try:
            return pool, pool.submit(*call)
        except BrokenProcessPool:  # its process was killed while it had no work
            continue
    # From its first moment on it watches its parent, which may be killed while it begins.
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
    os.chdir(parent.folder)  # which may have changed since this process was started
    load_plugins(parent.plugins)
    torch.set_num_threads(1)  # small networks run 3-4 times slower on two threads than on one
    counter = np.memmap(place[0], dtype=np.int64, mode="r+")
    crash = _crash_file(*place).open("w")
    faulthandler.enable(crash, all_threads=False)  # where native code crashes; loky would print it
    try:
        return _Outcome(function(**arguments, report=functools.partial(counter.__setitem__, place[1])))
    except (Exception, SystemExit) as error:
        known = gatito_error(error)
        if known is not None and not isinstance(known, FatalError):
            return _Outcome(error=known)
        if one_line(error) is not None:  # fatal, or such as a full disk, which the others would meet too
            raise
        return _Outcome(bug=traceback.format_exc())
    finally:
        faulthandler.disable()
        crash.close()


def _crash_file(board: Path, place: int) -> Path:
    return board.with_name(f"crash-{place}")


def _cause(error: TerminatedWorkerError, crash: Path) -> str:
    """What a process died of, and where, as far as is known: `` of SIGSEGV(-11) in games.py, line 7``."""
    code = re.search(r"exit codes.*\{(.*)\}", str(error))
    place = re.search(r'File "(.*)", (line \d+) in', crash.read_text() if crash.exists() else "")
    return (f" of {code[1]}" if code else "") + (f" in {place[1]}, {place[2]}" if place else "")


@functools.cache
def _die_with(parent: int) -> None:
    """End this worker when its parent is gone: it must not go on writing beside the run that resumes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _every(seconds: float, action: Callable[[], None], stop: threading.Event) -> None:
    while not stop.wait(seconds):
        action()
