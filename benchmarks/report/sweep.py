"""Reports of several runs: those that are named, and those of a sweep at its end."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.base import console
from benchmarks.base.errors import TasksFailedError, one_line
from benchmarks.report.report import write_report
from benchmarks.runs.lock import lock
from benchmarks.runs.tracking import Tracker, TrackingConfig
from benchmarks.scoring.comparison import compare, find_runs, pooled_name, seeds_of_one_configuration


def report_together(runs: Sequence[Path], folder: Path, tracking: TrackingConfig) -> None:
    """Report several runs together, in a folder of their own.

    Raises:
        GatitoError: as :func:`benchmarks.scoring.comparison.compare`.
    """
    with lock(folder):
        results = compare(runs, folder)
        group = f"{results.suite}/{folder.name}"
        tracker = Tracker(tracking, group=group, exp_name=folder.name, seed=0, folder=folder)
        write_report(results, folder, tracker=tracker)
    console.note(f"{folder}: {len(runs)} runs compared; open {folder / 'index.html'}")


def report_named(names: Sequence[str], runs_folder: Path, name: str | None, tracking: TrackingConfig) -> None:
    """Report the runs of these names or patterns together, in a folder of their own below the runs' folder.

    Raises:
        GatitoError: if there is no such run, or they do not fit together.
    """
    runs = find_runs(names, runs_folder)
    report_together(runs, runs_folder / (name or pooled_name(runs)), tracking)


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep that has a report.

    Attributes:
        folder: of the run.
        name: that was given to all runs of the sweep, with the suite's; None: none was.
        tasks: that were asked for; only runs of the same tasks can be reported together.
        tracking: where its report is tracked.
    """

    folder: Path
    name: str | None
    tasks: Sequence[str]
    tracking: TrackingConfig


@dataclass
class Sweep:
    """The runs of one process: one, or those of a sweep, which goes on after a run that fails.

    Attributes:
        failures: the error line of each run that failed.
        reported: the runs of a sweep that have a report.
    """

    failures: list[str] = field(default_factory=list)
    reported: list[SweepRun] = field(default_factory=list)

    @contextmanager
    def one_line_errors(self) -> Iterator[None]:
        """Print errors that a person can mend in one line and count them as failures, and raise all others."""
        try:
            yield
        except BaseException as error:
            line = one_line(error)
            if line is None:
                raise
            console.fail(line, error.lines if isinstance(error, TasksFailedError) else ())
            self.failures.append(line)

    def report(self) -> None:
        """Report each configuration over its training seeds, and all configurations side by side."""
        if not self.reported:
            return
        if self.failures:
            console.warn(
                f"{len(self.failures)} runs of the sweep failed, whole or in part, and are in no pooled report."
            )
        folders = [run.folder for run in self.reported]
        pools = [(seeds, pooled_name(seeds)) for seeds in seeds_of_one_configuration(folders)]
        configurations = {re.sub(r"-seed\d+", "", folder.name) for folder in folders}
        if len(configurations) > 1 and len({tuple(run.tasks) for run in self.reported}) == 1:
            pools.append((folders, self.reported[0].name or pooled_name(folders)))
        for runs, name in pools:
            console.note(f"putting together {', '.join(run.name for run in runs)}")
            with self.one_line_errors():
                report_together(runs, runs[0].parent / name, self.reported[0].tracking)
