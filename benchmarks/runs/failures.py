"""Which tasks of a run failed, where and of what. The other tasks go on without them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.base import console
from benchmarks.base.artifacts import read_json, write_json
from benchmarks.base.errors import GatitoError, TasksFailedError
from benchmarks.tasks import Suite

FAILURES = "failures.json"
STAGES = ("tasks", "experts", "record", "distill", "controls", "ida", "evaluate", "clips", "export", "release")
"""Where a task can fail, in the order of a run; ``tasks`` is when the suite is read."""


@dataclass(frozen=True)
class Failure:
    """What a task failed of: a line of ``failures.json``."""

    stage: str
    line: str


class Failures:
    """The failures of one run.

    Attributes:
        stage: where the run is; further failures happen there.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        """Args: the names of all tasks that were asked for."""
        self.stage = STAGES[0]
        self._tasks = list(tasks)
        self._failed: dict[str, Failure] = {}

    def __len__(self) -> int:
        return len(self._failed)

    def __contains__(self, task: object) -> bool:
        return task in self._failed

    def add(self, task: str, line: str) -> None:
        """A task fails here, and is said to at once; what else it fails of afterwards is not repeated."""
        known = self._failed.get(task)
        if known is None:
            self._failed[task] = Failure(self.stage, " ".join(line.split()))
            if len(self._tasks) > 1:  # else the run ends at once, with this line
                console.warn(f"task {task} failed, the others go on: {self._failed[task].line}")
        elif STAGES.index(self.stage) < STAGES.index(known.stage):
            self._failed[task] = replace(known, stage=self.stage)

    def survivors(self, suite: Suite, stage: str | None = None) -> Suite:
        """The suite less the tasks that have failed, up to the end of a stage or at all.

        What the generalist has learnt does not change because a task fails in a later stage.
        """
        gone = self._until(stage or STAGES[-1])
        return Suite(suite.name, tuple(task for task in suite if task.name not in gone))

    def recall(self, folder: Path, stages: Collection[str]) -> None:
        """Take over what failed in an earlier command of this run, in stages that are needed now and not run again."""
        if not (folder / FAILURES).exists():
            return
        last = max((STAGES.index(stage) if stage in STAGES else len(STAGES) for stage in stages), default=0)
        for task, told in read_json(folder / FAILURES).items():
            needed = 0 < STAGES.index(told["stage"]) < last and told["stage"] not in stages
            if needed and task in self._tasks:
                self._failed.setdefault(task, Failure(**told))

    def write(self, folder: Path) -> None:
        """Leave them in the run's folder; no file where there are none."""
        if self._failed:
            write_json(folder / FAILURES, {task: asdict(failure) for task, failure in self._failed.items()})
        else:
            (folder / FAILURES).unlink(missing_ok=True)

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
        return {task for task, failure in self._failed.items() if STAGES.index(failure.stage) <= STAGES.index(stage)}


def read_failures(folder: Path) -> dict[str, str]:
    """What each task failed of in the run of a folder, by the task's name."""
    path = folder / FAILURES
    return {task: told["line"] for task, told in read_json(path).items()} if path.exists() else {}
