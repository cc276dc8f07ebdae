"""A run of gatito, which is passed to every function that makes artifacts."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.base.artifacts import digest, write_json, write_text
from benchmarks.base.environment import ENVIRONMENT, describe_environment
from benchmarks.base.names import check_name
from benchmarks.base.suite_files import typed_suite
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import current_engine
from benchmarks.runs.tracking import Tracker
from benchmarks.tasks import Suite

CONFIG = "config.yaml"
"""The settings of a run, in its folder."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: the folder of its artifacts, ``results/runs/<name>``.
        suite: all of its tasks, including failed ones (see :meth:`survivors`).
        seed: the training seed.
        workers: number of jobs at a time.
        tracker: mirrors logs to Weights & Biases.
        failures: the tasks that failed.
    """

    folder: Path
    suite: Suite
    seed: int
    workers: int
    tracker: Tracker
    failures: Failures

    @property
    def runs_folder(self) -> Path:
        """The folder of all runs, whose finished artifacts this one may adopt."""
        return self.folder.parent

    @property
    def threads(self) -> int:
        """The number of threads for work in this process, such as distillation."""
        return current_engine().threads_here(self.workers)

    def survivors(self, stage: str | None = None) -> Suite:
        """The tasks that have not failed, up to the end of a stage or in any; see :meth:`Failures.survivors`."""
        return self.failures.survivors(self.suite, stage)

    def isolated(self, suite: Suite, stage: str, *, quiet: bool = False) -> "Run":
        """The same run on other tasks, with separate failures.

        Args:
            suite: the tasks.
            stage: the stage.
            quiet: whether failures are recorded without a warning.
        """
        failures = Failures([task.name for task in suite], quiet=quiet)
        failures.stage = stage
        return replace(self, suite=suite, failures=failures)

    def describe(self, settings: str, typed: Sequence[str], config_folders: Sequence[str] = ()) -> None:
        """Write the run's settings and its environment.

        Args:
            settings: all settings as YAML.
            typed: the overrides on the command line.
            config_folders: folders of further settings (``--config-dir``).
        """
        write_text(self.folder / CONFIG, settings)
        write_json(self.folder / ENVIRONMENT, describe_environment(command_of(typed, config_folders)))


_SILENT = ("name", "runs_folder", "workers", "stages", "tracking", "engine", "hub")
_LONGEST = 80  # characters of a folder's name for the overrides


def run_name(preset: str, overridden: str, given: str | None, *, sweeping: bool) -> str:
    """The name of a run's folder: the given name, or the preset and the overrides.

    Runs of a sweep never share a folder: there, the overrides are appended to a given name.

    Args:
        preset: suite, model and seed.
        overridden: further settings, such as ``distill.updates=100``; may be empty.
        given: the name on the command line; None if none was given.
        sweeping: whether the run is one of a sweep.

    Raises:
        FatalError: if the given name is not a valid folder name.
    """
    if given is not None:
        check_name("name", given)
        if not sweeping:
            return given
    name = preset if given is None else f"{given}-{preset}"
    if not overridden:
        return name
    suffix = "".join(letter if letter.isalnum() or letter in "._=-" else "_" for letter in overridden)
    return f"{name}-{suffix}" if len(suffix) <= _LONGEST else f"{name}-{suffix[:60]}-{digest(overridden)[:8]}"


def command_of(typed: Sequence[str], config_folders: Sequence[str] = ()) -> str:
    """The command line with these overrides, without those that do not affect results."""
    kept = [word for word in typed if word.partition("=")[0].partition(".")[0].lstrip("+") not in _SILENT]
    options = [word for folder in config_folders for word in ("--config-dir", folder)]
    return " ".join(["gatito", *map(shlex.quote, [*options, *map(typed_suite, kept)])])
