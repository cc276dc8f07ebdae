"""What a measurement is: two ways to do the same, one after the other and again, in one run."""

import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass

Measurement = Callable[[], float]
"""Does a stretch of work and tells its rate, in units a second, or what else is compared."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        stage: the part of gatito, such as ``record``.
        case: what it is tried on.
        against: what it is compared with.
        reach: the ratio that it should reach: at least, or, of a cost, at most.
        prepare: makes both ways ready to be measured, ours first.
    """

    stage: str
    case: str
    against: str
    reach: float
    prepare: Callable[[], tuple[Measurement, Measurement]]


@dataclass(frozen=True)
class Measured:
    """A row of ``results/speed/speed.csv``: ours divided by theirs, over the repetitions."""

    stage: str
    case: str
    against: str
    ratio_median: float
    ratio_min: float
    ratio_max: float
    reach: float


def measure(case: Case, repetitions: int) -> Measured:
    """Measure both in turn, A B A B …, so that what else the machine does falls on both; the first turn warms up."""
    ours, theirs = case.prepare()
    ours(), theirs()
    gc.collect()
    ratios = [ours() / theirs() for _ in range(repetitions)]
    median, low, high = (round(pick(ratios), 3) for pick in (statistics.median, min, max))
    return Measured(case.stage, case.case, case.against, median, low, high, case.reach)
