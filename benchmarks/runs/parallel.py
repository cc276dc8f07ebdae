"""Parallel jobs with isolated failures, on whichever engine the run uses."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.base.errors import GatitoError
from benchmarks.runs.engines.job import Engine, Job, Outcome, Report
from benchmarks.runs.engines.local import LocalEngine
from benchmarks.runs.engines.progress import progress_board
from benchmarks.runs.engines.settings import EngineConfig, open_engine
from benchmarks.runs.failures import Failures
from benchmarks.runs.rates import Measurement
from benchmarks.runs.stage import STAGES

__all__ = ["Job", "Report", "current_engine", "measurement", "run_jobs", "running_on", "using"]

_engine: Engine = LocalEngine()
measurement = Measurement()
"""What the jobs of this command cost."""


@contextmanager
def using(engine: Engine) -> Iterator[None]:
    """All jobs of this process run on an engine until the block ends, as with ``joblib.parallel_config``."""
    global _engine
    before, _engine = _engine, engine
    try:
        yield
    finally:
        _engine = before


@contextmanager
def running_on(config: EngineConfig, folder: Path, workers: int | None, stages: Collection[str]) -> Iterator[None]:
    """All jobs of a run's stages run on the engine of its settings; without a stage that has jobs, this does nothing.

    Args:
        config: the settings.
        folder: the run's folder.
        workers: the number of jobs at a time; None for as many as the engine has room for.
        stages: the stages of the command.

    Raises:
        FatalError: see :func:`open_engine`.
    """
    measurement.clear()
    if any(name in STAGES and STAGES[name].has_jobs for name in stages):
        with open_engine(config, folder, workers) as engine, using(engine):
            yield
    else:
        yield


def current_engine() -> Engine:
    """The engine on which jobs run."""
    return _engine


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[Job],
    *,
    workers: int,
    failures: Failures,
    on_poll: Callable[[], None] = lambda: None,
    on_result: Callable[[Job, Any], None] = lambda job, value: None,
) -> dict[Job, Any]:
    """Run ``function(**arguments, report=…)`` for every job, and continue if one fails.

    A job whose process dies is tried once more after the others, when it has all memory.

    Args:
        function: picklable; it calls ``report(done)`` from time to time.
        jobs: the jobs.
        workers: number of jobs at a time.
        failures: receives the tasks that fail.
        on_poll: called several times a second while the jobs run (it mirrors logs).
        on_result: called with each job that succeeds, when it ends.

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

    def settle(job: Job, outcome: Outcome) -> None:
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
            measurement.add(job, outcome)
            on_result(job, outcome.value)
        elif error.task or job.task:
            failures.add(error.task or str(job.task), str(error))
        elif outcome.death is None:
            raise error

    start = time.monotonic()
    with progress_board(jobs, on_poll) as board:
        with closing(_engine.outcomes(function, jobs, board, workers)) as ended:
            for job, outcome in ended:
                if outcome.death is None:
                    settle(job, outcome)
                else:
                    died.append(job)
        with closing(_engine.outcomes(function, died, board, 1)) as ended:
            for job, outcome in ended:
                settle(job, outcome)
    measurement.wall += time.monotonic() - start
    if bugs:
        raise RuntimeError("\n".join(bugs))
    return {job: results[job] for job in jobs if job in results}
