"""Reports of several runs: of named runs, and of a sweep at its end."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.base import console
from benchmarks.base.errors import TasksFailedError, one_line
from benchmarks.base.files import read_json, write_json
from benchmarks.runs.lock import lock
from benchmarks.runs.tracking import Tracker, TrackingConfig
from benchmarks.scoring.comparison import compare, find_runs, pooled_name, seeds_of_one_configuration

_OUTCOME = "outcome.json"


def report_together(runs: Sequence[Path], folder: Path, tracking: TrackingConfig) -> None:
    """Report several runs together in a separate folder.

    Raises:
        GatitoError: as :func:`benchmarks.scoring.comparison.compare`.
    """
    from benchmarks.report.report import write_report

    with lock(folder):
        results = compare(runs, folder)
        group = f"{results.suite}/{folder.name}"
        tracker = Tracker(tracking, group=group, exp_name=folder.name, seed=0, folder=folder)
        write_report(results, folder, tracker=tracker)
    console.note(f"{folder}: {len(runs)} runs compared; open {folder / 'index.html'}")


def report_named(names: Sequence[str], runs_folder: Path, name: str | None, tracking: TrackingConfig) -> None:
    """Report the runs of these names or patterns together, in a separate folder below ``runs_folder``.

    Raises:
        GatitoError: if there is no such run, or the runs cannot be compared.
    """
    runs = find_runs(names, runs_folder)
    report_together(runs, runs_folder / (name or pooled_name(runs)), tracking)


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep that has a report.

    Attributes:
        folder: the run's folder.
        name: the name given to all runs of the sweep, with the suite's; None if none was given.
        tasks: the selected tasks; only runs with the same tasks can be reported together.
        tracking: the tracking settings of its report.
    """

    folder: Path
    name: str | None
    tasks: Sequence[str]
    tracking: TrackingConfig


@dataclass
class Sweep:
    """The runs of one command: a single run, or those of a sweep, which continues after a failed run.

    A launcher may make the runs of a sweep in other processes or on other machines. Each run writes its outcome into
    its folder below the sweep's folder, and the process that started the sweep collects the outcomes.

    Attributes:
        failures: the error line of each run that failed.
        reported: the runs of a sweep that have a report.
    """

    failures: list[str] = field(default_factory=list)
    reported: list[SweepRun] = field(default_factory=list)

    @contextmanager
    def one_line_errors(self) -> Iterator[None]:
        """Print errors that the user can fix in one line and count them as failures; raise all others."""
        try:
            yield
        except BaseException as error:
            line = one_line(error)
            if line is None:
                raise
            details = error.lines if isinstance(error, TasksFailedError) else []
            console.fail(line, details)
            self.failures.append(" ".join([line, *details]))

    @contextmanager
    def one_run(self, folder: Path | None) -> Iterator[None]:
        """Make one run; in a sweep, write its outcome into ``folder``. None: it is not part of a sweep."""
        try:
            with self.one_line_errors():
                yield
        finally:
            if folder is not None:
                self.write_outcome(folder)

    def write_outcome(self, folder: Path) -> None:
        """Write the outcome of a sweep's run into its folder below the sweep's."""
        reported = [asdict(run) | {"folder": str(run.folder)} for run in self.reported]
        write_json(folder / _OUTCOME, {"failures": self.failures, "reported": reported})
        self.failures, self.reported = [], []

    def gather(self, folder: Path) -> None:
        """Collect the outcomes of a sweep's runs from its folder, in the order of the runs.

        Raises:
            FatalError: if a file is damaged.
        """
        for job in _jobs(folder):
            if not (job / _OUTCOME).exists():
                self.failures.append(f"run {job.name} of the sweep ended early; its messages are below {folder}.")
                continue
            outcome = read_json(job / _OUTCOME, {"failures": list, "reported": list})
            self.failures += outcome["failures"]
            for run in outcome["reported"]:
                tracking = TrackingConfig(**run["tracking"])
                self.reported.append(SweepRun(Path(run["folder"]), run["name"], run["tasks"], tracking))
        if not self.failures and not self.reported:  # such as a sweep of plans
            _clear(folder)
            (folder / "multirun.yaml").unlink(missing_ok=True)  # Hydra's, with all settings
            with suppress(OSError):  # another sweep's folder, or a launcher's files
                folder.rmdir()
                if folder.parent.name == ".sweeps":  # gatito's own, see conf/config.yaml
                    folder.parent.rmdir()

    def report(self) -> None:
        """List failures, and report each configuration over its training seeds, and all configurations together."""
        if self.failures:
            console.warn(
                f"{len(self.failures)} of the sweep's runs failed, wholly or in part; pooled reports leave them out:"
            )
            for line in self.failures:
                console.warn(line)
        if not self.reported:
            return
        folders = [run.folder for run in self.reported]
        pools = [(seeds, pooled_name(seeds)) for seeds in seeds_of_one_configuration(folders)]
        configurations = {re.sub(r"-seed\d+", "", folder.name) for folder in folders}
        if len(configurations) > 1 and len({tuple(run.tasks) for run in self.reported}) == 1:
            pools.append((folders, self.reported[0].name or pooled_name(folders)))
        for runs, name in pools:
            console.note(f"comparing {', '.join(run.name for run in runs)}")
            with self.one_line_errors():
                report_together(runs, runs[0].parent / name, self.reported[0].tracking)


def _jobs(folder: Path) -> list[Path]:
    """The folders of a sweep's runs, in their order: by number, as ``conf/config.yaml`` names them, or by any name."""
    numbered = [path for path in folder.glob("*") if path.name.isdigit()]
    named = {path.parent for path in folder.rglob(_OUTCOME)} - set(numbered)
    return [*sorted(numbered, key=lambda path: int(path.name)), *sorted(named)]


def _clear(folder: Path) -> None:
    """Remove the outcomes of a sweep's runs."""
    for job in _jobs(folder):
        (job / _OUTCOME).unlink(missing_ok=True)
        with suppress(OSError):  # it holds something else
            job.rmdir()


class SweepFolder:
    """A Hydra callback, named in ``conf/config.yaml``, that remembers the folder of this process's sweep.

    Attributes:
        current: the folder; None if this process started no sweep.
    """

    current: Path | None = None

    def on_multirun_start(self, config: Any, **_: Any) -> None:  # noqa: ANN401
        """Called by Hydra in the starting process, before the first run of the sweep."""
        SweepFolder.current = Path(config.hydra.sweep.dir).absolute()
        _clear(SweepFolder.current)  # of an earlier sweep in this folder, which hydra.sweep.dir may name

    def _ignore(self, **_: Any) -> None:  # noqa: ANN401
        """Do nothing: Hydra calls all methods of a callback."""

    on_multirun_end = on_run_start = on_run_end = on_job_start = on_job_end = on_compose_config = _ignore
