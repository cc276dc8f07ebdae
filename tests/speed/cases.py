"""A measurement: two implementations of the same work, measured alternately in one run."""

import gc
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Measurement = Callable[[], float]
"""Does a piece of work and returns its rate in units per second, or its cost in seconds or bytes."""


@dataclass(frozen=True)
class Case:
    """One comparison. A larger ratio is better for rates and for costs.

    Attributes:
        stage: the part of gatito, such as ``record``.
        case: what it is tried on.
        against: what it is compared with.
        reach: the least ratio that is good enough.
        prepare: makes both ways ready to be measured, ours first.
        cost: whether costs are measured, so that the ratio is theirs to ours: at most 1.25 times as much memory is a
            reach of 0.8.
        needs: packages that this case alone needs, by the names that they are imported by.
        repetitions: pairs of measurements, at most, where one takes minutes; None: as many as are asked for.
        quick: whether it is one of those that CI measures: seconds long, and steady on a machine that is not idle.
    """

    stage: str
    case: str
    against: str
    reach: float
    prepare: Callable[[], tuple[Measurement, Measurement]]
    cost: bool = False
    needs: tuple[str, ...] = ()
    repetitions: int | None = None
    quick: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """The key of its row."""
        return self.stage, self.case, self.against

    @property
    def missing(self) -> list[str]:
        """The required packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


@dataclass(frozen=True)
class Measured:
    """A row of ``results/speed/speed.csv``: our ratio to the peer, over the repetitions."""

    stage: str
    case: str
    against: str
    ratio_median: float
    ratio_min: float
    ratio_max: float
    reach: float

    @property
    def key(self) -> tuple[str, str, str]:
        """As its case's."""
        return self.stage, self.case, self.against

    def __str__(self) -> str:
        """A readable line."""
        short = "" if self.ratio_median >= self.reach else ", SHORT OF IT"
        return (
            f"{self.stage:8} {self.case:45} {self.ratio_median:6.2f} ({self.ratio_min:.2f} to {self.ratio_max:.2f}) "
            f"of {self.against}, to reach {self.reach:.3g}{short}"
        )


def timed(work: Callable[[], float]) -> Measurement:
    """The rate of work that returns its amount in units."""

    def rate() -> float:
        start = time.perf_counter()
        return work() / (time.perf_counter() - start)

    return rate


def measure(case: Case, repetitions: int) -> Measured:
    """Measure both in turn, A B A B …, so that other load affects both; the first turn warms up."""
    ours, theirs = case.prepare()
    ours(), theirs()
    gc.collect()
    ratios = []
    for _ in range(min(repetitions, case.repetitions or repetitions)):
        own, other = ours(), theirs()
        ratios.append(other / own if case.cost else own / other)
    median, low, high = (round(pick(ratios), 3) for pick in (statistics.median, min, max))
    return Measured(case.stage, case.case, case.against, median, low, high, case.reach)
