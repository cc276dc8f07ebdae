"""Jobs on other machines, which share the runs folder with the command that started them.

Each job goes through the local engine of its machine, so that crashes, hangs, threads and numbers are those of a run on
one machine. Progress goes through a folder in the run's folder:

    .jobs-XXXX.tmp/driver       counts up while the command lives; without it, its jobs end
    .jobs-XXXX.tmp/progress-7   progress of job 7

The next command of the run removes this folder if a kill left it, which ends the jobs that still use it.
"""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
import joblib
import numpy as np

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.base.files import TEMPORARY, make_folder
from benchmarks.base.plugins import load_plugins, loaded_plugins
from benchmarks.runs.engines.job import Board, Job, Outcome, Outcomes
from benchmarks.runs.engines.local import LocalEngine
from benchmarks.runs.engines.progress import every, silent_board
from benchmarks.runs.engines.software import Software

_POLL_SECONDS = 0.2
_PROGRESS_SECONDS = 1.0
_BEAT_SECONDS = 5.0
_SILENCE_SECONDS = 180.0  # network file systems may show old files for a minute
_DRIVER = "driver"


@dataclass(frozen=True)
class Call:
    """A job as it is sent to another machine.

    Attributes:
        content: function and arguments, pickled: they are read once the machine has proved to be the right one.
        place: the number of the job among those that were started with it.
        folder: the folder of progress files.
        working_folder: the folder in which the command was started.
        plugins: the plugins to load.
        software: the software of the command.
    """

    content: bytes = field(repr=False)
    place: int
    folder: Path
    working_folder: Path
    plugins: Sequence[str]
    software: Software


@dataclass(frozen=True)
class Answer:
    """What a machine answers to a call: an outcome, or an error that stops the run."""

    outcome: Outcome = field(default_factory=Outcome)
    fatal: BaseException | None = None


class Batch(Protocol):
    """Calls that were sent to other machines."""

    def answers(self) -> Sequence[tuple[int, Answer]]:
        """The calls that have ended since the last time, by their place; does not wait."""
        ...

    def cancel(self) -> None:
        """Stop all calls that have not ended."""
        ...


class RemoteEngine:
    """Runs jobs on other machines; its subclasses say how calls get there."""

    def __init__(self, folder: Path, capacity: int, threads: int) -> None:
        """An engine.

        Args:
            folder: the run's folder, which all machines share.
            capacity: the number of jobs at a time if the user does not say.
            threads: the number of threads of a job that may have several.
        """
        self._folder = folder.resolve()
        self.capacity = capacity
        self._threads = threads

    def send(self, calls: Sequence[Call], labels: Sequence[str], workers: int) -> Batch:
        """Send calls to other machines, ``workers`` at a time."""
        raise NotImplementedError

    def threads_here(self, workers: int) -> int:
        """The cores of this machine, as far as the user gave them."""
        return min(workers, joblib.cpu_count())

    def threads_of_one(self, workers: int) -> int:
        """The cores of a job."""
        return self._threads

    def outcomes(self, function: Callable[..., Any], jobs: Sequence[Job], board: Board, workers: int) -> Outcomes:
        """Yield each job when it ends; if closed early, also by Ctrl-C, all others are cancelled."""
        if not jobs:
            return
        with shared_folder(self._folder) as folder:
            software, plugins = Software.here(), loaded_plugins()
            calls = [
                Call(cloudpickle.dumps((function, job.arguments)), place, folder, Path.cwd(), plugins, software)
                for place, job in enumerate(jobs)
            ]
            batch = self.send(calls, [job.label for job in jobs], workers)
            pending = dict(enumerate(jobs))
            shown = time.monotonic()
            try:
                while pending:
                    if time.monotonic() - shown > _PROGRESS_SECONDS:
                        _show(folder, pending, board)
                        shown = time.monotonic()
                    answers = batch.answers()
                    for place, answer in answers:
                        if answer.fatal is not None:
                            raise answer.fatal
                        job = pending.pop(place)
                        if not answer.outcome.death:
                            _write(board, job, _read_progress(folder / f"progress-{place}"))
                        yield job, answer.outcome
                    if not answers:
                        time.sleep(_POLL_SECONDS)
            finally:
                batch.cancel()


@contextmanager
def shared_folder(parent: Path) -> Iterator[Path]:
    """A folder that all machines see, with a file that counts up while this process lives."""
    make_folder(parent)
    folder = Path(tempfile.mkdtemp(prefix=".jobs-", suffix=TEMPORARY, dir=parent))  # for this user alone
    driver, count = folder / _DRIVER, iter(range(1 << 62))

    def beat() -> None:
        with contextlib.suppress(OSError):  # a full disk stops the jobs themselves
            _replace(driver, str(next(count)))

    try:
        driver.write_text("begun", encoding="utf-8")
        with every(_BEAT_SECONDS, beat):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def perform(call: Call) -> Answer:
    """Run a job on this machine; called in a process of the engine's."""
    problem = call.software.difference() or unseen(call.folder, call.working_folder)
    if problem:
        return Answer(fatal=FatalError(problem))
    os.chdir(call.working_folder)
    load_plugins(call.plugins)
    function, arguments = cloudpickle.loads(call.content)
    job = Job("", 0, arguments)
    with silent_board([job]) as board:
        path, _ = board[job]
        stop = threading.Event()
        reporter = threading.Thread(target=_report, args=(call, path, stop), daemon=True)
        reporter.start()
        try:
            with closing(LocalEngine().outcomes(function, [job], board, 1)) as ended:
                [(_, outcome)] = ended
        except (GatitoError, OSError) as error:
            return Answer(fatal=error)
        finally:
            stop.set()
            reporter.join()
    return Answer(outcome)


def unseen(folder: Path, working_folder: Path) -> str:
    """The error if this machine does not see the folders of the command; empty if it does."""
    where = os.uname().nodename
    if not (folder / _DRIVER).exists():
        return (
            f"worker {where} does not see the runs folder {folder.parent}: put runs_folder=FOLDER on a file system "
            "that all machines share, under the same path."
        )
    if not working_folder.is_dir():
        return (
            f"worker {where} does not see the working folder {working_folder}: start gatito in a folder that all "
            "machines share, under the same path."
        )
    return ""


def _report(call: Call, board: Path, stop: threading.Event) -> None:
    """Copy the job's progress into the shared folder, and end this process if the command has ended."""
    shown, beat, missed, since = 0, "", 0, time.monotonic()
    while True:
        last = stop.wait(_PROGRESS_SECONDS)
        count = int(np.fromfile(board, dtype=np.int64)[0])
        if count != shown:
            with contextlib.suppress(OSError):
                _replace(call.folder / f"progress-{call.place}", str(count))
                shown = count
        if last:
            return
        try:
            latest, missed = (call.folder / _DRIVER).read_text(encoding="utf-8"), 0
        except OSError:
            latest, missed = beat, missed + 1
        if latest != beat:
            beat, since = latest, time.monotonic()
        if missed > 3 or time.monotonic() - since > _SILENCE_SECONDS:
            os._exit(1)  # the process of the job follows


def _show(folder: Path, pending: Mapping[int, Job], board: Board) -> None:
    """Copy the progress of all jobs onto the board."""
    for entry in os.scandir(folder):
        name, _, place = entry.name.partition("-")
        if name == "progress" and place.isdecimal() and int(place) in pending:
            _write(board, pending[int(place)], _read_progress(Path(entry.path)))


def _write(board: Board, job: Job, count: int) -> None:
    path, place = board[job]
    np.memmap(path, dtype=np.int64, mode="r+")[place] = count


def _read_progress(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text(encoding="utf-8"))
    return 0


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.uname().nodename}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
