"""The tasks and outside agents of a run that failed, with stage and reason. The run continues without them."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.base import console
from benchmarks.base.artifacts import read_json, write_json
from benchmarks.base.errors import FatalError, GatitoError, TasksFailedError
from benchmarks.runs.stage import STAGES
from benchmarks.tasks import Suite

FAILURES = "failures.json"
_READING = "tasks"  # the pseudo-stage in which the suite is read
_ORDER = (_READING, *STAGES)
_AGENT = "agent "  # prefix of an agent's name in the file


@dataclass(frozen=True)
class Failure:
    """The stage in which a task failed, and the reason: an entry of ``failures.json``."""

    stage: str
    line: str


class Failures:
    """The failures of one run."""

    def __init__(self, tasks: Sequence[str], *, quiet: bool = False) -> None:
        """Args: the names of all selected tasks, and whether failures are recorded without a warning."""
        self._quiet = quiet
        self._agents: dict[str, str] = {}
        self._stage = _READING
        self._tasks = list(tasks)
        self._failed: dict[str, Failure] = {}
        self._left: dict[str, Failure] = {}  # of an earlier command; they stay in the file

    @property
    def stage(self) -> str:
        """The current stage, in which further failures happen."""
        return self._stage

    @stage.setter
    def stage(self, name: str) -> None:
        if name not in _ORDER:
            raise ValueError(f"{name} is not a stage: {', '.join(_ORDER)}")
        self._stage = name

    def __len__(self) -> int:
        return len(self._failed)

    def __contains__(self, task: object) -> bool:
        return task in self._failed

    def add(self, task: str, line: str) -> None:
        """Record that a task fails in this stage, and warn at once; later failures of the task are ignored."""
        known = self._failed.get(task)
        if known is None:
            self._failed[task] = Failure(self.stage, " ".join(line.split()))
            if len(self._tasks) > 1 and not self._quiet:  # with a single task, the run ends with this line
                console.warn(f"task {task} failed, the others continue: {self._failed[task].line}")
        elif _ORDER.index(self.stage) < _ORDER.index(known.stage):
            self._failed[task] = replace(known, stage=self.stage)

    def add_agent(self, agent: str, line: str) -> None:
        """Record that an agent from outside fails, and warn at once: it is left out of the results."""
        self._agents[agent] = " ".join(line.split())
        console.warn(f"agent {agent} failed and is left out of the results: {self._agents[agent]}")

    @property
    def agents(self) -> Collection[str]:
        """The names of the agents from outside that failed."""
        return self._agents.keys()

    def line(self, task: str) -> str:
        """The reason why a task failed.

        Raises:
            KeyError: if it has not failed.
        """
        return self._failed[task].line

    @contextlib.contextmanager
    def of(self, task: str) -> Iterator[None]:
        """A :class:`GatitoError` in this block fails only the task, unless it is fatal."""
        try:
            yield
        except FatalError:
            raise
        except GatitoError as error:
            self.add(error.task or task, str(error))

    def survivors(self, suite: Suite, stage: str | None = None) -> Suite:
        """The suite without the tasks that have failed, up to the end of a stage or in any stage.

        A failure in a later stage does not change the tasks that the generalist has learned.
        """
        failed = self._until(stage or _ORDER[-1])
        return Suite(suite.name, tuple(task for task in suite if task.name not in failed))

    def recall(
        self, folder: Path, stages: Collection[str], finished: Callable[[str, str], bool] = lambda stage, task: False
    ) -> None:
        """Recall the failures of an earlier command of this run.

        A failure counts if its stage is needed now and not run again, unless its result is finished by now. Failures of
        tasks that are not selected now, or in later stages than the current ones, stay in the file and do not count.

        Args:
            folder: the run's folder.
            stages: the stages of this command.
            finished: whether the result of a stage for a task is finished by now, such as an adopted expert.
        """
        last = max((_ORDER.index(stage) for stage in stages), default=0)
        for task, failure in _read(folder).items():
            place = _ORDER.index(failure.stage)
            if task.startswith(_AGENT):
                if "evaluate" not in stages:
                    self._agents[task.removeprefix(_AGENT)] = failure.line
            elif task not in self._tasks or last < place < _ORDER.index("report"):  # later stages do not affect results
                self._left[task] = failure
            elif 0 < place < last and failure.stage not in stages and not finished(failure.stage, task):
                self._failed.setdefault(task, failure)

    def write(self, folder: Path) -> None:
        """Write the failures into the run's folder if they changed; without failures, remove the file."""
        agents = {f"{_AGENT}{agent}": Failure("evaluate", line) for agent, line in self._agents.items()}
        known = self._left | self._failed | agents
        if known == _read(folder):  # so that a read-only run can be shown
            return
        if known:
            write_json(folder / FAILURES, {name: asdict(failure) for name, failure in known.items()})
        else:
            (folder / FAILURES).unlink()

    def stop_if_none_is_left(self) -> None:
        """End the run if no task is left to score.

        Raises:
            GatitoError: see :meth:`stop_if_any`.
        """
        if self._until("evaluate") == set(self._tasks):
            self.stop_if_any()

    def stop_if_any(self) -> None:
        """End the run with the list of failures, if there are any.

        Raises:
            GatitoError: the failure of the only task.
            TasksFailedError: with one line for each task and agent that failed.
        """
        failed = [task for task in self._tasks if task in self._failed]
        if failed and len(self._tasks) == 1:
            raise GatitoError(self._failed[self._tasks[0]].line)
        lines = [f"{task}: {self._failed[task].line}" for task in failed]
        lines += [f"{_AGENT}{agent}: {line}" for agent, line in self._agents.items()]
        counts = [f"{len(failed)} of {len(self._tasks)} tasks"] if failed else []
        counts += [f"{len(self._agents)} agent{'s' if len(self._agents) > 1 else ''}"] if self._agents else []
        if lines:
            raise TasksFailedError(f"{' and '.join(counts)} failed; once they are fixed, run all stages again:", lines)

    def _until(self, stage: str) -> set[str]:
        return {task for task, failure in self._failed.items() if _ORDER.index(failure.stage) <= _ORDER.index(stage)}


def read_failures(folder: Path) -> dict[str, str]:
    """The reasons of a run's failures, by task name or ``agent NAME``."""
    return {task: failure.line for task, failure in _read(folder).items()}


def _read(folder: Path) -> dict[str, Failure]:
    """The failures of an earlier command; empty without a file.

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
