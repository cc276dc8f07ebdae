"""Jobs over processes: joblib is the pool, one torch thread in each, and a shared board shows how far each job is."""

import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError

from benchmarks import console
from benchmarks.errors import GatitoError

_POLL_SECONDS = 0.3


class Report(Protocol):
    """How a job tells how far it is: ``report(done)`` in the job's own unit."""

    def __call__(self, done: int) -> None:
        """Say how far the job is."""


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[tuple[str, int, dict[str, Any]]],
    *,
    workers: int,
    on_poll: Callable[[], None] = lambda: None,
) -> list[Any]:
    """Run ``function(**arguments, report=…)`` for every job and return the results in the jobs' order.

    Args:
        function: picklable; it calls ``report(done)`` now and then.
        jobs: ``(label, total, arguments)`` each; jobs of one label share a progress bar, totals added up.
        workers: processes to use; with one, everything runs in this process.
        on_poll: called several times a second while the jobs run (it mirrors logs).

    Raises:
        GatitoError: what a job raised, or that a worker process died.
    """
    if not jobs:
        return []
    with tempfile.TemporaryDirectory(prefix="gatito-") as folder, console.progress() as bars:
        board_path = Path(folder) / "board"
        np.zeros(len(jobs), dtype=np.int64).tofile(board_path)
        labels = list(dict.fromkeys(label for label, _, _ in jobs))
        totals = {label: sum(total for name, total, _ in jobs if name == label) for label in labels}
        tasks = {label: bars.add_task(label, total=totals[label], note="") for label in labels}

        def poll() -> None:
            board = np.fromfile(board_path, dtype=np.int64)
            for label in labels:
                done = sum(int(count) for count, job in zip(board, jobs, strict=True) if job[0] == label)
                bars.update(tasks[label], completed=done)
            on_poll()

        stop = threading.Event()
        watcher = threading.Thread(target=_every, args=(_POLL_SECONDS, poll, stop), daemon=True)
        watcher.start()
        try:
            return _run(function, [arguments for _, _, arguments in jobs], board_path, workers)
        finally:
            stop.set()
            watcher.join()
            poll()


def _run(function: Callable[..., Any], jobs: list[dict[str, Any]], board: Path, workers: int) -> list[Any]:
    calls: Iterable[Any] = [
        joblib.delayed(_job)(function, arguments, board, index, os.getpid()) for index, arguments in enumerate(jobs)
    ]
    try:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            pool = joblib.Parallel(n_jobs=max(1, min(workers, len(jobs))), pre_dispatch="all")
            return list(pool(calls))
    except TerminatedWorkerError:
        raise GatitoError(
            "a worker process was killed (often: out of memory). Run the same command again to resume, "
            "with fewer workers=… if memory is short."
        ) from None


def _job(function: Callable[..., Any], arguments: dict[str, Any], board: Path, index: int, parent: int) -> Any:  # noqa: ANN401
    import torch

    if os.getpid() != parent:
        _die_with(parent)
    torch.set_num_threads(1)  # small networks run 3-4 times slower on two threads than on one
    counter = np.memmap(board, dtype=np.int64, mode="r+")
    return function(**arguments, report=functools.partial(counter.__setitem__, index))


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
