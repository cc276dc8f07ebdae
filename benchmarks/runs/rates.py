"""Measured rates: what a job of a kind on a task costs, per unit of its work.

Every command writes those of its jobs into ``rates.csv`` in the run's folder; ``results/rates.csv`` has those of the
project's own runs. ``stages=[plan]`` predicts from them.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.base.files import update_text
from benchmarks.runs.engines.job import Job, Outcome

RATES = "rates.csv"
_UNMEASURED = ("check",)  # jobs that take no time
_REMEDY = "remove it: the next command writes it anew."


@dataclass(frozen=True)
class Rate:
    """The cost of jobs of one kind.

    Attributes:
        kind: the kind of job, such as ``record expert``; ``distill``; or ``command``, everything beside them.
        name: the task, or the suite if the jobs work on all of its tasks.
        units: their work, in the job's own unit (environment steps, updates, episodes, …).
        seconds: wall time of all of them together.
        peak_bytes: largest memory of one of their processes.
        disk_bytes: what they left on the disk.
    """

    kind: str
    name: str
    units: float
    seconds: float
    peak_bytes: int = 0
    disk_bytes: int = 0

    @property
    def per_unit(self) -> float:
        """Seconds per unit."""
        return self.seconds / self.units


class Rates:
    """Rates by kind and name, and estimates from them."""

    def __init__(self, rates: Iterable[Rate] = ()) -> None:
        """Rates; a later one replaces an earlier one of the same kind and name."""
        self._rates = {(rate.kind, rate.name): rate for rate in rates if rate.units > 0}

    @staticmethod
    def read(*paths: Path) -> "Rates":
        """Read files, if they exist; a later file replaces rates of an earlier one.

        Raises:
            GatitoError: if a file is damaged.
        """
        return Rates(rate for path in paths if path.exists() for rate in read_csv(path, Rate, _REMEDY))

    def __iter__(self) -> Iterator[Rate]:
        return iter(self._rates[key] for key in sorted(self._rates))

    def of(self, kind: str, name: str) -> Rate | None:
        """The rate of a kind on a task or suite; else the median of the same family, else of all; None without any.

        The rate of an estimate has its kind's name with a question mark: ``record expert?``.
        """
        if exact := self._rates.get((kind, name)):
            return exact
        same = [rate for rate in self if rate.kind == kind]
        family = name.partition("/")[0]
        near = [rate for rate in same if rate.name.partition("/")[0] == family] or same
        if not near:
            return None
        per_unit = statistics.median(rate.per_unit for rate in near)
        disk = statistics.median(rate.disk_bytes / rate.units for rate in near)
        peak = max(rate.peak_bytes for rate in near)
        return Rate(f"{kind}?", name, 1.0, per_unit, peak, round(disk))


class Measurement:
    """Adds up the jobs of a command.

    Attributes:
        wall: seconds in which the command ran jobs.
    """

    def __init__(self) -> None:
        """Nothing has been measured yet."""
        self._rates: dict[tuple[str, str], Rate] = {}
        self.wall = 0.0

    def clear(self) -> None:
        """Forget what was measured."""
        self._rates.clear()
        self.wall = 0.0

    def add(self, job: Job, outcome: Outcome) -> None:
        """Add a job that succeeded."""
        kind, name = job.measured_as or (job.label.removesuffix(f" {job.task}"), job.task or "")
        before = self._rates.get((kind, name), Rate(kind, name, 0.0, 0.0))
        self._rates[kind, name] = replace(
            before,
            units=before.units + job.total,
            seconds=before.seconds + outcome.seconds,
            peak_bytes=max(before.peak_bytes, outcome.peak_bytes),
        )

    def write(self, folder: Path, more: Iterable[Rate], disk: Mapping[str, str]) -> None:
        """Write the rates into a run's folder, beside those of its earlier commands.

        A resumed job did only a part of its work, so a command that did less than half of an earlier one's work
        replaces nothing.

        Args:
            folder: the run's folder.
            more: rates of work that is no job.
            disk: for each kind of job that leaves a folder per task, the pattern of that folder, such as
                ``experts/{name}``.
        """
        if not self._rates:
            return
        known = {(rate.kind, rate.name): rate for rate in Rates.read(folder / RATES)}
        for rate in self._rates.values():
            if rate.kind in _UNMEASURED:
                continue
            earlier = known.get((rate.kind, rate.name))
            if earlier is None or rate.units >= earlier.units / 2:
                left = folder / disk[rate.kind].format(name=rate.name) if rate.kind in disk else None
                known[rate.kind, rate.name] = replace(rate, disk_bytes=size_of(left) if left else 0)
        known |= {(rate.kind, rate.name): rate for rate in more}
        update_text(folder / RATES, to_csv([known[key] for key in sorted(known)], Rate))


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
