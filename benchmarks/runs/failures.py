"""Which tasks of a run failed, in which stage and why, and which agents from outside. The run goes on without them."""

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
_AGENT = "agent "  # before the name of an agent in the file


@dataclass(frozen=True)
class Failure:
    """Why a task failed, and in which stage: a line of ``failures.json``."""

    stage: str
    line: str


class Failures:
    """The failures of one run."""

    def __init__(self, tasks: Sequence[str], *, quiet: bool = False) -> None:
        """Args: the names of all tasks that were asked for, and whether failures are noted without a warning."""
        self._quiet = quiet
        self._agents: dict[str, str] = {}
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
            if len(self._tasks) > 1 and not self._quiet:  # else the run ends at once, with this line
                console.warn(f"task {task} failed, the others go on: {self._failed[task].line}")
        elif _ORDER.index(self.stage) < _ORDER.index(known.stage):
            self._failed[task] = replace(known, stage=self.stage)

    def add_agent(self, agent: str, line: str) -> None:
        """Note that an agent from outside fails, with a warning at once: it is left out of the results."""
        self._agents[agent] = " ".join(line.split())
        console.warn(f"agent {agent} failed and is left out of the results: {self._agents[agent]}")

    @property
    def agents(self) -> Collection[str]:
        """The names of the agents from outside that failed."""
        return self._agents.keys()

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
            if task.startswith(_AGENT) and "evaluate" not in stages:
                self._agents[task.removeprefix(_AGENT)] = failure.line
            needed = 0 < _ORDER.index(failure.stage) < last and failure.stage not in stages
            if needed and task in self._tasks:
                self._failed.setdefault(task, failure)

    def write(self, folder: Path) -> None:
        """Write them into the run's folder; without any, there is no file."""
        failed = self._failed | {f"{_AGENT}{agent}": Failure("evaluate", line) for agent, line in self._agents.items()}
        if failed:
            write_json(folder / FAILURES, {name: asdict(failure) for name, failure in failed.items()})
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
            TasksFailedError: with a line for each task and agent that failed.
        """
        failed = [task for task in self._tasks if task in self._failed]
        if failed and len(self._tasks) == 1:
            raise GatitoError(self._failed[self._tasks[0]].line)
        lines = [f"{task}: {self._failed[task].line}" for task in failed]
        lines += [f"{_AGENT}{agent}: {line}" for agent, line in self._agents.items()]
        counts = [f"{len(failed)} of {len(self._tasks)} tasks"] if failed else []
        counts += [f"{len(self._agents)} agent{'s' if len(self._agents) > 1 else ''}"] if self._agents else []
        if lines:
            raise TasksFailedError(f"{' and '.join(counts)} failed; once they are mended, run all stages again:", lines)

    def _until(self, stage: str) -> set[str]:
        return {task for task, failure in self._failed.items() if _ORDER.index(failure.stage) <= _ORDER.index(stage)}


def read_failures(folder: Path) -> dict[str, str]:
    """Why each task failed in the run of a folder, by the task's name, and each agent, by ``agent NAME``."""
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
