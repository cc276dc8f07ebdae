"""Which tasks of a run failed, in which stage and why. The run goes on with the other tasks."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.base import console
from benchmarks.base.artifacts import read_json, write_json
from benchmarks.base.errors import FatalError, GatitoError, TasksFailedError
from benchmarks.runs.stage import STAGES
from benchmarks.tasks import Suite

FAILURES = "failures.json"
_READING = "tasks"  # stands for a stage while the suite is read
_ORDER = (_READING, *STAGES)


@dataclass(frozen=True)
class Failure:
    """Why a task failed, and in which stage: a line of ``failures.json``."""

    stage: str
    line: str


class Failures:
    """The failures of one run."""

    def __init__(self, tasks: Sequence[str]) -> None:
        """Args: the names of all tasks that were asked for."""
        self._stage = _READING
        self._tasks = list(tasks)
        self._failed: dict[str, Failure] = {}

    @property
    def stage(self) -> str:
        """The stage that the run is in; further failures happen there."""
        return self._stage

    @stage.setter
    def stage(self, name: str) -> None:
        if name not in _ORDER:
            raise ValueError(f"{name} is no stage: {', '.join(_ORDER)}")
        self._stage = name

    def __len__(self) -> int:
        return len(self._failed)

    def __contains__(self, task: object) -> bool:
        return task in self._failed

    def add(self, task: str, line: str) -> None:
        """Note that a task fails in this stage, with a warning at once; later failures of the task are not repeated."""
        known = self._failed.get(task)
        if known is None:
            self._failed[task] = Failure(self.stage, " ".join(line.split()))
            if len(self._tasks) > 1:  # else the run ends at once, with this line
                console.warn(f"task {task} failed, the others go on: {self._failed[task].line}")
        elif _ORDER.index(self.stage) < _ORDER.index(known.stage):
            self._failed[task] = replace(known, stage=self.stage)

    def line(self, task: str) -> str:
        """Why a task failed.

        Raises:
            KeyError: if it has not.
        """
        return self._failed[task].line

    @contextlib.contextmanager
    def of(self, task: str) -> Iterator[None]:
        """A :class:`GatitoError` in this block fails the task alone, unless it is fatal."""
        try:
            yield
        except FatalError:
            raise
        except GatitoError as error:
            self.add(error.task or task, str(error))

    def survivors(self, suite: Suite, stage: str | None = None) -> Suite:
        """The suite less the tasks that have failed, up to the end of a stage or at all.

        What the generalist has learnt does not change because a task fails in a later stage.
        """
        failed = self._until(stage or _ORDER[-1])
        return Suite(suite.name, tuple(task for task in suite if task.name not in failed))

    def recall(self, folder: Path, stages: Collection[str]) -> None:
        """Take over the failures of an earlier command of this run, in stages that are needed now and not run again."""
        last = max((_ORDER.index(stage) for stage in stages), default=0)
        for task, failure in _read(folder).items():
            needed = 0 < _ORDER.index(failure.stage) < last and failure.stage not in stages
            if needed and task in self._tasks:
                self._failed.setdefault(task, failure)

    def write(self, folder: Path) -> None:
        """Write them into the run's folder; without any, there is no file."""
        if self._failed:
            write_json(folder / FAILURES, {task: asdict(failure) for task, failure in self._failed.items()})
        elif (folder / FAILURES).exists():  # else a run that can only be read could not be shown
            (folder / FAILURES).unlink()

    def stop_if_none_is_left(self) -> None:
        """End the run where no task is left to be scored.

        Raises:
            GatitoError: see :meth:`stop_if_any`.
        """
        if self._until("evaluate") == set(self._tasks):
            self.stop_if_any()

    def stop_if_any(self) -> None:
        """End the run with the list.

        Raises:
            GatitoError: of the only task.
            TasksFailedError: with a line for each task that failed.
        """
        lines = [f"{task}: {self._failed[task].line}" for task in self._tasks if task in self._failed]
        if lines and len(self._tasks) == 1:
            raise GatitoError(self._failed[self._tasks[0]].line)
        if lines:
            raise TasksFailedError(
                f"{len(lines)} of {len(self._tasks)} tasks failed; once they are mended, run all stages again:", lines
            )

    def _until(self, stage: str) -> set[str]:
        return {task for task, failure in self._failed.items() if _ORDER.index(failure.stage) <= _ORDER.index(stage)}


def read_failures(folder: Path) -> dict[str, str]:
    """Why each task failed in the run of a folder, by the task's name."""
    return {task: failure.line for task, failure in _read(folder).items()}


def _read(folder: Path) -> dict[str, Failure]:
    """The failures that an earlier command left; none where there is no file.

    Raises:
        FatalError: if the file is damaged.
    """
    path = folder / FAILURES
    if not path.exists():
        return {}
    failures = {}
    for task, row in read_json(path, dict).items():
        if not isinstance(row, dict) or row.get("stage") not in _ORDER or not isinstance(row.get("line"), str):
            raise FatalError(f"{path} is damaged. Remove the file {path} and run the same command again.")
        failures[task] = Failure(row["stage"], row["line"])
    return failures
