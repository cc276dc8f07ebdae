"""Jobs and their outcomes, which every engine shares."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.base.errors import GatitoError


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
        measured_as: kind and name of its rate (see :mod:`benchmarks.runs.rates`); None for the label's words before
            the task, and the task.
    """

    label: str
    total: int
    arguments: Mapping[str, Any]
    task: str | None = None
    measured_as: tuple[str, str] | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job; without an error, a bug and a death, it succeeded.

    Attributes:
        value: what the function returned.
        error: an error that the user can fix.
        bug: a traceback.
        death: why the job's process or node died, as far as known; may be empty.
        seconds: wall time of the call.
        peak_bytes: largest resident memory of its process during the call (where the system cannot tell: ever).
    """

    value: Any = None
    error: GatitoError | None = None
    bug: str | None = None
    death: str | None = None
    seconds: float = 0.0
    peak_bytes: int = 0


Board = Mapping[Job, tuple[Path, int]]
"""For each job, the memory map of all jobs' progress and the job's place in it."""

Outcomes = Generator[tuple[Job, Outcome], None, None]
"""Jobs as they end. Closing it early stops the others."""


class Engine(Protocol):
    """Runs jobs."""

    @property
    def capacity(self) -> int:
        """The number of jobs that run at a time if the user does not say."""
        ...

    def outcomes(self, function: Callable[..., Any], jobs: Sequence[Job], board: Board, workers: int) -> Outcomes:
        """Yield each job when it ends; if closed early, stop the others.

        Args:
            function: picklable; called with the job's arguments and ``report``.
            jobs: the jobs, which are started in this order.
            board: receives the progress of the jobs.
            workers: the number of jobs at a time.

        Raises:
            FatalError: an error of a job that stops the whole run.
            OSError: if a job found the disk full.
        """
        ...

    def threads_here(self, workers: int) -> int:
        """The number of threads for work in this process, such as distillation, in a run of ``workers`` jobs."""
        ...

    def threads_of_one(self, workers: int) -> int:
        """The number of threads of a job that has no others beside it, in a run of ``workers`` jobs."""
        ...
